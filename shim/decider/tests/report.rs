//! The program gives up its rights as it does for a worker, and says what was left. What it is then refused is tried by
//! tests/tests/e2e/confined.rs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn decider(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bestfit-decider")).args(arguments).output().unwrap()
}

#[test]
fn rights_are_given_up_or_nothing_runs() {
    let root = decider(&["--uid", "0", "--gid", "0", "--report"]);
    assert_eq!((root.status.code(), root.stdout.is_empty()), (Some(77), true));
    let other = decider(&["--uid", "61183", "--gid", "61183", "--report"]);
    if !nix::unistd::geteuid().is_root() {
        assert_eq!(other.status.code(), Some(77), "only root can take another uid");
        println!("SKIP: the report: this needs root");
        return;
    }
    let report: serde_json::Value = serde_json::from_slice(&other.stdout).unwrap();
    assert!(other.status.success() && report["unenforced"].is_array(), "{report}");
}

#[test]
fn versions_and_mistakes() {
    let version = String::from_utf8(decider(&["--version"]).stdout).unwrap();
    assert_eq!(version, format!("bestfit-decider {}\n", env!("CARGO_PKG_VERSION")));
    for wrong in [&["--uid", "x", "--gid", "1"][..], &["--uid", "1"], &[]] {
        assert_eq!(decider(wrong).status.code(), Some(64), "{wrong:?}");
    }
}
