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
