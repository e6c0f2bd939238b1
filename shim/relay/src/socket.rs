//! Owns the sockets below containerd's state folder: where the relay of a delegate listens, who binds it, and which dead
//! ones are removed.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sys;

/// Tells one socket file from a later one under the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity([u64; 4]);

/// The identity of the socket at a path; none where there is none.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    let meta = fs::symlink_metadata(path).ok()?;
    Some(Identity([meta.dev(), meta.ino(), meta.mtime().cast_unsigned(), meta.mtime_nsec().cast_unsigned()]))
}

/// Where the relay of a delegate listens: beside it, under a name made from its path and its identity, so that containers
/// of one pod meet and a new delegate under an old path never meets the relay of the dead one.
pub(crate) fn relay_path(delegate: &Path) -> PathBuf {
    let numbers = identity(delegate).map_or([0; 4], |identity| identity.0);
    let key = delegate.as_os_str().as_bytes().iter().copied().chain(numbers.into_iter().flat_map(u64::to_le_bytes));
    // FNV-1a, 128 bits (http://www.isthe.com/chongo/tech/comp/fnv): shorter than the delegate's 64 digits, as the whole
    // path must stay below 108 bytes.
    let hash = key.fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    delegate.with_file_name(format!("bestfit-{hash:032x}"))
}

/// Who listens at a relay's path.
#[derive(Debug)]
pub(crate) enum Bound {
    /// We do now.
    Here(UnixListener),
    /// The relay of another container of the pod does.
    Elsewhere,
}

/// Listens at a path, unless somebody does; a dead socket is replaced. For processes that have only one thread.
pub(crate) fn bind(path: &Path) -> io::Result<Bound> {
    // Two containers of a pod may start at once: without a lock, one could find the other's socket bound but not yet
    // listening, and take it for dead.
    let folder = File::open(path.parent().unwrap_or(Path::new("/")))?;
    sys::lock(&folder)?;
    let listen = || sys::with_umask(0o177, || UnixListener::bind(path));
    match listen() {
        Ok(listener) => Ok(Bound::Here(listener)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if is_alive(path) {
                return Ok(Bound::Elsewhere);
            }
            fs::remove_file(path)?;
            listen().map(Bound::Here)
        }
        Err(error) => Err(error),
    }
}

/// Whether somebody listens there.
pub(crate) fn is_alive(path: &Path) -> bool {
    match sys::connect_now(path) {
        Ok(_) => true,
        // A full queue has an owner.
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// As [`is_alive`], but not for a process that is just ending: its listener may outlive its connections by a moment.
pub(crate) fn stays_alive(path: &Path) -> bool {
    const MOMENT_MS: i32 = 50;
    match sys::connect_now(path) {
        // A relay says nothing by itself, so whatever comes is the end.
        Ok(stream) => matches!(sys::poll([stream.as_raw_fd()], MOMENT_MS), Ok([false])),
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// Removes a socket once nobody listens at it. A shim that ends closes its connections before its listener, so this may
/// take a moment. A socket that was bound later under the same path stays.
pub(crate) fn remove_dead(path: &Path, within: Duration) {
    let Some(identity) = identity(path) else { return };
    remove_dead_one(path, identity, within);
}

/// As [`remove_dead`], for a socket that was seen before.
pub(crate) fn remove_dead_one(path: &Path, seen: Identity, within: Duration) {
    // containerd waits for `delete`, which waits for this.
    const STEP: Duration = Duration::from_micros(500);
    let limit = Instant::now() + within;
    while identity(path) == Some(seen) {
        match sys::connect_now(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let _ = fs::remove_file(path);
                return;
            }
            _ if Instant::now() >= limit => return,
            _ => std::thread::sleep(STEP),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn a_path_is_bound_once_and_a_dead_socket_is_replaced() {
        let folder = Folder::new();
        let path = folder.path().join("s");
        let Bound::Here(listener) = bind(&path).unwrap() else { panic!("somebody else listens") };
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(bind(&path).unwrap(), Bound::Elsewhere));
        remove_dead(&path, Duration::ZERO);
        assert!(path.exists());
        drop(listener);
        assert!(!is_alive(&path));
        let Bound::Here(listener) = bind(&path).unwrap() else { panic!("somebody else listens") };
        let ender = std::thread::spawn(move || drop(listener));
        remove_dead(&path, Duration::from_secs(10));
        assert!(!path.exists());
        ender.join().unwrap();
    }

    #[test]
    fn a_full_queue_is_alive() {
        let folder = Folder::new();
        let path = folder.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut clients = Vec::new();
        while let Ok(client) = sys::connect_now(&path) {
            clients.push(client);
            assert!(clients.len() < 100_000);
        }
        assert!(is_alive(&path));
    }

    #[test]
    fn the_path_follows_the_delegate() {
        let folder = Folder::new();
        let delegate = folder.path().join("d");
        let first = UnixListener::bind(&delegate).unwrap();
        let path = relay_path(&delegate);
        assert_eq!(path, relay_path(&delegate));
        assert_eq!((path.parent(), path.file_name().unwrap().len()), (delegate.parent(), 40));
        fs::remove_file(&delegate).unwrap();
        let _second = UnixListener::bind(&delegate).unwrap();
        assert_ne!(path, relay_path(&delegate));
        drop(first);
    }
}
