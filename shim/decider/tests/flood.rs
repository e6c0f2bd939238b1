//! More than is looked at: whoever can push to a repository cannot make this node overload its registry. Signatures are counted
//! before the first is asked for, artifacts once their manifests say what they are, and all requests of one decision.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod serving;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bestfit_decider::gather::MAX_REQUESTS;
use bestfit_decider::{Gathered, Verifier, gather};
use bestfit_registry::{Client, Options, Reference};
use bestfit_selector::decision::{Evidence, HostPlatform};
use bestfit_selector::digest::Digest;
use bestfit_selector::index::{ARTIFACT_TYPE, Index};
use bestfit_selector::trust::{Accept, By, ImageSigned, Standing, Trust, TrustMode};
use bestfit_trust::MAX_SIGNATURES;
use serde_json::{Value, json};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The index's bytes, and what lies in the registry: three manifests about it with twenty signatures each.
fn flooded() -> (Vec<u8>, BTreeMap<String, Vec<u8>>) {
    let mut content = BTreeMap::new();
    let mut put = |place: &str, media_type: &str, bytes: Vec<u8>| -> Value {
        let digest = Digest::of(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        content.insert(format!("/v2/app/{place}/{digest}"), bytes);
        descriptor
    };
    let entry = json!({"mediaType": MANIFEST, "digest": Digest::of(b"image"), "size": 1,
        "platform": {"os": "linux", "architecture": "s390x"}});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string().into_bytes();
    let subject = json!({"mediaType": INDEX, "digest": Digest::of(&index), "size": index.len()});
    let mut list = Vec::new();
    for number in 0..3 {
        let layers = (0..20).map(|layer| put("blobs", BUNDLE, format!("{number} {layer}").into_bytes()));
        let layers: Vec<_> = layers.collect();
        let config = json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2});
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE, "config": config,
            "layers": layers, "subject": subject});
        list.push(put("manifests", MANIFEST, manifest.to_string().into_bytes()));
    }
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": list}).to_string();
    content.insert(format!("/v2/app/referrers/{}", Digest::of(&index)), list.into_bytes());
    (index, content)
}

fn site() -> Trust {
    let by = By::Key { pem: "not looked at".to_owned() };
    Trust { accept: vec![Accept { name: "vendor".to_owned(), scopes: Vec::new(), by }], ..Trust::default() }
}

/// What is found in the repository `app` of a host.
fn gathered(host: SocketAddr, index: &[u8], trust: &Trust) -> Gathered {
    let reference = Reference::parse(&format!("{host}/app:1")).unwrap();
    let repository = Client::new(Options::default()).repository(&reference);
    let verifier = Verifier { trust, name: reference.name(), now: 1_767_225_600 };
    let platform = HostPlatform { os: "linux".to_owned(), architecture: "amd64".to_owned() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let parsed = Index::parse(index).unwrap();
    runtime.block_on(gather(&repository, &parsed, &platform, &verifier, false, None))
}

/// An index of these entries, which can run.
fn index_of(entries: impl Iterator<Item = Digest>) -> Vec<u8> {
    let platform = json!({"os": "linux", "architecture": "amd64"});
    let entries =
        entries.map(|digest| json!({"mediaType": MANIFEST, "digest": digest, "size": 1, "platform": platform}));
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries.collect::<Vec<_>>()}).to_string().into_bytes()
}

#[test]
fn an_entry_that_is_listed_often_is_asked_about_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let host = serving::serve(move |path| {
        counted.fetch_add(usize::from(path.contains("/referrers/")), Ordering::SeqCst);
        (404, "text/plain", Vec::new())
    });
    let index = index_of((0..64).map(|_| Digest::of(b"image")));
    let gathered = gathered(host, &index, &Trust::default());
    assert_eq!((gathered.evidence.len(), asked.load(Ordering::SeqCst)), (2, 2), "the index, and the entry");
}

/// A manifest of this artifact type, which a list by tag does not name.
fn unnamed(kind: &str, number: usize) -> (Value, (String, Vec<u8>)) {
    let config = json!({"mediaType": kind, "digest": Digest::of(b"{}"), "size": 2});
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [], "n": number});
    let bytes = manifest.to_string().into_bytes();
    let digest = Digest::of(&bytes);
    let generic = "application/vnd.oci.image.config.v1+json";
    let descriptor = json!({"mediaType": MANIFEST, "artifactType": generic, "digest": digest, "size": bytes.len()});
    (descriptor, (format!("/v2/app/manifests/{digest}"), bytes))
}

#[test]
fn what_is_no_artifact_of_ours_is_not_counted_and_not_looked_at() {
    let (entry, asked) = (Digest::of(b"image"), Arc::new(Mutex::new(Vec::new())));
    for (ours, signatures, read) in [(1, 40, true), (16, 40, true), (17, 0, false)] {
        let kinds = std::iter::repeat_n(BUNDLE, signatures).chain(std::iter::repeat_n(ARTIFACT_TYPE, ours));
        let (list, content): (Vec<_>, BTreeMap<_, _>) = kinds.enumerate().map(|(n, kind)| unnamed(kind, n)).unzip();
        let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": list}).to_string().into_bytes();
        let (log, tag) = (asked.clone(), format!("/v2/app/manifests/sha256-{}", entry.hex()));
        asked.lock().unwrap().clear();
        let host = serving::serve(move |path| {
            log.lock().unwrap().push(path.to_owned());
            let found = if path == tag { Some(&list) } else { content.get(path) };
            found.map_or((404, "text/plain", Vec::new()), |body| (200, INDEX, body.clone()))
        });
        let trust = Trust { mode: TrustMode::Warn, ..site() };
        let gathered = gathered(host, &index_of(std::iter::once(entry)), &trust);
        match &gathered.evidence[&entry] {
            Evidence::Read { artifacts, .. } => assert_eq!((artifacts.len(), read), (ours, true)),
            Evidence::Unread { why } => assert!(!read && why.starts_with("17 artifacts about"), "{why}"),
        }
        let about = |path: &&String| path.contains("/referrers/");
        let looked = asked.lock().unwrap().iter().filter(about).count();
        assert_eq!(looked, if read { 2 + ours } else { 2 }, "the index, the entry, and what is ours");
    }
}

#[test]
fn what_would_take_too_many_requests_is_unread() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let (_, (_, manifest)) = unnamed(ARTIFACT_TYPE, 0);
    let host = serving::serve(move |path| {
        counted.fetch_add(1, Ordering::SeqCst);
        let Some((_, subject)) = path.split_once("/referrers/") else { return (200, MANIFEST, manifest.clone()) };
        let artifacts = (0..16).map(|number| Digest::of(format!("{subject} {number}").as_bytes()));
        let artifacts = artifacts
            .map(|digest| json!({"mediaType": MANIFEST, "artifactType": ARTIFACT_TYPE, "digest": digest, "size": 1}));
        let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": artifacts.collect::<Vec<_>>()});
        (200, INDEX, list.to_string().into_bytes())
    });
    let index = index_of((0..64).map(|number: u8| Digest::of(&[number])));
    let gathered = gathered(host, &index, &Trust { mode: TrustMode::Enforce, ..site() });
    assert!(asked.load(Ordering::SeqCst) as u64 <= MAX_REQUESTS, "{asked:?}");
    let why = format!("is not asked any more, after {MAX_REQUESTS} requests");
    let ends = |standing: &&Standing| matches!(standing, Standing::Unknown { why: said } if said.contains(&why));
    assert!(gathered.standings.values().any(|standing| ends(&standing)), "{:?}", gathered.standings.values().next());
    assert_eq!(gathered.fresh, None, "it is asked for again");
}

#[test]
fn signatures_are_counted_before_they_are_fetched() {
    let (index, content) = flooded();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let host = serving::serve(move |path| {
        counted.fetch_add(usize::from(path.contains("/blobs/")), Ordering::SeqCst);
        content.get(path).map_or((404, "text/plain", Vec::new()), |body| (200, INDEX, body.clone()))
    });
    let gathered = gathered(host, &index, &Trust { image: ImageSigned::Index, ..site() });
    assert_eq!(asked.load(Ordering::SeqCst), MAX_SIGNATURES);
    let standing = &gathered.standings[&Digest::of(&index)];
    assert!(
        matches!(standing, Standing::Unknown { why } if why.starts_with("there are more than 32 signatures")),
        "{standing:?}"
    );
    assert_eq!(gathered.fresh, None);
}
