//! Runs docker's credential helpers (`docker-credential-NAME get`): fixed search path, bare environment, a time limit and
//! a bounded answer, after which nothing of the helper's process group is left. Only where the options allow it; the sandboxed
//! decider never does.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde::Deserialize;

use crate::credentials::{Login, Secret};

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const TIME_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: u64 = 64 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks a helper for the login of `server`; blocks for at most five seconds.
///
/// # Errors
/// In words without any secret.
pub(crate) fn ask(name: &str, server: &str) -> Result<Option<Login>, String> {
    let program = find(name, PATH).ok_or_else(|| format!("docker-credential-{name} is not in {PATH}"))?;
    run(&program, server, TIME_LIMIT)
}

fn find(name: &str, path: &str) -> Option<PathBuf> {
    let good =
        !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let mut folders = path.split(':').map(|folder| PathBuf::from(folder).join(format!("docker-credential-{name}")));
    good.then(|| folders.find(|file| file.is_file()))?
}

fn run(program: &PathBuf, server: &str, limit: Duration) -> Result<Option<Login>, String> {
    let words = program.display();
    let until = Instant::now() + limit;
    let mut command = Command::new(program);
    command
        .process_group(0)
        .arg("get")
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(home) = std::env::var_os("HOME") {
        command.env("HOME", home);
    }
    let mut child = command.spawn().map_err(|error| format!("{words}: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read its input fails below, by its answer.
        let _ = input.write_all(server.as_bytes());
    }
    let (sender, receiver) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = output.take(ANSWER_LIMIT + 1).read_to_end(&mut bytes);
            let _ = sender.send(read.map(|_| bytes));
        });
    }
    let answer = receiver.recv_timeout(limit);
    let too_long = matches!(&answer, Ok(Ok(bytes)) if bytes.len() as u64 > ANSWER_LIMIT);
    let until = if answer.is_err() || too_long { Instant::now() } else { until };
    let status = end_of(&mut child, until).map_err(|error| format!("{words}: {error}"))?;
    match answer {
        Err(_) => Err(format!("{words} did not answer within {} s", limit.as_secs_f32())),
        Ok(_) if too_long => Err(format!("{words} answers with more than {ANSWER_LIMIT} bytes")),
        Ok(Err(error)) => Err(format!("{words}: {error}")),
        Ok(Ok(bytes)) if status.success() => parse(&bytes).map(Some).ok_or(format!("{words} gives no login")),
        // The words of docker-credential-helpers for "I have none".
        Ok(Ok(bytes)) if String::from_utf8_lossy(&bytes).contains("credentials not found") => Ok(None),
        Ok(Ok(_)) => Err(format!("{words} fails ({status})")),
    }
}

/// Waits for a child that has closed its output, and ends it when its time is over; with it, whatever it started.
fn end_of(child: &mut Child, until: Instant) -> std::io::Result<ExitStatus> {
    let leader = Pid::from_raw(child.id().cast_signed());
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while Instant::now() < until && waitid(Id::Pid(leader), look)? == WaitStatus::StillAlive {
        thread::sleep(Duration::from_millis(5));
    }
    // Before it is waited for: the group's number is its own until then.
    let _ = killpg(leader, Signal::SIGKILL);
    child.wait()
}

fn parse(bytes: &[u8]) -> Option<Login> {
    let answer: Answer = serde_json::from_slice(bytes).ok()?;
    let secret = Secret::new(answer.secret);
    Some(match answer.username.as_str() {
        "<token>" => Login::Identity(secret),
        _ => Login::Password { user: answer.username, password: secret },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn script(body: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("docker-credential-x");
        std::fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
        (folder, file)
    }

    #[test]
    fn answers_are_bounded_in_every_way() {
        let long = Duration::from_secs(30);
        let (_a, good) =
            script(r#"read server; echo "{\"ServerURL\":\"$server\",\"Username\":\"u\",\"Secret\":\"s-$server\"}""#);
        let login = run(&good, "q.example", long).unwrap();
        assert_eq!(login, Some(Login::Password { user: "u".into(), password: Secret::new("s-q.example") }));
        let (_b, none) = script("echo credentials not found in native keychain; exit 1");
        assert_eq!(run(&none, "q.example", long).unwrap(), None);
        let (_c, broken) = script("echo s3cret; exit 1");
        let error = run(&broken, "q.example", long).unwrap_err();
        assert!(error.contains("fails") && !error.contains("s3cret"), "{error}");
        let (_d, endless) = script("exec yes");
        assert!(run(&endless, "q.example", long).unwrap_err().contains("more than"));
        let (_e, silent) = script("exec sleep 60");
        assert!(run(&silent, "q.example", Duration::from_millis(50)).unwrap_err().contains("did not answer"));
        let (_f, loud) = script("echo s3cret >&2; exit 1");
        let error = run(&loud, "q.example", long).unwrap_err();
        assert!(error.contains("fails") && !error.contains("s3cret"), "{error}");
        let (_g, lingering) = script("exec >&-; exec sleep 60");
        let started = Instant::now();
        assert!(run(&lingering, "q.example", Duration::from_millis(300)).is_err());
        assert!(started.elapsed() < Duration::from_secs(30), "it was waited for");
    }

    #[test]
    fn what_a_helper_started_ends_with_it() {
        let (folder, leaving) = script("sleep 60 & echo $! > \"${0%/*}/child\"; sleep 60");
        assert!(run(&leaving, "q.example", Duration::from_millis(500)).is_err());
        let child: i32 = std::fs::read_to_string(folder.path().join("child")).unwrap().trim().parse().unwrap();
        let gone = || {
            // Nobody reaps it here; a dead one has no memory.
            let status = std::fs::read_to_string(format!("/proc/{child}/statm")).unwrap_or_default();
            status.is_empty() || status.starts_with("0 ")
        };
        for _ in 0..1000 {
            if gone() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("process {child} is still there");
    }

    #[test]
    fn names_cannot_leave_the_search_path() {
        let (folder, _) = script("");
        let path = folder.path().to_str().unwrap();
        assert!(find("x", path).is_some());
        assert!(find("../docker-credential-x", path).is_none());
        assert!(find("", path).is_none());
    }
}
