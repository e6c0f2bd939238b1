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

/// From now on, processes whose parents end become children of this one, not of init: they can be found, and ended.
pub(crate) fn adopt_orphans() {
    // SAFETY: prctl takes numbers only here.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Sends a signal to a child and to the process group that it leads.
pub(crate) fn signal_group(pid: libc::pid_t, signal: libc::c_int) {
    for to in [-pid, pid] {
        // SAFETY: kill takes numbers only.
        unsafe { libc::kill(to, signal) };
    }
}

/// Takes leave of the children that have ended, and says whether there are others; for processes that wait for no other child.
pub(crate) fn has_children() -> bool {
    loop {
        // SAFETY: waitpid may be told that nobody wants the status.
        match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
            0 => return true,
            pid if pid < 0 => return false,
            _ => {}
        }
    }
}

/// Makes the child a session of its own.
pub(crate) fn own_session(command: &mut Command) {
    // SAFETY: setsid may be called between fork and exec (signal-safety(7)) and touches no memory.
    unsafe { command.pre_exec(|| check(libc::setsid()).map(drop)) };
}

/// Lets go of the pages of this program that are only read, code above all (madvise(2), `MADV_DONTNEED`): what is needed again
/// comes back from the page cache, and what is not no longer counts as this process's memory.
pub(crate) fn let_go_of_code() {
    // SAFETY: the function has the type that is asked for, and looks at what it is given during the call only.
    unsafe { libc::dl_iterate_phdr(Some(let_go_of_segments), std::ptr::null_mut()) };
}

/// Called by `dl_iterate_phdr` with one program or library; the first is this program, and 1 ends it there.
unsafe extern "C" fn let_go_of_segments(
    info: *mut libc::dl_phdr_info,
    _: libc::size_t,
    _: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: dl_iterate_phdr(3): a pointer to this structure, which holds an array of so many headers.
    let (base, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr, std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()))
    };
    // SAFETY: sysconf takes a number only.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        let start = (base + header.p_vaddr) as usize;
        // Whole pages inside of the segment: what shares a page with something else stays.
        let (start, end) = (start.next_multiple_of(page), (start + header.p_memsz as usize) / page * page);
        if start < end {
            // SAFETY: these pages map a file and are never written to: they are read from it again.
            unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(start), end - start, libc::MADV_DONTNEED) };
        }
    }
    1
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
