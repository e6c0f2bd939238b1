//! Owns the doors to the parsers of foreign bytes, one each, for whoever throws arbitrary bytes at them: each says whether it
//! took them, and none may panic. Everything else goes through [`fn@crate::judge`].

use crate::bundle::Bundle;
use crate::certificates;
use crate::distinguished::Identity;
use crate::keys::PublicKey;
use crate::manifest::{Layer, Manifest};
use crate::simple::Simple;
use crate::timestamp::Token;
use crate::{cose, jws, statement};

/// A manifest that holds signatures.
pub fn manifest(bytes: &[u8]) -> bool {
    Manifest::read(bytes).is_some()
}

/// A Sigstore bundle with a DSSE envelope.
pub fn bundle(bytes: &[u8]) -> bool {
    Bundle::read(bytes).is_ok()
}

/// An in-toto statement of `cosign sign` about `subject`.
pub fn in_toto(bytes: &[u8], subject: &bestfit_selector::digest::Digest) -> bool {
    statement::check(statement::PAYLOAD_TYPE, bytes, subject).is_ok()
}

/// The document of cosign's older form, with the annotations of its layer.
pub fn simple_signing(layer: &[u8], document: &[u8]) -> bool {
    serde_json::from_slice::<Layer>(layer).is_ok_and(|layer| Simple::read(&layer, document).is_ok())
}

/// Notary Project's JSON envelope.
pub fn notation_jws(bytes: &[u8]) -> bool {
    jws::read(bytes).is_ok()
}

/// Notary Project's CBOR envelope.
pub fn notation_cose(bytes: &[u8]) -> bool {
    cose::read(bytes).is_ok()
}

/// An RFC 3161 time stamp.
pub fn timestamp(der: &[u8]) -> bool {
    Token::read(der).is_ok()
}

/// A certificate, with its names.
pub fn certificate(der: &[u8]) -> bool {
    certificates::read(der).and_then(|certificate| certificates::names(&certificate)).is_ok()
}

/// A SubjectPublicKeyInfo.
pub fn public_key(der: &[u8]) -> bool {
    PublicKey::from_spki(der).is_ok()
}

/// An `x509.subject` identity.
pub fn identity(text: &str) -> bool {
    Identity::parse(text).is_ok()
}
