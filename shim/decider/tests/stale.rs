//! While the registry fails, an outdated list of signatures is used. What it has counts; what it has not may have been signed since.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod serving;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bestfit_decider::{Verifier, gather};
use bestfit_registry::{Client, Options, Reference};
use bestfit_selector::decision::HostPlatform;
use bestfit_selector::digest::Digest;
use bestfit_selector::index::Index;
use bestfit_selector::trust::{Accept, By, ImageSigned, Standing, Trust};
use serde_json::json;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

#[test]
fn an_outdated_list_of_signatures_does_not_say_that_nobody_signed() {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string().into_bytes();
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": BUNDLE, "digest": Digest::of(b"{}"),
        "size": 2}, "layers": []});
    let manifest = manifest.to_string().into_bytes();
    let signature = Digest::of(&manifest);
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": MANIFEST, "artifactType": BUNDLE,
        "digest": signature, "size": manifest.len()}]});
    let fails = Arc::new(AtomicBool::new(false));
    let failing = fails.clone();
    let host = serving::serve(move |path| match path {
        path if path.contains("/referrers/") && failing.load(Ordering::SeqCst) => (500, "text/plain", Vec::new()),
        path if path.contains("/referrers/") => (200, INDEX, list.to_string().into_bytes()),
        path if path.ends_with(&signature.hex()) => (200, MANIFEST, manifest.clone()),
        _ => (404, "text/plain", Vec::new()),
    });
    let cache = tempfile::tempdir().unwrap();
    let look = || {
        let client = Client::new(Options {
            cache: Some(cache.path().join("cache")),
            referrers_lifetime: Duration::ZERO,
            ..Options::default()
        });
        let reference = Reference::parse(&format!("{host}/app:1")).unwrap();
        let by = By::Key { pem: "not looked at".to_owned() };
        let accept = vec![Accept { name: "vendor".to_owned(), scopes: Vec::new(), by }];
        let trust = Trust { image: ImageSigned::Index, accept, ..Trust::default() };
        let verifier = Verifier { trust: &trust, name: reference.name(), now: 1_767_225_600 };
        let platform = HostPlatform { os: "linux".to_owned(), architecture: "amd64".to_owned() };
        let parsed = Index::parse(&index).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let repository = client.repository(&reference);
        let mut gathered = runtime.block_on(gather(&repository, &parsed, &platform, &verifier, false, None));
        gathered.standings.remove(&Digest::of(&index)).unwrap()
    };
    let unsigned = look();
    assert!(matches!(unsigned, Standing::Untrusted { .. }), "{unsigned:?}");
    fails.store(true, Ordering::SeqCst);
    let outdated = look();
    assert!(
        matches!(&outdated, Standing::Unknown { why } if why.contains("only an outdated list of signatures: ")),
        "{outdated:?}"
    );
}
