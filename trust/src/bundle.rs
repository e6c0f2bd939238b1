//! Owns Sigstore bundles, version 0.3, with a DSSE envelope. They are parsed once, by sigstore-types; what is verified and
//! what is read are the bytes of that one value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bestfit_selector::digest::Digest;
use bestfit_selector::json;
use serde::de::IgnoredAny;
use sigstore_verify::types::{self, DsseEnvelope, MediaType, SignatureContent, VerificationMaterialContent};

use crate::certificates::Chain;
use crate::keys::PublicKey;
use crate::refusal::Refusal;
use crate::{MAX_BLOB, statement};

const WHAT: &str = "the bundle";

/// A bundle that holds a statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bundle {
    pub(crate) parsed: types::Bundle,
    pub(crate) envelope: DsseEnvelope,
}

impl Bundle {
    /// Reads a bundle; no signature is verified.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let limit = usize::try_from(MAX_BLOB).unwrap_or(usize::MAX);
        json::read::<IgnoredAny>(bytes, limit).map_err(|error| Refusal::malformed(WHAT, error))?;
        let text = std::str::from_utf8(bytes).map_err(|error| Refusal::malformed(WHAT, error))?;
        let parsed = types::Bundle::from_json(text).map_err(|error| Refusal::malformed(WHAT, error))?;
        if parsed.media_type() != MediaType::Bundle0_3 {
            return Err(Refusal::malformed(WHAT, format_args!("version 0.3 is read, not {}", parsed.media_type())));
        }
        let SignatureContent::DsseEnvelope(envelope) = &parsed.content else { return Err(Refusal::NoStatement) };
        Ok(Self { envelope: envelope.clone(), parsed })
    }

    /// Whether its statement is about exactly `subject`.
    pub(crate) fn check_subject(&self, subject: &Digest) -> Result<(), Refusal> {
        statement::check(&self.envelope.payload_type, self.envelope.payload.as_bytes(), subject)
    }

    /// By what it was signed.
    pub(crate) fn material(&self) -> &VerificationMaterialContent {
        &self.parsed.verification_material.content
    }

    /// The certificate that it was signed with. Version 0.3 carries none of those above it.
    pub(crate) fn chain(&self) -> Option<Chain> {
        let leaf = self.parsed.signing_certificate()?;
        Some(Chain { leaf: leaf.as_bytes().to_vec().into(), others: Vec::new() })
    }

    /// The bytes that are signed.
    pub(crate) fn message(&self) -> Vec<u8> {
        self.envelope.pae()
    }

    pub(crate) fn signature(&self) -> &[u8] {
        self.envelope.signature.sig.as_bytes()
    }

    /// Its RFC 3161 time stamps over the signature.
    pub(crate) fn stamps(&self) -> impl Iterator<Item = &[u8]> {
        let stamps = &self.parsed.verification_material.timestamp_verification_data.rfc3161_timestamps;
        stamps.iter().map(|stamp| stamp.signed_timestamp.as_bytes())
    }

    /// Whether it is `key`'s signature.
    pub(crate) fn check_key(&self, key: &PublicKey) -> Result<(), Refusal> {
        if key.verifies(&self.message(), self.signature()) {
            return Ok(());
        }
        let VerificationMaterialContent::PublicKey(named) = self.material() else { return Err(Refusal::OtherKey) };
        let hint = STANDARD.encode(key.id().bytes());
        Err(if named.hint == hint { Refusal::BadSignature } else { Refusal::OtherKey })
    }
}
