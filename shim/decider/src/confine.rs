//! Owns giving up rights, in two steps, both before the first foreign byte is read (decision 15):
//!
//! 1. [`give_up`], before any byte: a uid of its own, no capabilities, no way to get any, no inherited descriptors, limits on
//!    everything that could be used up ([`LIMITS`]), and a list of system calls ([`calls`]): no unix sockets, no new processes
//!    or programs, no signals, no looking into others.
//! 2. [`Places::restrict`], once the worker's question says which registry is meant: the files and the TCP ports that are
//!    left ([`places`]).
//!
//! A uid of its own matters: without capabilities, uid 0 could still connect to containerd's socket (reference: shim.md). What
//! this kernel cannot hold is returned in words, and written down by whoever asked.

mod calls;
mod places;

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, close, getresgid, getresuid, setgroups, setresgid, setresuid};

pub use places::Places;

/// What could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// A call failed.
    #[error("{call}: {cause}")]
    Call {
        /// The call.
        call: &'static str,
        /// Its error.
        cause: io::Error,
    },
    /// The ids would not be the decider's own.
    #[error("uid {uid} and gid {gid}: the decider never runs as root")]
    Root {
        /// The uid that was asked for.
        uid: u32,
        /// The gid that was asked for.
        gid: u32,
    },
    /// The kernel said yes, and did not do it.
    #[error("this process still has the ids it had before")]
    NotChanged,
}

/// The limits, in bytes where they are not counts or seconds.
pub const LIMITS: &[(Resource, u64)] = &[
    // 65 answers of 4 MiB each and TLS, and what the C library sets aside for threads without using it.
    (Resource::RLIMIT_AS, 2 << 30),
    (Resource::RLIMIT_DATA, 1 << 30),
    // Threads of all deciders of this node together: a node that boots starts many pods at once.
    (Resource::RLIMIT_NPROC, 512),
    // Connections: a round of a look at 64 signed entries has 192 requests, and more where the image itself must be signed.
    (Resource::RLIMIT_NOFILE, 1024),
    // Of one file; the cache keeps nothing larger than 4 MiB, and layers go to the worker.
    (Resource::RLIMIT_FSIZE, 8 << 20),
    // Processor time, not time: a pull that takes an hour needs minutes.
    (Resource::RLIMIT_CPU, 1200),
    (Resource::RLIMIT_CORE, 0),
    (Resource::RLIMIT_MEMLOCK, 0),
    (Resource::RLIMIT_MSGQUEUE, 0),
];

/// How soon this process is killed where memory runs out (proc_pid_oom_score_adj(5)): its highest value asks for no rights.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Gives up everything but the files and ports of [`Places`], and returns what this kernel could not enforce. Call it while there
/// is one thread: others would keep what they have.
///
/// # Errors
/// Nothing may be read then.
pub fn give_up(uid: u32, gid: u32) -> Result<Vec<String>, ConfineError> {
    if uid == 0 || gid == 0 {
        return Err(ConfineError::Root { uid, gid });
    }
    let call = |call: &'static str| move |error: nix::Error| ConfineError::Call { call, cause: error.into() };
    // What started the worker is killed for memory last of all; this is to be the first.
    let score = std::fs::write(OOM_SCORE, "1000").err();
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[]).map_err(call("setgroups"))?;
    setresgid(group, group, group).map_err(call("setresgid"))?;
    // Leaving uid 0 clears all capability sets (capabilities(7), "Effect of user ID changes").
    setresuid(user, user, user).map_err(call("setresuid"))?;
    prctl::set_no_new_privs().map_err(call("PR_SET_NO_NEW_PRIVS"))?;
    // After the ids, whose change resets it: this process does not outlive its worker.
    prctl::set_pdeathsig(Some(Signal::SIGKILL)).map_err(call("PR_SET_PDEATHSIG"))?;
    for &(resource, limit) in LIMITS {
        // Nobody without rights may raise what this process was given.
        let limit = limit.min(getrlimit(resource).map_err(call("getrlimit"))?.1);
        setrlimit(resource, limit, limit).map_err(call("setrlimit"))?;
    }
    let (users, groups) = (getresuid().map_err(call("getresuid"))?, getresgid().map_err(call("getresgid"))?);
    let own = [users.real, users.effective, users.saved].iter().all(|id| *id == user)
        && [groups.real, groups.effective, groups.saved].iter().all(|id| *id == group);
    if !own {
        return Err(ConfineError::NotChanged);
    }
    let calls = calls::restrict().err().map(|why| format!("system calls are not limited: {why}"));
    Ok(calls.into_iter().chain(score.map(|error| format!("{OOM_SCORE}: {error}"))).collect())
}

/// Closes every descriptor but standard input, output and error: what the worker had open is not the decider's. Call it before
/// anything is opened here.
///
/// # Errors
/// Where the list of descriptors cannot be read; nothing may be read then.
pub fn close_inherited() -> Result<(), ConfineError> {
    let failed = |cause: nix::Error| ConfineError::Call { call: "/proc/self/fd", cause: cause.into() };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut list = Dir::open("/proc/self/fd", flags, Mode::empty()).map_err(failed)?;
    let own = list.as_raw_fd();
    let names: Vec<RawFd> = list
        .iter()
        .filter_map(|entry| entry.ok()?.file_name().to_str().ok()?.parse().ok())
        .filter(|descriptor| *descriptor > 2 && *descriptor != own)
        .collect();
    for descriptor in names {
        close(descriptor).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_refused() {
        for (uid, gid) in [(0, 1), (1, 0), (0, 0)] {
            assert!(matches!(give_up(uid, gid), Err(ConfineError::Root { .. })));
        }
    }
}
