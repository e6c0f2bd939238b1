//! More signatures than are looked at, spread over several manifests: they are counted before the first is asked for, so that
//! whoever can push to a repository cannot make this node overload its registry.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod serving;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bestfit_decider::{Verifier, gather};
use bestfit_registry::{Client, Options, Reference};
use bestfit_selector::decision::HostPlatform;
use bestfit_selector::digest::Digest;
use bestfit_selector::index::Index;
use bestfit_selector::trust::{Accept, By, ImageSigned, Standing, Trust};
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

#[test]
fn signatures_are_counted_before_they_are_fetched() {
    let (index, content) = flooded();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let host = serving::serve(move |path| {
        counted.fetch_add(usize::from(path.contains("/blobs/")), Ordering::SeqCst);
        content.get(path).map_or((404, "text/plain", Vec::new()), |body| (200, INDEX, body.clone()))
    });
    let client = Client::new(Options::default());
    let reference = Reference::parse(&format!("{host}/app:1")).unwrap();
    let by = By::Key { pem: "not looked at".to_owned() };
    let accept = vec![Accept { name: "vendor".to_owned(), scopes: Vec::new(), by }];
    let trust = Trust { image: ImageSigned::Index, accept, ..Trust::default() };
    let verifier = Verifier { trust: &trust, name: reference.name(), now: 1_767_225_600 };
    let platform = HostPlatform { os: "linux".to_owned(), architecture: "amd64".to_owned() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let parsed = Index::parse(&index).unwrap();
    let gathered = runtime.block_on(gather(&client.repository(&reference), &parsed, &platform, &verifier, false, None));
    assert_eq!(asked.load(Ordering::SeqCst), MAX_SIGNATURES);
    let standing = &gathered.standings[&Digest::of(&index)];
    assert!(
        matches!(standing, Standing::Unknown { why } if why.starts_with("there are more than 32 signatures")),
        "{standing:?}"
    );
    assert_eq!(gathered.fresh, None);
}
