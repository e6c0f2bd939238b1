//! Owns access to the files of a host root: bounded reads and listings that never leave the root, and the three answers
//! (value, not there, could not look) of each. It knows no fact.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::seen::Seen;

/// The longest file that is read, in bytes. No file that is read here comes near it.
const FILE_LIMIT: usize = 1 << 20;

/// The most entries that are read of one directory.
const ENTRY_LIMIT: usize = 4096;

/// `openat2` may be asked to try again when something is renamed beneath it.
const TRIES: usize = 8;

/// Where the files of a host lie: the running machine, or a directory that holds another machine's files.
#[derive(Debug)]
pub struct HostRoot(Place);

#[derive(Debug)]
enum Place {
    Running,
    Beneath(OwnedFd),
}

/// A host root that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the host root {path}")]
pub struct RootError {
    path: String,
    /// The failed call's error.
    pub source: std::io::Error,
}

/// Why a file or a directory of the root gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{0}: not there")]
    Missing(String),
    #[error("{0}: {1}")]
    Failed(String, Errno),
    #[error("{0}: {1}")]
    Unreadable(String, String),
}

impl HostRoot {
    /// The running machine: its files, its CPUID instruction, its auxiliary vector.
    pub fn running() -> Self {
        Self(Place::Running)
    }

    /// The host whose `/proc`, `/sys` and `/etc` lie below `dir`. Links are resolved inside `dir`, as after a chroot, and
    /// nothing but these files is read. Needs Linux 5.6 (`openat2`); before it every fact is unknown.
    pub fn at(dir: impl AsRef<Path>) -> Result<Self, RootError> {
        let dir = dir.as_ref();
        open(dir, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map(|fd| Self(Place::Beneath(fd)))
            .map_err(|errno| RootError { path: dir.display().to_string(), source: errno.into() })
    }

    /// Whether instructions of this processor speak about this root.
    pub fn is_running(&self) -> bool {
        matches!(self.0, Place::Running)
    }

    /// The whole file at the absolute `path`. Bytes that are no UTF-8 become U+FFFD, so that one odd byte in a name does
    /// not hide the rest.
    pub(crate) fn text(&self, path: &str) -> Result<String, ReadError> {
        self.bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The whole file at the absolute `path`; a longer one than [`FILE_LIMIT`] is an error, never cut.
    pub(crate) fn bytes(&self, path: &str) -> Result<Vec<u8>, ReadError> {
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

    /// The file at `path` up to where `enough` holds or the file ends. More than `limit` bytes before that is an error.
    pub(crate) fn text_until(
        &self,
        path: &str,
        limit: usize,
        enough: impl Fn(&[u8]) -> bool,
    ) -> Result<String, ReadError> {
        let mut file = self.file(path)?;
        let (mut bytes, mut chunk) = (Vec::with_capacity(8192), [0; 4096]);
        loop {
            let read = file.read(&mut chunk).map_err(|error| ReadError::Failed(path.to_owned(), errno_of(&error)))?;
            bytes.extend_from_slice(&chunk[..read]);
            if read == 0 || enough(&bytes) {
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
            if bytes.len() > limit {
                return Err(ReadError::Unreadable(path.to_owned(), format!("no end within {limit} bytes")));
            }
        }
    }

    /// Up to `length` bytes (at most [`FILE_LIMIT`]) of the file at `path`, from the byte `offset` on; fewer where it ends.
    pub(crate) fn part(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, ReadError> {
        let failed = |error: std::io::Error| ReadError::Failed(path.to_owned(), errno_of(&error));
        let mut file = self.file(path)?;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let length = length.min(FILE_LIMIT);
        let mut bytes = Vec::with_capacity(length);
        file.take(length as u64).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// The sorted names in the directory at `path`, at most [`ENTRY_LIMIT`]: more is an error, never cut.
    pub(crate) fn names(&self, path: &str) -> Result<Vec<String>, ReadError> {
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

    /// Whether something is at `path`.
    pub(crate) fn exists(&self, path: &str) -> Result<bool, ReadError> {
        match self.open(path, OFlag::O_PATH).map_err(|errno| missing_or_failed(path, errno)) {
            Ok(_) => Ok(true),
            Err(ReadError::Missing(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a regular file is at `path`; nothing there is an error.
    pub(crate) fn is_regular(&self, path: &str) -> Result<bool, ReadError> {
        let failed = |errno| missing_or_failed(path, errno);
        let stat = fstat(self.open(path, OFlag::O_PATH).map_err(failed)?.as_fd()).map_err(failed)?;
        Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG)
    }

    /// Whether something is at `path`, as an answer: true, absent under the witness rule of [`HostRoot::seen`], or unknown.
    pub(crate) fn seen_there(&self, path: &str, witness: &str) -> Seen<bool> {
        let there = match self.exists(path) {
            Ok(true) => Ok(true),
            Ok(false) => Err(ReadError::Missing(path.to_owned())),
            Err(error) => Err(error),
        };
        self.seen(there, witness)
    }

    /// What `read` says: a missing file is absent only when the directory `witness`, which is there wherever anybody
    /// could have looked, is there. An unmounted `/sys` is no answer.
    pub(crate) fn seen<T>(&self, read: Result<T, ReadError>, witness: &str) -> Seen<T> {
        match read {
            Ok(value) => Seen::Known(value),
            Err(ReadError::Missing(path)) => match self.exists(witness) {
                Ok(true) => Seen::Absent,
                Ok(false) => Seen::Unknown(format!("{path}: not there, nor is {witness}")),
                Err(error) => Seen::Unknown(error.to_string()),
            },
            Err(error) => Seen::Unknown(error.to_string()),
        }
    }

    /// The trimmed text of `path`, with the witness rule of [`HostRoot::seen`].
    pub(crate) fn seen_line(&self, path: &str, witness: &str) -> Seen<String> {
        self.seen(self.text(path), witness).map(|text| text.trim().to_owned())
    }

    /// The whole number in `path`, with the witness rule of [`HostRoot::seen`].
    pub(crate) fn seen_number(&self, path: &str, witness: &str) -> Seen<i64> {
        self.seen_line(path, witness).and_then(|text| match text.parse() {
            Ok(number) => Seen::Known(number),
            Err(_) => Seen::Unknown(format!("{path}: not a number: {text:?}")),
        })
    }

    /// The trimmed text of a device's attribute: none where there is no such file, or where the device has no value for it
    /// now (EINVAL, as for the speed of an interface that is down).
    pub(crate) fn attribute(&self, path: &str) -> Result<Option<String>, ReadError> {
        match self.text(path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(ReadError::Missing(_) | ReadError::Failed(_, Errno::EINVAL)) => Ok(None),
            Err(error) => Err(error),
        }
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
        match &self.0 {
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
