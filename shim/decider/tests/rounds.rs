//! A cold look at an index of 64 entries whose artifacts are signed takes four rounds of requests, each sent side by side: the
//! server answers none of a round before all of it are there, so that a client that asks one after the other never ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod serving;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bestfit_decider::{Verifier, gather};
use bestfit_registry::{Client, Options, Reference};
use bestfit_selector::decision::{Evidence, HostPlatform};
use bestfit_selector::digest::Digest;
use bestfit_selector::index::{ARTIFACT_TYPE, Index};
use bestfit_selector::trust::{Accept, By, ImageSigned, Standing, Trust, TrustMode};
use serde_json::{Value, json};

const ENTRIES: usize = 64;
/// Requests of each round: lists of the index and the entries; manifests of artifacts with their own lists and tags; documents
/// and manifests of signatures; bundles.
const ROUNDS: [usize; 4] = [ENTRIES + 1, 3 * ENTRIES, 2 * ENTRIES, ENTRIES];
/// How long the test waits for a round that does not come together.
const PATIENCE: Duration = Duration::from_secs(120);
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCUMENT: &str = "application/vnd.oci.image-compatibility.spec.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// Nobody signed with it.
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE1hyVAJIHSKi0XT0sh8k/RwJGRvmu
8CM3QCN86GuCulY7pvPd1nEObpOoEX7wCtICcXUrYtS4uTVoBxqkK89A9A==
-----END PUBLIC KEY-----
";

/// What lies in the registry: by path, the round in which it is asked for, its media type and its bytes.
#[derive(Default)]
struct Content(BTreeMap<String, (usize, &'static str, Vec<u8>)>);

impl Content {
    fn put(&mut self, round: usize, place: &str, media_type: &'static str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.0.insert(format!("/v2/app/{place}/{digest}"), (round, media_type, bytes.to_vec()));
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// A manifest about `subject` with one layer.
    fn attach(&mut self, round: usize, kind: &str, subject: &Value, layer: (&'static str, String)) -> Value {
        let layer = self.put(round + 1, "blobs", layer.0, layer.1.as_bytes());
        let config = json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "config": config, "layers": [layer], "subject": subject,
        });
        let mut descriptor = self.put(round, "manifests", MANIFEST, manifest.to_string().as_bytes());
        descriptor["artifactType"] = kind.into();
        descriptor
    }

    fn list(&mut self, round: usize, subject: &Value, manifests: &[&Value]) {
        let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
        let digest = subject["digest"].as_str().unwrap();
        self.0.insert(format!("/v2/app/referrers/{digest}"), (round, INDEX, list.into_bytes()));
    }
}

/// The index's bytes, and everything about it.
fn signed_index() -> (Vec<u8>, Content) {
    let mut content = Content::default();
    let mut entries = Vec::new();
    for number in 0..ENTRIES {
        let digest = Digest::of(format!("image {number}").as_bytes());
        let entry = json!({"mediaType": MANIFEST, "digest": digest, "size": 1});
        let document = format!(r#"{{"compatibilities":{{"nfd":{{"cpu-model.id":"{number}"}}}}}}"#);
        let artifact = content.attach(1, ARTIFACT_TYPE, &entry, (DOCUMENT, document));
        let signature = content.attach(2, BUNDLE, &artifact, (BUNDLE, format!(r#"{{"bundle":{number}}}"#)));
        content.list(0, &entry, &[&artifact]);
        content.list(1, &artifact, &[&signature]);
        let mut entry = entry;
        entry["platform"] = json!({"os": "linux", "architecture": "amd64"});
        entries.push(entry);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string().into_bytes();
    content.list(0, &json!({"digest": Digest::of(&index)}), &[]);
    (index, content)
}

/// Counts the requests of each round, and keeps each waiting until its round is complete.
#[derive(Default)]
struct Rounds {
    came: Mutex<[usize; 4]>,
    more: Condvar,
}

impl Rounds {
    fn complete(&self, round: usize) {
        let mut came = self.came.lock().unwrap();
        came[round] += 1;
        self.more.notify_all();
        while came[round] < ROUNDS[round] {
            let (guard, late) = self.more.wait_timeout(came, PATIENCE).unwrap();
            came = guard;
            if late.timed_out() {
                return;
            }
        }
    }
}

#[test]
fn a_cold_look_at_64_signed_entries_takes_four_rounds() {
    let (bytes, content) = signed_index();
    let rounds = Arc::new(Rounds::default());
    let counted = rounds.clone();
    let host = serving::serve(move |path| {
        let found = content.0.get(path);
        // Nobody used the older form: its tags are asked for with the artifacts' lists.
        counted.complete(found.map_or(1, |(round, ..)| *round));
        found.map_or((404, "text/plain", Vec::new()), |(_, kind, body)| (200, *kind, body.clone()))
    });
    let client = Client::new(Options::default());
    let reference = Reference::parse(&format!("{host}/app:1")).unwrap();
    let repository = client.repository(&reference);
    let by = By::Key { pem: KEY.to_owned() };
    let accept = vec![Accept { name: "vendor".to_owned(), scopes: Vec::new(), by }];
    let trust = Trust { mode: TrustMode::Enforce, accept, ..Trust::default() };
    let verifier = Verifier { trust: &trust, name: reference.name(), now: 1_767_225_600 };
    let (index, platform) =
        (Index::parse(&bytes).unwrap(), HostPlatform { os: "linux".to_owned(), architecture: "amd64".to_owned() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let gathered = runtime.block_on(gather(&repository, &index, &platform, &verifier, false, None));
    assert_eq!(*rounds.came.lock().unwrap(), ROUNDS);
    let read = gathered.evidence.values().filter(|evidence| matches!(evidence, Evidence::Read { .. }));
    assert_eq!(read.count(), ENTRIES + 1);
    let unsigned = gathered.standings.values().filter(|standing| matches!(standing, Standing::Untrusted { .. }));
    assert_eq!(unsigned.count(), ENTRIES, "{:?}", gathered.standings.values().next());
    assert!(gathered.signatures.values().all(|signatures| signatures.len() == 1));
}

#[test]
fn a_subject_that_is_silent_takes_nothing_from_the_others() {
    let entry = |name: &str| json!({"mediaType": MANIFEST, "digest": Digest::of(name.as_bytes()), "size": 1, "platform": {"os": "linux", "architecture": "amd64"}});
    let manifests = [entry("silent"), entry("plain")];
    let bytes = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string().into_bytes();
    let (silent, index) = (Digest::of(b"silent"), Index::parse(&bytes).unwrap());
    let host = serving::serve(move |path| {
        while path.contains(&silent.hex()) {
            std::thread::park();
        }
        (404, "text/plain", Vec::new())
    });
    let reference = Reference::parse(&format!("{host}/app:1")).unwrap();
    let repository = Client::new(Options::default()).repository(&reference);
    let trust = Trust { image: ImageSigned::IndexOrEntry, ..Trust::default() };
    let verifier = Verifier { trust: &trust, name: reference.name(), now: 1_767_225_600 };
    let platform = HostPlatform { os: "linux".to_owned(), architecture: "amd64".to_owned() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limit = Some(Duration::from_secs(1));
    let gathered = runtime.block_on(gather(&repository, &index, &platform, &verifier, true, limit));
    let late = "no answer within the deadline of 1s".to_owned();
    for (subject, evidence) in &gathered.evidence {
        let unread = Evidence::Unread { why: late.clone() };
        assert_eq!(*evidence == unread, *subject == silent, "{subject}: {evidence:?}");
    }
    assert_eq!(gathered.evidence.len(), 3);
    assert_eq!(gathered.images.unwrap()[&silent].read, Err(late));
    assert_eq!(gathered.fresh, None, "it is asked for again");
}
