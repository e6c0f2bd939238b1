//! Owns the JSON envelope of Notary Project: flattened JWS (RFC 7515, 7.2.2) with the chain in `x5c`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bestfit_selector::json;
use bestfit_selector::time::Time;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::MAX_BLOB;
use crate::certificates::Chain;
use crate::notation::{Envelope, Protected, malformed};
use crate::refusal::Refusal;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    payload: String,
    protected: String,
    header: Header,
    signature: String,
}

#[derive(Deserialize)]
struct Header {
    x5c: Vec<String>,
    #[serde(rename = "io.cncf.notary.timestampSignature")]
    stamp: Option<String>,
}

#[derive(Deserialize)]
struct Signed {
    alg: String,
    cty: String,
    #[serde(default)]
    crit: Vec<String>,
    #[serde(rename = "io.cncf.notary.signingScheme")]
    scheme: Option<String>,
    #[serde(rename = "io.cncf.notary.signingTime")]
    signing_time: Option<String>,
    #[serde(rename = "io.cncf.notary.expiry")]
    expiry: Option<String>,
    #[serde(rename = "io.cncf.notary.verificationPlugin")]
    plugin: Option<IgnoredAny>,
}

/// Reads an envelope.
pub(crate) fn read(bytes: &[u8]) -> Result<Envelope, Refusal> {
    let limit = usize::try_from(MAX_BLOB).unwrap_or(usize::MAX);
    let raw: Raw = json::read(bytes, limit).map_err(malformed)?;
    let url = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(malformed);
    let standard = |text: &String| STANDARD.decode(text).map_err(malformed);
    let signed: Signed = json::read(&url(&raw.protected)?, limit).map_err(malformed)?;
    let mut certificates = Vec::new();
    for certificate in &raw.header.x5c {
        certificates.push(CertificateDer::from(standard(certificate)?));
    }
    Ok(Envelope {
        signed: format!("{}.{}", raw.protected, raw.payload).into_bytes(),
        payload: url(&raw.payload)?,
        protected: protected(signed)?,
        signature: url(&raw.signature)?,
        chain: Chain::of(certificates).ok_or_else(|| malformed("it has no certificate"))?,
        stamp: raw.header.stamp.as_ref().map(standard).transpose()?,
    })
}

fn protected(signed: Signed) -> Result<Protected, Refusal> {
    let time = |text: Option<String>| {
        let read = |text: String| Time::parse(&text).ok_or_else(|| malformed(format_args!("{text:?} is no time")));
        text.map(read).transpose().map(|time| time.map(|time| time.seconds))
    };
    Ok(Protected {
        algorithm: signed.alg,
        content_type: signed.cty,
        critical: signed.crit,
        scheme: signed.scheme,
        signing_time: time(signed.signing_time)?,
        expiry: time(signed.expiry)?,
        plugin: signed.plugin.is_some(),
    })
}
