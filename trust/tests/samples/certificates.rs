//! Signatures by certificates below roots of the site, with and without a time-stamping authority. The leaves of the samples
//! are valid for ten years from the day that they were made, the roots for a century.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bestfit_selector::digest::Digest;
use bestfit_selector::trust::{By, Trust};
use bestfit_trust::judge_until;
use serde_json::{Value, json};
use x509_cert::Certificate;
use x509_cert::der::asn1::{BitString, Uint};
use x509_cert::der::{Decode, Encode};

use crate::sample::{NOW, REPOSITORY, Sample, accept, key, outcome, recode, site, subject, text};

/// 2040, when the leaf is no longer valid.
const LATER: i64 = 2_208_988_800;
/// 2020, when nothing of it was valid.
const EARLIER: i64 = 1_577_836_800;

fn roots() -> String {
    text("certificates/intermediate.crt") + &text("certificates/root.crt")
}

fn by(roots: String, identities: &[&str], tsa: Option<String>) -> By {
    By::Certificates { roots, identities: identities.iter().map(|name| (*name).to_owned()).collect(), tsa }
}

fn plain() -> By {
    by(roots(), &[], None)
}

pub(crate) fn stamped() -> By {
    by(roots(), &[], Some(clock()))
}

/// The authority's own certificate and its root: cosign's time stamps carry neither.
fn clock() -> String {
    text("certificates/tsa.crt") + &text("certificates/tsa-root.crt")
}

fn certificate(value: &mut Value) -> &mut Value {
    &mut value["verificationMaterial"]["certificate"]["rawBytes"]
}

fn der(name: &str) -> Vec<u8> {
    let pem = text(&format!("certificates/{name}.crt"));
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(body).unwrap()
}

#[test]
fn a_certificate_below_the_roots_holds_in_both_forms() {
    for sample in ["bundle-certificate", "bundle-certificate-tsa", "simple-certificate"] {
        for by in [plain(), stamped()] {
            assert_eq!(Sample::read(sample).outcome(by), "trusted: lab", "{sample}");
        }
    }
}

#[test]
fn what_certificate_it_is_decides() {
    let sample = || Sample::read("bundle-certificate");
    let other = |name: &str| sample().json(|bundle| *certificate(bundle) = STANDARD.encode(der(name)).into());
    let rows = [
        (
            sample(),
            by(text("certificates/root.crt"), &[], None),
            "(bundle), lab: its certificate leads to none of the roots: UnknownIssuer",
        ),
        (
            sample(),
            by(text("certificates/other-root.crt"), &[], None),
            "(bundle), lab: its certificate leads to none of the roots: UnknownIssuer",
        ),
        (other("web"), plain(), "(bundle), lab: its certificate is not made for signing code"),
        (other("other-root"), plain(), "(bundle), lab: its certificate leads to none of the roots: CaUsedAsEndEntity"),
        (
            sample().json(|bundle| recode(certificate(bundle), |der| *der.last_mut().unwrap() ^= 1)),
            plain(),
            "(bundle), lab: its certificate leads to none of the roots: InvalidSignatureForPublicKey",
        ),
        (
            sample().json(|bundle| recode(certificate(bundle), |der| der.truncate(3))),
            plain(),
            "(bundle), lab: the certificate cannot be read: ASN.1 DER message is incomplete: expected 4, actual 3 at DER byte 3",
        ),
        (
            sample().json(|bundle| {
                recode(&mut bundle["dsseEnvelope"]["signatures"][0]["sig"], |bytes| *bytes.last_mut().unwrap() ^= 1);
            }),
            plain(),
            "(bundle), lab: it was made by another key",
        ),
        (
            sample().json(|bundle| {
                let chain = json!({"certificates": [{"rawBytes": STANDARD.encode(der("leaf"))}]});
                bundle["verificationMaterial"] = json!({"x509CertificateChain": chain});
            }),
            plain(),
            "trusted: lab",
        ),
        (Sample::read("bundle-p256"), plain(), "(bundle): no entry of the list takes signatures by a public key"),
        (
            Sample::read("simple-certificate").manifest(|manifest| {
                manifest["layers"][0]["annotations"]["dev.sigstore.cosign/certificate"] =
                    text("certificates/web.crt").into();
            }),
            plain(),
            "(simple signing), lab: its certificate is not made for signing code",
        ),
    ];
    for (sample, by, expected) in rows {
        assert_eq!(sample.outcome(by), expected);
    }
}

#[test]
fn whom_the_certificate_names_decides() {
    let sample = Sample::read("bundle-certificate");
    let with = |identities: &[&str]| sample.outcome(by(roots(), identities, None));
    assert_eq!(with(&["signer@lab.example"]), "trusted: lab");
    assert_eq!(with(&["nobody", "https://lab.example/*"]), "trusted: lab");
    assert_eq!(with(&["signer.lab.example"]), "trusted: lab");
    assert_eq!(
        with(&["signer", "*@other.example"]),
        "(bundle), lab: its certificate is for \"signer@lab.example, https://lab.example/signer, signer.lab.example\", none \
         of the entry's identities"
    );
}

#[test]
fn without_a_time_stamp_the_certificate_must_be_valid_now() {
    let name = "CN=signer,OU=HPC,O=Lab,ST=BE,C=DE";
    for sample in ["bundle-certificate", "bundle-certificate-tsa", "simple-certificate"] {
        let sample = Sample::read(sample);
        let outcome = sample.outcome_at(plain(), LATER);
        assert!(outcome.contains(&format!("lab: the certificate {name:?} was valid until 2036-")), "{outcome}");
        assert!(outcome.ends_with(", and the time is 2040-01-01T00:00:00Z"), "{outcome}");
        let outcome = sample.outcome_at(plain(), EARLIER);
        assert!(outcome.contains(&format!("lab: the certificate {name:?} was to be valid from 2026-")), "{outcome}");
    }
}

#[test]
fn a_time_stamp_proves_that_the_certificate_was_valid_when_it_signed() {
    let sample = || Sample::read("bundle-certificate-tsa");
    assert_eq!(sample().outcome_at(stamped(), LATER), "trusted: lab");
    let stamps = |bundle: &mut Value| bundle["verificationMaterial"]["timestampVerificationData"].take();
    let stamp = |change: fn(&mut Vec<u8>)| {
        sample().json(|bundle| {
            let data = &mut bundle["verificationMaterial"]["timestampVerificationData"];
            recode(&mut data["rfc3161Timestamps"][0]["signedTimestamp"], change);
        })
    };
    let foreign = Sample::read("bundle-certificate").json(|bundle| {
        let mut other = serde_json::from_slice(&sample().signature).unwrap();
        bundle["verificationMaterial"]["timestampVerificationData"] = stamps(&mut other);
    });
    let flood = sample().json(|bundle| {
        let data = &mut bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
        *data = vec![data[0].clone(); 5].into();
    });
    let other_authority = by(roots(), &[], Some(text("certificates/tsa.crt") + &text("certificates/other-root.crt")));
    let unnamed = by(roots(), &[], Some(text("certificates/tsa-root.crt")));
    let loose = by(roots(), &[], Some(text("certificates/tsa-loose.crt") + &text("certificates/tsa-root.crt")));
    let rows = [
        (foreign, stamped(), NOW, "its time stamp: it is about another signature"),
        (flood, stamped(), NOW, "its time stamp: there are more than 4"),
        (
            stamp(|der| *der.last_mut().unwrap() ^= 1),
            stamped(),
            NOW,
            "its time stamp: its signature is not its authority's",
        ),
        (sample(), other_authority, NOW, "its time stamp: its certificate leads to none of the roots: UnknownIssuer"),
        (
            sample(),
            unnamed,
            NOW,
            "its time stamp: neither it nor the entry has the certificate that it was signed with",
        ),
        (sample(), loose, NOW, "its time stamp: its certificate is not made for stamping times alone"),
        (stamp(|der| der.truncate(9)), stamped(), NOW, "the time stamp cannot be read: "),
    ];
    for (sample, by, now, expected) in rows {
        let outcome = sample.outcome_at(by, now);
        assert!(outcome.starts_with(&format!("(bundle), lab: {expected}")), "{outcome} is not: {expected}");
    }
    let early = sample().outcome_at(stamped(), EARLIER);
    assert!(early.contains("the time stamp is of 2026-") && early.ends_with("which is in the future"), "{early}");
    let without = sample().json(|bundle| drop(stamps(bundle))).outcome_at(stamped(), LATER);
    assert!(without.contains("was valid until 2036-"), "{without}");
}

#[test]
fn certificates_are_revoked_by_themselves_their_keys_and_their_issuers() {
    for (name, sample) in [
        ("leaf", "bundle-certificate"),
        ("intermediate", "bundle-certificate"),
        ("root", "bundle-certificate"),
        ("tsa", "bundle-certificate-tsa"),
        ("tsa-root", "bundle-certificate-tsa"),
    ] {
        let id = Digest::of(&der(name));
        let trust = Trust { revoked_keys: vec![id], ..site(vec![accept("lab", stamped())]) };
        let outcome = outcome(Sample::read(sample).standing(&trust));
        assert!(outcome.ends_with(&format!("the key {id} is revoked")), "{name}: {outcome}");
    }
}

/// The same certificate with (r, n - s) in the place of its signature (r, s), which anybody can write.
fn other_form(der: &[u8]) -> Vec<u8> {
    let order = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let mut certificate = Certificate::from_der(der).unwrap();
    let mut numbers: [Uint; 2] = Decode::from_der(certificate.signature.raw_bytes()).unwrap();
    let (mut rest, mut borrow) = (vec![0; 32 - numbers[1].as_bytes().len()], 0);
    rest.extend(numbers[1].as_bytes());
    for (byte, of_order) in rest.iter_mut().zip(order).rev() {
        let left = i32::from(of_order) - i32::from(*byte) - borrow;
        (*byte, borrow) = (left.rem_euclid(256) as u8, i32::from(left < 0));
    }
    numbers[1] = Uint::new(&rest).unwrap();
    certificate.signature = BitString::from_bytes(&numbers.to_vec().to_der().unwrap()).unwrap();
    certificate.to_der().unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_revoked_certificate_with_its_signature_in_another_form_is_revoked() {
    let leaf = der("leaf");
    let sample = Sample::read("bundle-certificate")
        .json(|bundle| *certificate(bundle) = STANDARD.encode(other_form(&leaf)).into());
    assert_eq!(sample.outcome(plain()), "trusted: lab", "it is as valid");
    let trust = Trust { revoked_keys: vec![Digest::of(&leaf)], ..site(vec![accept("lab", plain())]) };
    assert!(outcome(sample.standing(&trust)).ends_with("is revoked"));
}

#[test]
fn roots_that_cannot_be_used_are_named_before_they_are_needed() {
    let problem = |roots: String, tsa: Option<&str>| {
        let by = by(roots, &[], tsa.map(str::to_owned));
        bestfit_trust::problems(&site(vec![accept("lab", by)])).pop().map(|(_, problem)| problem)
    };
    let none = Some("there is no root among its certificates: no certificate that issued itself".to_owned());
    assert_eq!(problem(roots(), None), None);
    assert_eq!(problem(String::new(), None), none);
    assert_eq!(problem(text("certificates/intermediate.crt"), None), none);
    assert_eq!(problem(roots(), Some("")), none);
    let many = problem(text("certificates/root.crt").repeat(65), None);
    assert_eq!(many.as_deref(), Some("the PEM with certificates cannot be read: it has more than 64"));
}

#[test]
fn a_judgement_says_until_when_it_holds() {
    let until = |name: &str, by: By| {
        let trust = site(vec![accept("lab", by)]);
        let judged = |now| judge_until(&trust, &subject(), REPOSITORY, &[Sample::read(name).candidate()], now);
        let (standing, until) = judged(NOW);
        assert!(standing.signer().is_some(), "{name}: {standing:?}");
        if until != i64::MAX {
            assert!(judged(until).0.signer().is_some() && judged(until + 1).0.signer().is_none(), "{name}: {until}");
        }
        until
    };
    let ends = |until: i64| (NOW..LATER).contains(&until);
    for name in ["bundle-certificate", "simple-certificate"] {
        assert!(ends(until(name, plain())) && ends(until(name, stamped())), "{name}: the certificate expires");
    }
    assert!(ends(until("bundle-certificate-tsa", plain())), "a stamp of nobody");
    assert_eq!(until("bundle-certificate-tsa", stamped()), i64::MAX, "a stamp does not expire");
    assert_eq!(until("bundle-p256", key("p256")), i64::MAX, "nor does a key");
}
