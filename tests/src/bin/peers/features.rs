//! Holds our features and labels against those that NFD's own code finds: on this host, and on the recorded roots, where
//! NFD runs after a chroot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bestfit_hostprobe::{HostRoot, nfd_labels, probe};
use bestfit_selector::features::Features;
use serde::Deserialize;

/// Differences that stay, by the beginning of the key, with the reason (docs/peers.md).
const DOCUMENTED: [(&str, &str); 1] = [("flags/kernel.enabledmodule/", "built-in modules have both spellings here")];

/// What NFD cannot tell of a recorded root: it asks the processor it runs on, and was built for its architecture.
const OF_THIS_MACHINE: [&str; 10] = [
    "flags/cpu.cpuid",
    "attributes/cpu.cpuid",
    "attributes/cpu.model",
    "attributes/cpu.rdt/",
    "attributes/cpu.security/se.enabled",
    "attributes/cpu.coprocessor/nx_gzip",
    "labels/feature.node.kubernetes.io/cpu-cpuid.",
    "labels/feature.node.kubernetes.io/cpu-model.",
    "labels/feature.node.kubernetes.io/cpu-coprocessor.",
    "labels/feature.node.kubernetes.io/cpu-security.se.",
];

/// What the Go program prints.
#[derive(Deserialize)]
struct Output {
    features: Features,
    labels: BTreeMap<String, String>,
}

/// Builds NFD, runs it and ourselves on each host, and prints what differs.
pub(crate) fn compare() -> Result<(), String> {
    let Some(nfd) = bestfit_tests::nfd::program("features")? else { return Ok(()) };
    let mut undocumented = compare_one("this host", &nfd, None)?;
    let hosts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hostprobe/tests/hosts");
    let mut roots: Vec<PathBuf> = fs::read_dir(&hosts)
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|host| host.path().join("root"))
        .filter(|root| root.is_dir())
        .collect();
    roots.sort();
    for root in roots {
        let name = root.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        undocumented += compare_one(&name, &nfd, Some(&root))?;
    }
    if undocumented == 0 { Ok(()) } else { Err(format!("{undocumented} differences that docs/peers.md does not name")) }
}

/// Compares one host and returns how many differences are not documented.
fn compare_one(name: &str, nfd: &Path, root: Option<&Path>) -> Result<usize, String> {
    let (theirs, ours) = match root {
        None => (run(Command::new(nfd).env("NODE_NAME", node_name("/")))?, probe(&HostRoot::running())),
        Some(root) => {
            let Some(theirs) = run_below(nfd, root)? else { return Ok(0) };
            (theirs, probe(&HostRoot::at(root).map_err(|error| error.to_string())?))
        }
    };
    let (their_keys, our_keys) =
        (keys(&theirs.features, &theirs.labels), keys(&ours.features, &nfd_labels(&ours.features)));
    let comparable = |key: &&String| root.is_none() || !OF_THIS_MACHINE.iter().any(|prefix| key.starts_with(prefix));
    let all: BTreeSet<&String> = their_keys.keys().chain(our_keys.keys()).filter(comparable).collect();
    let mut counts = [0; 3];
    for key in &all {
        let (theirs, ours_value) = (their_keys.get(*key), our_keys.get(*key));
        if theirs == ours_value {
            continue;
        }
        let (kind, reason) = match (documented(key), unknown(&ours.features, key)) {
            (Some(reason), _) => (0, reason.to_owned()),
            // On a root that was recorded in part; on the running host everything must be readable.
            (None, Some(why)) if root.is_some() => (1, format!("unknown here: {why}")),
            _ => (2, "NOT DOCUMENTED".to_owned()),
        };
        counts[kind] += 1;
        let show = |value: Option<&String>| value.map_or("nothing".to_owned(), |value| format!("{value:?}"));
        println!("  {key}: NFD {}, bestfit {}: {reason}", show(theirs), show(ours_value));
    }
    let [documented, unknown, wrong] = counts;
    println!(
        "{name}: {} keys compared, {} equal; {documented} documented differences, {unknown} unknown here, {wrong} not documented",
        all.len(),
        all.len() - documented - unknown - wrong,
    );
    Ok(wrong)
}

fn documented(key: &str) -> Option<&'static str> {
    DOCUMENTED.iter().find(|(prefix, _)| key.starts_with(prefix)).map(|(_, reason)| *reason)
}

/// Why we do not know the feature, or the element, that a key is about.
fn unknown<'a>(features: &'a Features, key: &str) -> Option<&'a String> {
    let name = key.split_once('/')?.1;
    let feature = name.split(['/', '[']).next()?;
    features.unknown.get(name).or_else(|| features.unknown.get(feature))
}

/// Everything as one list: sets, so that an empty one differs from none; flags and attributes; how many instances are
/// alike; labels.
fn keys(features: &Features, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    for (feature, set) in &features.flags {
        keys.insert(format!("flags/{feature}"), "set".to_owned());
        keys.extend(set.elements.names().map(|flag| (format!("flags/{feature}/{flag}"), "there".to_owned())));
    }
    for (feature, set) in &features.attributes {
        keys.insert(format!("attributes/{feature}"), "set".to_owned());
        let elements = set.elements.iter();
        keys.extend(elements.map(|(name, value)| (format!("attributes/{feature}/{name}"), value.to_owned())));
    }
    for (feature, set) in &features.instances {
        keys.insert(format!("instances/{feature}"), "set".to_owned());
        let mut counts = BTreeMap::new();
        for instance in &set.elements {
            *counts.entry(format!("instances/{feature}[{:?}]", instance.attributes)).or_insert(0) += 1;
        }
        keys.extend(counts.into_iter().map(|(key, count)| (key, count.to_string())));
    }
    keys.extend(labels.iter().map(|(name, value)| (format!("labels/{name}"), value.clone())));
    keys
}

/// NFD takes the node's name from its environment: it is given the one that we read.
fn node_name(root: impl AsRef<Path>) -> String {
    let name = fs::read_to_string(root.as_ref().join("proc/sys/kernel/hostname")).unwrap_or_default();
    name.trim().to_lowercase()
}

/// NFD on a copy of a recorded root that has the program in it; none without the right to chroot.
fn run_below(nfd: &Path, root: &Path) -> Result<Option<Output>, String> {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIP: {}: only root may chroot", root.display());
        return Ok(None);
    }
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let copied = Command::new("cp").arg("-a").arg(root).arg(nfd).arg(dir.path()).status();
    if !copied.is_ok_and(|status| status.success()) {
        return Err(format!("cannot copy {}", root.display()));
    }
    let (below, program) = (dir.path().join("root"), dir.path().join("nfd-features"));
    fs::rename(program, below.join("nfd-features")).map_err(|error| error.to_string())?;
    run(Command::new("chroot").arg(&below).arg("/nfd-features").env("NODE_NAME", node_name(root))).map(Some)
}

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{command:?}: {error}"))
}
