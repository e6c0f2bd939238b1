//! Keyless signatures: bundles of authorities and logs of our own (testdata/keyless.py), a recorded public one with its trusted
//! root (`../shared/data/sigstore`), and changed copies of both.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bestfit_selector::digest::Digest;
use bestfit_selector::trust::{By, KeylessTime, Trust};
use bestfit_trust::judge;
use serde_json::{Value, json};

use crate::sample::{NOW, REPOSITORY, Sample, accept, outcome, recode, site, text};

const SUBJECT: &str = "sha256:c811d58de79c92f03214e63aa339484e488d694ae8a6283b5f3f17a9faf50172";
const IDENTITY: &str =
    "https://github.com/kubewarden/kubewarden-controller/.github/workflows/release.yml@refs/tags/v1.34.0";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

const SET: &str = "keyless: invalid inclusion promise: SET verification failed: Verification error: ECDSA_P256_SHA256 signature invalid";
const NO_AUTHORITY: &str = "keyless: invalid RFC 3161 timestamp: TSA timestamp verification failed: no timestamp authorities \
                            configured in trusted root";

/// Whom the samples of testdata/keyless.py name.
const OWN_IDENTITY: &str = "https://lab.example/workflow";
const OWN_ISSUER: &str = "https://issuer.lab.example";

pub(crate) fn own_identity(time: KeylessTime) -> By {
    let (issuer, subject) = (OWN_ISSUER.to_owned(), OWN_IDENTITY.to_owned());
    By::Keyless { issuer, subject, trusted_root: text("trusted_root.json"), time }
}

fn own_bundle(name: &str) -> Value {
    serde_json::from_slice(&Sample::read(name).signature).unwrap()
}

/// A file of the shared data, where it is.
fn shared(name: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/sigstore").join(name);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        eprintln!("SKIP: {} is not here", path.display());
    }
    text
}

struct Public {
    bundle: Value,
    stamped: Value,
    root: String,
}

impl Public {
    fn read() -> Option<Self> {
        let json = |name| shared(name).map(|text| serde_json::from_str(&text).unwrap());
        Some(Self {
            bundle: json("public-keyless-bundle-without-tsa.json")?,
            stamped: json("public-keyless-bundle.json")?,
            root: shared("trusted_root.json")?,
        })
    }

    fn by(&self, issuer: &str, subject: &str, time: KeylessTime) -> By {
        By::Keyless { issuer: issuer.to_owned(), subject: subject.to_owned(), trusted_root: self.root.clone(), time }
    }

    fn log(&self) -> By {
        self.by(ISSUER, IDENTITY, KeylessTime::Log)
    }
}

/// The bundle as a referrer of its subject.
fn sample(bundle: &Value) -> Sample {
    Sample::read("bundle-p256")
        .manifest(|manifest| manifest["subject"]["digest"] = SUBJECT.into())
        .bytes(|bytes| *bytes = serde_json::to_vec(bundle).unwrap())
}

fn standing(bundle: &Value, trust: &Trust, now: i64) -> String {
    let subject: Digest = SUBJECT.parse().unwrap();
    outcome(judge(trust, &subject, REPOSITORY, &[sample(bundle).candidate()], now))
}

fn asked(bundle: &Value, by: By) -> String {
    standing(bundle, &site(vec![accept("lab", by)]), NOW)
}

#[test]
fn a_public_bundle_verifies_offline_for_its_identity_alone() {
    let Some(public) = Public::read() else { return };
    let with = |issuer: &str, subject: &str| asked(&public.bundle, public.by(issuer, subject, KeylessTime::Log));
    assert_eq!(with(ISSUER, IDENTITY), "trusted: lab");
    let workflow = "https://github.com/kubewarden/kubewarden-controller/.github/workflows/release.yml@refs/tags/v*";
    assert_eq!(with(ISSUER, workflow), "trusted: lab");
    assert_eq!(with("*", "*"), "trusted: lab");
    let refused =
        format!("(bundle), lab: it was signed by {IDENTITY:?} as {ISSUER:?} says, not by the entry's identity");
    assert_eq!(with(ISSUER, "https://github.com/other/*"), refused);
    assert_eq!(with("https://accounts.example", IDENTITY), refused);
    assert_eq!(with("", ""), refused);
}

/// Changed copies of a logged bundle, and how the refusal of each begins.
fn changes(original: &Value) -> Vec<(&'static str, Value, &'static str)> {
    let changed = |change: fn(&mut Value)| {
        let mut bundle = original.clone();
        change(&mut bundle);
        bundle
    };
    let logged = |change: fn(&mut Value)| {
        let mut bundle = original.clone();
        change(&mut bundle["verificationMaterial"]["tlogEntries"][0]);
        bundle
    };
    vec![
        (
            "root hash",
            logged(|entry| recode(&mut entry["inclusionProof"]["rootHash"], |bytes| bytes[0] ^= 1)),
            "keyless: Bundle error: inclusion proof root hash does not match checkpoint root hash",
        ),
        (
            "path",
            logged(|entry| recode(&mut entry["inclusionProof"]["hashes"][0], |bytes| bytes[0] ^= 1)),
            "keyless: invalid inclusion proof: inclusion proof verification failed: root hash mismatch: expected ",
        ),
        (
            "checkpoint's signature",
            logged(|entry| {
                let text = entry["inclusionProof"]["checkpoint"]["envelope"].as_str().unwrap();
                let (begin, end) = text.split_at(text.len() - 20);
                let end = if end.starts_with('A') { end.replacen('A', "B", 1) } else { format!("A{}", &end[1..]) };
                entry["inclusionProof"]["checkpoint"]["envelope"] = (begin.to_owned() + &end).into();
            }),
            "keyless: invalid checkpoint: No valid Rekor signature found on checkpoint",
        ),
        (
            "set",
            logged(|entry| {
                recode(&mut entry["inclusionPromise"]["signedEntryTimestamp"], |bytes| *bytes.last_mut().unwrap() ^= 1);
            }),
            SET,
        ),
        (
            "integrated time",
            logged(|entry| {
                let time: i64 = entry["integratedTime"].as_str().unwrap().parse().unwrap();
                entry["integratedTime"] = (time + 1).to_string().into();
            }),
            SET,
        ),
        ("log index", logged(|entry| entry["logIndex"] = "7".into()), SET),
        ("another body", logged(|entry| recode(&mut entry["canonicalizedBody"], |bytes| bytes.push(b' '))), SET),
        (
            "no proof",
            logged(|entry| drop(entry.as_object_mut().unwrap().remove("inclusionProof"))),
            "keyless: a log entry has no inclusion proof",
        ),
        (
            "no set",
            logged(|entry| drop(entry.as_object_mut().unwrap().remove("inclusionPromise"))),
            "keyless: no verified timestamp: No verified timestamp found. V1 bundles require either an RFC3161 timestamp or a tlog entry with both an integrated time and an inclusion…",
        ),
        (
            "no entry",
            changed(|bundle| bundle["verificationMaterial"]["tlogEntries"] = json!([])),
            "keyless: there is no entry of a transparency log",
        ),
        (
            "many entries",
            changed(|bundle| {
                let entries = &mut bundle["verificationMaterial"]["tlogEntries"];
                *entries = vec![entries[0].clone(); 5].into();
            }),
            "keyless: more log entries or hashes than are read",
        ),
        (
            "long path",
            logged(|entry| {
                let hash = entry["inclusionProof"]["hashes"][0].clone();
                entry["inclusionProof"]["hashes"] = vec![hash; 65].into();
            }),
            "keyless: more log entries or hashes than are read",
        ),
        (
            "signature",
            changed(|bundle| {
                recode(&mut bundle["dsseEnvelope"]["signatures"][0]["sig"], |bytes| *bytes.last_mut().unwrap() ^= 1);
            }),
            "keyless: invalid signature: DSSE signature verification failed: Verification error: ECDSA_P256_SHA256 signature invalid",
        ),
        (
            "certificate",
            changed(|bundle| {
                recode(&mut bundle["verificationMaterial"]["certificate"]["rawBytes"], |bytes| {
                    *bytes.last_mut().unwrap() ^= 1;
                });
            }),
            "keyless: certificate chain is invalid: certificate chain validation failed: InvalidSignatureForPublicKey",
        ),
    ]
}

#[test]
fn what_is_missing_or_changed_is_named() {
    let own = own_bundle("keyless-log");
    for (what, bundle, expected) in changes(&own) {
        let refusal = Sample::read("keyless-log").bytes(|bytes| *bytes = serde_json::to_vec(&bundle).unwrap());
        let refusal = refusal.outcome(own_identity(KeylessTime::Log));
        assert!(refusal.starts_with(&format!("(bundle), lab: {expected}")), "{what}: {refusal}");
    }
    let Some(public) = Public::read() else { return };
    for (what, bundle, expected) in changes(&public.bundle) {
        let refusal = asked(&bundle, public.log());
        assert!(refusal.starts_with(&format!("(bundle), lab: {expected}")), "{what}: {refusal}");
    }
    // A token that no authority of the root made.
    assert_eq!(asked(&public.stamped, public.log()), format!("(bundle), lab: {NO_AUTHORITY}"));
}

#[test]
fn a_log_or_a_time_stamp_proves_the_time_as_the_site_wants() {
    let with = |sample: &str, time| Sample::read(sample).outcome(own_identity(time));
    assert_eq!(with("keyless-log", KeylessTime::Log), "trusted: lab");
    assert_eq!(with("keyless-tsa", KeylessTime::Tsa), "trusted: lab");
    assert_eq!(with("keyless-log", KeylessTime::Tsa), "(bundle), lab: keyless: there is no time stamp");
    assert_eq!(
        with("keyless-tsa", KeylessTime::Log),
        "(bundle), lab: keyless: there is no entry of a transparency log"
    );
    let damaged = Sample::read("keyless-tsa").json(|bundle| {
        let stamps = &mut bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
        recode(&mut stamps[0]["signedTimestamp"], |der| *der.last_mut().unwrap() ^= 1);
    });
    let refusal = damaged.outcome(own_identity(KeylessTime::Tsa));
    assert!(refusal.starts_with("(bundle), lab: keyless: invalid RFC 3161 timestamp: "), "{refusal}");
}

#[test]
fn another_authority_or_log_than_the_sites_does_not_count() {
    let root: Value = serde_json::from_str(&text("trusted_root.json")).unwrap();
    let with = |change: fn(&mut Value)| {
        let mut root = root.clone();
        change(&mut root);
        let trusted_root = root.to_string();
        let (issuer, subject) = (OWN_ISSUER.to_owned(), OWN_IDENTITY.to_owned());
        let by = By::Keyless { issuer, subject, trusted_root, time: KeylessTime::Log };
        Sample::read("keyless-log").outcome(by)
    };
    type Change = fn(&mut Value);
    let rows: [(Change, &str); 3] = [
        (
            |root| root["certificateAuthorities"] = root["timestampAuthorities"].clone(),
            "certificate chain is invalid: certificate chain validation failed: UnknownIssuer",
        ),
        (|root| root["ctlogs"] = root["tlogs"].clone(), "invalid signed certificate timestamp: "),
        (
            |root| root["tlogs"] = root["ctlogs"].clone(),
            "invalid inclusion promise: No log key valid at integrated time",
        ),
    ];
    for (change, expected) in rows {
        let refusal = with(change);
        assert!(refusal.starts_with(&format!("(bundle), lab: keyless: {expected}")), "{refusal}");
    }
}

#[test]
fn a_time_stamp_that_is_required_must_be_there_and_hold() {
    let Some(public) = Public::read() else { return };
    let by = || public.by(ISSUER, IDENTITY, KeylessTime::Tsa);
    assert_eq!(asked(&public.bundle, by()), "(bundle), lab: keyless: there is no time stamp");
    assert_eq!(asked(&public.stamped, by()), format!("(bundle), lab: {NO_AUTHORITY}"));
    let mut many = public.stamped.clone();
    let stamps = &mut many["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
    *stamps = vec![stamps[0].clone(); 5].into();
    assert_eq!(asked(&many, by()), "(bundle), lab: keyless: more time stamps than are read");
}

#[test]
fn a_proof_of_the_future_is_none() {
    let Some(public) = Public::read() else { return };
    let trust = site(vec![accept("lab", public.log())]);
    let early = standing(&public.bundle, &trust, 1_700_000_000);
    assert_eq!(early, "(bundle), lab: the proof of its time is of 2026-04-09T07:23:29Z, which is in the future");
}

#[test]
fn a_clock_that_is_late_does_not_judge_an_entry_of_the_log() {
    let times = &own_bundle("keyless-log")["verificationMaterial"]["tlogEntries"][0]["integratedTime"];
    let time: i64 = times.as_str().unwrap().parse().unwrap();
    let at = |now| Sample::read("keyless-log").outcome_at(own_identity(KeylessTime::Log), now);
    assert_eq!(at(time), "trusted: lab");
    for now in [time - 1, time - 300] {
        let early = at(now);
        assert!(early.starts_with("unknown: (bundle): its entry of the log is of 20"), "{early}");
        assert!(early.ends_with("and this machine's clock is not there yet"), "{early}");
    }
    let future = at(time - 301);
    assert!(future.ends_with("which is in the future"), "{future}");
}

#[test]
fn what_is_revoked_vouches_for_nothing() {
    let Some(public) = Public::read() else { return };
    let root: Value = serde_json::from_str(&public.root).unwrap();
    let id = |value: &Value| Digest::of(&STANDARD.decode(value.as_str().unwrap()).unwrap());
    let with = |revoked: Vec<Digest>| {
        let trust = Trust { revoked_keys: revoked, ..site(vec![accept("lab", public.log())]) };
        standing(&public.bundle, &trust, NOW)
    };
    let leaf = id(&public.bundle["verificationMaterial"]["certificate"]["rawBytes"]);
    assert_eq!(with(vec![leaf]), format!("(bundle), lab: the key {leaf} is revoked"));
    assert_eq!(
        with(vec![id(&root["tlogs"][0]["publicKey"]["rawBytes"])]),
        "(bundle), lab: keyless: invalid inclusion promise: No log key valid at integrated time 2026-04-09T07:23:29Z for log ID \
         wNI9atQGlz+VWfO6LRygH4QUfY/8W4RFwiT5i5WRgB0="
    );
    let authorities = root["certificateAuthorities"].as_array().unwrap();
    let certificates = authorities.iter().map(|authority| id(&authority["certChain"]["certificates"][0]["rawBytes"]));
    assert_eq!(
        with(certificates.collect()),
        "(bundle), lab: keyless: no trusted certificate authority is valid at 2026-04-09T07:23:29Z"
    );
    let logs = root["ctlogs"].as_array().unwrap().iter().map(|log| id(&log["publicKey"]["rawBytes"]));
    assert_eq!(with(logs.collect()), "(bundle), lab: keyless: invalid trusted root: no CT log keys in trusted root");
}

#[test]
fn a_trusted_root_that_cannot_be_used_is_named_before_it_is_needed() {
    let problem = |root: &str| {
        let by = By::Keyless {
            issuer: ISSUER.to_owned(),
            subject: IDENTITY.to_owned(),
            trusted_root: root.to_owned(),
            time: KeylessTime::Log,
        };
        bestfit_trust::problems(&site(vec![accept("lab", by)])).pop().map(|(_, problem)| problem)
    };
    assert_eq!(
        problem("").as_deref(),
        Some("the trusted root cannot be read: line 1 column 0: EOF while parsing a value")
    );
    assert_eq!(
        problem(r#"{"mediaType":"a","mediaType":"b"}"#).as_deref(),
        Some("the trusted root cannot be read: line 1 column 28: the key \"mediaType\" stands there twice")
    );
}

#[test]
fn the_older_form_is_not_verified_without_keys() {
    let outcome = Sample::read("simple-certificate").outcome(own_identity(KeylessTime::Log));
    assert_eq!(outcome, "(simple signing), lab: keyless: cosign's older form is not read, only its bundles");
}
