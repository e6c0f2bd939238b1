//! A folder by its handle: files below it are opened one component at a time without following links, and written by
//! a temporary file and a rename. Used for the cache and for OCI layouts, neither of which may lead out of its folder.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::SystemTime;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Prefix of files that are being written.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

/// A file found by [`Folder::files`].
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
}

impl Folder {
    /// Opens a folder that the administrator or the user named; links on the way are theirs.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(nix::fcntl::open(path, OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?))
    }

    /// A folder directly below.
    pub(crate) fn below(&self, name: &str) -> io::Result<Self> {
        check(name)?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(Self(openat(&self.0, name, flags, Mode::empty())?))
    }

    /// A folder directly below, made with mode 0700 where it is missing.
    pub(crate) fn below_or_new(&self, name: &str) -> io::Result<Self> {
        match self.below(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match mkdirat(&self.0, name, Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => self.below(name),
                Err(errno) => Err(errno.into()),
            },
            other => other,
        }
    }

    /// A regular file directly below, opened for reading.
    pub(crate) fn file(&self, name: &str) -> io::Result<File> {
        check(name)?;
        // O_NONBLOCK: a FIFO in a foreign layout must not make us wait.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.0, name, flags, Mode::empty())?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{name} is no regular file"))),
        }
    }

    /// The bytes of a file directly below; `FileTooLarge` beyond `limit`.
    pub(crate) fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        read_all(self.file(name)?, limit)
    }

    /// Writes a file directly below so that readers see all of it or nothing.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        check(name)?;
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), name);
        let temporary = format!("{TEMPORARY}{random:016x}");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&self.0, temporary.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        let written = file.write_all(bytes);
        let moved = written.and_then(|()| Ok(renameat(&self.0, temporary.as_str(), &self.0, name)?));
        if moved.is_err() {
            let _ = unlinkat(&self.0, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        moved
    }

    /// Removes a file directly below; a missing one is fine.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        check(name)?;
        match unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes an empty folder directly below.
    pub(crate) fn remove_folder(&self, name: &str) -> io::Result<()> {
        check(name)?;
        Ok(unlinkat(&self.0, name, UnlinkatFlags::RemoveDir)?)
    }

    /// Names directly below, at most `limit` of them, in no order.
    pub(crate) fn names(&self, limit: usize) -> io::Result<Vec<String>> {
        // A second handle: reading a folder moves its offset.
        let mut entries =
            Dir::openat(&self.0, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut names = Vec::new();
        for entry in entries.iter().take(limit.saturating_add(2)) {
            if let Ok(name) = entry?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        names.truncate(limit);
        Ok(names)
    }

    /// Regular files directly below, at most `limit` names looked at.
    pub(crate) fn files(&self, limit: usize) -> io::Result<Vec<Found>> {
        let found = |name: String| {
            let data = self.file(&name).ok()?.metadata().ok()?;
            Some(Found { bytes: data.len(), modified: data.modified().ok()?, name })
        };
        Ok(self.names(limit)?.into_iter().filter_map(found).collect())
    }

    /// Whether only its owner, who is this user or root, can write to it.
    pub(crate) fn is_private(&self) -> io::Result<bool> {
        let data = nix::sys::stat::fstat(&self.0)?;
        let own = data.st_uid == nix::unistd::geteuid().as_raw() || data.st_uid == 0;
        Ok(own && data.st_mode & 0o022 == 0)
    }
}

/// Reads a file to its end; `FileTooLarge` beyond `limit`.
pub(crate) fn read_all(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// One plain component, so that no name leads elsewhere.
fn check(name: &str) -> io::Result<()> {
    match name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        true => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no file name"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_odd_names_lead_nowhere() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let root = tempfile::tempdir().unwrap();
        symlink(outside.path(), root.path().join("folder")).unwrap();
        symlink(outside.path().join("secret"), root.path().join("file")).unwrap();
        nix::unistd::mkfifo(&root.path().join("fifo"), Mode::S_IRWXU).unwrap();
        let folder = Folder::open(root.path()).unwrap();
        assert!(folder.below("folder").is_err());
        assert!(folder.read("file", 10).is_err());
        assert!(folder.read("fifo", 10).is_err());
        for name in ["..", ".", "", "a/b", "/etc/passwd"] {
            assert!(folder.read(name, 10).is_err() && folder.below(name).is_err() && folder.remove(name).is_err());
        }
        folder.write("file", b"mine").unwrap();
        assert_eq!(folder.read("file", 4).unwrap(), b"mine");
        assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"s");
        assert_eq!(folder.read("file", 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(!folder.names(10).unwrap().iter().any(|name| name.starts_with(TEMPORARY)));
    }
}
