//! Owns the CBOR envelope of Notary Project: a tagged COSE_Sign1 (RFC 9052, 4.2) with the chain in header 33 (RFC 9360).

use coset::cbor::Value;
use coset::iana::{Algorithm, HeaderParameter};
use coset::{ContentType, CoseSign1, Header, Label, RegisteredLabelWithPrivate, TaggedCborSerializable};
use rustls_pki_types::CertificateDer;

use crate::certificates::Chain;
use crate::notation::{EXPIRY, Envelope, PLUGIN, Protected, SIGNING_SCHEME, SIGNING_TIME, TIME_STAMP, malformed};
use crate::refusal::Refusal;

/// The header with the chain: `x5chain`.
const X5CHAIN: i64 = 33;
/// The tag of a time in seconds since 1970 (RFC 8949, 3.4.2).
const EPOCH_TIME: u64 = 1;

/// Reads an envelope. What coset keeps of the protected headers are the bytes that were signed.
pub(crate) fn read(bytes: &[u8]) -> Result<Envelope, Refusal> {
    let sign1 = CoseSign1::from_tagged_slice(bytes).map_err(malformed)?;
    let payload = sign1.payload.clone().ok_or_else(|| malformed("it has no payload"))?;
    let chain = find(&sign1.unprotected, &Label::Int(X5CHAIN)).ok_or_else(|| malformed("it has no certificate"))?;
    let stamp = match find(&sign1.unprotected, &Label::Text(TIME_STAMP.to_owned())) {
        Some(Value::Bytes(stamp)) => Some(stamp.clone()),
        Some(_) => return Err(malformed("its time stamp is not a byte string")),
        None => None,
    };
    Ok(Envelope {
        signed: sign1.tbs_data(&[]),
        payload,
        protected: protected(&sign1.protected.header)?,
        signature: sign1.signature.clone(),
        chain: certificates(chain)?,
        stamp,
    })
}

fn find<'h>(header: &'h Header, label: &Label) -> Option<&'h Value> {
    header.rest.iter().find(|(found, _)| found == label).map(|(_, value)| value)
}

/// One certificate as a byte string, or several as an array.
fn certificates(value: &Value) -> Result<Chain, Refusal> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let mut found = Vec::new();
    for item in items {
        let Value::Bytes(der) = item else { return Err(malformed("a certificate is not a byte string")) };
        found.push(CertificateDer::from(der.clone()));
    }
    Chain::of(found).ok_or_else(|| malformed("it has no certificate"))
}

fn protected(header: &Header) -> Result<Protected, Refusal> {
    let named = |name: &str| find(header, &Label::Text(name.to_owned()));
    let scheme = match named(SIGNING_SCHEME) {
        Some(Value::Text(scheme)) => Some(scheme.clone()),
        Some(_) => return Err(malformed("its signing scheme is not a text")),
        None => None,
    };
    let content_type = match &header.content_type {
        Some(ContentType::Text(text)) => text.clone(),
        _ => String::new(),
    };
    Ok(Protected {
        algorithm: algorithm(header),
        content_type,
        critical: header.crit.iter().map(critical).collect(),
        scheme,
        signing_time: named(SIGNING_TIME).map(time).transpose()?,
        expiry: named(EXPIRY).map(time).transpose()?,
        plugin: named(PLUGIN).is_some(),
    })
}

fn time(value: &Value) -> Result<i64, Refusal> {
    let seconds = match value {
        Value::Tag(EPOCH_TIME, inner) => inner.as_integer().and_then(|seconds| i64::try_from(seconds).ok()),
        _ => None,
    };
    seconds.ok_or_else(|| malformed("a time is not in whole seconds since 1970"))
}

/// JOSE's name for it; another text where it is none of Notary Project's.
fn algorithm(header: &Header) -> String {
    let name = match &header.alg {
        Some(RegisteredLabelWithPrivate::Assigned(algorithm)) => match algorithm {
            Algorithm::ES256 => "ES256",
            Algorithm::ES384 => "ES384",
            Algorithm::ES512 => "ES512",
            Algorithm::PS256 => "PS256",
            Algorithm::PS384 => "PS384",
            Algorithm::PS512 => "PS512",
            other => return format!("{other:?}"),
        },
        _ => "an algorithm without a name",
    };
    name.to_owned()
}

fn critical(label: &RegisteredLabelWithPrivate<HeaderParameter>) -> String {
    match label {
        RegisteredLabelWithPrivate::Text(name) => name.clone(),
        RegisteredLabelWithPrivate::Assigned(known) => format!("{known:?}"),
        RegisteredLabelWithPrivate::PrivateUse(number) => number.to_string(),
    }
}
