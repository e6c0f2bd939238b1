//! Owns Notary Project's signatures as far as their two envelopes agree: what is signed, when, until when, and by whom (Notary
//! Project specifications, "signature-specification.md", "trust-store-trust-policy.md"). Revocation lists are not asked: nothing
//! is fetched here.

use bestfit_selector::digest::Digest;
use bestfit_selector::json;
use serde::Deserialize;

use crate::certificates::{Chain, Roots, Usage};
use crate::distinguished::Identity;
use crate::entry::{Asked, proven_time};
use crate::keys::{Algorithm, Hash, PublicKey, Scheme};
use crate::manifest::{COSE, JWS, Layer};
use crate::refusal::{Refusal, shown};
use crate::{MAX_BLOB, SKEW, cose, jws};

/// What the envelope must say that its payload is.
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";
/// The only signing scheme that is read: the signer's own certificate. `notary.x509.signingAuthority` has another trust store.
const SCHEME: &str = "notary.x509";
pub(crate) const SIGNING_SCHEME: &str = "io.cncf.notary.signingScheme";
pub(crate) const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
pub(crate) const EXPIRY: &str = "io.cncf.notary.expiry";
pub(crate) const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
pub(crate) const TIME_STAMP: &str = "io.cncf.notary.timestampSignature";
const WHAT: &str = "the envelope";

/// A signature that was read, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The bytes that are signed: they hold `protected` and `payload`.
    pub(crate) signed: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) protected: Protected,
    pub(crate) signature: Vec<u8>,
    pub(crate) chain: Chain,
    pub(crate) stamp: Option<Vec<u8>>,
}

/// What of the headers is signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Protected {
    /// JOSE's name of the algorithm, for both envelopes.
    pub(crate) algorithm: String,
    pub(crate) content_type: String,
    /// Headers that must be understood.
    pub(crate) critical: Vec<String>,
    pub(crate) scheme: Option<String>,
    /// Seconds since 1970 UTC.
    pub(crate) signing_time: Option<i64>,
    pub(crate) expiry: Option<i64>,
    pub(crate) plugin: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Payload {
    target_artifact: Target,
}

#[derive(Deserialize)]
struct Target {
    digest: String,
}

/// The site's trust store, whom it trusts below it, and its time-stamping authorities.
pub(crate) struct Store {
    pub(crate) roots: Roots,
    pub(crate) identities: Vec<Identity>,
    pub(crate) tsa: Option<Roots>,
}

/// A malformed envelope.
pub(crate) fn malformed(why: impl std::fmt::Display) -> Refusal {
    Refusal::malformed(WHAT, why)
}

impl Envelope {
    /// Reads an envelope of the layer's type; no signature is verified.
    pub(crate) fn read(layer: &Layer, bytes: &[u8]) -> Result<Self, Refusal> {
        let envelope = match layer.media_type.as_str() {
            JWS => jws::read(bytes),
            COSE => cose::read(bytes),
            other => Err(malformed(format_args!("of the type {other:?}"))),
        }?;
        envelope.protected.check()?;
        Ok(envelope)
    }

    /// Whether it is about exactly `subject`.
    pub(crate) fn check_subject(&self, subject: &Digest) -> Result<(), Refusal> {
        let limit = usize::try_from(MAX_BLOB).unwrap_or(usize::MAX);
        let payload: Payload =
            json::read(&self.payload, limit).map_err(|error| Refusal::malformed("the payload", error))?;
        let digest = payload.target_artifact.digest;
        if digest == subject.to_string() { Ok(()) } else { Err(Refusal::OtherDigest(shown(&digest))) }
    }
}

impl Protected {
    fn check(&self) -> Result<(), Refusal> {
        if self.content_type != PAYLOAD_TYPE {
            return Err(malformed(format_args!("its payload is of the type {:?}", self.content_type)));
        }
        match self.scheme.as_deref() {
            Some(SCHEME) => {}
            Some(other) => return Err(malformed(format_args!("the signing scheme {other:?} is not supported"))),
            None => return Err(malformed("it names no signing scheme")),
        }
        if self.signing_time.is_none() {
            return Err(malformed("it says no time of signing"));
        }
        self.check_critical()
    }

    /// What must be understood is, and what must be critical is.
    fn check_critical(&self) -> Result<(), Refusal> {
        if self.plugin {
            return Err(malformed("it asks for a plugin to verify it"));
        }
        let unknown = |name: &&String| ![SIGNING_SCHEME, EXPIRY].contains(&name.as_str());
        if let Some(unknown) = self.critical.iter().find(unknown) {
            return Err(malformed(format_args!("its critical header {unknown:?} is not understood")));
        }
        let critical = |name: &str| self.critical.iter().any(|critical| critical == name);
        if !critical(SIGNING_SCHEME) || critical(EXPIRY) != self.expiry.is_some() {
            return Err(malformed("its signing scheme and its expiry must be critical headers"));
        }
        Ok(())
    }

    /// How `key` signs, if the algorithm is its own: each key signs in one way alone ("signature-specification.md", "Signature
    /// Algorithm Requirements").
    fn scheme_of(&self, key: &PublicKey) -> Option<Scheme> {
        match (self.algorithm.as_str(), key.algorithm(), key.rsa_bits()) {
            ("ES256", Algorithm::P256, _) | ("ES384", Algorithm::P384, _) | ("ES512", Algorithm::P521, _) => {
                Some(Scheme::EcdsaFixed)
            }
            ("PS256", Algorithm::Rsa, Some(2048)) => Some(Scheme::RsaPss(Hash::Sha256)),
            ("PS384", Algorithm::Rsa, Some(3072)) => Some(Scheme::RsaPss(Hash::Sha384)),
            ("PS512", Algorithm::Rsa, Some(4096)) => Some(Scheme::RsaPss(Hash::Sha512)),
            _ => None,
        }
    }
}

impl Store {
    /// Whether the signature is by somebody below this store, and the last second at which it is.
    pub(crate) fn verify(&self, envelope: &Envelope, asked: &Asked<'_>) -> Result<i64, Refusal> {
        let protected = &envelope.protected;
        let stamps = envelope.stamp.as_deref().into_iter();
        let proven = proven_time(stamps, &envelope.signature, self.tsa.as_ref(), asked)?;
        let signer = self.roots.verify(&envelope.chain, Usage::Notation, proven.unwrap_or(asked.now), asked)?;
        let Some(scheme) = protected.scheme_of(&signer.key) else {
            return Err(Refusal::Algorithm(shown(&protected.algorithm)));
        };
        if !signer.key.verifies_with(scheme, &envelope.signed, &envelope.signature) {
            return Err(Refusal::OtherKey);
        }
        if !self.identities.is_empty() {
            Identity::check(&self.identities, &signer.certificate)?;
        }
        protected.check_dates(asked.now)?;
        Ok(protected.expiry.map_or(i64::MAX, |until| until - 1).min(signer.until(proven)))
    }
}

impl Protected {
    fn check_dates(&self, now: i64) -> Result<(), Refusal> {
        if let Some(time) = self.signing_time.filter(|time| *time > now + SKEW) {
            return Err(Refusal::Future { what: "the signature", time });
        }
        match self.expiry {
            Some(until) if now >= until => Err(Refusal::SignatureExpired { until, time: now }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_signs_in_one_way_alone() {
        let key = |pem| PublicKey::from_pem(pem).unwrap();
        let rsa = key(include_str!("../testdata/keys/rsa.pub"));
        let curve = key(include_str!("../testdata/keys/p256.pub"));
        let of =
            |algorithm: &str, key| Protected { algorithm: algorithm.to_owned(), ..Protected::default() }.scheme_of(key);
        assert_eq!(of("PS256", &rsa), Some(Scheme::RsaPss(Hash::Sha256)));
        assert_eq!(of("ES256", &curve), Some(Scheme::EcdsaFixed));
        for (algorithm, key) in [("PS384", &rsa), ("PS512", &rsa), ("ES256", &rsa), ("ES384", &curve), ("none", &curve)]
        {
            assert_eq!(of(algorithm, key), None, "{algorithm}");
        }
    }

    #[test]
    fn dates_are_held_against_now() {
        let at = |signing_time, expiry, now| {
            let protected = Protected { signing_time: Some(signing_time), expiry, ..Protected::default() };
            protected.check_dates(now).map_err(|refusal| refusal.to_string())
        };
        assert_eq!(at(1000, None, 1000), Ok(()));
        assert_eq!(at(1000 + SKEW, None, 1000), Ok(()));
        let future = "the signature is of 1970-01-01T00:21:41Z, which is in the future";
        assert_eq!(at(1001 + SKEW, None, 1000), Err(future.to_owned()));
        assert_eq!(at(1000, Some(2000), 1999), Ok(()));
        let over = "the signature was valid until 1970-01-01T00:33:20Z, and the time is 1970-01-01T00:33:20Z";
        assert_eq!(at(1000, Some(2000), 2000), Err(over.to_owned()));
    }
}
