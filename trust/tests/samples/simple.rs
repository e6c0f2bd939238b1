//! cosign's older form.

use bestfit_selector::digest::Digest;
use bestfit_selector::trust::Trust;

use crate::sample::{Sample, accept, key, outcome, replace, site};

#[test]
fn each_kind_of_key_that_cosign_signs_with() {
    for name in ["p256", "p384", "rsa", "ed25519"] {
        let sample = Sample::read(&format!("simple-{name}"));
        assert_eq!(sample.outcome(key(name)), "trusted: lab", "{name}");
        let other = if name == "p256" { "p384" } else { "p256" };
        assert_eq!(sample.outcome(key(other)), "(simple signing), lab: it was made by another key", "{name}");
    }
}

#[test]
fn a_changed_document_says_what_was_changed() {
    let document = |from: &str, to: &str| Sample::read("simple-p256").bytes(|bytes| replace(bytes, from, to));
    let annotation = |text: &str| {
        Sample::read("simple-p256").manifest(|manifest| {
            manifest["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"] = text.into();
        })
    };
    let hex = crate::sample::subject().hex();
    let zeros = "0".repeat(64);
    let rows = [
        (document(&hex, &zeros), format!("(simple signing): it was made for sha256:{zeros}")),
        (document("lab/simple-p256", "lab/other"), "(simple signing), lab: it was made by another key".to_owned()),
        (
            document("cosign container image signature", "something else"),
            "(simple signing): the document cannot be read: it is of the type \"something else\", not \"cosign container \
             image signature\""
                .to_owned(),
        ),
        (
            document("\"optional\"", "\"critical\":1,\"optional\""),
            "(simple signing): the document cannot be read: line 1 column 240: the key \"critical\" stands there twice"
                .to_owned(),
        ),
        (
            annotation(""),
            "(simple signing): the document cannot be read: its layer has no signature in an annotation".to_owned(),
        ),
        (
            annotation("%%"),
            "(simple signing): the document cannot be read: Invalid symbol 37, offset 0.".to_owned(),
        ),
        (annotation("AAAA"), "(simple signing), lab: it was made by another key".to_owned()),
    ];
    for (sample, expected) in rows {
        assert_eq!(sample.outcome(key("p256")), expected);
    }
}

#[test]
fn a_signature_for_another_repository_does_not_count_where_scopes_are_set() {
    let standing = |scopes: &[&str]| {
        let mut entry = accept("lab", key("p256"));
        entry.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        outcome(Sample::read("simple-p256").standing(&site(vec![entry])))
    };
    assert_eq!(standing(&[]), "trusted: lab");
    assert_eq!(standing(&["registry.example/*", "127.0.0.1:5991/lab/*"]), "trusted: lab");
    assert_eq!(
        standing(&["registry.example/*"]),
        "(simple signing), lab: it was signed for 127.0.0.1:5991/lab/simple-p256, which the entry's scopes do not cover"
    );
}

#[test]
fn one_layer_can_be_revoked_alone() {
    let sample = Sample::read("simple-p256");
    let layer = Digest::of(&sample.signature);
    let trust = Trust { revoked_digests: vec![layer], ..site(vec![accept("lab", key("p256"))]) };
    assert_eq!(outcome(sample.standing(&trust)), format!("(simple signing): {layer} is revoked"));
}
