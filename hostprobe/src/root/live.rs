//! Owns the reading of files of a root that lies on this machine: bounded, and never outside the root.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::sys::statfs::{AUTOFS_SUPER_MAGIC, fstatfs};

use super::{HostRoot, Part, Place};
use crate::snapshot::Answer;

/// The longest file that is read, in bytes. No file that is read here comes near it.
const FILE_LIMIT: usize = 1 << 20;

/// The most entries that are read of one directory.
const ENTRY_LIMIT: usize = 4096;

/// `openat2` may be asked to try again when something is renamed beneath it.
const TRIES: usize = 8;

/// Opening a pipe or a terminal must not wait, nor make it this program's own.
const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

/// Where the kernel makes up what files say.
const KERNEL: [&str; 2] = ["/proc/", "/sys/"];

/// Those among them that say it at once.
const IN_ONE_PIECE: [&str; 5] = ["/sys/block/", "/sys/bus/", "/sys/class/", "/sys/devices/", "/sys/module/"];

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

/// What was looked for, or the answer that says why there is nothing.
type Found<T> = Result<T, Answer>;

impl HostRoot {
    pub(super) fn live_bytes(&self, path: &str) -> Found<Vec<u8>> {
        let mut bytes = Vec::new();
        self.live_bytes_onto(&mut bytes, path).map(|()| bytes)
    }

    /// Appends what is in the file to `bytes`; nothing where it cannot be read.
    pub(crate) fn live_bytes_onto(&self, bytes: &mut Vec<u8>, path: &str) -> Found<()> {
        let before = bytes.len();
        let read = if self.is_running() && KERNEL.iter().any(|place| path.starts_with(place)) {
            self.kernel_bytes_onto(bytes, path)
        } else {
            self.file(path).and_then(|file| to_end(file, bytes))
        };
        if read.is_err() {
            bytes.truncate(before);
        }
        read
    }

    /// The same of a file that the running kernel makes up. What gives some bytes is such a file; what else it may be (a mask,
    /// a directory) is only asked where nothing comes.
    fn kernel_bytes_onto(&self, bytes: &mut Vec<u8>, path: &str) -> Found<()> {
        let mut file = File::from(self.open(path, READ).map_err(Answer::of_errno)?);
        let mut start = [0; 512];
        // Attributes of devices come in one piece of at most a page (Linux, filesystems/sysfs.rst), so that a short one is all.
        if IN_ONE_PIECE.iter().any(|place| path.starts_with(place))
            && let Ok(length @ 1..) = file.read(&mut start)
        {
            bytes.extend_from_slice(&start[..length]);
            if length < start.len() {
                return Ok(());
            }
        }
        let before = bytes.len();
        let read = to_end(&file, bytes);
        if read.is_err() || bytes.len() == before {
            require_regular(&file)?;
        }
        read
    }

    pub(super) fn live_until(&self, path: &str, limit: usize, enough: impl Fn(&[u8]) -> bool) -> Found<Vec<u8>> {
        let mut file = self.file(path)?;
        let (mut bytes, mut chunk) = (Vec::with_capacity(8192), [0; 4096]);
        loop {
            let read = file.read(&mut chunk).map_err(|error| failed(&error))?;
            bytes.extend_from_slice(&chunk[..read]);
            if read == 0 || enough(&bytes) {
                return Ok(bytes);
            }
            if bytes.len() > limit {
                return Err(Answer::Unreadable(format!("no end within {limit} bytes")));
            }
        }
    }

    /// The part that counts of a file.
    pub(crate) fn live_text_of(&self, part: &Part) -> Found<Answer> {
        let bytes = self.live_bytes(part.path)?;
        Ok(Answer::Text((part.of)(&String::from_utf8_lossy(&bytes))))
    }

    pub(crate) fn live_part(&self, path: &str, offset: u64, length: usize) -> Found<Answer> {
        let mut file = self.file(path)?;
        file.seek(SeekFrom::Start(offset)).map_err(|error| failed(&error))?;
        let length = length.min(FILE_LIMIT);
        let mut bytes = Vec::with_capacity(length);
        file.take(length as u64).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
        Ok(Answer::bytes(bytes))
    }

    pub(crate) fn live_names(&self, path: &str) -> Found<Vec<String>> {
        let fd = self.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(Answer::of_errno)?;
        let dir = Dir::from_fd(fd).map_err(Answer::of_errno)?;
        let mut names = Vec::new();
        for entry in dir {
            let entry = entry.map_err(Answer::of_errno)?;
            let name = entry.file_name().to_string_lossy();
            if name == "." || name == ".." {
                continue;
            }
            if names.len() == ENTRY_LIMIT {
                return Err(Answer::Unreadable(format!("more than {ENTRY_LIMIT} entries")));
            }
            names.push(name.into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) fn live_names_with(&self, path: &str, child: &str) -> Found<Vec<String>> {
        let mut names = Vec::new();
        for name in self.live_names(path)? {
            if self.live_exists(&format!("{path}/{name}/{child}"))? {
                names.push(name);
            }
        }
        Ok(names)
    }

    pub(crate) fn live_exists(&self, path: &str) -> Found<bool> {
        // Of the running machine one call is enough; like an open that only names, it mounts nothing (stat(2)).
        let found = match &self.place {
            Place::Running => self.in_place(path, |place, path| fstatat(place, path, AtFlags::empty()).map(drop)),
            Place::Beneath(_) | Place::Recorded(_) => self.open(path, OFlag::O_PATH).map(drop),
        };
        match found.map_err(Answer::of_errno) {
            Ok(()) => Ok(true),
            Err(Answer::Missing) => Ok(false),
            Err(failed) => Err(failed),
        }
    }

    pub(crate) fn live_regular(&self, path: &str) -> Found<bool> {
        let place = self.open(path, OFlag::O_PATH).map_err(Answer::of_errno)?;
        is_regular(&place)
    }

    /// A path that is only named mounts nothing (open(2), `O_PATH`).
    pub(crate) fn live_automount(&self, path: &str) -> Found<bool> {
        let place = self.open(path, OFlag::O_PATH).map_err(Answer::of_errno)?;
        Ok(fstatfs(place.as_fd()).map_err(Answer::of_errno)?.filesystem_type() == AUTOFS_SUPER_MAGIC)
    }

    fn file(&self, path: &str) -> Found<File> {
        if !self.is_running() {
            // A recorded root may hold pipes and device nodes: opening one of those can block or do something.
            let place = self.open(path, OFlag::O_PATH).map_err(Answer::of_errno)?;
            require_regular(&place)?;
        }
        let fd = self.open(path, READ).map_err(Answer::of_errno)?;
        require_regular(&fd)?;
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

/// The rest of a file.
fn to_end(file: impl Read, bytes: &mut Vec<u8>) -> Found<()> {
    // Most files of the kernel are shorter than a page.
    bytes.reserve(4096);
    match file.take(FILE_LIMIT as u64 + 1).read_to_end(bytes) {
        Ok(length) if length > FILE_LIMIT => Err(Answer::Unreadable(format!("longer than {FILE_LIMIT} bytes"))),
        read => read.map(drop).map_err(|error| failed(&error)),
    }
}

fn require_regular(fd: &impl AsFd) -> Found<()> {
    if is_regular(fd)? { Ok(()) } else { Err(Answer::Unreadable("not a regular file".to_owned())) }
}

fn is_regular(fd: &impl AsFd) -> Found<bool> {
    let stat = fstat(fd.as_fd()).map_err(Answer::of_errno)?;
    Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG)
}

fn failed(error: &std::io::Error) -> Answer {
    Answer::Errno(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `modalias` of processors is longer than what is read first, `online` is shorter, and an empty one has to be told from a
    /// directory or a mask.
    #[test]
    fn files_of_the_running_kernel_are_read_whole() {
        let root = HostRoot::running();
        for path in [
            "/proc/self/mounts",
            "/proc/sys/kernel/osrelease",
            "/sys/devices/system/cpu/modalias",
            "/sys/devices/system/cpu/online",
            "/sys/devices/system/cpu/offline",
        ] {
            let Ok(whole) = std::fs::read(path) else { continue };
            let mut bytes = b"before".to_vec();
            root.live_bytes_onto(&mut bytes, path).unwrap();
            assert_eq!(bytes, [&b"before"[..], &whole].concat(), "{path}");
        }
    }

    #[test]
    fn what_is_no_file_leaves_nothing_behind() {
        let (root, mut bytes) = (HostRoot::running(), b"before".to_vec());
        for (path, expected) in [
            ("/sys/devices", Answer::Unreadable("not a regular file".to_owned())),
            ("/proc/self", Answer::Unreadable("not a regular file".to_owned())),
            ("/dev/null", Answer::Unreadable("not a regular file".to_owned())),
            ("/sys/devices/system/cpu/nothing", Answer::Missing),
            ("/proc/version/nothing", Answer::Missing),
        ] {
            assert_eq!(root.live_bytes_onto(&mut bytes, path), Err(expected), "{path}");
            assert_eq!(bytes, b"before", "{path}");
        }
    }
}
