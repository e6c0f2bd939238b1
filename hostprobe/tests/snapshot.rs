//! Recorded here, replayed anywhere: the same facts to the byte, and nothing of the machine that replays.

#![expect(clippy::unwrap_used, reason = "the functions beside the tests are tests as well")]

use std::fs;
use std::path::Path;

use bestfit_hostprobe::{HostRoot, Snapshot, host_platform, probe};

fn round_trip(root: HostRoot) {
    let root = root.recording();
    let facts = serde_json::to_vec(&probe(&root)).unwrap();
    let platform = host_platform(&root);
    let file = serde_json::to_vec_pretty(&root.into_snapshot().unwrap()).unwrap();
    let replayed = HostRoot::recorded(Snapshot::parse(&file).unwrap());
    assert!(!replayed.is_running());
    assert_eq!(host_platform(&replayed), platform);
    assert!(serde_json::to_vec(&probe(&replayed)).unwrap() == facts, "the replay differs");
}

#[test]
fn this_host_is_replayed() {
    round_trip(HostRoot::running());
}

#[test]
fn recorded_hosts_are_replayed() {
    let hosts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts");
    for host in fs::read_dir(hosts).unwrap() {
        let root = host.unwrap().path().join("root");
        if root.is_dir() {
            round_trip(HostRoot::at(root).unwrap());
        }
    }
}

#[test]
fn what_is_malformed_has_its_place() {
    for (text, at) in [("{", "line 1 column 1"), ("{\n \"x\": 1}", "line 2 column 4"), ("[]", "line 1")] {
        let error = Snapshot::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(at), "{error}");
    }
}
