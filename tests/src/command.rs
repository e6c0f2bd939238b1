//! Owns running programs of others: with a time limit, with their output, never with inherited standard input.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, Winsize, openpty};

/// What a program left.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit status, 128 + signal where a signal ended it, `None` where the time limit did.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
    /// The command line, for messages.
    pub line: String,
}

impl Output {
    /// Whether it ended with status 0.
    pub fn is_ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Itself, or a panic with everything it said.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.is_ok(), "failed: {self}");
        self
    }

    /// Itself, or a panic where it ended with status 0.
    #[track_caller]
    pub fn failed(self) -> Self {
        assert!(!self.is_ok(), "should have failed: {self}");
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n  status {:?} after {:?}", self.line, self.code, self.took)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                write!(f, "\n  {name}: {}", text.trim_end().replace('\n', "\n    "))?;
            }
        }
        Ok(())
    }
}

/// Runs a command to its end, or kills it after `limit`.
pub fn run(command: &mut Command, limit: Duration) -> Output {
    run_with(command, limit, None)
}

/// The same, with bytes on standard input.
pub fn run_with(command: &mut Command, limit: Duration, input: Option<&[u8]>) -> Output {
    let line = line(command);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let out = thread::spawn(move || read_all(&mut stdout));
    let err = thread::spawn(move || read_all(&mut stderr));
    if let (Some(bytes), Some(mut stdin)) = (input, child.stdin.take()) {
        // A program that ends before it read everything is no error of ours.
        stdin.write_all(bytes).ok();
    }
    let code = wait(&mut child, started, limit);
    Output { code, stdout: out.join().unwrap(), stderr: err.join().unwrap(), took: started.elapsed(), line }
}

/// The same on a terminal of its own, which it controls; standard output is all that the terminal shows. Whoever sits there
/// presses Enter when there is a first line.
pub fn run_on_terminal(command: &Command, limit: Duration) -> Output {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(&size, None).expect("a terminal");
    let stdio = || Stdio::from(slave.try_clone().expect("a descriptor"));
    let mut inside = Command::new("setsid");
    inside.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
    inside.env_clear().envs(command.get_envs().filter_map(|(key, value)| Some((key, value?)))).env("TERM", "xterm");
    inside.stdin(stdio()).stdout(stdio()).stderr(stdio());
    let started = Instant::now();
    let mut child = inside.spawn().unwrap_or_else(|error| panic!("setsid: {error}"));
    // The terminal ends (EIO) with the last descriptor of its other side.
    drop((inside, slave));
    let shown = thread::spawn(move || sit_at(std::fs::File::from(master)));
    let code = wait(&mut child, started, limit);
    let stdout = shown.join().unwrap();
    Output { code, stdout, stderr: String::new(), took: started.elapsed(), line: line(command) }
}

fn sit_at(mut terminal: std::fs::File) -> String {
    let (mut shown, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = terminal.read(&mut bytes) {
        let had = shown.contains(&b'\n');
        shown.extend(&bytes[..count]);
        if !had && shown.contains(&b'\n') {
            terminal.write_all(b"\n").ok();
        }
    }
    String::from_utf8_lossy(&shown).into_owned()
}

fn read_all(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wait(child: &mut Child, started: Instant, limit: Duration) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        }
        if started.elapsed() > limit {
            child.kill().ok();
            child.wait().ok();
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A command as one would type it, without its environment.
pub fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Asks again every few milliseconds until `ready` gives a value, or panics with `what` after `limit`.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(started.elapsed() < limit, "after {limit:?} still not: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
