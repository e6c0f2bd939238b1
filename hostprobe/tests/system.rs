//! Kernel and user space on small made-up roots: what one file changes, and what is no answer.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the functions beside the tests are tests as well")]

use std::fs;

use bestfit_hostprobe::{HostRoot, probe};
use bestfit_selector::facts::{State, Value};

/// The state of a key of the group `host` on a root with these files.
fn state(files: &[(&str, &str)], key: &str) -> State {
    let dir = tempfile::tempdir().unwrap();
    let always = [("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n"), ("dev/null", ""), ("sys/kernel/x", "")];
    for (path, text) in always.iter().chain(files) {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let facts = probe(&HostRoot::at(&dir).unwrap());
    facts.get("host", key).unwrap_or_else(|| panic!("no fact {key}")).state.clone()
}

fn known(value: impl Into<Value>) -> State {
    State::Known { value: value.into() }
}

fn why(state: State) -> String {
    let State::Unknown { why } = state else { panic!("{state:?}") };
    why
}

#[test]
fn switches_of_the_kernel_are_read() {
    let cases: [(&str, &str, &str, State); 18] = [
        ("proc/sys/kernel/io_uring_disabled", "0\n", "io_uring", known(true)),
        ("proc/sys/kernel/io_uring_disabled", "1\n", "io_uring", known(false)),
        ("boot/config-6.1.0-28-amd64", "CONFIG_IO_URING=y\n", "io_uring", known(true)),
        ("boot/config-6.1.0-28-amd64", "CONFIG_HZ=250\n", "io_uring", known(false)),
        ("proc/sys/user/max_user_namespaces", "0\n", "userns", known(false)),
        ("proc/sys/user/max_user_namespaces", "9\n", "userns.unprivileged", known(true)),
        ("proc/sys/kernel/yama/ptrace_scope", "2\n", "shmem.cma", known(false)),
        ("proc/sys/kernel/perf_event_paranoid", "-1\n", "perf.paranoid", known(-1)),
        ("sys/fs/selinux/enforce", "0", "selinux", known("permissive")),
        ("sys/module/apparmor/parameters/enabled", "Y\n", "apparmor", known(true)),
        ("sys/kernel/btf/vmlinux", "", "bpf.btf", known(true)),
        ("sys/hypervisor/type", "xen\n", "virt", known("xen")),
        ("sys/devices/virtual/dmi/id/sys_vendor", "QEMU\n", "virt", known("kvm")),
        ("dev/tdx_guest", "", "confidential.guest", known("tdx")),
        ("dev/knem", "", "shmem.knem", known(true)),
        ("sys/module/kvm/parameters/nested", "1\n", "kvm.nested", known(true)),
        ("sys/module/kvm_hv/parameters/nested", "N\n", "kvm.nested", known(false)),
        ("proc/sys/abi/sve_default_vector_length", "64\n", "cpu.sve_vl", known(512)),
    ];
    for (path, text, key, expected) in cases {
        assert_eq!(state(&[(path, text)], key), expected, "{path} {text:?}");
    }
}

/// What lies in /usr/src/linux need not be what runs.
#[test]
fn sources_count_where_they_are_the_running_kernels() {
    let config = |version: &str| format!("#\n# Linux/x86 {version} Kernel Configuration\n#\nCONFIG_IO_URING=y\n");
    for (version, expected) in [("6.1.0", true), ("6.9.0", false)] {
        let (text, boot) = (config(version), "CONFIG_HZ=250\n");
        let files = [("usr/src/linux/.config", text.as_str()), ("boot/config-6.1.0-28-amd64", boot)];
        if expected {
            assert_eq!(state(&files, "io_uring"), known(true), "{version}");
            continue;
        }
        for key in ["io_uring", "kernel.config.IO_URING", "kernel.configuration.CONFIG_HZ", "kernel.configurations"] {
            assert!(why(state(&files, key)).contains("of the running kernel"), "{key}");
        }
    }
}

#[test]
fn guests_of_guests_are_open_where_no_file_tells() {
    let module = ("sys/module/x", "");
    assert_eq!(state(&[module], "kvm.nested"), State::Absent, "no KVM");
    assert!(why(state(&[module, ("dev/kvm", "")], "kvm.nested")).contains("no file of this architecture"));
}

#[test]
fn vendors_switches_close_user_namespaces() {
    let namespaces = ("proc/sys/user/max_user_namespaces", "9\n");
    for (path, text) in [
        ("proc/sys/kernel/unprivileged_userns_clone", "0\n"),
        ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n"),
    ] {
        let files = [namespaces, (path, text)];
        assert_eq!(state(&files, "userns.unprivileged"), known(false), "{path}");
        assert_eq!(state(&files, "userns"), known(true), "{path}");
    }
}

#[test]
fn what_could_not_be_looked_at_is_unknown() {
    assert!(why(state(&[], "lsm")).contains("/sys/kernel/security/lsm"), "securityfs need not be mounted");
    assert!(why(state(&[], "landlock.abi")).contains("running kernel"), "no file tells it");
    assert!(why(state(&[("dev/null", "")], "confidential.guest")).contains("prot_virt_guest"));
    assert!(why(state(&[], "io_uring")).contains("no configuration"));
    assert!(why(state(&[("proc/modules", "")], "fs.lustre")).contains("modules.dep"));
    assert!(why(state(&[("proc/sys/kernel/perf_event_paranoid", "x")], "perf.paranoid")).contains("not a number"));
    assert!(why(state(&[("etc/ld.so.cache", "x")], "mpi.implementation")).contains("no cache"));
    assert!(why(state(&[("lib64/libc.so.6", "x")], "glibc.version")).contains("ELF"));
    assert_eq!(state(&[("proc/filesystems", "nodev\tproc\n")], "fs.lustre"), State::Absent, "it loads no modules");
}

#[test]
fn mpi_is_found_without_the_loaders_cache() {
    let tree = [("usr/x", ""), ("etc/x", ""), ("opt/cray/pe/mpich/8.1.28/x", ""), ("opt/cray/pe/mpich/default/x", "")];
    assert_eq!(
        state(&tree, "mpi.cray-mpich.version"),
        known(Value::Set(["8.1.28".to_owned()].into())),
        "links and names are no versions"
    );
    let pc = [("usr/x", ""), ("etc/x", ""), ("usr/lib64/openmpi/lib/pkgconfig/ompi.pc", "Version: 4.1.6\n")];
    assert_eq!(state(&pc, "mpi.openmpi.version"), known(Value::Set(["4.1.6".to_owned()].into())));
    assert_eq!(
        state(&pc, "mpi.implementation"),
        known(Value::Set(["openmpi".to_owned(), "openmpi-abi".to_owned()].into()))
    );
    assert_eq!(state(&[("usr/x", ""), ("etc/x", "")], "mpi.implementation"), State::Absent);
}
