//! NFD's features and labels: that both come from one reading, and what becomes of files that cannot be read or trusted.

#![expect(clippy::unwrap_used, reason = "the functions beside the tests are tests as well")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bestfit_hostprobe::{HostRoot, LABEL_NAMESPACE, nfd_labels, probe, probe_settled};
use bestfit_selector::facts::{Facts, State};
use bestfit_selector::microarch::Microarchitectures;
use bestfit_selector::volatile;
use tempfile::TempDir;

const FEATURES_D: &str = "etc/kubernetes/node-feature-discovery/features.d";

fn tree(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

fn probe_at(dir: impl AsRef<Path>) -> Facts {
    probe(&HostRoot::at(dir).unwrap())
}

fn recorded() -> Vec<PathBuf> {
    let hosts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts");
    fs::read_dir(hosts).unwrap().map(|entry| entry.unwrap().path().join("root")).filter(|root| root.is_dir()).collect()
}

fn unknown<'a>(facts: &'a Facts, name: &str) -> &'a str {
    facts.features.unknown.get(name).map_or("", String::as_str)
}

/// Whatever NFD would label from the features is known in the group of labels, with the same value.
#[test]
fn labels_and_facts_come_from_the_same_reading() {
    let mut all: Vec<Facts> = recorded().iter().map(probe_at).collect();
    all.push(probe(&HostRoot::running()));
    for facts in all {
        let labels = nfd_labels(&facts.features);
        assert!(labels.len() > 5);
        for (label, value) in labels {
            let key = label.strip_prefix(LABEL_NAMESPACE).unwrap_or(&label);
            match &facts.get("nfd", key).unwrap().state {
                State::Known { value: fact } => assert_eq!(fact.to_string(), value, "{label}"),
                other => panic!("{label}: {other:?}"),
            }
        }
    }
}

/// A feature is in the three families or unknown as a whole, never both.
#[test]
fn nothing_half_read_passes_for_the_whole() {
    for facts in recorded().iter().map(probe_at) {
        let features = &facts.features;
        for name in features.unknown.keys().filter(|name| !name.contains('/')) {
            let held = features.flags.contains_key(name)
                || features.attributes.get(name).is_some_and(|set| !set.elements.is_empty())
                || features.instances.contains_key(name);
            assert!(!held, "{name}");
        }
    }
}

#[test]
fn an_empty_root_has_no_element() {
    let dir = tempfile::tempdir().unwrap();
    let features = probe_at(&dir).features;
    assert!(features.flags.is_empty() && features.instances.is_empty(), "{features:?}");
    for (feature, set) in &features.attributes {
        assert!(set.elements.is_empty(), "{feature}");
    }
    for name in
        ["cpu.cpuid", "kernel.config", "kernel.version", "pci.device", "usb.device", "local.label", "system.dmiid"]
    {
        assert!(features.unknown.contains_key(name), "{name}");
    }
}

#[test]
fn feature_files_that_cannot_be_trusted_are_reported() {
    let path = |name: &str| format!("{FEATURES_D}/{name}");
    let cases: [(&str, &[u8], &str, &str); 4] = [
        ("gfd", b"a=1\nnvidia.com/gpu.product=NVIDIA-H1", "local.label/nvidia.com/gpu.product", "half-written"),
        ("gfd", b"a=1\nb=\xff\xfe\n", "local.label/b", "not UTF-8"),
        ("big", &[b'x'; 70_000], "local.label", "longer than 65536 bytes"),
        ("vast", &[b'x'; 2 << 20], "local.feature", "longer than"),
    ];
    for (name, bytes, key, why) in cases {
        let dir = tree(&[(&path(name), bytes), (&path("ok"), b"fine=1\n"), (&path(".hidden"), b"hidden=1")]);
        let facts = probe_at(&dir);
        assert!(unknown(&facts, key).contains(why), "{key}: {:?}", facts.features.unknown);
        assert!(facts.get("nfd", "hidden").is_none());
        // A file that gave nothing may say otherwise; a line that makes no sense speaks for its own key only.
        let known = matches!(facts.get("nfd", "fine").unwrap().state, State::Known { .. });
        assert_eq!(known, key.contains('/'), "{key}");
    }
}

#[test]
fn only_files_are_feature_files() {
    let dir = tree(&[(&format!("{FEATURES_D}/sub/file"), b"deep=1\n"), (&format!("{FEATURES_D}/ok"), b"fine=1\n")]);
    nix::unistd::mkfifo(&dir.path().join(FEATURES_D).join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let facts = probe_at(&dir);
    assert_eq!(facts.features.attributes["local.label"].elements.len(), 1);
    // A link that leads nowhere is a file that could not be read.
    symlink("nowhere", dir.path().join(FEATURES_D).join("link")).unwrap();
    let facts = probe_at(&dir);
    assert!(unknown(&facts, "local.label").contains("link: not there"), "{:?}", facts.features.unknown);
}

/// Failures that every user gets, root included: a loop of links, and a directory where a file should be.
#[test]
fn a_failure_is_unknown_with_its_reason() {
    let dir = tree(&[
        ("proc/sys/kernel/osrelease", b"6.1.0\n"),
        ("proc/modules/x", b""),
        ("proc/config.gz", b"no gzip"),
        ("sys/class/net/eth0/speed/x", b""),
        ("sys/bus/nd/x", b""),
        ("sys/block/sda/queue/x", b""),
        ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages/x", b""),
        ("sys/devices/virtual/dmi/id/sys_vendor/x", b""),
        ("sys/bus/usb/devices/1-1/idProduct", b"0001\n"),
    ]);
    for (link, below) in
        [("devices", "sys/bus/nd"), ("rotational", "sys/block/sda/queue"), ("serial", "sys/bus/usb/devices/1-1")]
    {
        symlink(link, dir.path().join(below).join(link)).unwrap();
    }
    let facts = probe_at(&dir);
    for (name, why) in [
        ("kernel.loadedmodule", "not a regular file"),
        ("kernel.enabledmodule", "not a regular file"),
        ("kernel.config", "not gzip"),
        ("network.virtual", "not a regular file"),
        ("network.device", "not a regular file"),
        ("memory.nv", "ELOOP"),
        ("storage.block", "ELOOP"),
        ("usb.device", "ELOOP"),
        ("memory.hugepages/enabled", "not a regular file"),
        ("memory.hugepages/hugepages-2Mi", "not a regular file"),
        ("system.dmiid/sys_vendor", "not a regular file"),
    ] {
        assert!(unknown(&facts, name).contains(why), "{name}: {:?}", facts.features.unknown.get(name));
    }
    for key in ["storage-nonrotationaldisk", "memory-nv.present", "usb-ff_1_1.present", "rdma.available"] {
        assert!(matches!(facts.get("nfd", key).unwrap().state, State::Unknown { .. }), "{key}");
    }
}

/// What the shim reads is what `bestfit explain` decides by.
#[test]
fn settled_facts_are_all_facts_without_the_volatile_ones() {
    for root in recorded().into_iter().map(|dir| HostRoot::at(dir).unwrap()).chain([HostRoot::running()]) {
        let mut all = probe(&root);
        volatile::set_aside(&mut all.features);
        assert_eq!(probe_settled(&root, Microarchitectures::builtin()), all);
    }
}
