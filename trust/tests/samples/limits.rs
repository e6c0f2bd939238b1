//! Where judging ends: reasons that are left out, clocks that differ, time stamps whose parts do not belong together, authorities of
//! which only the key is revoked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bestfit_selector::digest::Digest;
use bestfit_selector::time::Time;
use bestfit_selector::trust::{By, KeylessTime, Standing, Trust};
use bestfit_trust::{MAX_SIGNATURES, SKEW, judge};
use serde_json::Value;
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

use crate::certificates::stamped;
use crate::keyless::own_identity;
use crate::sample::{NOW, REPOSITORY, Sample, accept, key, outcome, recode, site, subject, text};

#[test]
fn a_flood_of_reasons_is_cut_off() {
    let trust = site(["p384", "rsa", "ed25519"].map(|name| accept(name, key(name))).into());
    let candidates = vec![Sample::read("bundle-p256").candidate(); MAX_SIGNATURES];
    let Standing::Untrusted { why } = judge(&trust, &subject(), REPOSITORY, &candidates, NOW) else {
        panic!("nobody of these signed it");
    };
    assert_eq!(why.len(), 65);
    assert!(why[63].ends_with("it was made by another key"), "{}", why[63]);
    assert_eq!(why[64], "more reasons are left out");
}

/// When a time is proven, as the refusal of one that lies in the future says.
fn proven(sample: &Sample, by: By) -> i64 {
    let refusal = sample.outcome_at(by, 1_577_836_800);
    let time = refusal.split_once(" is of ").and_then(|(_, rest)| rest.split_once(','));
    let (time, _) = time.unwrap_or_else(|| panic!("{refusal}"));
    Time::parse(time).unwrap().seconds
}

#[test]
fn a_clock_may_be_ahead_of_ours_by_the_skew_and_no_more() {
    for (sample, by) in
        [("bundle-certificate-tsa", stamped as fn() -> By), ("keyless-tsa", || own_identity(KeylessTime::Tsa))]
    {
        let read = Sample::read(sample);
        let time = proven(&read, by());
        assert_eq!(read.outcome_at(by(), time - SKEW), "trusted: lab", "{sample}");
        let late = read.outcome_at(by(), time - SKEW - 1);
        assert!(late.ends_with("which is in the future"), "{sample}: {late}");
    }
}

/// The place of the first or last of some bytes in others.
fn place(bytes: &[u8], wanted: &[u8], last: bool) -> usize {
    let mut places = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(wanted));
    if last { places.next_back() } else { places.next() }.unwrap()
}

/// RFC 5652, 5.4: what is signed are the attributes; they must name the content, and its type.
#[test]
fn what_a_time_stamp_says_must_be_what_its_authority_signed() {
    let changed = |change: fn(&mut Vec<u8>)| {
        let sample = Sample::read("bundle-certificate-tsa").json(|bundle| {
            let data = &mut bundle["verificationMaterial"]["timestampVerificationData"];
            recode(&mut data["rfc3161Timestamps"][0]["signedTimestamp"], change);
        });
        sample.outcome(stamped())
    };
    // The last digit of its time, a GeneralizedTime of 15 bytes.
    let another_time = changed(|der| {
        let at = place(der, b"\x18\x0f20", false) + 2 + 13;
        der[at] ^= 1;
    });
    // The attribute with the type: id-ct-TSTInfo becomes its neighbour.
    let another_type = changed(|der| {
        let oid = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x04";
        let at = place(der, oid, true) + oid.len() - 1;
        der[at] = 5;
    });
    for refusal in [another_time, another_type] {
        assert_eq!(refusal, "(bundle), lab: its time stamp: its signature is about something else");
    }
}

#[test]
fn an_authority_of_which_only_the_key_is_revoked_vouches_for_nothing() {
    let root: Value = serde_json::from_str(&text("trusted_root.json")).unwrap();
    for (list, sample, time) in [
        ("certificateAuthorities", "keyless-log", KeylessTime::Log),
        ("timestampAuthorities", "keyless-tsa", KeylessTime::Tsa),
    ] {
        for certificate in root[list][0]["certChain"]["certificates"].as_array().unwrap() {
            let der = STANDARD.decode(certificate["rawBytes"].as_str().unwrap()).unwrap();
            let spki = Certificate::from_der(&der).unwrap().tbs_certificate.subject_public_key_info;
            let id = Digest::of(&spki.to_der().unwrap());
            let trust = Trust { revoked_keys: vec![id], ..site(vec![accept("lab", own_identity(time))]) };
            let refusal = outcome(Sample::read(sample).standing(&trust));
            assert!(refusal.starts_with("(bundle), lab: keyless: "), "{list}: {refusal}");
        }
    }
}
