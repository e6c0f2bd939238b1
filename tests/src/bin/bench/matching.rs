//! Owns measuring how fast compiled artifacts are held against hosts: in this process, on one core, no container and no
//! registry. Numbers count only in a release build.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bestfit_hostprobe::{HostRoot, host_platform, probe};
use bestfit_selector::decide::{Prepared, decide};
use bestfit_selector::decision::{Artifact, Evidence, HostPlatform, Inputs};
use bestfit_selector::digest::Digest;
use bestfit_selector::facts::{Fact, Facts};
use bestfit_selector::policy::Policy;
use serde_json::json;

use crate::statistics::Median;

/// Sizes of the index; the promise is about the last.
pub(crate) const ENTRIES: [usize; 4] = [8, 16, 32, 64];
/// Keys that each entry asks for.
pub(crate) const KEYS: usize = 10;
/// Measurements per size, and how long each lasts.
const ROUNDS: usize = 100;
const EACH: Duration = Duration::from_millis(20);

/// What one size came to.
pub(crate) struct Matching {
    pub(crate) entries: usize,
    /// Nanoseconds per (entry, host): verdict and rank, the host's facts ready.
    pub(crate) evaluate: Median,
    /// The same, the host's table of facts built anew for each pass over the index.
    pub(crate) with_host: Median,
    /// Nanoseconds per entry of a whole decision from bytes: parsing, hashing, matching, every reason in words.
    pub(crate) decide: Median,
}

impl Matching {
    /// Evaluations per second on one core.
    pub(crate) fn per_second(&self) -> f64 {
        1e9 / self.evaluate.value
    }
}

/// Measures each size in turn, the smallest first.
pub(crate) fn measure() -> Vec<Matching> {
    let hosts = hosts();
    ENTRIES.iter().map(|entries| one(*entries, &hosts)).collect()
}

/// This machine, and others like it.
fn hosts() -> Vec<Facts> {
    let facts = probe(&HostRoot::running());
    let versions = ["4.18.0", "5.10.0", "5.14.0", "6.1.0", "6.8.0", "6.12.0", "6.17.0", "6.18.0"];
    let other = |version: &&str| {
        let mut facts = facts.clone();
        facts.set("host", "kernel.version", Fact::known(*version, "/proc/sys/kernel/osrelease"));
        facts.set("host", "nvidia.cuda", Fact::known("12.4", "/sys/module/nvidia/version"));
        facts
    };
    versions.iter().map(other).collect()
}

fn one(entries: usize, hosts: &[Facts]) -> Matching {
    let inputs = inputs(entries, hosts[0].clone());
    let prepared = Prepared::new(&inputs).expect("the index of the benchmark");
    assert_eq!(prepared.candidates(), entries, "each entry is a candidate");
    let asked: Vec<_> = hosts.iter().map(|facts| prepared.on(facts)).collect();
    let pairs = (entries * hosts.len()) as f64;
    let evaluate = timed(pairs, || {
        for asked in &asked {
            for at in 0..entries {
                black_box(asked.rank(black_box(at)));
            }
        }
    });
    let with_host = timed(pairs, || {
        for facts in hosts {
            let asked = prepared.on(black_box(facts));
            for at in 0..entries {
                black_box(asked.rank(at));
            }
        }
    });
    let decide = timed(entries as f64, || drop(black_box(decide(black_box(&inputs)))));
    Matching { entries, evaluate, with_host, decide }
}

/// Nanoseconds per unit of `work`, which does `units` of them.
fn timed(units: f64, work: impl Fn()) -> Median {
    work();
    let round = || {
        let (start, mut times) = (Instant::now(), 0.0);
        while start.elapsed() < EACH {
            work();
            times += 1.0;
        }
        start.elapsed().as_nanos() as f64 / times / units
    };
    Median::of((0..ROUNDS).map(|_| round()))
}

/// An index whose entries have one artifact each that asks for ten keys of different types.
fn inputs(entries: usize, facts: Facts) -> Inputs {
    let mut manifests = Vec::new();
    let mut evidence = BTreeMap::new();
    let root = host_platform(&HostRoot::running());
    for at in 0..entries {
        let subject = Digest::of(format!("image {at}").as_bytes());
        manifests.push(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject.to_string(), "size": 1,
            "platform": {"os": "linux", "architecture": root.architecture},
        }));
        let artifacts = vec![artifact(at, &subject)];
        evidence.insert(subject, Evidence::Read { list: None, artifacts });
    }
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
    });
    let index = index.to_string().into_bytes();
    evidence.insert(Digest::of(&index), Evidence::Read { list: None, artifacts: Vec::new() });
    let host = HostPlatform { os: "linux".to_owned(), architecture: root.architecture };
    Inputs {
        index,
        facts,
        policy: Policy::default(),
        schemas: Vec::new(),
        host,
        default: None,
        evidence,
        standings: BTreeMap::new(),
        stale: BTreeMap::new(),
        images: None,
        now: 1_800_000_000,
    }
}

fn artifact(at: usize, subject: &Digest) -> Artifact {
    let target = ["x86_64", "x86_64_v2", "x86_64_v3", "x86_64_v4", "zen3", "zen4", "icelake", "sapphirerapids"][at % 8];
    let groups = json!({
        "io.archspec": {"cpu.target": target, "cpu.vendor": ["AMD", "Intel"]},
        "nfd": {"cpu-cpuid.AVX2": true, "cpu-cpuid.AVX512F": at.is_multiple_of(2), "pci-0302_10de.present": false, "memory-numa": false},
        "host": {
            "kernel.version": format!(">=4.18,<{}", 7 + at % 3), "page_size": ["4096", "65536"], "memory.total": ">=1Gi",
            "nvidia.cuda": format!(">=12.{}", at % 5),
        },
    });
    let keys: usize = groups
        .as_object()
        .into_iter()
        .flat_map(|groups| groups.values())
        .filter_map(|keys| keys.as_object())
        .map(serde_json::Map::len)
        .sum();
    assert_eq!(keys, KEYS, "keys per entry");
    let document = json!({ "compatibilities": groups }).to_string().into_bytes();
    let layer = Digest::of(&document);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.oci.image-compatibility.v1",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}").to_string(), "size": 2},
        "layers": [{
            "mediaType": "application/vnd.oci.image-compatibility.spec.v1+json", "digest": layer.to_string(),
            "size": document.len(),
        }],
        "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject.to_string(), "size": 1},
    });
    let manifest = manifest.to_string().into_bytes();
    Artifact { digest: Digest::of(&manifest), manifest: Ok(manifest), layers: [(layer, Ok(document))].into() }
}
