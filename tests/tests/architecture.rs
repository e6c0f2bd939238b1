//! Holds the edges between our crates (design.md, "Layout") over `cargo metadata`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Which of our crates each crate may use; dev-dependencies are not asked about.
const ALLOWED: &[(&str, &[&str])] = &[
    ("bestfit-selector", &[]),
    ("bestfit-hostprobe", &["bestfit-selector"]),
    ("bestfit-config", &["bestfit-selector"]),
    ("bestfit-registry", &["bestfit-selector"]),
    ("bestfit-trust", &["bestfit-selector"]),
    ("bestfit-decider", &["bestfit-config", "bestfit-registry", "bestfit-selector", "bestfit-trust"]),
    ("bestfit-worker", &["bestfit-config", "bestfit-hostprobe", "bestfit-selector"]),
    ("bestfit-relay", &[]),
    (
        "bestfit-cli",
        &[
            "bestfit-config",
            "bestfit-decider",
            "bestfit-hostprobe",
            "bestfit-registry",
            "bestfit-selector",
            "bestfit-trust",
        ],
    ),
    ("bestfit-tests", &["bestfit-decider", "bestfit-hostprobe", "bestfit-selector"]),
];

/// Crates that only these may use, whatever else they depend on.
const RESERVED: &[(&str, &[&str])] = &[
    ("containerd-client", &["bestfit-tests", "bestfit-worker"]),
    ("reqwest", &["bestfit-registry"]),
    ("tonic", &["bestfit-tests", "bestfit-worker"]),
];

fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output =
        Command::new(cargo).args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let uses = |package: &serde_json::Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let normal = dependencies.filter(|dependency| dependency["kind"].as_str() != Some("dev"));
        normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.map(|package| (package["name"].as_str().unwrap().to_owned(), uses(package))).collect()
}

#[test]
fn every_crate_uses_only_what_the_design_allows() {
    let edges = edges();
    let known: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(edges.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "a crate is missing in ALLOWED");
    for (name, allowed) in ALLOWED {
        let ours = edges[*name].iter().filter(|used| used.starts_with("bestfit-"));
        let forbidden: Vec<_> = ours.filter(|used| !allowed.contains(&used.as_str())).collect();
        assert!(forbidden.is_empty(), "{name} must not use {forbidden:?}");
    }
}

#[test]
fn what_talks_to_the_outside_stays_where_it_belongs() {
    for (name, uses) in edges() {
        for (reserved, allowed) in RESERVED {
            assert!(!uses.contains(*reserved) || allowed.contains(&name.as_str()), "{name} must not use {reserved}");
        }
    }
}

#[test]
fn the_relay_is_std_and_libc() {
    assert_eq!(edges()["bestfit-relay"], BTreeSet::from(["libc".to_owned()]));
}
