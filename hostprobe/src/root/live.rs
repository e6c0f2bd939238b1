//! Owns the reading of files of a root that lies on this machine: bounded, and never outside the root.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::{AUTOFS_SUPER_MAGIC, fstatfs};

use super::{HostRoot, Place, ReadError};

/// The longest file that is read, in bytes. No file that is read here comes near it.
const FILE_LIMIT: usize = 1 << 20;

/// The most entries that are read of one directory.
const ENTRY_LIMIT: usize = 4096;

/// `openat2` may be asked to try again when something is renamed beneath it.
const TRIES: usize = 8;

impl HostRoot {
    pub(super) fn live_bytes(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::with_capacity(4096);
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
        match self.open(path, OFlag::O_PATH).map_err(|errno| missing_or_failed(path, errno)) {
            Ok(_) => Ok(true),
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

    fn open(&self, path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlag::O_CLOEXEC;
        match &self.place {
            Place::Recorded(_) => Err(Errno::ENOTSUP),
            Place::Running => open(path, flags, Mode::empty()),
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
