//! Owns ending what the delegate's `start` left running, where the start is refused after all: containerd hears of no shim, and
//! nobody else would end it. How to talk to it is not known either, or did not help.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::{log, sys};

/// How long what is asked to end may take; containerd waits for `start`.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
/// How long it may take to die.
const DIES_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Ends all that descends from this process, which [`sys::adopt_orphans`] makes its children one after the other: SIGTERM, so
/// that sockets are removed, then SIGKILL. A delegate that was there before is nobody's child here, and stays.
#[cold]
pub(crate) fn end() {
    for (signal, within) in [(sys::SIGTERM, ENDS_WITHIN), (sys::SIGKILL, DIES_WITHIN)] {
        let until = Instant::now() + within;
        let mut told = Vec::new();
        while sys::has_children() {
            for pid in children().into_iter().filter(|pid| !told.contains(pid)).collect::<Vec<_>>() {
                sys::signal_group(pid, signal);
                told.push(pid);
            }
            if Instant::now() >= until {
                break;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
    if sys::has_children() {
        log::warn("the delegate's start left processes behind that do not end");
    }
}

/// The children of this process.
fn children() -> Vec<i32> {
    let own = std::process::id().cast_signed();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|pid| parent(*pid) == Some(own)).collect()
}

/// From `/proc/PID/stat`, where the name stands in brackets and may hold anything.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_parent() {
        assert_eq!(parent(std::process::id().cast_signed()), Some(std::os::unix::process::parent_id().cast_signed()));
        assert_eq!(parent(-1), None);
    }
}
