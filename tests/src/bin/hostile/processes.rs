//! Other processes, and more of its own: looking into them, signals, programs, floods.

use std::io;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::attempts::{Attempt, Targets};
use crate::kernel::checked;

/// More threads than all deciders of a node may have together.
const MANY: usize = 600;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    Attempt { name: "may start a thread", run: |_| thread::Builder::new().spawn(|| ()).map(drop) },
    Attempt { name: "trace root's process", run: |targets| trace(targets.root) },
    Attempt { name: "trace its twin", run: |targets| trace(targets.twin) },
    Attempt { name: "read its twin's memory", run: |targets| read_memory(targets.twin) },
    Attempt { name: "open root's /proc/PID/mem", run: |targets| open(targets.root, "mem") },
    Attempt { name: "open its twin's /proc/PID/mem", run: |targets| open(targets.twin, "mem") },
    Attempt { name: "open root's /proc/PID/environ", run: |targets| open(targets.root, "environ") },
    Attempt {
        name: "a signal to root's process",
        run: |targets| Ok(kill(Pid::from_raw(targets.root), Signal::SIGCONT)?),
    },
    Attempt { name: "a signal to its twin", run: |targets| Ok(kill(Pid::from_raw(targets.twin), Signal::SIGCONT)?) },
    Attempt { name: "a signal to its twin by a handle", run: signal_by_handle },
    Attempt { name: "a signal to its twin by a descriptor", run: signal_by_descriptor },
    Attempt { name: "a signal to its parent by tgkill", run: |_| tgkill() },
    Attempt { name: "its twin's limits", run: |targets| limits_of(targets.twin) },
    Attempt { name: "fork", run: |_| fork() },
    Attempt { name: "run a program", run: |_| execute(c"/bin/true") },
    Attempt { name: "run a setuid program", run: |_| execute(c"/usr/bin/su") },
    Attempt { name: "start a program", run: |_| Command::new("/bin/true").status().map(drop) },
    Attempt { name: "a flood of threads", run: |_| threads() },
    Attempt {
        name: "a flood of memory",
        run: |_| Ok(Vec::<u8>::new().try_reserve_exact(3 << 30).map_err(|_| io::ErrorKind::OutOfMemory)?),
    },
    Attempt { name: "a flood of descriptors", run: |_| descriptors() },
    Attempt { name: "a higher priority", run: |_| priority() },
];

fn trace(pid: i32) -> io::Result<()> {
    // SAFETY: seizing a process stops nothing and passes no memory; it ends with this process.
    checked(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) })
}

fn read_memory(pid: i32) -> io::Result<()> {
    let mut byte = 0_u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // The address may not be mapped there: that it is looked for is enough.
    let remote = libc::iovec { iov_base: 0x1000 as *mut libc::c_void, iov_len: 1 };
    // SAFETY: the local buffer lives as long as the call.
    let read = checked(unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) } as i64);
    read.or_else(|error| if error.raw_os_error() == Some(libc::EFAULT) { Ok(()) } else { Err(error) })
}

fn open(pid: i32, file: &str) -> io::Result<()> {
    std::fs::File::open(format!("/proc/{pid}/{file}")).map(drop)
}

fn signal_by_handle(targets: &Targets) -> io::Result<()> {
    // SAFETY: no memory is passed.
    checked(unsafe {
        let handle = libc::syscall(libc::SYS_pidfd_open, targets.twin, 0);
        libc::syscall(libc::SYS_pidfd_send_signal, handle, libc::SIGCONT, 0, 0)
    })
}

fn signal_by_descriptor(targets: &Targets) -> io::Result<()> {
    let file = std::fs::File::open("/etc/hosts")?;
    // SAFETY: no memory is passed, and nothing is sent about a regular file.
    checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETOWN, targets.twin) }.into())
}

fn tgkill() -> io::Result<()> {
    let parent = std::os::unix::process::parent_id();
    // SAFETY: no memory is passed.
    checked(unsafe { libc::syscall(libc::SYS_tgkill, parent, parent, libc::SIGCONT) })
}

fn limits_of(pid: i32) -> io::Result<()> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit lives as long as the call.
    checked(unsafe { libc::prlimit64(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit) }.into())
}

fn fork() -> io::Result<()> {
    // SAFETY: the child ends at once.
    let made = unsafe { libc::fork() };
    if made == 0 {
        std::process::exit(0);
    }
    checked(made.into())
}

fn execute(program: &std::ffi::CStr) -> io::Result<()> {
    // Where it goes through, the status is the program's.
    let arguments = [program.as_ptr(), c"--help".as_ptr(), std::ptr::null()];
    // SAFETY: all strings end with a zero, and the lists with a null pointer.
    checked(unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), arguments[2..].as_ptr()) }.into())
}

fn threads() -> io::Result<()> {
    for _ in 0..MANY {
        // Each has a small stack, so that it is not the address space that ends it.
        thread::Builder::new().stack_size(64 << 10).spawn(|| thread::sleep(Duration::from_secs(20)))?;
    }
    Ok(())
}

/// More than a look at 64 signed entries needs (`shim/decider/src/confine.rs`).
const MANY_FILES: u32 = 2000;

fn descriptors() -> io::Result<()> {
    let all: io::Result<Vec<_>> = (0..MANY_FILES).map(|_| std::fs::File::open("/etc/hosts")).collect();
    all.map(drop)
}

fn priority() -> io::Result<()> {
    // SAFETY: no memory is passed.
    checked(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -5) }.into())
}
