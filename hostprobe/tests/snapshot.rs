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

/// What a line of a feature file says ends at its time, which is over when the snapshot is read.
#[test]
fn a_snapshot_is_read_as_of_when_it_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("etc/kubernetes/node-feature-discovery/features.d");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("x"), "# +expiry-time=2099-01-01T00:00:00Z\nnew=1\n").unwrap();
    let root = HostRoot::at(&dir).unwrap().recording();
    probe(&root);
    let taken = serde_json::to_value(root.into_snapshot().unwrap()).unwrap();
    let has_label = |made: serde_json::Value| {
        let mut snapshot = taken.clone();
        snapshot["made"] = made;
        let snapshot = Snapshot::parse(&serde_json::to_vec(&snapshot).unwrap()).unwrap();
        probe(&HostRoot::recorded(snapshot)).get("nfd", "new").is_some()
    };
    assert!(has_label(taken["made"].clone()) && taken["made"].is_i64(), "{}", taken["made"]);
    assert!(has_label(serde_json::Value::Null), "one of an older bestfit is read as of now");
    assert!(!has_label(4_100_000_000_i64.into()), "made in the year 2099");
}

#[test]
fn any_number_of_a_call_is_taken() {
    let text = format!(
        r#"{{"bestfit.snapshot":1,"machine":{{"architecture":"amd64","cpuid":null,"xcr0":null,"calls":{{"landlock_create_ruleset(2)":{}}}}},"reads":{{}}}}"#,
        i64::MIN
    );
    probe(&HostRoot::recorded(Snapshot::parse(text.as_bytes()).unwrap()));
}

#[test]
fn what_is_malformed_has_its_place() {
    for (text, at) in [("{", "line 1 column 1"), ("{\n \"x\": 1}", "line 2 column 4"), ("[]", "line 1")] {
        let error = Snapshot::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(at), "{error}");
    }
}
