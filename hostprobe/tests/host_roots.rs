//! Host roots in, facts out: a recorded machine with its expected facts beside it, small made-up trees, and roots that
//! are empty, denied or hostile.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the functions beside the tests are tests as well")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use bestfit_hostprobe::{HostRoot, host_platform, probe};
use bestfit_selector::facts::{Facts, State, Value};
use tempfile::TempDir;

fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn probe_at(dir: impl AsRef<Path>) -> Facts {
    probe(&HostRoot::at(dir).unwrap())
}

fn state(facts: &Facts, group: &str, key: &str) -> State {
    facts.get(group, key).unwrap_or_else(|| panic!("no fact {group} {key}")).state.clone()
}

fn known(value: impl Into<Value>) -> State {
    State::Known { value: value.into() }
}

fn is_unknown(facts: &Facts, group: &str, key: &str) -> bool {
    matches!(state(facts, group, key), State::Unknown { .. })
}

/// `tests/hosts/<name>/root` must give `tests/hosts/<name>/facts.json`. With `BESTFIT_WRITE_GOLDEN=1` the file is written
/// anew, for a person to read.
#[test]
fn recorded_hosts_give_their_facts() {
    let hosts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts");
    let hosts = fs::read_dir(hosts).unwrap().map(|entry| entry.unwrap().path());
    let hosts: Vec<PathBuf> = hosts.filter(|host| host.join("root").is_dir()).collect();
    assert!(!hosts.is_empty());
    for host in hosts {
        let found = serde_json::to_string_pretty(&probe_at(host.join("root"))).unwrap() + "\n";
        let golden = host.join("facts.json");
        if std::env::var_os("BESTFIT_WRITE_GOLDEN").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap();
        // The whole texts are too long to be read in a failure.
        let differs = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
        let line = differs.unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
        let around = |text: &str| text.lines().skip(line.saturating_sub(3)).take(7).collect::<Vec<_>>().join("\n");
        assert!(
            found == expected,
            "{}:{line}\n{}\n--- is now\n{}",
            golden.display(),
            around(&expected),
            around(&found)
        );
    }
}

#[test]
fn an_empty_root_knows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let facts = probe_at(&dir);
    for (group, keys) in &facts.facts {
        for (key, fact) in keys {
            assert!(matches!(fact.state, State::Unknown { .. }), "{group} {key}: {fact:?}");
            assert!(!fact.source.is_empty());
        }
    }
    assert_eq!(facts.facts.len(), 3);
    assert_eq!(host_platform(&HostRoot::at(&dir).unwrap()).architecture, "unknown");
}

/// An image's root file system has empty directories where the kernel's are mounted.
#[test]
fn an_unmounted_sysfs_is_no_answer() {
    let dir = tree(&[("etc/hostname", "x")]);
    for empty in ["proc", "sys"] {
        fs::create_dir(dir.path().join(empty)).unwrap();
    }
    let facts = probe_at(&dir);
    for (group, key) in [
        ("nfd", "pci-0302_10de.present"),
        ("nfd", "kernel-selinux.enabled"),
        ("nfd", "cpu-cpuid.AVX2"),
        ("nfd", "memory-swap"),
        ("host", "numa.nodes"),
        ("host", "kernel.version"),
        ("io.archspec", "cpu.target"),
    ] {
        assert!(is_unknown(&facts, group, key), "{group} {key}");
    }
    assert_eq!(state(&facts, "host", "os.id"), State::Absent, "/etc was there, os-release was not");
}

#[test]
fn a_missing_root_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = HostRoot::at(dir.path().join("nowhere")).unwrap_err();
    assert_eq!(error.source.kind(), std::io::ErrorKind::NotFound);
    assert!(HostRoot::at("/proc/version").is_err(), "a file is no root");
}

#[test]
fn links_do_not_lead_out_of_the_root() {
    let outside = tree(&[("os-release", "ID=outside\n"), ("osrelease", "9.9.9\n")]);
    let dir = tree(&[("usr/lib/real", "ID=inside\n"), ("etc/x", ""), ("proc/sys/kernel/x", "")]);
    // Absolute: resolved inside the root. Upwards: stops at the root.
    symlink("/usr/lib/real", dir.path().join("etc/os-release")).unwrap();
    let up = format!("{}{}", "../".repeat(40), outside.path().join("osrelease").display());
    symlink(up, dir.path().join("proc/sys/kernel/osrelease")).unwrap();
    symlink(outside.path(), dir.path().join("sys")).unwrap();
    let facts = probe_at(&dir);
    assert_eq!(state(&facts, "host", "os.id"), known("inside"));
    assert!(is_unknown(&facts, "host", "kernel.release"));
    assert!(is_unknown(&facts, "nfd", "pci-*"));
}

#[test]
fn what_is_no_plain_file_or_too_long_is_unknown() {
    let dir = tree(&[("proc/sys/kernel/x", ""), ("proc/swaps", &"x\n".repeat(1 << 20)), ("etc/x", "")]);
    nix::unistd::mkfifo(&dir.path().join("etc/os-release"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    fs::create_dir(dir.path().join("proc/meminfo")).unwrap();
    fs::write(dir.path().join("proc/cpuinfo"), "flags : ".to_owned() + &"x ".repeat(100_000)).unwrap();
    let facts = probe_at(&dir);
    for (group, key) in [
        ("host", "os.id"),
        ("host", "memory.total"),
        ("nfd", "memory-swap"),
        ("nfd", "cpu-cpuid.AVX"),
        ("host", "cpu.level"),
    ] {
        assert!(is_unknown(&facts, group, key), "{group} {key}");
    }
}

#[test]
fn a_denied_file_is_unknown_not_absent() {
    let dir = tree(&[("sys/fs/selinux/enforce", "0"), ("sys/bus/pci/devices/0000:00:00.0/modalias", "pci:")]);
    for denied in ["sys/fs/selinux/enforce", "sys/bus/pci/devices"] {
        fs::set_permissions(dir.path().join(denied), fs::Permissions::from_mode(0o0)).unwrap();
    }
    if fs::read(dir.path().join("sys/fs/selinux/enforce")).is_ok() {
        eprintln!("SKIP: this user may read everything");
    } else {
        let facts = probe_at(&dir);
        for key in ["kernel-selinux.enabled", "pci-*", "rdma.capable"] {
            let State::Unknown { why } = state(&facts, "nfd", key) else { panic!("{key}") };
            assert!(why.contains("EACCES"), "{why}");
        }
    }
    fs::set_permissions(dir.path().join("sys/bus/pci/devices"), fs::Permissions::from_mode(0o700)).unwrap();
}

/// A failure other than "not there" that every user gets, root included.
#[test]
fn a_loop_of_links_is_unknown_not_absent() {
    let dir = tree(&[("sys/fs/selinux/x", ""), ("sys/bus/pci/x", "")]);
    symlink("enforce", dir.path().join("sys/fs/selinux/enforce")).unwrap();
    symlink("devices", dir.path().join("sys/bus/pci/devices")).unwrap();
    let facts = probe_at(&dir);
    for key in ["kernel-selinux.enabled", "pci-*", "rdma.capable"] {
        let State::Unknown { why } = state(&facts, "nfd", key) else { panic!("{key}") };
        assert!(why.contains("ELOOP"), "{why}");
    }
}

#[test]
fn one_unreadable_device_leaves_the_others_and_opens_the_rest() {
    let gpu = "pci:v000010DEd00002330sv000010DEsd000016C1bc03sc02i00";
    let dir = tree(&[("sys/bus/pci/devices/0000:01:00.0/modalias", gpu), ("sys/bus/pci/devices/0000:02:00.0/x", "")]);
    let facts = probe_at(&dir);
    for key in ["pci-10de.present", "pci-0302_10de.present", "pci-0302_10de_2330.present"] {
        assert_eq!(state(&facts, "nfd", key), known(true), "{key}");
    }
    assert_eq!(state(&facts, "host", "pci.10de:2330"), known(true));
    assert!(is_unknown(&facts, "nfd", "pci-0207_15b3.present"));
    assert!(is_unknown(&facts, "nfd", "rdma.capable"));
    assert!(is_unknown(&facts, "host", "pci.devices"), "half a list is no list");
}

/// A made-up bare-metal Intel node with an accelerator, InfiniBand and all drivers that NFD labels.
#[test]
fn every_label_of_a_rich_host_is_known() {
    let dir = tree(&[
        ("proc/sys/kernel/osrelease", "5.14.0-427.13.1.el9_4.x86_64\n"),
        ("proc/sys/vm/swappiness", "60\n"),
        ("proc/swaps", "Filename Type Size Used Priority\n/dev/dm-1 partition 4194300 0 -2\n"),
        ("proc/modules", "ib_uverbs 1 1 rdma_ucm, Live 0x0\nrdma_ucm 1 0 - Live 0x0\n"),
        ("sys/fs/selinux/enforce", "1"),
        ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
        ("sys/devices/system/cpu/online", "0-63\n"),
        ("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0,32\n"),
        ("sys/devices/system/cpu/intel_pstate/status", "passive\n"),
        ("sys/devices/system/cpu/intel_pstate/no_turbo", "1\n"),
        ("sys/devices/system/cpu/cpuidle/current_driver", "intel_idle\n"),
        ("sys/module/intel_idle/parameters/max_cstate", "9\n"),
        ("sys/bus/node/devices/node0/cpulist", "0-31\n"),
        ("sys/bus/node/devices/node1/cpulist", "32-63\n"),
        ("sys/bus/nd/devices/ndbus0/x", ""),
        ("sys/bus/nd/devices/dax0.0/devtype", "nd_dax\n"),
        ("sys/bus/pci/devices/0000:01:00.0/modalias", "pci:v000010DEd00002330sv000010DEsd000016C1bc03sc02i00\n"),
        ("sys/bus/pci/devices/0000:01:00.0/sriov_totalvfs", "16\n"),
        ("sys/bus/pci/devices/0000:02:00.0/class", "0x020700\n"),
        ("sys/bus/pci/devices/0000:02:00.0/vendor", "0x15b3\n"),
        ("sys/bus/pci/devices/0000:02:00.0/device", "0x1021\n"),
        ("sys/class/net/lo/mtu", "1\n"),
        ("sys/class/net/eth0/device/sriov_totalvfs", "8\n"),
        ("sys/class/net/eth0/device/sriov_numvfs", "0\n"),
        ("sys/block/sda/queue/rotational", "1\n"),
        ("sys/block/nvme0n1/queue/rotational", "0\n"),
    ]);
    let facts = probe_at(&dir);
    for key in [
        "memory-swap",
        "memory-numa",
        "memory-nv.present",
        "memory-nv.dax",
        "rdma.capable",
        "rdma.available",
        "kernel-selinux.enabled",
        "cpu-hardware_multithreading",
        "cpu-cstate.enabled",
        "pci-0302_10de.present",
        "pci-0302_10de.sriov.capable",
        "pci-0207_15b3.present",
        "network-sriov.capable",
        "storage-nonrotationaldisk",
    ] {
        assert_eq!(state(&facts, "nfd", key), known(true), "{key}");
    }
    assert_eq!(state(&facts, "nfd", "network-sriov.configured"), State::Absent);
    assert_eq!(state(&facts, "nfd", "pci-0300_8086.present"), State::Absent);
    assert_eq!(state(&facts, "nfd", "cpu-pstate.turbo"), known(false));
    assert_eq!(state(&facts, "nfd", "cpu-pstate.status"), known("passive"));
    assert_eq!(state(&facts, "nfd", "kernel-version.major"), known("5"));
    assert_eq!(state(&facts, "host", "kernel.version"), known("5.14.0"));
    assert_eq!(state(&facts, "host", "cgroup.version"), known(2));
    assert_eq!(state(&facts, "host", "cpu.count"), known(64));
    assert_eq!(state(&facts, "host", "numa.nodes"), known(2));
    assert!(is_unknown(&facts, "host", "page_size"), "no cpuinfo, no smaps");
}

/// Grace: 64 KiB pages, no x86-64 level; nothing of the machine that runs the test.
#[test]
fn an_arm64_root_says_nothing_of_this_machine() {
    let cpuinfo = "processor : 0\nFeatures : fp asimd atomics cpuid sve sve2 i8mm bf16\nCPU implementer : 0x41\n\
                   CPU architecture: 8\nCPU part : 0xd4f\n\nprocessor : 1\n";
    let smaps = "a-b r-xp 0 fe:00 1 /usr/bin/cat\nSize: 64 kB\nKernelPageSize: 64 kB\nVmFlags: rd ex\n";
    let dir = tree(&[("proc/cpuinfo", cpuinfo), ("proc/self/smaps", smaps)]);
    let root = HostRoot::at(&dir).unwrap();
    let facts = probe(&root);
    assert_eq!(host_platform(&root).architecture, "arm64");
    assert_eq!(state(&facts, "host", "page_size"), known(65536));
    assert_eq!(state(&facts, "host", "cpu.level"), State::Absent);
    assert_eq!(state(&facts, "io.archspec", "cpu.vendor"), known("ARM"));
    assert_eq!(state(&facts, "nfd", "cpu-cpuid.SVE2"), known(true));
    assert_eq!(state(&facts, "nfd", "cpu-cpuid.SM4"), State::Absent);
    assert!(is_unknown(&facts, "nfd", "cpu-cpuid.AVX2"), "NFD has no such flag of this architecture");
    assert_eq!(state(&facts, "nfd", "cpu-model.vendor_id"), known("ARM"));
}
