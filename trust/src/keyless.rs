//! Owns keyless signatures: a short-lived certificate of an authority that saw an identity, and a transparency log or a
//! time-stamping authority that saw the signature while the certificate was valid. All of it is sigstore-verify's, against the
//! site's own `trusted_root.json` (decision 17); this adds whom the site trusts, bounds, revocation, and our clock.

use bestfit_selector::digest::Digest;
use bestfit_selector::json;
use bestfit_selector::policy::covers;
use bestfit_selector::trust::KeylessTime;
use serde::de::IgnoredAny;
use sigstore_verify::trust_root::{TrustedRoot, trusted_root::CertChain};
use sigstore_verify::types::{Sha256Hash, TransparencyLogEntry};
use sigstore_verify::{VerificationPolicy, VerificationResult, Verifier};

use crate::SKEW;
use crate::bundle::Bundle;
use crate::certificates;
use crate::entry::{Asked, MAX_STAMPS};
use crate::fingerprint;
use crate::refusal::{Refusal, shown};
use crate::sigstore::Sigstore;

/// The longest `trusted_root.json`, in bytes.
const MAX_ROOT: usize = 1 << 20;
/// Log entries of one bundle, and hashes of one proof: a tree of 2^64 leaves needs no more.
const MAX_ENTRIES: usize = 4;
const MAX_HASHES: usize = 64;

/// An identity that the site trusts, and by whose word.
pub(crate) struct Keyless {
    verifier: Verifier,
    issuer: String,
    subject: String,
    time: KeylessTime,
}

impl Keyless {
    /// Reads the site's trusted root; authorities and logs of which a certificate or key is revoked are left out of it.
    pub(crate) fn new(
        root: &str,
        issuer: &str,
        subject: &str,
        time: KeylessTime,
        revoked: &[Digest],
    ) -> Result<Self, Refusal> {
        let malformed = |why: &dyn std::fmt::Display| Refusal::malformed("the trusted root", why);
        json::read::<IgnoredAny>(root.as_bytes(), MAX_ROOT).map_err(|error| malformed(&error))?;
        let mut root = TrustedRoot::from_json(root).map_err(|error| malformed(&error))?;
        let known = |der: &[u8]| !revoked.contains(&Digest::of(der));
        // One that cannot be read vouches for nothing.
        let link = |der: &[u8]| {
            let ids = certificates::read(der).and_then(|certificate| fingerprint::ids(&certificate, der));
            ids.is_ok_and(|ids| !ids.iter().any(|id| revoked.contains(id)))
        };
        let chain = |chain: &CertChain| chain.certificates.iter().all(|der| link(der.raw_bytes.as_bytes()));
        root.certificate_authorities.retain(|authority| chain(&authority.cert_chain));
        root.timestamp_authorities.retain(|authority| chain(&authority.cert_chain));
        root.tlogs.retain(|log| known(log.public_key.raw_bytes.as_bytes()));
        root.ctlogs.retain(|log| known(log.public_key.raw_bytes.as_bytes()));
        let verifier = Verifier::new(&root).map_err(|error| malformed(&error))?;
        Ok(Self { verifier, issuer: issuer.to_owned(), subject: subject.to_owned(), time })
    }

    /// Whether the signature is by this identity.
    pub(crate) fn verify(&self, signature: &Sigstore, asked: &Asked<'_>) -> Result<(), Refusal> {
        let Sigstore::Bundle(bundle) = signature else {
            return Err(Refusal::Keyless("cosign's older form is not read, only its bundles".to_owned()));
        };
        check_bounds(bundle, self.time)?;
        check_early(bundle, asked.now)?;
        // Whose identity it must be is compared below, as patterns.
        let policy = VerificationPolicy::any_identity();
        let policy = match self.time {
            KeylessTime::Log => policy,
            // The log alone is left out: entries that are there must still fit, and chain, SCT and time stamps are checked.
            KeylessTime::Tsa => policy.skip_tlog_unsafe(),
        };
        let digest =
            Sha256Hash::from_hex(&asked.subject.hex()).map_err(|error| Refusal::malformed("the subject", error))?;
        let result = self.verifier.verify(digest, &bundle.parsed, &policy);
        let result = result.map_err(|error| Refusal::Keyless(shown(&error.to_string())))?;
        self.check_evidence(&result, asked.now)?;
        self.check_identity(&result)?;
        check_revoked(bundle, asked)
    }

    /// What the verifier says that it has seen, so that a change of its defaults cannot pass.
    fn check_evidence(&self, result: &VerificationResult, now: i64) -> Result<(), Refusal> {
        let logged = result.tlog_verified() || self.time == KeylessTime::Tsa;
        let times = result.verified_timestamps();
        if !(result.certificate_verified() && result.sct_verified() && logged) || times.is_empty() {
            return Err(Refusal::Keyless("not all of it was verified".to_owned()));
        }
        let late = times.iter().map(|time| time.as_second()).find(|time| *time > now + SKEW);
        late.map_or(Ok(()), |time| Err(Refusal::Future { what: "the proof of its time", time }))
    }

    fn check_identity(&self, result: &VerificationResult) -> Result<(), Refusal> {
        let issuer = result.issuer().unwrap_or_default();
        let subject = result.identity().map(|identity| identity.as_str()).unwrap_or_default();
        let named = !issuer.is_empty() && !subject.is_empty();
        if named && covers(&self.issuer, issuer) && covers(&self.subject, subject) {
            return Ok(());
        }
        Err(Refusal::OtherSigner { subject: shown(subject), issuer: shown(issuer) })
    }
}

/// What must be there, and how much of it may be.
fn check_bounds(bundle: &Bundle, time: KeylessTime) -> Result<(), Refusal> {
    let missing = |what: &str| Err(Refusal::Keyless(what.to_owned()));
    let entries = &bundle.parsed.verification_material.tlog_entries;
    let proof = |entry: &TransparencyLogEntry| entry.inclusion_proof.as_ref().map(|proof| proof.hashes.len());
    if entries.len() > MAX_ENTRIES || entries.iter().filter_map(proof).any(|hashes| hashes > MAX_HASHES) {
        return missing("more log entries or hashes than are read");
    }
    let stamps = bundle.stamps().count();
    if stamps > MAX_STAMPS {
        return missing("more time stamps than are read");
    }
    match time {
        KeylessTime::Log if entries.is_empty() => missing("there is no entry of a transparency log"),
        KeylessTime::Log if !entries.iter().all(|entry| proof(entry).is_some()) => {
            missing("a log entry has no inclusion proof")
        }
        KeylessTime::Tsa if stamps == 0 => missing("there is no time stamp"),
        KeylessTime::Log | KeylessTime::Tsa => Ok(()),
    }
}

/// sigstore-verify takes no entry of a log that is ahead of the machine's clock, which may be late: that must not be remembered
/// as a signature that does not hold.
fn check_early(bundle: &Bundle, now: i64) -> Result<(), Refusal> {
    let entries = &bundle.parsed.verification_material.tlog_entries;
    let mut times = entries.iter().filter_map(|entry| entry.integrated_time).map(|time| time.as_second());
    let early = times.find(|time| (now + 1..=now + SKEW).contains(time));
    early.map_or(Ok(()), |time| Err(Refusal::Early { what: "its entry of the log", time }))
}

fn check_revoked(bundle: &Bundle, asked: &Asked<'_>) -> Result<(), Refusal> {
    let Some(chain) = bundle.chain() else { return Err(Refusal::OtherKey) };
    certificates::check_revoked(&certificates::read(&chain.leaf)?, &chain.leaf, asked)
}
