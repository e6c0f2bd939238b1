//! Owns giving up rights: after [`confine`] this process has a uid of its own, no capabilities, no way to get any, and
//! limits on everything that it could use up. Called before the first foreign byte is read.
//!
//! A uid of its own matters: without capabilities, uid 0 could still connect to containerd's socket (reference: shim.md).

use std::io;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, getresgid, getresuid, setgroups, setresgid, setresuid};

/// What could not be given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
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

/// The limits: address space for 64 entries of 4 MiB each and TLS, files for 16 connections, threads for name lookups.
const LIMITS: &[(Resource, u64)] = &[
    (Resource::RLIMIT_AS, 2 << 30),
    (Resource::RLIMIT_NOFILE, 256),
    (Resource::RLIMIT_CORE, 0),
    (Resource::RLIMIT_FSIZE, 64 << 20),
];

/// Gives up everything; an error means that nothing may be read.
pub(crate) fn confine(uid: u32, gid: u32) -> Result<(), ConfineError> {
    if uid == 0 || gid == 0 {
        return Err(ConfineError::Root { uid, gid });
    }
    let call = |call: &'static str| move |error: nix::Error| ConfineError::Call { call, cause: error.into() };
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[]).map_err(call("setgroups"))?;
    setresgid(group, group, group).map_err(call("setresgid"))?;
    // Leaving uid 0 clears all capability sets (capabilities(7), "Effect of user ID changes").
    setresuid(user, user, user).map_err(call("setresuid"))?;
    prctl::set_no_new_privs().map_err(call("PR_SET_NO_NEW_PRIVS"))?;
    for &(resource, limit) in LIMITS {
        setrlimit(resource, limit, limit).map_err(call("setrlimit"))?;
    }
    let (users, groups) = (getresuid().map_err(call("getresuid"))?, getresgid().map_err(call("getresgid"))?);
    let own = [users.real, users.effective, users.saved].iter().all(|id| *id == user)
        && [groups.real, groups.effective, groups.saved].iter().all(|id| *id == group);
    if own { Ok(()) } else { Err(ConfineError::NotChanged) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_refused() {
        for (uid, gid) in [(0, 1), (1, 0), (0, 0)] {
            assert!(matches!(confine(uid, gid), Err(ConfineError::Root { .. })));
        }
    }
}
