//! Bundles by keys, and the judgement over several.

use bestfit_selector::digest::Digest;
use bestfit_selector::trust::{By, Signer, Standing, Trust};
use bestfit_trust::{Form, MAX_BLOB, MAX_SIGNATURES, judge, problems, wanted};
use serde_json::json;

use crate::sample::{NOW, REPOSITORY, Sample, accept, key, outcome, recode, replace, site, subject};

#[test]
fn each_kind_of_key_that_cosign_signs_with() {
    for name in ["p256", "p384", "rsa", "ed25519"] {
        let sample = Sample::read(&format!("bundle-{name}"));
        assert_eq!(sample.outcome(key(name)), "trusted: lab", "{name}");
        let other = if name == "p256" { "p384" } else { "p256" };
        assert_eq!(sample.outcome(key(other)), "(bundle), lab: it was made by another key", "{name}");
    }
}

#[test]
fn a_changed_bundle_says_what_was_changed() {
    let zeros = format!("sha256:{}", "0".repeat(64));
    let payload = |from: &'static str, to: &'static str| {
        Sample::read("bundle-p256")
            .json(|bundle| recode(&mut bundle["dsseEnvelope"]["payload"], |bytes| replace(bytes, from, to)))
    };
    let bundle = |change: fn(&mut serde_json::Value)| Sample::read("bundle-p256").json(change);
    let hex = subject().hex();
    let rows = [
        (
            Sample::read("attestation"),
            "(bundle): an attestation is no signature: the predicate is \"https://cosign.sigstore.dev/attestation/v1\", not \
             \"https://sigstore.dev/cosign/sign/v1\""
                .to_owned(),
        ),
        (
            Sample::read("bundle-p256").manifest(|manifest| manifest["subject"]["digest"] = zeros.clone().into()),
            format!("(bundle): its manifest is about {zeros}"),
        ),
        (
            Sample::read("bundle-p256").manifest(|manifest| drop(manifest.as_object_mut().unwrap().remove("subject"))),
            "(bundle): its manifest is about nothing".to_owned(),
        ),
        (
            Sample::read("bundle-p256").json(|bundle| {
                recode(&mut bundle["dsseEnvelope"]["payload"], |bytes| replace(bytes, &hex, &"0".repeat(64)));
            }),
            format!("(bundle): it was made for {zeros}"),
        ),
        (
            payload("\"predicate\":{}", "\"predicate\":{\"a\":1}"),
            "(bundle), lab: it names this key, and is not its signature over these bytes".to_owned(),
        ),
        (
            bundle(|bundle| recode(&mut bundle["dsseEnvelope"]["signatures"][0]["sig"], |bytes| bytes[20] ^= 1)),
            "(bundle), lab: it names this key, and is not its signature over these bytes".to_owned(),
        ),
        (
            bundle(|bundle| bundle["dsseEnvelope"]["payloadType"] = "text/plain".into()),
            "(bundle): the type of the payload is \"text/plain\", not \"application/vnd.in-toto+json\"".to_owned(),
        ),
        (
            bundle(|bundle| {
                bundle["dsseEnvelope"]["signatures"] = json!([{"sig": "AA=="}, {"sig": "AA=="}]);
            }),
            "(bundle): the bundle cannot be read: JSON error: DSSE envelope must contain exactly one signature, found 2 at line 1 column 582"
                .to_owned(),
        ),
        (
            bundle(|bundle| bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2".into()),
            "(bundle): the bundle cannot be read: version 0.3 is read, not \
             application/vnd.dev.sigstore.bundle+json;version=0.2"
                .to_owned(),
        ),
        (
            bundle(|bundle| {
                let bundle = bundle.as_object_mut().unwrap();
                bundle.remove("dsseEnvelope");
                bundle.insert("messageSignature".to_owned(), json!({"signature": "AA=="}));
            }),
            "(bundle): the bundle signs a blob: what is signed must be a statement about an image (DSSE)".to_owned(),
        ),
        (
            Sample::read("bundle-p256").bytes(|bytes| replace(bytes, "{\"mediaType\"", "{\"mediaType\":1,\"mediaType\"")),
            "(bundle): the bundle cannot be read: line 1 column 26: the key \"mediaType\" stands there twice".to_owned(),
        ),
        (
            Sample::read("bundle-p256").bytes(|bytes| bytes.resize(MAX_BLOB as usize + 1, b' ')),
            "(bundle): it has 262145 bytes, more than the 262144 that are accepted".to_owned(),
        ),
    ];
    for (sample, expected) in rows {
        assert_eq!(sample.outcome(key("p256")), expected);
    }
}

#[test]
fn the_most_trusted_signer_counts() {
    let candidates = ["bundle-p384", "bundle-p256"].map(|name| Sample::read(name).candidate());
    let trust = site(vec![accept("vendor", key("p256")), accept("lab", key("p384"))]);
    let standing = judge(&trust, &subject(), REPOSITORY, &candidates, NOW);
    assert_eq!(standing, Standing::Trusted(Signer { rank: 2, name: "vendor".to_owned() }));
    let standing = judge(&trust, &subject(), REPOSITORY, &candidates[..1], NOW);
    assert_eq!(standing, Standing::Trusted(Signer { rank: 1, name: "lab".to_owned() }));
}

#[test]
fn scopes_say_which_repositories_an_entry_speaks_for() {
    let standing = |scopes: &[&str]| {
        let mut entry = accept("lab", key("p256"));
        entry.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        outcome(Sample::read("bundle-p256").standing(&site(vec![entry])))
    };
    assert_eq!(standing(&["registry.example/hpc/*"]), "trusted: lab");
    assert_eq!(standing(&["other.example/*", "registry.example/hpc/solver"]), "trusted: lab");
    let refused = "(bundle), lab: it holds, but the entry's scopes do not cover registry.example/hpc/solver";
    assert_eq!(standing(&["other.example/*"]), refused);
    assert_eq!(standing(&["registry.example/hpc"]), refused);
}

#[test]
fn what_is_revoked_counts_for_nothing() {
    let sample = Sample::read("bundle-p256");
    let candidate = sample.candidate();
    let blob = *candidate.blobs.keys().next().unwrap();
    for digest in [candidate.digest, blob] {
        let trust = Trust { revoked_digests: vec![digest], ..site(vec![accept("lab", key("p256"))]) };
        assert_eq!(outcome(sample.standing(&trust)), format!("(bundle): {digest} is revoked"));
    }
    let trust = Trust { revoked_digests: vec![subject()], ..site(vec![accept("lab", key("p256"))]) };
    assert_eq!(sample.standing(&trust), Standing::Untrusted { why: vec![format!("{} is revoked", subject())] });
    let id: Digest = "sha256:ID".replace("ID", &key_id("p256")).parse().unwrap();
    let trust = Trust { revoked_keys: vec![id], ..site(vec![accept("lab", key("p256"))]) };
    assert_eq!(outcome(sample.standing(&trust)), format!("(bundle), lab: the key {id} is revoked"));
}

/// SHA-256 over the DER of a key, by hand: the body of the PEM.
fn key_id(name: &str) -> String {
    use base64::Engine as _;
    let pem = crate::sample::text(&format!("keys/{name}.pub"));
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    Digest::of(&base64::engine::general_purpose::STANDARD.decode(body).unwrap()).hex()
}

#[test]
fn what_could_not_be_read_leaves_the_standing_unknown() {
    let trust = site(vec![accept("lab", key("p256"))]);
    let good = Sample::read("bundle-p256").candidate();
    let mut unread = Sample::read("bundle-p384").candidate();
    for blob in unread.blobs.values_mut() {
        *blob = Err("503 Service Unavailable".to_owned());
    }
    let standing = judge(&trust, &subject(), REPOSITORY, std::slice::from_ref(&unread), NOW);
    assert_eq!(outcome(standing), "unknown: (bundle) could not be read: 503 Service Unavailable");
    unread.blobs.clear();
    let standing = judge(&trust, &subject(), REPOSITORY, std::slice::from_ref(&unread), NOW);
    assert_eq!(outcome(standing), "unknown: (bundle) could not be read: it was not fetched");
    let standing = judge(&trust, &subject(), REPOSITORY, &[unread, good], NOW);
    assert_eq!(outcome(standing), "trusted: lab");
    let nothing = Standing::Untrusted { why: vec!["there is no signature".to_owned()] };
    assert_eq!(judge(&trust, &subject(), REPOSITORY, &[], NOW), nothing);
}

#[test]
fn a_flood_of_signatures_is_cut_and_leaves_the_standing_unknown() {
    let trust = site(vec![accept("lab", key("p256"))]);
    let mut flood = vec![Sample::read("bundle-p384").candidate(); MAX_SIGNATURES];
    let good = Sample::read("bundle-p256").candidate();
    flood.push(good.clone());
    let standing = judge(&trust, &subject(), REPOSITORY, &flood, NOW);
    let why = "there are more than 32 signatures; the rest is not looked at".to_owned();
    assert_eq!(standing, Standing::Unknown { why });
    flood[0] = good;
    assert_eq!(outcome(judge(&trust, &subject(), REPOSITORY, &flood, NOW)), "trusted: lab");
}

#[test]
fn the_manifest_says_what_to_fetch_whatever_the_descriptor_said() {
    let sample = Sample::read("bundle-p256");
    let candidate = sample.candidate();
    let wants = wanted(&candidate.manifest).unwrap();
    assert_eq!(wants.form, Form::Bundle);
    assert_eq!(wants.blobs, [(Digest::of(&sample.signature), sample.signature.len() as u64)]);
    assert_eq!(wanted(&Sample::read("notation-cose-p256").candidate().manifest).unwrap().form, Form::Notation);
    assert_eq!(wanted(&Sample::read("simple-p256").candidate().manifest).unwrap().form, Form::SimpleSigning);
    assert_eq!(wanted(&crate::sample::file("subject.json")), None);
    assert_eq!(wanted(b"{"), None);
    let long = sample.manifest(|manifest| {
        let layer = manifest["layers"][0].clone();
        *manifest["layers"].as_array_mut().unwrap() = vec![layer; 100];
    });
    assert_eq!(wanted(&serde_json::to_vec(&long.manifest).unwrap()).unwrap().blobs.len(), MAX_SIGNATURES);
}

#[test]
fn keys_that_cannot_be_used_are_named_before_they_are_needed() {
    let pem = |pem: String| By::Key { pem };
    let both = crate::sample::text("keys/p256.pub") + &crate::sample::text("keys/p384.pub");
    let rows = [
        (key("p256"), None),
        (key("p384"), None),
        (key("rsa"), None),
        (key("ed25519"), None),
        (key("rsa1024"), Some("the key cannot be used: an RSA key of 1024 bits: 2048 to 8192 are accepted")),
        (
            key("p521"),
            Some(
                "the key cannot be used: keys of the kind ECDSA P-521 are not supported: ECDSA P-256 and P-384, RSA, \
                 Ed25519 are",
            ),
        ),
        (pem(String::new()), Some("the key cannot be used: it is no PEM with one block \"PUBLIC KEY\"")),
        (pem("-----BEGIN".to_owned()), Some("the key cannot be used: it is no PEM with one block \"PUBLIC KEY\"")),
        (pem(both), Some("the key cannot be used: it has 2 keys: one entry is one key")),
    ];
    let (accepted, expected): (Vec<_>, Vec<_>) =
        rows.into_iter().map(|(by, problem)| (accept("lab", by), problem)).unzip();
    let found = problems(&site(accepted));
    let expected: Vec<(usize, String)> = expected
        .into_iter()
        .enumerate()
        .filter_map(|(position, problem)| problem.map(|problem| (position, problem.to_owned())))
        .collect();
    assert_eq!(found, expected);
}
