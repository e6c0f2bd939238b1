//! `bestfit host` in NFD's forms, on a recorded host.

use std::path::{Path, PathBuf};

use crate::sandbox::Sandbox;

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../hostprobe/tests/hosts").join(name).join("root")
}

const LABELS: &str = r#"  "feature.node.kubernetes.io/cpu-model.vendor_id": "IBM_S390",
  "feature.node.kubernetes.io/cpu-security.se.enabled": "true",
  "feature.node.kubernetes.io/kernel-version.full": "5.14.0-427.13.1.el9_4.s390x",
  "feature.node.kubernetes.io/kernel-version.major": "5",
  "feature.node.kubernetes.io/kernel-version.minor": "14",
  "feature.node.kubernetes.io/kernel-version.revision": "0",
  "feature.node.kubernetes.io/storage-nonrotationaldisk": "true",
  "feature.node.kubernetes.io/system-os_release.ID": "rhel",
  "feature.node.kubernetes.io/system-os_release.VERSION_ID": "9.4",
  "feature.node.kubernetes.io/system-os_release.VERSION_ID.major": "9",
  "feature.node.kubernetes.io/system-os_release.VERSION_ID.minor": "4"
}
"#;

#[test]
fn labels_are_nfds_and_what_they_cannot_say_is_noted() {
    let root = recorded("s390x-z15-rhel9");
    let run = Sandbox::new().bestfit(&["host", "--root", root.to_str().unwrap(), "--format", "nfd-labels"]);
    assert_eq!(run.code, 0);
    assert!(
        run.stdout.starts_with("{\n  \"feature.node.kubernetes.io/cpu-cpuid.DFLT\": \"true\",\n"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.ends_with(LABELS), "{}", run.stdout);
    let note = "note: kernel.config is not known: /proc/config.gz: not there, nor is the configuration at any other usual place\n";
    assert!(run.stderr.starts_with(note), "{}", run.stderr);
}

#[test]
fn features_have_nfds_shape_and_no_other_key() {
    let root = recorded("x86-gpu-node-rocky9");
    let run = Sandbox::new().bestfit(&["host", "--root", root.to_str().unwrap(), "--format", "nfd-features"]);
    let features: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let keys: Vec<&String> = features.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["flags", "attributes", "instances"]);
    assert_eq!(features["flags"]["kernel.loadedmodule"]["elements"]["nvidia"], serde_json::json!({}));
    assert_eq!(features["attributes"]["cpu.pstate"]["elements"]["scaling_governor"], "performance");
    let gpus = features["instances"]["pci.device"]["elements"].as_array().unwrap().iter();
    assert_eq!(gpus.filter(|device| device["attributes"]["vendor"] == "10de").count(), 4);
    assert!(run.stderr.contains("note: cpu.security/sgx.enabled is not known: "), "{}", run.stderr);
}

#[test]
fn json_is_asked_for_in_one_way() {
    let run = Sandbox::new().bestfit(&["host", "--json", "--format", "table"]);
    assert_eq!(run.code, 64, "{}", run.stderr);
}

#[test]
fn a_saved_host_is_asked_like_the_host_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (root, file) = (recorded("x86-gpu-node-rocky9"), dir.path().join("snapshot"));
    let (root, file) = (root.to_str().unwrap(), file.to_str().unwrap());
    let sandbox = Sandbox::new();
    let run = sandbox.bestfit(&["host", "--root", root, "--save", file]);
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    for form in [["--json"].as_slice(), &["--format", "nfd-labels"], &["--format", "table"]] {
        let asked = |place| sandbox.bestfit(&[&["host", "--root", place], form].concat());
        let (saved, original) = (asked(file), asked(root));
        assert_eq!((saved.code, saved.stdout), (0, original.stdout), "{form:?}: {}", saved.stderr);
    }
    let again = sandbox.bestfit(&["host", "--root", file, "--save", "-"]);
    assert_eq!(again.stdout.trim_end(), std::fs::read_to_string(file).unwrap(), "a snapshot of a snapshot is the same");
}

#[test]
fn a_file_that_is_no_snapshot_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("facts.json");
    std::fs::write(&file, "{\n \"facts\": {}}").unwrap();
    let run = Sandbox::new().bestfit(&["host", "--root", file.to_str().unwrap(), "--json"]);
    assert_eq!((run.code, run.stdout.as_str()), (65, ""));
    assert!(run.stderr.contains("line 2 column") && run.stderr.contains("--save FILE"), "{}", run.stderr);
}
