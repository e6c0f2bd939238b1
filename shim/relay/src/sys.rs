//! Owns the system calls that the standard library does not offer. All `unsafe` of the relay is here.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

pub(crate) use libc::{POLLIN, SIGKILL, SIGTERM};

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A file in memory: a place for a child's input and output that no reader has to empty.
pub(crate) fn memory_file(name: &CStr) -> io::Result<File> {
    // SAFETY: the name is a C string that lives through the call.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the call above made this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Waits until this process alone holds the lock on the file; closing the file gives it back.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is open as long as `file` lives.
        match check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(drop),
        }
    }
}

/// Runs `f` under a file mode mask; for processes that have only one thread.
pub(crate) fn with_umask<T>(mask: libc::mode_t, f: impl FnOnce() -> T) -> T {
    // SAFETY: umask only sets a number of this process.
    let before = unsafe { libc::umask(mask) };
    let result = f();
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    result
}

/// Connects to a unix socket without ever waiting: a listener whose queue is full answers `WouldBlock`.
pub(crate) fn connect_now(path: &Path) -> io::Result<UnixStream> {
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: all bytes zero is a value of this structure.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    if bytes.is_empty() || bytes.len() >= address.sun_path.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket takes numbers only.
    let fd = check(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: the call above made this descriptor, and nobody else has it.
    let stream = UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let size = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the pointer and the size describe `address`, which lives through the call.
    check(unsafe { libc::connect(fd, (&raw const address).cast(), size) })?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Waits until one of the descriptors has something, and says which; -1 as the time waits without end.
pub(crate) fn poll<const N: usize>(fds: [RawFd; N], milliseconds: i32) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|fd| libc::pollfd { fd, events: POLLIN, revents: 0 });
    // SAFETY: the pointer and the count describe `polled`, which lives through the call.
    match check(unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, milliseconds) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        Err(_) => Ok([false; N]),
        Ok(_) => Ok(polled.map(|one| one.revents != 0)),
    }
}

/// Sends a signal to a child that has not been waited for.
pub(crate) fn signal(pid: u32, signal: libc::c_int) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: kill takes numbers only.
        unsafe { libc::kill(pid, signal) };
    }
}

/// Makes the child a session of its own.
pub(crate) fn own_session(command: &mut Command) {
    // SAFETY: setsid may be called between fork and exec (signal-safety(7)) and touches no memory.
    unsafe { command.pre_exec(|| check(libc::setsid()).map(drop)) };
}

/// Lets go of the pages of this program's code (madvise(2), `MADV_DONTNEED`): what is needed again comes back from the page
/// cache, and what only a start or a Create needs no longer counts as this process's memory.
pub(crate) fn let_go_of_code() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for line in maps.lines() {
        // range, permissions, offset, device, inode, path (proc(5)); the kernel's own code has no path.
        let mut fields = line.split_ascii_whitespace();
        let (Some(range), Some("r-xp"), Some(path)) = (fields.next(), fields.next(), fields.nth(3)) else { continue };
        let number = |text: &str| usize::from_str_radix(text, 16).ok();
        let ends = range.split_once('-').and_then(|(start, end)| Some((number(start)?, number(end)?)));
        if let Some((start, end)) = ends.filter(|(start, end)| path.starts_with('/') && start < end) {
            // SAFETY: the range is a mapping of a file that nobody writes to: dropped pages are read from it again.
            unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(start), end - start, libc::MADV_DONTNEED) };
        }
    }
}

extern "C" fn nothing(_: libc::c_int) {}

/// Takes the signals that would end this process and does nothing: the delegate's end is what ends it. Handlers, unlike
/// ignored signals, are not inherited by the programs that are started.
pub(crate) fn outlive_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2] {
        // SAFETY: all bytes zero is a value of this structure (no flags, no mask).
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: the handler does nothing, so it may run at any time; the pointer lives through the call.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}
