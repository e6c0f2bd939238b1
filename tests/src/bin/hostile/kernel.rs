//! Calls that reach deep into the kernel, or that give a process another view of the machine. Most are made with arguments
//! that mean nothing: an error that is about the arguments says that the call was let through.

use std::io;

use nix::libc;

use crate::attempts::Attempt;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    Attempt { name: "a user namespace", run: |_| unshare(libc::CLONE_NEWUSER) },
    Attempt { name: "a network namespace", run: |_| unshare(libc::CLONE_NEWNET) },
    Attempt { name: "a mount namespace", run: |_| unshare(libc::CLONE_NEWNS) },
    Attempt { name: "clone with a user namespace", run: |_| clone(libc::CLONE_NEWUSER | libc::SIGCHLD) },
    Attempt { name: "clone3", run: |_| reached(libc::SYS_clone3) },
    Attempt { name: "setns", run: |_| reached(libc::SYS_setns) },
    Attempt { name: "mount", run: |_| reached(libc::SYS_mount) },
    Attempt { name: "the new mount calls", run: |_| reached(libc::SYS_open_tree) },
    Attempt { name: "umount", run: |_| reached(libc::SYS_umount2) },
    Attempt { name: "pivot_root", run: |_| reached(libc::SYS_pivot_root) },
    Attempt { name: "chroot", run: |_| reached(libc::SYS_chroot) },
    Attempt { name: "bpf", run: |_| reached(libc::SYS_bpf) },
    Attempt { name: "perf_event_open", run: |_| reached(libc::SYS_perf_event_open) },
    Attempt { name: "io_uring", run: |_| reached(libc::SYS_io_uring_setup) },
    Attempt { name: "keyctl", run: |_| reached(libc::SYS_keyctl) },
    Attempt { name: "add_key", run: |_| reached(libc::SYS_add_key) },
    Attempt { name: "userfaultfd", run: |_| reached(libc::SYS_userfaultfd) },
    Attempt { name: "load a module", run: |_| reached(libc::SYS_finit_module) },
    Attempt { name: "load a kernel", run: |_| reached(libc::SYS_kexec_load) },
    Attempt { name: "open by a file handle", run: |_| reached(libc::SYS_open_by_handle_at) },
    Attempt { name: "the kernel's log", run: |_| reached(libc::SYS_syslog) },
    Attempt { name: "the clock", run: |_| reached(libc::SYS_clock_settime) },
    Attempt { name: "another uid", run: |_| reached(libc::SYS_setresuid) },
    Attempt { name: "capset", run: |_| reached(libc::SYS_capset) },
    Attempt { name: "a second filter", run: |_| reached(libc::SYS_seccomp) },
    Attempt { name: "memory in a file", run: |_| memory_file() },
    Attempt { name: "outlive its worker", run: |_| outlive() },
    Attempt { name: "a call by its x32 number", run: |_| x32() },
    Attempt { name: "a call of a 32-bit program", run: |_| int80() },
];

/// The error of a call that gives -1.
pub(crate) fn checked(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes a call with arguments that mean nothing; what it says about them does not matter.
fn reached(call: libc::c_long) -> io::Result<()> {
    // SAFETY: none of these pointers can be read or written, and no call takes these numbers for anything that is there.
    let result = checked(unsafe { libc::syscall(call, -1, -1, -1, -1, -1, -1) });
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Err(error),
        _ => Ok(()),
    }
}

fn unshare(what: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is passed.
    checked(unsafe { libc::unshare(what) }.into())
}

fn clone(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: without a stack of its own the child has a copy of this process's, as after fork, and ends at once.
    let made = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if made == 0 {
        std::process::exit(0);
    }
    checked(made)
}

fn memory_file() -> io::Result<()> {
    // SAFETY: the name ends with a zero.
    checked(unsafe { libc::memfd_create(c"x".as_ptr(), 0) }.into())
}

fn outlive() -> io::Result<()> {
    // SAFETY: no memory is passed.
    checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) }.into())
}

/// The x32 number of getpid; where the kernel has no such calls it says so, which is no refusal.
fn x32() -> io::Result<()> {
    // SAFETY: no memory is passed.
    unsafe { libc::syscall(0x4000_0000 | libc::SYS_getpid) };
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn int80() -> io::Result<()> {
    let result: i64;
    // SAFETY: getpid of 32-bit programs touches no memory; the kernel may change the named registers.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
    };
    if result < 0 { Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::ENOSYS))) } else { Ok(()) }
}

#[cfg(not(target_arch = "x86_64"))]
fn int80() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
