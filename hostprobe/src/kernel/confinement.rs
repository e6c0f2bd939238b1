//! Owns what this kernel lets programs do, and confine themselves with: user namespaces, seccomp, security modules,
//! Landlock, performance counters, tracing of others, io_uring, BPF. What a container's own profile denies is not seen here.

use std::collections::BTreeSet;

use bestfit_selector::facts::{Fact, Facts, State};

use super::landlock;
use crate::HOST;
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;

/// Every `/proc` that was mounted, or recorded, has it.
const SYSCTL: &str = "/proc/sys/kernel";
const NAMESPACES: &str = "/proc/sys/user/max_user_namespaces";
/// Debian's and Ubuntu's own switches; other kernels have none.
const CLONE: &str = "/proc/sys/kernel/unprivileged_userns_clone";
const RESTRICT: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
const ACTIONS: &str = "/proc/sys/kernel/seccomp/actions_avail";
const MODULES: &str = "/sys/kernel/security/lsm";
const SELINUX: &str = "/sys/fs/selinux/enforce";
const APPARMOR: &str = "/sys/module/apparmor/parameters/enabled";
const PERF: &str = "/proc/sys/kernel/perf_event_paranoid";
const PTRACE: &str = "/proc/sys/kernel/yama/ptrace_scope";
const IO_URING: &str = "/proc/sys/kernel/io_uring_disabled";
const BTF: &str = "/sys/kernel/btf/vmlinux";
const BPF: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";

pub(super) fn probe(root: &HostRoot, facts: &mut Facts) {
    user_namespaces(root, facts);
    security_modules(root, facts);
    let actions = root.seen_line(ACTIONS, SYSCTL).map(|text| words(&text, char::is_whitespace));
    facts.set(HOST, "seccomp.actions", actions.fact(ACTIONS));
    let landlock = landlock::version(root);
    facts.set(HOST, "landlock.abi", landlock.fact(landlock::SOURCE));
    facts.set(HOST, "perf.paranoid", root.seen_number(PERF, SYSCTL).fact(PERF));
    facts.set(HOST, "ptrace.scope", root.seen_number(PTRACE, SYSCTL).fact(PTRACE));
    let (io_uring, source) = io_uring(root, facts);
    facts.set(HOST, "io_uring", io_uring.fact(source));
    facts.set(HOST, "bpf.btf", root.seen_there(BTF, "/sys/kernel").fact(BTF));
    let unprivileged = root.seen_number(BPF, SYSCTL).map(|disabled| disabled == 0);
    facts.set(HOST, "bpf.unprivileged", unprivileged.fact(BPF));
}

fn user_namespaces(root: &HostRoot, facts: &mut Facts) {
    let some = root.seen_number(NAMESPACES, SYSCTL).map(|most| most > 0);
    let mut unprivileged = (some.clone(), NAMESPACES);
    for (path, allowed) in [(CLONE, 1), (RESTRICT, 0)] {
        match (&unprivileged.0, root.seen_number(path, SYSCTL)) {
            (Seen::Known(true), Seen::Known(value)) => unprivileged = (Seen::Known(value == allowed), path),
            (Seen::Known(true), Seen::Unknown(why)) => unprivileged = (Seen::Unknown(why), path),
            _ => {}
        }
    }
    facts.set(HOST, "userns", some.fact(NAMESPACES));
    facts.set(HOST, "userns.unprivileged", unprivileged.0.fact(unprivileged.1));
}

fn security_modules(root: &HostRoot, facts: &mut Facts) {
    // The list lies on a file system of its own, which need not be mounted: not there is no answer.
    let list = Seen::of(root.text(MODULES)).map(|text| words(text.trim(), |char| char == ','));
    facts.set(HOST, "lsm", list.fact(MODULES));
    let selinux = root.seen_line(SELINUX, "/sys/fs").and_then(|text| match text.as_str() {
        "1" => Seen::Known("enforcing"),
        "0" => Seen::Known("permissive"),
        _ => Seen::Unknown(format!("{SELINUX}: neither 0 nor 1: {text:?}")),
    });
    facts.set(HOST, "selinux", selinux.fact(SELINUX));
    let apparmor = root.seen_line(APPARMOR, "/sys/module").map(|text| text == "Y");
    facts.set(HOST, "apparmor", apparmor.fact(APPARMOR));
}

/// Whether any program may use io_uring. The switch is there since Linux 6.6; before, the configuration says it.
fn io_uring(root: &HostRoot, facts: &Facts) -> (Seen<bool>, String) {
    match root.text(IO_URING) {
        Ok(text) => {
            let allowed = match text.trim() {
                "0" => Seen::Known(true),
                // 1 leaves it to privileged programs and one group.
                "1" | "2" => Seen::Known(false),
                other => Seen::Unknown(format!("{IO_URING}: none of 0, 1, 2: {other:?}")),
            };
            (allowed, IO_URING.to_owned())
        }
        Err(ReadError::Missing(_)) => (built_in(facts), "CONFIG_IO_URING".to_owned()),
        Err(error) => (Seen::Unknown(error.to_string()), IO_URING.to_owned()),
    }
}

/// Whether io_uring is part of the kernel, by its configuration, unless that may be another kernel's.
fn built_in(facts: &Facts) -> Seen<bool> {
    let doubt = facts.get(HOST, "kernel.config.IO_URING").map(|fact| &fact.state);
    match (doubt, facts.features.attributes.get("kernel.config")) {
        (Some(State::Unknown { why }), _) => Seen::Unknown(why.clone()),
        (_, Some(options)) => Seen::Known(options.elements.get("IO_URING").is_some_and(|value| value == "y")),
        (_, None) => Seen::Unknown(format!("{IO_URING}: not there, and no configuration could be read")),
    }
}

/// Whether programs of one user may copy between their memories (process_vm_readv(2)), as MPI libraries do.
pub(super) fn copies_between_processes(facts: &Facts) -> Fact {
    match facts.get(HOST, "ptrace.scope").map(|fact| &fact.state) {
        Some(bestfit_selector::facts::State::Known { value: bestfit_selector::facts::Value::Int(scope) }) => {
            Fact::known(*scope <= 1, PTRACE)
        }
        // Without Yama the classic rule holds.
        Some(bestfit_selector::facts::State::Absent) => Fact::known(true, PTRACE),
        Some(bestfit_selector::facts::State::Unknown { why }) => Fact::unknown(why, PTRACE),
        _ => Fact::unknown("not looked at", PTRACE),
    }
}

fn words(text: &str, separator: impl Fn(char) -> bool) -> BTreeSet<String> {
    text.split(separator).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
