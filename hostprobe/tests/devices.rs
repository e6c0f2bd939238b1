//! Devices on recorded and made-up roots: what a container is told of those that it was given, and what is no answer.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the functions beside the tests are tests as well")]

use std::fs;
use std::path::{Path, PathBuf};

use bestfit_hostprobe::{HostRoot, Snapshot, probe};
use bestfit_selector::facts::{Facts, State};
use bestfit_selector::schema::Schemas;
use bestfit_selector::scope::{Scope, narrow};
use bestfit_selector::value::Requirement;
use serde_json::{Value, json};

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts").join(name).join("root")
}

fn facts_of(name: &str) -> Facts {
    probe(&HostRoot::at(recorded(name)).unwrap())
}

/// The value, `-` for absent, `?` for unknown.
fn shown(facts: &Facts, key: &str) -> String {
    match &facts.get("host", key).unwrap_or_else(|| panic!("no fact {key}")).state {
        State::Known { value } => value.to_string(),
        State::Absent => "-".to_owned(),
        State::Unknown { .. } => "?".to_owned(),
    }
}

fn narrowed(mut facts: Facts, spec: &Value) -> Facts {
    narrow(&mut facts, &Scope::of(spec, &[]));
    facts
}

fn visible(value: &str) -> Value {
    json!({"process": {"env": [format!("NVIDIA_VISIBLE_DEVICES={value}")]}})
}

fn node(path: &str, major: u64, minor: u64) -> Value {
    json!({"linux": {"devices": [{"path": path, "type": "c", "major": major, "minor": minor}]}})
}

/// Whether the host would satisfy a requirement on a key of its own.
fn satisfies(facts: &Facts, key: &str, wanted: &str) -> String {
    let (_, key) = Schemas::builtin().group("host").unwrap().key(key).map(|(name, key)| (name, (name, key))).unwrap();
    let requirement = Requirement::read(key.1, &serde_json::from_str(wanted).unwrap()).unwrap();
    format!("{:?}", requirement.hold(facts.get("host", key.0).map(|fact| &fact.state)).answer)
}

#[test]
fn a_container_is_told_of_its_own_devices() {
    let keys = ["nvidia.gpu.count", "nvidia.gpu.model", "nvidia.compute_capability", "nvidia.mig.instances"];
    for (spec, expected) in [
        (visible("0"), "1 | NVIDIA H100 80GB HBM3 | 9.0 | 2"),
        (visible("1"), "1 | NVIDIA L4 | 8.9 | -"),
        (visible("GPU-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e165"), "1 | NVIDIA L4 | 8.9 | -"),
        (node("/dev/nvidia1", 195, 1), "1 | NVIDIA L4 | 8.9 | -"),
        (visible("all"), "2 | NVIDIA H100 80GB HBM3 NVIDIA L4 | 8.9 9.0 | 0 2"),
        (visible("MIG-x"), "? | ? | ? | ?"),
        (json!({}), "- | - | - | -"),
    ] {
        let facts = narrowed(facts_of("x86-mixed-gpu-ubuntu24"), &spec);
        assert_eq!(keys.map(|key| shown(&facts, key)).join(" | "), expected, "{spec}");
    }
}

#[test]
fn names_of_the_container_device_interface_lead_to_devices() {
    let cdi = |name: &str| json!({"annotations": {"cdi.k8s.io/x": name}});
    let gpus = |name: &str| shown(&narrowed(facts_of("x86-gpu-node-rocky9"), &cdi(name)), "nvidia.gpu.count");
    assert_eq!(["nvidia.com/gpu=2", "nvidia.com/gpu=all", "nvidia.com/gpu=9"].map(gpus), ["1", "4", "?"]);
    let amd = narrowed(facts_of("x86-mi300-node-ubuntu22"), &cdi("amd.com/gpu=1"));
    assert_eq!((shown(&amd, "amd.gpu.count"), amd.devices[0].address.as_str()), ("1".to_owned(), "0000:22:00.0"));
    let one = narrowed(facts_of("x86-mi300-node-ubuntu22"), &node("/dev/dri/renderD136", 226, 136));
    assert_eq!(one.devices[0].address, "0000:22:00.0");
}

/// What artifacts ask for, held against probed facts (matching.md §9, examples 7 and 8).
#[test]
fn requirements_are_answered_by_what_was_probed() {
    let h100 = narrowed(facts_of("x86-gpu-node-rocky9"), &visible("0"));
    let mi300 = narrowed(facts_of("x86-mi300-node-ubuntu22"), &node("/dev/dri/renderD128", 226, 128));
    let mixed = narrowed(facts_of("x86-mixed-gpu-ubuntu24"), &visible("all"));
    let none = narrowed(facts_of("x86-gpu-node-rocky9"), &json!({}));
    for (facts, key, wanted, expected) in [
        (&h100, "nvidia.cuda", r#"">=12.4""#, "True"),
        (&h100, "__cuda", r#"">=12.4""#, "True"),
        (&h100, "nvidia.cuda", r#"">=13.0""#, "False"),
        (&h100, "nvidia.cuda.min_compat", r#""12""#, "True"),
        (&h100, "nvidia.driver.version", r#"">=550.54""#, "True"),
        (&h100, "nvidia.gpudirect.gdrdrv", "true", "False"),
        (&h100, "amd.gfx", r#""gfx942""#, "False"),
        (&mi300, "amd.gfx", r#""gfx942""#, "True"),
        (&mi300, "amd.gfx", r#""gfx9-4-generic""#, "True"),
        (&mi300, "amd.vram", r#"">=128Gi""#, "True"),
        (&mi300, "nvidia.cuda", r#"">=12.4""#, "False"),
        (&mixed, "nvidia.compute_capability", r#"">=8.9""#, "True"),
        (&mixed, "nvidia.compute_capability", r#"">=9.0""#, "False"),
        (&mixed, "nvidia.compute_capability", r#""[8.0,9.0)""#, "False"),
        (&mixed, "nvidia.gpu.family", r#"["hopper","ada-lovelace"]"#, "True"),
        (&none, "nvidia.cuda", r#"">=12.4""#, "False"),
        (&none, "nvidia.gpu.count", r#""<1""#, "True"),
        (&none, "fabric.infiniband", "true", "False"),
    ] {
        assert_eq!(satisfies(facts, key, wanted), expected, "{key} {wanted}");
    }
}

/// A recorded root of which one question is answered by a failure.
fn failing(name: &str, path: &str, question: &str, answer: &Value) -> Facts {
    let root = HostRoot::at(recorded(name)).unwrap().recording();
    probe(&root);
    let mut snapshot = serde_json::to_value(root.into_snapshot().unwrap()).unwrap();
    let reads = snapshot["reads"][path].as_object_mut().unwrap_or_else(|| panic!("{path} is not read"));
    assert!(reads.insert(question.to_owned(), answer.clone()).is_some(), "{path}: {question} is not asked");
    probe(&HostRoot::recorded(Snapshot::parse(&serde_json::to_vec(&snapshot).unwrap()).unwrap()))
}

const EACCES: i32 = 13;
const EIO: i32 = 5;

#[test]
fn what_could_not_be_read_is_unknown_with_its_reason() {
    const NVIDIA: &str = "x86-mixed-gpu-ubuntu24";
    const AMD: &str = "x86-mi300-node-ubuntu22";
    const GPU: &str = "/proc/driver/nvidia/gpus/0000:17:00.0/information";
    const KFD: &str = "/sys/class/kfd/kfd/topology/nodes";
    for (host, path, question, errno, keys) in [
        (NVIDIA, "/sys/module/nvidia/version", "file", EACCES, &[][..]),
        (NVIDIA, "/proc/driver/nvidia/version", "file", EIO, &["nvidia.driver.flavor"]),
        (NVIDIA, "/proc/driver/nvidia/gpus", "names", EIO, &["nvidia.gpu.count", "nvidia.compute_capability"]),
        (NVIDIA, GPU, "file", EIO, &["nvidia.gpu.model"]),
        (NVIDIA, "/proc/driver/nvidia/capabilities/gpu0/mig", "names", EACCES, &["nvidia.mig.instances"]),
        (
            NVIDIA,
            "/sys/bus/pci/devices",
            "names",
            EACCES,
            &["nvidia.compute_capability", "intel.gpu.count", "accelerator.kind"],
        ),
        (NVIDIA, "/sys/bus/pci/devices/0000:b1:00.0/uevent", "file", EIO, &["intel.gpu.driver"]),
        (AMD, KFD, "names", EACCES, &["amd.gfx", "amd.gpu.count"]),
        (AMD, "/sys/class/kfd/kfd/topology/nodes/2/properties", "file", 1, &["amd.gfx", "amd.gpu.count", "amd.vram"]),
        (AMD, "/sys/bus/pci/devices/0000:22:00.0/mem_info_vram_total", "file", EIO, &["amd.vram"]),
        (AMD, "/sys/class/infiniband", "names", EACCES, &["fabric.infiniband", "fabric.roce", "fabric.efa"]),
        (AMD, "/sys/class/infiniband/mlx5_0/ports/1/link_layer", "file", EIO, &["fabric.infiniband", "fabric.roce"]),
        (AMD, "/sys/class/infiniband/mlx5_0/device/uevent", "file", EIO, &["fabric.infiniband", "fabric.opa"]),
        (AMD, "/sys/class/cxi", "names", EACCES, &["fabric.slingshot"]),
        (AMD, "/etc/cdi/amd.json", "file", EIO, &["cdi.devices"]),
        (AMD, "/etc/cdi", "names", EACCES, &["cdi.devices"]),
    ] {
        let facts = failing(host, path, question, &json!({"errno": errno}));
        for key in keys {
            let State::Unknown { why } = &facts.get("host", key).unwrap().state else {
                panic!("{path}: {key}: {:?}", facts.get("host", key))
            };
            assert!(why.contains(path) && why.contains(": E"), "{key}: {why}");
        }
    }
    // Of the two places that tell the driver's version the second is enough.
    let facts = failing(NVIDIA, "/sys/module/nvidia/version", "file", &json!({"errno": EACCES}));
    assert_eq!(shown(&facts, "nvidia.driver.version"), "600.21");
}

#[test]
fn a_format_that_surprises_is_unknown() {
    const NVIDIA: &str = "x86-gpu-node-rocky9";
    const AMD: &str = "x86-mi300-node-ubuntu22";
    for (host, path, text, key) in [
        (NVIDIA, "/sys/module/nvidia/version", "next\n", "nvidia.cuda.min_compat"),
        (NVIDIA, "/proc/driver/nvidia/version", "something else\n", "nvidia.driver.flavor"),
        (NVIDIA, "/proc/driver/nvidia/gpus/0000:11:00.0/information", "Modell: x\n", "nvidia.gpu.model"),
        (AMD, "/sys/class/kfd/kfd/topology/nodes/1/properties", "simd_count 8\n", "amd.gfx"),
        (AMD, "/sys/class/kfd/kfd/topology/nodes/1/properties", "", "amd.gfx"),
        (AMD, "/sys/bus/pci/devices/0000:0c:00.0/mem_info_vram_total", "much\n", "amd.vram"),
        (AMD, "/etc/cdi/amd.json", "{\"cdiVersion\": \"0.6.0\", \"kind\": \"amd.com/g", "cdi.devices"),
    ] {
        let facts = failing(host, path, "file", &json!({"text": text}));
        // The other place tells the version where the first tells nonsense.
        if key == "nvidia.cuda.min_compat" {
            assert_eq!(shown(&facts, key), "11 12", "{path}");
        } else {
            assert_eq!(shown(&facts, key), "?", "{path} {text:?}");
        }
    }
}

#[test]
fn without_sysfs_and_procfs_nobody_knows() {
    let dir = tempfile::tempdir().unwrap();
    for empty in ["proc", "sys", "etc", "dev"] {
        fs::create_dir(dir.path().join(empty)).unwrap();
    }
    let facts = probe(&HostRoot::at(&dir).unwrap());
    for key in [
        "nvidia.driver.version",
        "nvidia.cuda",
        "nvidia.gpu.count",
        "nvidia.compute_capability",
        "nvidia.gpudirect.gdrdrv",
        "amd.gfx",
        "amd.driver.version",
        "intel.gpu.count",
        "accelerator.kind",
        "fabric.infiniband",
        "fabric.slingshot",
        "cdi.devices",
        "binfmt.arm64",
    ] {
        assert_eq!(shown(&facts, key), "?", "{key}");
    }
    assert!(facts.devices.is_empty());
}
