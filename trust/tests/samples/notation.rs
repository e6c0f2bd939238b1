//! Notary Project's signatures in both envelopes.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bestfit_selector::digest::Digest;
use bestfit_selector::time::Time;
use bestfit_selector::trust::{By, Trust};
use bestfit_trust::judge_until;
use serde_json::{Value, json};

use crate::sample::{NOW, REPOSITORY, Sample, accept, outcome, replace, site, subject, text};

/// 2040, when the leaf is no longer valid, and 2020, when nothing of it was valid.
const LATER: i64 = 2_208_988_800;
const EARLIER: i64 = 1_577_836_800;
const ENVELOPES: [&str; 2] = ["jws", "cose"];

fn by(roots: String, identities: &[&str], tsa: Option<String>) -> By {
    By::Notation { roots, identities: identities.iter().map(|name| (*name).to_owned()).collect(), tsa }
}

fn root() -> By {
    by(text("certificates/root.crt"), &[], None)
}

fn stamped() -> By {
    by(text("certificates/root.crt"), &[], Some(text("certificates/tsa-root.crt")))
}

/// A JWS with other signed headers, or another payload.
fn recoded(part: &str, change: impl FnOnce(&mut Value)) -> Sample {
    Sample::read("notation-jws-p256").json(|envelope| {
        let bytes = URL_SAFE_NO_PAD.decode(envelope[part].as_str().unwrap()).unwrap();
        let mut value = serde_json::from_slice(&bytes).unwrap();
        change(&mut value);
        envelope[part] = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&value).unwrap()).into();
    })
}

/// A COSE envelope with one text in it replaced by another of the same length.
fn reworded(from: &str, to: &str) -> Sample {
    assert_eq!(from.len(), to.len());
    Sample::read("notation-cose-p256").bytes(|bytes| {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    })
}

#[test]
fn each_kind_of_key_in_each_envelope_below_each_store() {
    for envelope in ENVELOPES {
        for kind in ["p256", "p384", "rsa", "tsa"] {
            let sample = Sample::read(&format!("notation-{envelope}-{kind}"));
            assert_eq!(sample.outcome(root()), "trusted: lab", "{envelope} {kind}");
            assert_eq!(sample.outcome(stamped()), "trusted: lab", "{envelope} {kind}");
            let between = by(text("certificates/intermediate.crt"), &[], None);
            assert_eq!(sample.outcome(between), "trusted: lab", "{envelope} {kind}");
            let other = by(text("certificates/other-root.crt"), &[], None);
            let expected = "(notation), lab: its certificate leads to none of the roots: UnknownIssuer";
            assert_eq!(sample.outcome(other), expected, "{envelope} {kind}");
        }
        let alone = Sample::read(&format!("notation-{envelope}-alone"));
        assert_eq!(alone.outcome(by(text("certificates/alone.crt"), &[], None)), "trusted: lab", "{envelope}");
        assert!(alone.outcome(root()).ends_with("none of the roots: UnknownIssuer"), "{envelope}");
    }
}

#[test]
fn a_changed_jws_says_what_was_changed() {
    let zeros = format!("sha256:{}", "0".repeat(64));
    let protected = |change: fn(&mut Value)| recoded("protected", change);
    let jws = |change: fn(&mut Value)| Sample::read("notation-jws-p256").json(change);
    let rows = [
        (
            recoded("payload", |payload| payload["targetArtifact"]["digest"] = zeros.clone().into()),
            format!("(notation): it was made for {zeros}"),
        ),
        (
            recoded("payload", |payload| payload["targetArtifact"]["size"] = 1.into()),
            "(notation), lab: it was made by another key".to_owned(),
        ),
        (
            recoded("payload", |payload| payload["other"] = 1.into()),
            "(notation): the payload cannot be read: line 1 column 178: unknown field `other`, expected `targetArtifact`"
                .to_owned(),
        ),
        (
            protected(|header| header["io.cncf.notary.signingTime"] = "2026-01-01T00:00:00Z".into()),
            "(notation), lab: it was made by another key".to_owned(),
        ),
        (
            protected(|header| header["io.cncf.notary.signingTime"] = "soon".into()),
            "(notation): the envelope cannot be read: \"soon\" is no time".to_owned(),
        ),
        (
            protected(|header| drop(header.as_object_mut().unwrap().remove("io.cncf.notary.signingTime"))),
            "(notation): the envelope cannot be read: it says no time of signing".to_owned(),
        ),
        (
            protected(|header| header["alg"] = "ES384".into()),
            "(notation), lab: it was signed by \"ES384\", which is not how its key signs".to_owned(),
        ),
        (
            protected(|header| header["alg"] = "none".into()),
            "(notation), lab: it was signed by \"none\", which is not how its key signs".to_owned(),
        ),
        (
            protected(|header| header["alg"] = "HS256".into()),
            "(notation), lab: it was signed by \"HS256\", which is not how its key signs".to_owned(),
        ),
        (
            protected(|header| header["cty"] = "text/plain".into()),
            "(notation): the envelope cannot be read: its payload is of the type \"text/plain\"".to_owned(),
        ),
        (
            protected(|header| header["io.cncf.notary.signingScheme"] = "notary.x509.signingAuthority".into()),
            "(notation): the envelope cannot be read: the signing scheme \"notary.x509.signingAuthority\" is not supported"
                .to_owned(),
        ),
        (
            protected(|header| header["crit"].as_array_mut().unwrap().push("other".into())),
            "(notation): the envelope cannot be read: its critical header \"other\" is not understood".to_owned(),
        ),
        (
            protected(|header| header["crit"] = json!([])),
            "(notation): the envelope cannot be read: its signing scheme and its expiry must be critical headers".to_owned(),
        ),
        (
            protected(|header| header["io.cncf.notary.expiry"] = "2040-01-01T00:00:00Z".into()),
            "(notation): the envelope cannot be read: its signing scheme and its expiry must be critical headers".to_owned(),
        ),
        (
            protected(|header| header["io.cncf.notary.verificationPlugin"] = "plugin".into()),
            "(notation): the envelope cannot be read: it asks for a plugin to verify it".to_owned(),
        ),
        (
            jws(|envelope| envelope["header"]["x5c"] = json!([])),
            "(notation): the envelope cannot be read: it has no certificate".to_owned(),
        ),
        (
            jws(|envelope| {
                let chain = envelope["header"]["x5c"].as_array_mut().unwrap();
                chain.extend(vec![chain[1].clone(); 8]);
            }),
            "(notation), lab: it brings 10 certificates besides its own; 8 are accepted".to_owned(),
        ),
        (
            jws(|envelope| drop(envelope["header"]["x5c"].as_array_mut().unwrap().remove(1))),
            "(notation), lab: its certificate leads to none of the roots: UnknownIssuer".to_owned(),
        ),
        (
            Sample::read("notation-jws-p256").bytes(|bytes| replace(bytes, "{\"payload\"", "{\"payload\":1,\"payload\"")),
            "(notation): the envelope cannot be read: line 1 column 22: the key \"payload\" stands there twice".to_owned(),
        ),
        (
            jws(|envelope| envelope["signatures"] = json!([])),
            "(notation): the envelope cannot be read: UNKNOWN".to_owned(),
        ),
    ];
    for (sample, expected) in rows {
        let outcome = sample.outcome(root());
        match expected.strip_suffix("UNKNOWN") {
            Some(begin) => assert!(outcome.starts_with(begin) && outcome.contains("unknown field"), "{outcome}"),
            None => assert_eq!(outcome, expected),
        }
    }
}

#[test]
fn a_changed_cose_says_what_was_changed() {
    let digest = crate::sample::subject().hex();
    let zeros = "0".repeat(64);
    let cose = |change: fn(&mut Vec<u8>)| Sample::read("notation-cose-p256").bytes(change);
    let rows = [
        (reworded(&digest, &zeros), format!("(notation): it was made for sha256:{zeros}")),
        (reworded("\"size\":", "\"siz3\":"), "(notation), lab: it was made by another key".to_owned()),
        (cose(|bytes| *bytes.last_mut().unwrap() ^= 1), "(notation), lab: it was made by another key".to_owned()),
        (
            reworded("notary.x509", "notary.x50X"),
            "(notation): the envelope cannot be read: the signing scheme \"notary.x50X\" is not supported".to_owned(),
        ),
        (
            // The first of the two is the name in the list of critical headers.
            reworded("io.cncf.notary.signingScheme", "io.cncf.notary.signingSchemX"),
            "(notation): the envelope cannot be read: its critical header \"io.cncf.notary.signingSchemX\" is not understood"
                .to_owned(),
        ),
        (
            reworded("io.cncf.notary.signingTime", "io.cncf.notary.signingTimX"),
            "(notation): the envelope cannot be read: it says no time of signing".to_owned(),
        ),
        (
            reworded("application/vnd.cncf.notary.payload.v1+json", "application/vnd.cncf.notary.payload.v2+json"),
            "(notation): the envelope cannot be read: its payload is of the type \
             \"application/vnd.cncf.notary.payload.v2+json\""
                .to_owned(),
        ),
        (
            // Algorithm ES256 (-7) becomes ES384 (-35): two bytes, so that the protected headers grow by one.
            cose(|bytes| {
                let at = bytes.windows(3).position(|window| window == [0xa5, 0x01, 0x26]).unwrap();
                bytes[at - 1] += 1;
                bytes.splice(at + 2..at + 3, [0x38, 0x22]).for_each(drop);
            }),
            "(notation), lab: it was signed by \"ES384\", which is not how its key signs".to_owned(),
        ),
        (
            cose(|bytes| bytes.splice(..1, []).for_each(drop)),
            "(notation): the envelope cannot be read: got array, expected tag".to_owned(),
        ),
        (cose(|bytes| bytes.push(0)), "(notation): the envelope cannot be read: extraneous data in CBOR input".to_owned()),
    ];
    for (sample, expected) in rows {
        assert_eq!(sample.outcome(root()), expected);
    }
}

#[test]
fn dates_of_signature_and_certificates() {
    for envelope in ENVELOPES {
        let sample = |kind: &str| Sample::read(&format!("notation-{envelope}-{kind}"));
        let expired = sample("p256").outcome_at(root(), LATER);
        assert!(expired.contains("O=Lab,ST=BE,C=DE\" was valid until 2036-"), "{expired}");
        let early = sample("p256").outcome_at(root(), EARLIER);
        assert!(early.contains("was to be valid from 2026-"), "{early}");
        assert_eq!(sample("tsa").outcome_at(stamped(), LATER), "trusted: lab", "{envelope}");
        let unknown = by(text("certificates/root.crt"), &[], Some(text("certificates/other-root.crt")));
        let expected = "(notation), lab: its time stamp: its certificate leads to none of the roots: UnknownIssuer";
        assert_eq!(sample("tsa").outcome_at(unknown, NOW), expected, "{envelope}");
        // The expiry is a day after signing, whatever a time stamp proves.
        let over = sample("expiry").outcome_at(root(), NOW);
        assert!(over.contains("lab: the signature was valid until 2026-"), "{over}");
        let end =
            Time::parse(over.split(' ').find(|word| word.starts_with("2026-")).unwrap().trim_end_matches(',')).unwrap();
        let trust = site(vec![accept("lab", root())]);
        let judged = judge_until(&trust, &subject(), REPOSITORY, &[sample("expiry").candidate()], end.seconds - 60);
        assert!(judged.0.signer().is_some() && judged.1 == end.seconds - 1, "{envelope}: {judged:?}");
    }
}

#[test]
fn identities_are_those_of_the_trust_policy() {
    let with = |identities: &[&str]| {
        Sample::read("notation-jws-p256").outcome(by(text("certificates/root.crt"), identities, None))
    };
    assert_eq!(with(&["x509.subject: C=DE, ST=BE, O=Lab"]), "trusted: lab");
    assert_eq!(with(&["x509.subject: C=US, ST=WA, O=Other", "C=DE, ST=BE, O=Lab, OU=HPC, CN=signer"]), "trusted: lab");
    assert_eq!(with(&["*"]), "trusted: lab");
    let refused = "(notation), lab: its certificate is for \"CN=signer,OU=HPC,O=Lab,ST=BE,C=DE\", none of the entry's \
                   identities";
    assert_eq!(with(&["C=DE, ST=BE, O=Lab, CN=other"]), refused);
    assert_eq!(with(&["C=DE, ST=BE, O=Lab, L=Berlin"]), refused);
    assert_eq!(with(&["*", "C=DE"]), "(notation), lab: the identity \"*\": each part is NAME=VALUE");
}

#[test]
fn certificates_are_revoked() {
    let pem = text("certificates/intermediate.crt");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let id = Digest::of(&STANDARD.decode(body).unwrap());
    for envelope in ENVELOPES {
        let trust = Trust { revoked_keys: vec![id], ..site(vec![accept("lab", root())]) };
        let outcome = outcome(Sample::read(&format!("notation-{envelope}-p256")).standing(&trust));
        assert_eq!(outcome, format!("(notation), lab: the key {id} is revoked"));
    }
}

#[test]
fn entries_of_other_kinds_have_nothing_to_do_with_it() {
    let outcome = Sample::read("notation-jws-p256").outcome(crate::sample::key("p256"));
    assert_eq!(outcome, "(notation): no entry of the list takes signatures by Notary Project's certificates");
    assert_eq!(
        Sample::read("bundle-p256").outcome(root()),
        "(bundle): no entry of the list takes signatures by a public key"
    );
    let store = by(String::new(), &[], None);
    let problems = bestfit_trust::problems(&site(vec![accept("lab", store)]));
    assert_eq!(problems, [(0, "there is no certificate in the trust store".to_owned())]);
}
