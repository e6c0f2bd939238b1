//! Owns ending early: Ctrl-C and SIGTERM end the run's processes, and nothing of it stays on the machine.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

/// Says whether the run was asked to end.
pub(crate) struct Stop(Arc<AtomicBool>);

/// From now on signals do not end this process, the outermost of the run; they end all others. Programs that are started
/// later get an empty mask of signals from the standard library.
pub(crate) fn on_signal() -> Stop {
    let mut signals = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().for_each(|signal| signals.add(signal));
    let asked = Arc::new(AtomicBool::new(false));
    if signals.thread_block().is_ok() {
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            while signals.wait().is_ok() {
                heard.store(true, Ordering::SeqCst);
                // Below `unshare --kill-child` is process 1 of the run, and the kernel ends all others with it.
                for pid in children() {
                    kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
                }
            }
        });
    }
    Stop(asked)
}

impl Stop {
    pub(crate) fn was_asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

fn children() -> Vec<i32> {
    let own = std::process::id().to_string();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent(*pid).as_deref() == Some(own.as_str())).collect()
}

/// From `/proc/PID/stat`: the second field after the name, which stands in brackets and may hold anything.
fn parent(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1).map(str::to_owned)
}

/// Removes what a run that was killed could not remove itself: its directory, and its containers' cgroups. Its mounts,
/// sockets and processes were in namespaces that have ended.
pub(crate) fn clean_up() {
    let name = format!("bestfit-e2e-{}", std::process::id());
    for place in ["/tmp", "/var/tmp", "/dev/shm"] {
        let dir = Path::new(place).join(&name);
        until(|| !dir.exists() || std::fs::remove_dir_all(&dir).is_ok());
    }
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).map(|all| all.flatten().map(|entry| entry.path()).collect::<Vec<_>>());
    for place in hierarchies.unwrap_or_default().into_iter().chain([root.to_owned()]) {
        let namespace = place.join(format!("{name}-0"));
        if namespace.is_dir() {
            until(|| remove_cgroup(&namespace));
        }
    }
}

fn remove_cgroup(dir: &Path) -> bool {
    for child in std::fs::read_dir(dir).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        std::fs::remove_dir(child.path()).ok();
    }
    std::fs::remove_dir(dir).is_ok()
}

/// What was just killed takes a moment to be gone.
fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..100 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
