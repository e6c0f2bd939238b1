//! Owns one run of a hook: without rights, within limits, ended as a whole. Its input and outputs are files in memory, so
//! that nothing waits for a reader, and the kernel itself holds the bound on what it writes.

#![allow(unsafe_code, reason = "what happens between fork and exec has no safe form")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bestfit_selector::hook::{Hook, MAX_ANSWER};
use bestfit_selector::json;
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, setsid};

/// All that a hook finds in its environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The most bytes of standard error that are looked at.
const MAX_SAID: usize = 2000;
/// How often what is left of a hook is looked for; each time there is less of it, for it has no more time.
const SWEEPS: usize = 50;
/// Address space, processes of its user, open files.
const LIMITS: [(Resource, u64); 6] = [
    (Resource::RLIMIT_AS, 1 << 30),
    (Resource::RLIMIT_NPROC, 32),
    (Resource::RLIMIT_NOFILE, 64),
    (Resource::RLIMIT_CORE, 0),
    (Resource::RLIMIT_MEMLOCK, 0),
    // One byte more than is read, so that too long an answer shows.
    (Resource::RLIMIT_FSIZE, MAX_ANSWER as u64 + 1),
];

/// A hook that ran, however it ended.
pub(super) struct Ended {
    /// What it wrote on standard output, or why that does not count.
    pub(super) outcome: Result<Vec<u8>, String>,
    /// What it wrote on standard error.
    pub(super) said: String,
}

/// Runs it. An error means that it did not even start.
pub(super) fn run(hook: &Hook, question: &[u8]) -> Result<Ended, String> {
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let (mut input, output, errors) = (memory("in"), memory("out"), memory("err"));
    let (Ok(input), Ok(output), Ok(errors)) = (&mut input, &output, &errors) else {
        return Err("there is no memory for its input and output".to_owned());
    };
    input.write_all(question).and_then(|()| input.rewind()).map_err(failed("its input"))?;
    let stdio = |file: &File| file.try_clone().map(Stdio::from).map_err(failed("its input and output"));
    let mut command = Command::new(&hook.command);
    command.env_clear().env("PATH", PATH).current_dir("/").uid(hook.uid).gid(hook.gid);
    command.stdin(stdio(input)?).stdout(stdio(output)?).stderr(stdio(errors)?);
    let seconds = hook.timeout.as_secs() + 1;
    // SAFETY: the closure allocates nothing and takes no lock: it makes system calls with numbers it owns.
    unsafe { command.pre_exec(move || confine(seconds)) };
    // What a hook leaves behind becomes our child, and cannot hide behind pid 1.
    let adopting = prctl::set_child_subreaper(true).is_ok();
    let started = Instant::now();
    let ended = command.spawn().map(|mut child| {
        killed_first(child.id());
        let status = wait(&mut child, started + hook.timeout);
        sweep(hook.uid, child.id());
        status
    });
    if adopting {
        let _ = prctl::set_child_subreaper(false);
    }
    let status = ended.map_err(failed("it cannot be started"))?;
    let said = read(errors, MAX_SAID).map_err(failed("its standard error"))?;
    let outcome = match status.map_err(failed("waiting for it"))? {
        None => Err(format!("it took longer than {:?}, and was ended", hook.timeout)),
        Some(status) => match read(output, MAX_ANSWER + 1).map_err(failed("its answer"))? {
            answer if answer.len() > MAX_ANSWER => Err(format!("it wrote more than {MAX_ANSWER} bytes")),
            _ if !status.success() => Err(ending(status)),
            answer => Ok(answer),
        },
    };
    Ok(Ended { outcome, said: json::plain(String::from_utf8_lossy(&said).trim(), MAX_SAID) })
}

/// Where memory runs out, it is killed before what started it; its own file is not its to write once it has other ids.
fn killed_first(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), "1000");
}

/// Has a program that is to be started end with the thread that starts it.
pub fn ends_with_parent(command: &mut Command) {
    // SAFETY: the closure makes one system call with a number.
    unsafe { command.pre_exec(|| Ok(prctl::set_pdeathsig(Some(Signal::SIGKILL))?)) };
}

/// Between fork and exec, with the ids that it keeps: capabilities went with uid 0.
fn confine(seconds: u64) -> io::Result<()> {
    setsid()?;
    prctl::set_no_new_privs()?;
    prctl::set_pdeathsig(Some(Signal::SIGKILL))?;
    for (resource, limit) in LIMITS.into_iter().chain([(Resource::RLIMIT_CPU, seconds)]) {
        // Nobody without rights may raise what this process was given.
        let limit = limit.min(getrlimit(resource)?.1);
        setrlimit(resource, limit, limit)?;
    }
    // Whatever this process has open, and did not mark, ends here; a kernel before 5.11 says so, and every descriptor of
    // ours is marked.
    // SAFETY: it only marks descriptors of this process.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Ok(())
}

/// Waits until it ends, or ends it; None where it took too long.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_micros(500);
    let group = Pid::from_raw(child.id().cast_signed());
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(Some(status)),
            Err(error) => break Err(error),
            Ok(None) if Instant::now() >= deadline => break Ok(None),
            Ok(None) => std::thread::sleep(pause.min(deadline.saturating_duration_since(Instant::now()))),
        }
        pause = (pause * 2).min(Duration::from_millis(10));
    };
    // What it started dies with it, in its session's first group, and wherever else it went: see `sweep`.
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.kill();
    child.wait()?;
    status
}

/// Ends everything that a hook left behind: its user's processes below this one.
fn sweep(uid: u32, hook: u32) {
    let me = std::process::id();
    for _ in 0..SWEEPS {
        let left = below(me, uid);
        if left.is_empty() {
            return;
        }
        for pid in left.into_iter().filter(|pid| *pid != hook) {
            let pid = Pid::from_raw(pid.cast_signed());
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The processes of a user that descend from `root`.
fn below(root: u32, uid: u32) -> Vec<u32> {
    let mut parents = BTreeMap::new();
    let mut own = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let (Some(parent), Some(user)) = (number(&status, "PPid:"), number(&status, "Uid:")) else { continue };
        parents.insert(pid, parent);
        if user == uid {
            own.push(pid);
        }
    }
    let descends = |pid: &u32| {
        // A pid that is used again could make a circle.
        let line = std::iter::successors(Some(*pid), |pid| parents.get(pid).copied()).skip(1).take(parents.len());
        line.into_iter().any(|parent| parent == root)
    };
    own.into_iter().filter(descends).collect()
}

/// The first number behind a name in `/proc/PID/status`.
fn number(status: &str, name: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn memory(name: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?))
}

/// The first bytes of a file, whoever moved its position.
fn read(file: &File, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; limit];
    let mut filled = 0;
    while filled < limit {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) if signal == Signal::SIGXFSZ as i32 => format!("it wrote more than {MAX_ANSWER} bytes"),
        (None, Some(signal)) if signal == Signal::SIGXCPU as i32 => "it used up its processor time".to_owned(),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended, nobody knows how".to_owned(),
    }
}
