//! Owns the decider's directory below the cache: made, and given to the decider, without believing anything about what lies
//! there. Whoever has the decider's uid may have put anything into it; nothing privileged reads from it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use bestfit_config::places::DECIDER as NAME;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};

/// Only its owner can walk it.
const PRIVATE: u32 = 0o700;
/// The bits that let others than the owner change a directory.
const OTHERS_WRITE: u32 = 0o022;

/// The directory that the decider starts in, which is its own and nobody else's.
pub(crate) fn decider_dir(cache: &Path, uid: u32, gid: u32) -> io::Result<PathBuf> {
    fs::create_dir_all(cache)?;
    let folder = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let above = File::from(open(cache, folder, Mode::empty())?);
    let meta = above.metadata()?;
    let me = nix::unistd::geteuid().as_raw();
    if meta.uid() != me || meta.mode() & OTHERS_WRITE != 0 {
        return Err(io::Error::other("somebody else than root can change it"));
    }
    match mkdirat(&above, NAME, Mode::from_bits_truncate(PRIVATE)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    // By its handle from here on, and no link: what is given away is what was looked at.
    let own = File::from(openat(&above, NAME, folder | OFlag::O_NOFOLLOW, Mode::empty())?);
    let meta = own.metadata()?;
    if meta.uid() != me && meta.uid() != uid {
        let why =
            format!("{NAME} belongs to uid {}, the decider's is {uid}: remove it, or set decider.uid", meta.uid());
        return Err(io::Error::other(why));
    }
    if (meta.uid(), meta.gid()) != (uid, gid) {
        fchown(&own, Some(uid), Some(gid))?;
    }
    if meta.mode() & 0o7777 != PRIVATE {
        own.set_permissions(fs::Permissions::from_mode(PRIVATE))?;
    }
    Ok(cache.join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn me() -> (u32, u32) {
        (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
    }

    #[test]
    fn it_is_made_private_and_kept_so() {
        let root = tempfile::tempdir().unwrap();
        let (uid, gid) = me();
        let cache = root.path().join("a/b");
        let dir = decider_dir(&cache, uid, gid).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, PRIVATE);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        decider_dir(&cache, uid, gid).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, PRIVATE);
    }

    #[test]
    fn links_and_files_in_its_place_are_not_given_away() {
        let root = tempfile::tempdir().unwrap();
        let (uid, gid) = me();
        let target = root.path().join("target");
        fs::create_dir(&target).unwrap();
        let mode = fs::metadata(&target).unwrap().mode();
        let cache = root.path().join("cache");
        fs::create_dir(&cache).unwrap();
        symlink(&target, cache.join(NAME)).unwrap();
        assert!(decider_dir(&cache, uid, gid).is_err());
        assert_eq!(fs::metadata(&target).unwrap().mode(), mode);
        fs::remove_file(cache.join(NAME)).unwrap();
        fs::write(cache.join(NAME), "").unwrap();
        assert!(decider_dir(&cache, uid, gid).is_err());
    }

    #[test]
    fn a_cache_that_others_can_change_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let (uid, gid) = me();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(decider_dir(root.path(), uid, gid).unwrap_err().to_string().contains("somebody else"));
    }
}
