//! `--devices`: one host with different GPUs, asked for containers that are given others of them.

use std::path::{Path, PathBuf};

use crate::layout::Layout;
use crate::sandbox::Sandbox;

/// An H100, an L4 and a GPU of Intel.
fn mixed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../hostprobe/tests/hosts/x86-mixed-gpu-ubuntu24/root")
}

/// `gpu:v1`: plain; for compute capability 8, for 9, for both; for Intel's GPUs.
fn images() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox.path("gpu"));
    let asked = [
        "",
        r#""host": {"nvidia.compute_capability": "[8.0,9.0)"}"#,
        r#""host": {"nvidia.compute_capability": "[9.0,10)", "nvidia.cuda": ">=12.4"}"#,
        r#""host": {"nvidia.compute_capability": ">=8.0", "nvidia.gpu.count": 2, "nvidia.cuda": ">=12.4"}"#,
        r#""host": {"intel.gpu.family": "ats-m"}"#,
    ];
    let entries = ["plain", "cc8", "cc9", "both", "flex"].map(|name| layout.image("amd64", name));
    for (entry, asked) in entries.iter().zip(asked) {
        layout.attach(entry, &format!(r#"{{"compatibilities": {{{asked}}}}}"#));
    }
    layout.index("v1", &entries);
    layout.finish();
    sandbox
}

#[test]
fn the_choice_follows_the_devices_of_the_container() {
    let (sandbox, root) = (images(), mixed());
    for (devices, chosen) in [
        ("none", 0),
        ("0", 2),
        ("/dev/nvidia1", 1),
        ("GPU-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e117", 2),
        ("nvidia.com/gpu=1", 1),
        ("0,1", 3),
        ("all", 3),
        ("/dev/dri/renderD129", 4),
        ("MIG-0f1e2d3c", 0),
        ("NONE", 0),
        ("/dev/kvm", 0),
    ] {
        let run = sandbox.bestfit(&["explain", "oci:gpu:v1", "--root", root.to_str().unwrap(), "--devices", devices]);
        let table = run.prints();
        let line = table.lines().find(|line| line.starts_with("->") || line.starts_with("*>")).unwrap_or_default();
        assert_eq!(line.split_whitespace().nth(1), Some(chosen.to_string().as_str()), "{devices}: {table}");
    }
}

#[test]
fn a_name_of_no_device_is_said() {
    let (sandbox, root) = (images(), mixed());
    for (devices, said) in
        [("0,foo", "foo"), ("/dev/nvidia9", "/dev/nvidia9"), ("vendor.example/gpu=0", "vendor.example/gpu=0")]
    {
        let run = sandbox.bestfit(&["check", "oci:gpu:v1", "--root", root.to_str().unwrap(), "--devices", devices]);
        let warning = format!(
            "warning: --devices: no device of this host is called {said:?}\n\
             hint: `bestfit host` lists the devices with their names; all and none are words of their own\n"
        );
        assert_eq!(run.stderr, warning, "{devices}");
    }
}

#[test]
fn devices_are_listed_with_the_names_that_are_asked_by() {
    let run = Sandbox::new().bestfit(&["host", "--root", mixed().to_str().unwrap()]);
    let line = run
        .prints()
        .lines()
        .find(|line| line.starts_with("device ") && line.contains(" nvidia 1 "))
        .unwrap_or_default();
    assert!(line.contains("GPU-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e165 /dev/nvidia1 "), "{line}");
    assert!(line.ends_with("0000:65:00.0"), "{line}");
}
