//! Owns the reading of files of a root that lies on this machine: bounded, and never outside the root.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::sys::statfs::{AUTOFS_SUPER_MAGIC, fstatfs};

use super::{HostRoot, Place, ReadError};

/// The longest file that is read, in bytes. No file that is read here comes near it.
const FILE_LIMIT: usize = 1 << 20;

/// The most entries that are read of one directory.
const ENTRY_LIMIT: usize = 4096;

/// `openat2` may be asked to try again when something is renamed beneath it.
const TRIES: usize = 8;

/// A directory that is held open, or is known not to be there.
#[derive(Debug)]
pub(super) struct Near {
    dir: String,
    place: Option<OwnedFd>,
}

impl Near {
    /// None where it can neither be opened nor be missing.
    pub(super) fn to(dir: &str) -> Option<Self> {
        let place = match open(dir, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(place) => Some(place),
            Err(Errno::ENOENT | Errno::ENOTDIR) => None,
            Err(_) => return None,
        };
        Some(Self { dir: dir.to_owned(), place })
    }

    /// The length of its path.
    pub(super) fn depth(&self) -> usize {
        self.dir.len()
    }

    /// The name that `path` has in this directory.
    pub(super) fn name<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&self.dir)?.strip_prefix('/')
    }
}

impl HostRoot {
    pub(super) fn live_bytes(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        // Most files of the kernel are shorter.
        let mut bytes = Vec::with_capacity(1000);
        let file = self.file(path)?;
        file.take(FILE_LIMIT as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| ReadError::Failed(path.to_owned(), errno_of(&error)))?;
        if bytes.len() > FILE_LIMIT {
            return Err(ReadError::Unreadable(path.to_owned(), format!("longer than {FILE_LIMIT} bytes")));
        }
        Ok(bytes)
    }

    pub(super) fn live_until(
        &self,
        path: &str,
        limit: usize,
        enough: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, ReadError> {
        let mut file = self.file(path)?;
        let (mut bytes, mut chunk) = (Vec::with_capacity(8192), [0; 4096]);
        loop {
            let read = file.read(&mut chunk).map_err(|error| ReadError::Failed(path.to_owned(), errno_of(&error)))?;
            bytes.extend_from_slice(&chunk[..read]);
            if read == 0 || enough(&bytes) {
                return Ok(bytes);
            }
            if bytes.len() > limit {
                return Err(ReadError::Unreadable(path.to_owned(), format!("no end within {limit} bytes")));
            }
        }
    }

    pub(super) fn live_part(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, ReadError> {
        let failed = |error: std::io::Error| ReadError::Failed(path.to_owned(), errno_of(&error));
        let mut file = self.file(path)?;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let length = length.min(FILE_LIMIT);
        let mut bytes = Vec::with_capacity(length);
        file.take(length as u64).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    pub(super) fn live_names(&self, path: &str) -> Result<Vec<String>, ReadError> {
        let failed = |errno| missing_or_failed(path, errno);
        let fd = self.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(failed)?;
        let mut dir = Dir::from_fd(fd).map_err(failed)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy();
            if name == "." || name == ".." {
                continue;
            }
            if names.len() == ENTRY_LIMIT {
                return Err(ReadError::Unreadable(path.to_owned(), format!("more than {ENTRY_LIMIT} entries")));
            }
            names.push(name.into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn live_names_with(&self, path: &str, child: &str) -> Result<Vec<String>, ReadError> {
        let mut names = Vec::new();
        for name in self.live_names(path)? {
            if self.live_exists(&format!("{path}/{name}/{child}"))? {
                names.push(name);
            }
        }
        Ok(names)
    }

    pub(super) fn live_exists(&self, path: &str) -> Result<bool, ReadError> {
        // Of the running machine one call is enough; like an open that only names, it mounts nothing (stat(2)).
        let found = match &self.place {
            Place::Running => self.in_place(path, |place, path| fstatat(place, path, AtFlags::empty()).map(drop)),
            Place::Beneath(_) | Place::Recorded(_) => self.open(path, OFlag::O_PATH).map(drop),
        };
        match found.map_err(|errno| missing_or_failed(path, errno)) {
            Ok(()) => Ok(true),
            Err(ReadError::Missing(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn live_regular(&self, path: &str) -> Result<bool, ReadError> {
        let failed = |errno| missing_or_failed(path, errno);
        let stat = fstat(self.open(path, OFlag::O_PATH).map_err(failed)?.as_fd()).map_err(failed)?;
        Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG)
    }

    /// A path that is only named mounts nothing (open(2), `O_PATH`).
    pub(super) fn live_automount(&self, path: &str) -> Result<bool, ReadError> {
        let failed = |errno| missing_or_failed(path, errno);
        let place = self.open(path, OFlag::O_PATH).map_err(failed)?;
        Ok(fstatfs(place.as_fd()).map_err(failed)?.filesystem_type() == AUTOFS_SUPER_MAGIC)
    }

    fn file(&self, path: &str) -> Result<File, ReadError> {
        let failed = |errno| missing_or_failed(path, errno);
        if !self.is_running() {
            // A recorded root may hold pipes and device nodes: opening one of those can block or do something.
            let place = self.open(path, OFlag::O_PATH).map_err(failed)?;
            require_regular(&place, path)?;
        }
        let fd = self.open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).map_err(failed)?;
        require_regular(&fd, path)?;
        Ok(File::from(fd))
    }

    /// Calls with a directory and what leads from there to `path`.
    fn in_place<T>(&self, path: &str, call: impl FnOnce(BorrowedFd<'_>, &str) -> Result<T, Errno>) -> Result<T, Errno> {
        let Some((near, name)) = self.near.as_ref().and_then(|near| Some((near, near.name(path)?))) else {
            return call(AT_FDCWD, path);
        };
        near.place.as_ref().map_or(Err(Errno::ENOENT), |place| call(place.as_fd(), name))
    }

    fn open(&self, path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlag::O_CLOEXEC;
        match &self.place {
            Place::Recorded(_) => Err(Errno::ENOTSUP),
            Place::Running => self.in_place(path, |place, path| openat(place, path, flags, Mode::empty())),
            Place::Beneath(dir) => {
                let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
                let how = OpenHow::new().flags(flags).resolve(resolve);
                let mut last = Errno::EAGAIN;
                for _ in 0..TRIES {
                    match openat2(dir.as_fd(), path, how) {
                        Err(errno @ (Errno::EAGAIN | Errno::EINTR)) => last = errno,
                        done => return done,
                    }
                }
                Err(last)
            }
        }
    }
}

fn require_regular(fd: &OwnedFd, path: &str) -> Result<(), ReadError> {
    let stat = fstat(fd.as_fd()).map_err(|errno| missing_or_failed(path, errno))?;
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Ok(()),
        _ => Err(ReadError::Unreadable(path.to_owned(), "not a regular file".to_owned())),
    }
}

fn missing_or_failed(path: &str, errno: Errno) -> ReadError {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => ReadError::Missing(path.to_owned()),
        errno => ReadError::Failed(path.to_owned(), errno),
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
