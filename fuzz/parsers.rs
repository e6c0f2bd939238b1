//! Every parser of foreign bytes, one function each: what a hostile registry, image, artifact or host file can reach. None may
//! panic, hang or take memory without bound, whatever the bytes; some hold more, which they assert.
//!
//! Included by the fuzz targets beside it, and by the test that replays the corpus (`tests/tests/corpus.rs`).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bestfit_hostprobe::{HostRoot, Snapshot, probe};
use bestfit_selector::decide::decide;
use bestfit_selector::decision::{Artifact, Evidence, HostPlatform, Inputs, Outcome};
use bestfit_selector::digest::Digest;
use bestfit_selector::facts::Facts;
use bestfit_selector::policy::Policy;
use bestfit_selector::require;
use bestfit_selector::schema::{SchemaFile, Schemas};
use bestfit_trust::parsers;
use serde_json::json;

/// Takes any bytes.
pub type Parser = fn(&[u8]);

/// Each parser by the name of its corpus and of its fuzz target.
pub const PARSERS: &[(&str, Parser)] = &[
    ("index", index),
    ("artifact_manifest", artifact_manifest),
    ("document", document),
    ("nfd", nfd),
    ("schema", schema),
    ("ranges", ranges),
    ("cpuinfo", cpuinfo),
    ("ld_so_cache", ld_so_cache),
    ("facts", facts),
    ("snapshot", snapshot),
    ("cdi", cdi),
    ("nvidia_require", nvidia_require),
    ("signature_text", signature_text),
    ("signature_der", signature_der),
];

/// An image index, decided upon without any artifact.
pub fn index(bytes: &[u8]) {
    let _ = decide(&inputs(bytes.to_vec(), BTreeMap::new()));
}

/// The manifest of an artifact.
pub fn artifact_manifest(bytes: &[u8]) {
    let artifact = Artifact { digest: Digest::of(bytes), manifest: Ok(bytes.to_vec()), layers: BTreeMap::new() };
    never_wins_alone(&about_the_second(artifact));
}

/// A document of Proposal F, D or H: the shape decides.
pub fn document(bytes: &[u8]) {
    let _ = decide(&about_the_second(artifact(
        "application/vnd.oci.image-compatibility.v1",
        "application/vnd.oci.image-compatibility.spec.v1+json",
        bytes,
    )));
}

/// NFD's document.
pub fn nfd(bytes: &[u8]) {
    let _ = decide(&about_the_second(artifact(
        "application/vnd.nfd.image-compatibility.v1alpha1",
        "application/vnd.nfd.image-compatibility.spec.v1alpha1+yaml",
        bytes,
    )));
}

/// A file of group schemas of a site.
pub fn schema(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let _ = Schemas::with(&[SchemaFile { name: "site.json".to_owned(), text }]);
}

/// A value of each type that a key can have: versions, ranges, quantities, sets, nodes of a graph.
pub fn ranges(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let asked = json!({"compatibilities": {
        "host": {"kernel.version": text, "memory.total": text, "cpu.count": text, "page_size": text, "cpu.level": text,
                 "lsm": text, "kvm": text, "cgroup.version": text, "kernel.release": text},
        "io.archspec": {"cpu.target": text},
    }});
    document(asked.to_string().as_bytes());
}

/// `/proc/cpuinfo`.
pub fn cpuinfo(bytes: &[u8]) {
    probe_with_file("/proc/cpuinfo", bytes);
}

/// `/etc/ld.so.cache`.
pub fn ld_so_cache(bytes: &[u8]) {
    probe_with_file("/etc/ld.so.cache", bytes);
}

/// A specification of the Container Device Interface, in both of its forms.
pub fn cdi(bytes: &[u8]) {
    for name in ["x.json", "x.yaml"] {
        let file = json!({"file": {"base64": STANDARD.encode(bytes)}});
        probe_with(&json!({"/etc/cdi": {"names": {"names": [name]}}, (format!("/etc/cdi/{name}")): file}));
    }
}

/// Facts of another machine, as `bestfit explain --facts` takes them.
pub fn facts(bytes: &[u8]) {
    let Ok(facts) = serde_json::from_slice::<Facts>(bytes) else { return };
    let document = br#"{"compatibilities": {"host": {"kernel.version": ">=4.18"}, "nfd": {"memory-numa": true}}}"#;
    let mut inputs = about_the_second(artifact(
        "application/vnd.oci.image-compatibility.v1",
        "application/vnd.oci.image-compatibility.spec.v1+json",
        document,
    ));
    inputs.facts = facts;
    let _ = decide(&inputs);
}

/// A snapshot of a host, as `--root FILE` takes it.
pub fn snapshot(bytes: &[u8]) {
    if let Ok(snapshot) = Snapshot::parse(bytes) {
        probe(&HostRoot::recorded(snapshot));
    }
}

/// The config of an image that says what GPU it needs.
pub fn nvidia_require(bytes: &[u8]) {
    let _ = require::read(bytes, &["NVIDIA_REQUIRE_DRIVER=driver>=470".to_owned()]);
}

/// What signatures are made of, as JSON: each form takes the same bytes.
pub fn signature_text(bytes: &[u8]) {
    let subject = Digest::of(b"subject");
    parsers::manifest(bytes);
    parsers::bundle(bytes);
    parsers::in_toto(bytes, &subject);
    parsers::simple_signing(bytes, bytes);
    parsers::notation_jws(bytes);
    parsers::identity(&String::from_utf8_lossy(bytes));
}

/// What signatures are made of, as DER and CBOR.
pub fn signature_der(bytes: &[u8]) {
    parsers::notation_cose(bytes);
    parsers::timestamp(bytes);
    parsers::certificate(bytes);
    parsers::public_key(bytes);
}

/// All facts of a host that has this one file.
fn probe_with_file(path: &str, bytes: &[u8]) {
    probe_with(&json!({path: {"file": {"base64": STANDARD.encode(bytes)}}}));
}

fn probe_with(reads: &serde_json::Value) {
    let text = json!({"bestfit.snapshot": 1, "machine": null, "reads": reads}).to_string();
    let snapshot = Snapshot::parse(text.as_bytes()).expect("well-formed");
    probe(&HostRoot::recorded(snapshot));
}

/// An artifact with one layer.
fn artifact(artifact_type: &str, layer_type: &str, bytes: &[u8]) -> Artifact {
    let layer = Digest::of(bytes);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": artifact_type,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2},
        "layers": [{"mediaType": layer_type, "digest": layer, "size": bytes.len()}],
        "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": entries()[1], "size": 1},
    });
    let manifest = manifest.to_string().into_bytes();
    Artifact { digest: Digest::of(&manifest), manifest: Ok(manifest), layers: [(layer, Ok(bytes.to_vec()))].into() }
}

fn entries() -> [Digest; 2] {
    [Digest::of(b"first"), Digest::of(b"second")]
}

/// An index of two entries; the artifact is about the second, and nothing is about the first.
fn about_the_second(artifact: Artifact) -> Inputs {
    let manifests = entries().map(|digest| {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1,
               "platform": {"os": "linux", "architecture": "amd64"}})
    });
    let index =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
    let index = index.to_string().into_bytes();
    let nothing = || Evidence::Read { list: None, artifacts: Vec::new() };
    let [first, second] = entries();
    let about = Evidence::Read { list: None, artifacts: vec![artifact] };
    let evidence = [(Digest::of(&index), nothing()), (first, nothing()), (second, about)].into();
    inputs(index, evidence)
}

fn inputs(index: Vec<u8>, evidence: BTreeMap<Digest, Evidence>) -> Inputs {
    Inputs {
        index,
        facts: Facts::default(),
        policy: Policy::default(),
        schemas: Vec::new(),
        host: HostPlatform { os: "linux".to_owned(), architecture: "amd64".to_owned() },
        default: None,
        evidence,
        images: None,
        standings: BTreeMap::new(),
        stale: BTreeMap::new(),
        now: 1_700_000_000,
    }
}

/// A manifest without a document says nothing, so nothing is swapped for it.
fn never_wins_alone(inputs: &Inputs) {
    if let Ok(decision) = decide(inputs) {
        assert_ne!(decision.outcome, Outcome::Swap, "{}", decision.why);
    }
}
