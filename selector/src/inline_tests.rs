use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::artifact::LAYER_TYPE;
use crate::decide::decide;
use crate::decision::{Decision, Inputs, Outcome, Verdict};
use crate::index::ARTIFACT_TYPE;
use crate::nfd;
use crate::testing::{bare_inputs, facts, image, index, wrap};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const FITS: &str = r#""host":{"kernel.version":">=5.10"}"#;
const TOO_NEW: &str = r#""host":{"kernel.version":">=9"}"#;

/// A descriptor that carries its content and is about an image.
fn carrying(media_type: &str, content: &[u8], about: &str) -> Value {
    json!({
        "mediaType": media_type, "artifactType": ARTIFACT_TYPE, "digest": Digest::of(content),
        "size": content.len(), "data": STANDARD.encode(content),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {SUBJECT_ANNOTATION: about},
    })
}

fn document(groups: &str, about: &str) -> Value {
    carrying(LAYER_TYPE, wrap(groups).as_bytes(), about)
}

/// `plain` and `better`, and what the index carries; nothing else was asked.
fn inputs(carried: &[Value]) -> Inputs {
    let images = index(&[("plain", "linux/amd64"), ("better", "linux/amd64")]);
    let mut images: Value = serde_json::from_slice(&images).unwrap();
    images["manifests"].as_array_mut().unwrap().extend(carried.iter().cloned());
    let mut inputs = bare_inputs(images.to_string().into_bytes(), facts(&[("host", "kernel.version", "6.1".into())]));
    inputs.evidence.clear();
    inputs
}

fn decided(carried: &[Value]) -> Decision {
    decide(&inputs(carried)).unwrap()
}

fn better() -> String {
    image("better").to_string()
}

/// What is said about the better entry: its verdict and the first reason that is no "yes".
fn said(carried: &[Value]) -> (Verdict, String) {
    let decision = decided(carried);
    let entry = &decision.entries[1];
    let open = entry.reasons.iter().find(|reason| reason.answer != crate::decision::Answer::True);
    (entry.verdict, open.map_or_else(String::new, |reason| reason.text.clone()))
}

#[test]
fn what_the_index_carries_decides_alone() {
    let decision = decided(&[document(FITS, &better())]);
    assert_eq!((decision.outcome, decision.preferred), (Outcome::Swap, vec![image("better")]));
    assert_eq!(decision.entries[0].verdict, Verdict::Undeclared);
    assert_eq!(decision.entries[2].verdict, Verdict::Skipped);
}

#[test]
fn several_about_one_entry_all_hold() {
    // Same groups, no date: neither replaces the other, in whatever order.
    let (fits, too_new) = (document(FITS, &better()), document(TOO_NEW, &better()));
    assert_eq!(said(&[fits.clone(), too_new.clone()]).0, Verdict::Incompatible);
    assert_eq!(said(&[too_new, fits.clone()]).0, Verdict::Incompatible);
    assert_eq!(decided(&[fits.clone(), fits]).entries[1].artifacts.len(), 1, "the same one twice is one");
}

#[test]
fn one_about_the_index_holds_for_every_entry() {
    let decision = decided(&[document(FITS, &better()), document(TOO_NEW, WHOLE_INDEX)]);
    let verdicts: Vec<Verdict> = decision.entries.iter().map(|entry| entry.verdict).collect();
    assert_eq!(verdicts[..2], [Verdict::Incompatible, Verdict::Incompatible]);
}

#[test]
fn every_type_can_be_carried() {
    let rules = br#"{"compatibilities": [{"rules": [{"name": "r", "matchFeatures": [
        {"feature": "kernel.version", "matchExpressions": {"major": {"op": "In", "value": ["5"]}}}]}]}]}"#;
    let mut nfd = carrying(nfd::LAYER_TYPE, rules, &better());
    nfd["artifactType"] = nfd::ARTIFACT_TYPE.into();
    let mut asked = inputs(&[nfd]);
    asked.facts.features.set_attribute("kernel.version", "major", "6");
    assert_eq!(decide(&asked).unwrap().entries[1].verdict, Verdict::Incompatible);
}

fn manifest(layers: &Value, subject: Option<Digest>) -> Vec<u8> {
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": ARTIFACT_TYPE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json"}, "layers": layers,
    });
    if let Some(digest) = subject {
        manifest["subject"] = json!({"mediaType": MANIFEST, "digest": digest, "size": 1});
    }
    manifest.to_string().into_bytes()
}

#[test]
fn a_manifest_carries_its_layers() {
    let layer = |groups: &str| document(groups, "");
    let whole = manifest(&json!([layer(FITS), layer(TOO_NEW)]), Some(image("better")));
    assert_eq!(said(&[carrying(MANIFEST, &whole, &better())]).0, Verdict::Incompatible);
    let no_subject = manifest(&json!([layer(FITS)]), None);
    assert_eq!(said(&[carrying(MANIFEST, &no_subject, &better())]).0, Verdict::Compatible);
    let other = manifest(&json!([layer(FITS)]), Some(image("plain")));
    let (verdict, text) = said(&[carrying(MANIFEST, &other, &better())]);
    assert_eq!(verdict, Verdict::Undetermined);
    assert!(text.ends_with("its manifest is about sha256:be329575236f, its entry says otherwise"), "{text}");
    let mut bare = layer(FITS);
    bare.as_object_mut().unwrap().remove("data");
    let (verdict, text) = said(&[carrying(MANIFEST, &manifest(&json!([bare]), None), &better())]);
    assert_eq!(verdict, Verdict::Undetermined);
    assert!(text.ends_with("layer 0: its manifest does not carry it in `data`"), "{text}");
}

/// One thing is wrong: the entry that it is about is undetermined, and the default stays.
#[test]
fn what_is_wrong_with_it_never_wins() {
    let good = || document(FITS, &better());
    let with = |field: &str, value: Value| {
        let mut entry = good();
        entry[field] = value;
        entry
    };
    let without = |field: &str| {
        let mut entry = good();
        entry.as_object_mut().unwrap().remove(field);
        entry
    };
    let huge = format!("{}{}", wrap(FITS), " ".repeat(256 << 10));
    let created = json!({SUBJECT_ANNOTATION: better(), "org.opencontainers.image.created": "2099-01-01T00:00:00Z"});
    let rows = [
        (with("data", "AA*A".into()), "`data` is no base64: Invalid symbol 42, offset 2."),
        (with("data", "AAA".into()), "`data` is no base64: Invalid padding"),
        (with("size", 1.into()), "`data` has 56 bytes, its descriptor says 1"),
        (with("digest", json!(Digest::of(b"other"))), "`data` does not have the digest sha256:d9298a10d1b0"),
        (without("data"), "the index does not carry its content in `data`"),
        (with("mediaType", "text/plain".into()), "an inline artifact has the media type \"text/plain\""),
        (with("annotations", created), "created 2099-01-01T00:00:00Z lies in the future"),
        (
            carrying(LAYER_TYPE, b"{\n \"compatibilities\": {,", &better()),
            "layer 0: line 2 column 22: key must be a string",
        ),
        (
            carrying(LAYER_TYPE, huge.as_bytes(), &better()),
            "layer 0: 262200 bytes are more than the 262144 that are accepted",
        ),
        (carrying(MANIFEST, b"{}", &better()), "manifest: line 1 column 2: missing field `schemaVersion`"),
    ];
    for (entry, expected) in rows {
        let decision = decided(std::slice::from_ref(&entry));
        let text = &decision.entries[1].reasons[0].text;
        assert!(text.ends_with(expected), "{expected}: {text}");
        assert_eq!((decision.entries[1].verdict, decision.outcome), (Verdict::Undetermined, Outcome::Default));
        // Beside a good one, too: it may have asked for more.
        assert_eq!(said(&[good(), entry]).0, Verdict::Undetermined, "{expected}");
    }
}

#[test]
fn one_that_is_about_nobody_may_be_about_any() {
    for (about, expected) in [
        ("nothing", "io.bestfit.subject = \"nothing\" names no entry of the index"),
        ("sha256:00", "io.bestfit.subject = \"sha256:00\" names no entry of the index"),
        ("", "io.bestfit.subject = \"\" names no entry of the index"),
    ] {
        let decision = decided(&[document(FITS, &better()), document(TOO_NEW, about)]);
        let text = &decision.entries[1].reasons[0].text;
        assert!(text.ends_with(expected), "{text}");
        assert_eq!((decision.outcome, decision.entries[1].verdict), (Outcome::Default, Verdict::Undetermined));
    }
    let mut entry = document(FITS, "");
    entry.as_object_mut().unwrap().remove("annotations");
    assert!(said(&[entry]).1.ends_with("carried by the index without io.bestfit.subject: it may be about any entry"));
}

/// The same bytes under two types have two meanings, each where it is written.
#[test]
fn the_type_of_an_entry_is_its_own() {
    let bytes = br#"{"compatibilities": {"host": {"kernel.version": ">=5.10"}}}"#;
    let mut nfd = carrying(nfd::LAYER_TYPE, bytes, &image("plain").to_string());
    nfd["artifactType"] = nfd::ARTIFACT_TYPE.into();
    for carried in
        [[nfd.clone(), carrying(LAYER_TYPE, bytes, &better())], [carrying(LAYER_TYPE, bytes, &better()), nfd]]
    {
        let decision = decided(&carried);
        let verdicts = (decision.entries[0].verdict, decision.entries[1].verdict);
        assert_eq!(verdicts, (Verdict::Undetermined, Verdict::Compatible));
    }
}

proptest! {
    #[test]
    fn no_data_makes_it_panic(data in ".{0,60}", about in ".{0,20}", kind in 0..3_usize, document in ".{0,200}") {
        let kind = [LAYER_TYPE, nfd::LAYER_TYPE, MANIFEST][kind];
        let mut raw = carrying(kind, b"", &better());
        raw["data"] = data.into();
        let carried = [raw, carrying(kind, document.as_bytes(), &better()), carrying(kind, b"{}", &about)];
        prop_assert!(decide(&inputs(&carried)).is_ok());
    }
}
