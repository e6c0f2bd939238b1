//! Owns the namespaces of a run: mounts, processes and network of its own, so that nothing outside is seen or touched,
//! every port is free, and the end of the run ends everything that it started.
//!
//! The program starts itself twice more: as process 1 of the new namespaces, which reaps what is orphaned, and below it
//! as the program proper. `/run` and `/var/log` are a new tmpfs each; /sys is left as it is, for the cgroups.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, wait};

const STAGE: &str = "BESTFIT_TESTS_STAGE";
const DIR: &str = "BESTFIT_TESTS_DIR";

/// Runs `inside` in namespaces of its own, and gives its exit code. `Err` says why that cannot be done here.
pub fn isolated(inside: impl FnOnce() -> ExitCode) -> Result<ExitCode, String> {
    match std::env::var(STAGE).as_deref() {
        Ok("init") => Ok(init()),
        Ok("inside") => Ok(inside()),
        _ => outside(),
    }
}

/// The directory of this run, on a file system that overlayfs can use; removed when the run ends.
pub fn dir() -> PathBuf {
    std::env::var_os(DIR).map(PathBuf::from).expect("called outside of isolated()")
}

fn outside() -> Result<ExitCode, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("this needs root".to_owned());
    }
    let place = place()?;
    let dir = place.join(format!("bestfit-e2e-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let status = itself(Command::new("unshare").args(["-m", "-n", "-p", "--fork", "--kill-child", "--mount-proc"]))
        .env(STAGE, "init")
        .env(DIR, &dir)
        .status()
        .map_err(|error| format!("unshare: {error}"));
    let removed = std::fs::remove_dir_all(&dir);
    let status = status?;
    removed.map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(code(status.code()))
}

fn itself(command: &mut Command) -> &mut Command {
    command.arg(std::env::current_exe().expect("own executable")).args(std::env::args_os().skip(1))
}

/// The first usual place that is not on overlayfs, which cannot lie under another overlay.
fn place() -> Result<PathBuf, String> {
    let candidates = ["/tmp", "/var/tmp", "/dev/shm"].map(PathBuf::from);
    let usable = |dir: &PathBuf| {
        let kind = Command::new("stat").args(["-f", "-c", "%T"]).arg(dir).output();
        kind.is_ok_and(|kind| kind.status.success() && kind.stdout.trim_ascii() != b"overlayfs")
    };
    candidates.into_iter().find(usable).ok_or_else(|| "no directory here that is not on overlayfs".to_owned())
}

fn init() -> ExitCode {
    for (program, args) in [
        ("mount", ["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"].as_slice()),
        ("mount", ["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/log"].as_slice()),
        ("ip", ["link", "set", "lo", "up"].as_slice()),
    ] {
        let done = Command::new(program).args(args).status();
        if !done.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("{program} {}: {done:?}", args.join(" "));
            return ExitCode::FAILURE;
        }
    }
    let exe = std::env::current_exe().expect("own executable");
    let child = Command::new(exe).args(std::env::args_os().skip(1)).env(STAGE, "inside").spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) => {
            eprintln!("cannot start the run: {error}");
            return ExitCode::FAILURE;
        }
    };
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, status)) if pid.as_raw().cast_unsigned() == child.id() => {
                return code(Some(status));
            }
            Ok(WaitStatus::Signaled(pid, ..)) if pid.as_raw().cast_unsigned() == child.id() => {
                return ExitCode::FAILURE;
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

fn code(status: Option<i32>) -> ExitCode {
    status.and_then(|status| u8::try_from(status).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Where a failed scenario's logs are kept: outside of the run's directory.
pub fn keep_dir() -> PathBuf {
    crate::peers::target_dir().join("e2e-failed")
}

/// Copies a file to [`keep_dir`] under a name of its own.
pub fn keep(file: &Path, name: &str) -> Option<PathBuf> {
    let kept = keep_dir().join(name);
    std::fs::create_dir_all(kept.parent()?).ok()?;
    std::fs::copy(file, &kept).ok()?;
    Some(kept)
}
