//! Owns the list of system calls that are left: those that reading from registries needs, and no other. What is not on it
//! fails as on a kernel that does not have it (`ENOSYS`), so that a newer C library falls back to what is.
//!
//! Where only some arguments are harmless, the arguments are looked at: sockets are for the internet, `clone` makes threads,
//! `prctl` names them, `fcntl` has no signals sent.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, sock_filter,
};

/// Calls whose arguments are free.
const FREELY: &[libc::c_long] = &[
    // Files: which ones is said by `places`. No links, no modes, no owners.
    libc::SYS_close,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
    // The network, once there is a socket; no waiting for others to connect.
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Waiting.
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_restart_syscall,
    // Memory and threads of this process.
    libc::SYS_brk,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    // What everybody may know.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Giving up more.
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
];

/// Older names of the same, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const FREELY_BY_OLD_NAMES: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const FREELY_BY_OLD_NAMES: &[libc::c_long] = &[];

/// TCP and UDP, and nothing that speaks them by another name: MPTCP passes Landlock's rule about ports.
const SOCKETS: [(libc::c_int, libc::c_int); 4] = [
    (libc::SOCK_STREAM, 0),
    (libc::SOCK_STREAM, libc::IPPROTO_TCP),
    (libc::SOCK_DGRAM, 0),
    (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
];
/// The bits of a socket's type that are no flags.
const SOCKET_TYPE: u64 = 0xf;
/// What `ioctl` may ask of a descriptor: not to wait, how much there is, to close it at exec.
const IOCTLS: [libc::Ioctl; 3] = [libc::FIONBIO, libc::FIONREAD, libc::FIOCLEX];
/// What `fcntl` may do with a descriptor. Not on it: whom to send signals about it (`F_SETOWN`, `F_SETSIG`, `F_NOTIFY`, leases).
const FCNTLS: [libc::c_int; 5] = [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL];
/// A thread of this process is made with both, and a process or a namespace not.
const THREAD: libc::c_int = libc::CLONE_THREAD | libc::CLONE_VM;
const NAMESPACES: libc::c_int = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;
/// The first number of the x32 calls, which have the architecture of the others: no architecture has its own calls there.
const X32: u32 = 0x4000_0000;

/// Limits this thread, and every thread that it starts, to the calls above. An error says in words why that could not be done.
pub(super) fn restrict() -> Result<(), String> {
    let program = program().map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}

fn program() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<libc::c_long, Vec<SeccompRule>> =
        FREELY.iter().chain(FREELY_BY_OLD_NAMES).map(|call| (*call, Vec::new())).collect();
    rules.extend(looked_at()?);
    let refuse = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?;
    // The filter itself ends a process that makes calls of another architecture.
    let mut program = x32_ends_it();
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

/// Calls whose arguments are looked at: one rule must hold, with all its conditions.
fn looked_at() -> Result<Vec<(libc::c_long, Vec<SeccompRule>)>, BackendError> {
    // Connecting by sending would pass Landlock's rule about ports.
    let sending = |flags| SeccompRule::new(vec![number(flags, MaskedEq(bits(libc::MSG_FASTOPEN)), 0)?]);
    let ioctls = IOCTLS.iter().map(|request| SeccompRule::new(vec![number(1, Eq, *request)?]));
    let fcntls = FCNTLS.iter().map(|command| SeccompRule::new(vec![number(1, Eq, bits(*command))?]));
    let mut fcntls = fcntls.collect::<Result<Vec<_>, _>>()?;
    let no_signals = number(2, MaskedEq(bits(libc::O_ASYNC)), 0)?;
    fcntls.push(SeccompRule::new(vec![number(1, Eq, bits(libc::F_SETFL))?, no_signals])?);
    let prctls = [libc::PR_SET_NAME, libc::PR_SET_NO_NEW_PRIVS].into_iter();
    let prctls = prctls.map(|option| SeccompRule::new(vec![number(0, Eq, bits(option))?]));
    let thread = SeccompRule::new(vec![number(0, MaskedEq(bits(THREAD | NAMESPACES)), bits(THREAD))?])?;
    // Its own limits, and only to read them.
    let no_new_limit = SeccompCondition::new(2, Qword, Eq, 0)?;
    let own_limits = SeccompRule::new(vec![number(0, Eq, 0)?, no_new_limit])?;
    // abort(3) in any of its threads.
    let own_end = SeccompRule::new(vec![number(0, Eq, u64::from(std::process::id()))?])?;
    Ok(vec![
        (libc::SYS_socket, sockets()?),
        (libc::SYS_sendto, vec![sending(3)?]),
        (libc::SYS_sendmsg, vec![sending(2)?]),
        (libc::SYS_sendmmsg, vec![sending(3)?]),
        (libc::SYS_fcntl, fcntls),
        (libc::SYS_ioctl, ioctls.collect::<Result<_, _>>()?),
        (libc::SYS_prctl, prctls.collect::<Result<_, _>>()?),
        (libc::SYS_clone, vec![thread]),
        (libc::SYS_prlimit64, vec![own_limits]),
        (libc::SYS_tgkill, vec![own_end]),
    ])
}

fn sockets() -> Result<Vec<SeccompRule>, BackendError> {
    let mut rules = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (kind, protocol) in SOCKETS {
            rules.push(SeccompRule::new(vec![
                number(0, Eq, bits(family))?,
                number(1, MaskedEq(SOCKET_TYPE), bits(kind))?,
                number(2, Eq, bits(protocol))?,
            ])?);
        }
    }
    Ok(rules)
}

/// A condition on an argument that the kernel takes as 32 bits, whatever stands above them.
fn number(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Dword, compare, value)
}

fn bits(value: libc::c_int) -> u64 {
    u64::from(value.cast_unsigned())
}

/// Ends the process at any call from [`X32`] on.
fn x32_ends_it() -> BpfProgram {
    let instruction = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    vec![
        // The number of the call is the first field of what the filter sees (seccomp(2), `struct seccomp_data`).
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_can_be_made_here() {
        // What it does is tested on the process that it holds: tests/tests/e2e/confined.rs.
        let program = program().unwrap();
        assert!(program.len() > FREELY.len() && program.len() < 4096, "{}", program.len());
    }

    #[test]
    fn no_call_stands_twice() {
        let mut all: Vec<_> = FREELY.iter().chain(FREELY_BY_OLD_NAMES).copied().collect();
        all.extend(looked_at().unwrap().into_iter().map(|(call, _)| call));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
