//! Owns the version of Landlock, which only the kernel itself tells (landlock_create_ruleset(2)).
#![allow(unsafe_code, reason = "the call has no safe form")]

use nix::errno::Errno;
use nix::libc;

use crate::root::HostRoot;
use crate::seen::Seen;

pub(super) const SOURCE: &str = "landlock_create_ruleset(2)";

/// LANDLOCK_CREATE_RULESET_VERSION of `include/uapi/linux/landlock.h`.
const VERSION: libc::c_uint = 1;

/// The version of this kernel; absent where it has no Landlock, or where that was not started with it.
pub(super) fn version(root: &HostRoot) -> Seen<i64> {
    let Some(answer) = root.call(SOURCE, ask) else {
        return Seen::Unknown("no file tells it, only a call to the running kernel".to_owned());
    };
    match answer {
        Ok(version) => Seen::Known(version),
        Err(Errno::ENOSYS | Errno::EOPNOTSUPP) => Seen::Absent,
        Err(errno) => Seen::Unknown(format!("{SOURCE}: {errno}")),
    }
}

fn ask() -> Result<i64, Errno> {
    // SAFETY: with this flag the call takes no memory and makes nothing; it returns a number or fails.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0usize, VERSION) };
    Errno::result(version)
}
