//! What images say themselves, and artifacts in other forms than Proposal F, on the command line.

use serde_json::{Value, json};

use crate::layout::{Layout, facts};
use crate::sandbox::Sandbox;

const FITS: &str = r#"{"compatibilities": {"host": {"kernel.version": ">=5.10"}}}"#;

/// Two CUDA images that fit by their artifacts, the newer one first, and a host with CUDA 12.4.
fn cuda() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox.path("cuda"));
    let entries = ["13.0", "12.0"].map(|version| {
        let env = json!({ "Env": [format!("NVIDIA_REQUIRE_CUDA=cuda>={version}")] });
        layout.image_with("amd64", &env)
    });
    entries.iter().for_each(|entry| layout.attach(entry, FITS));
    layout.index("v1", &entries);
    layout.finish();
    let mut host: Value = serde_json::from_str(&facts(true, "6.1.0")).unwrap();
    host["facts"]["host"]["nvidia.cuda"] =
        json!({ "state": "known", "value": "12.4", "source": "/proc/driver/nvidia" });
    sandbox.write("gpu.json", &host.to_string());
    sandbox
}

#[test]
fn configs_count_where_gpus_are_given() {
    let sandbox = cuda();
    let explain = |more: &[&str]| {
        let run = sandbox.bestfit(&[&["explain", "oci:cuda:v1", "--facts", "gpu.json"][..], more].concat());
        run.prints().to_owned()
    };
    let with = explain(&[]);
    let wanted =
        "  no      image config: NVIDIA_REQUIRE_CUDA asks for cuda>=13.0: this host has 12.4 (/proc/driver/nvidia)\n";
    assert!(with.contains(wanted) && with.contains("\nswap: "), "{with}");
    let without = explain(&["--devices", "none"]);
    assert!(!without.contains("NVIDIA_REQUIRE") && without.contains("\ndefault: "), "{without}");
}

#[test]
fn a_record_with_configs_is_decided_again() {
    let sandbox = cuda();
    let run = sandbox.bestfit(&["explain", "oci:cuda:v1", "--facts", "gpu.json", "--json"]);
    sandbox.write("record.json", run.prints());
    let again = sandbox.bestfit(&["explain", "--record", "record.json", "--facts", "gpu.json"]);
    assert!(again.prints().starts_with("the same decision: "), "{again:?}");
}

#[test]
fn explain_names_the_form() {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox.path("image"));
    let documents = [
        r#"{"compatibilities": [{"name": "io.archspec", "attributes": {"cpu.target": "zen4"}}]}"#,
        r#"{"compatibilities": [{"oci.kernel.versions": "[4.19, 5.16)"}]}"#,
    ];
    let entries = [0, 1].map(|at: usize| layout.image("amd64", &at.to_string()));
    entries.iter().zip(documents).for_each(|(entry, document)| layout.attach(entry, document));
    layout.index("v1", &entries);
    layout.finish();
    sandbox.write("new.json", &facts(true, "6.1.0"));
    let run = sandbox.bestfit(&["explain", "oci:image:v1", "--facts", "new.json"]);
    assert_eq!(run.prints(), include_str!("explain-forms.txt"));
}
