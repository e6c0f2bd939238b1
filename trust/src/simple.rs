//! Owns cosign's older form: a layer with a "simple signing" document, its signature in an annotation, under the tag
//! `sha256-<hex>.sig` of the subject. The tag proves nothing; the document names the digest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bestfit_selector::digest::Digest;
use bestfit_selector::json;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;

use crate::MAX_BLOB;
use crate::certificates::{self, Chain};
use crate::keys::PublicKey;
use crate::manifest::Layer;
use crate::refusal::{Refusal, shown};

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
/// What the document must say that it is (cosign, "SIGNATURE_SPEC.md").
const KIND: &str = "cosign container image signature";

/// A signature in the older form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Simple {
    payload: Vec<u8>,
    signature: Vec<u8>,
    /// The signer's certificate and those that it was made with, where it is not a plain key's.
    pub(crate) chain: Option<Chain>,
    digest: String,
    /// The repository that was signed for, as cosign wrote it: cosign itself does not heed it.
    pub(crate) reference: String,
}

#[derive(Deserialize)]
struct Document {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Identity {
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

impl Simple {
    /// Reads the document and the annotations of its layer; no signature is verified.
    pub(crate) fn read(layer: &Layer, payload: &[u8]) -> Result<Self, Refusal> {
        let malformed = |why: &dyn std::fmt::Display| Refusal::malformed("the document", why);
        let limit = usize::try_from(MAX_BLOB).unwrap_or(usize::MAX);
        let document: Document = json::read(payload, limit).map_err(|error| malformed(&error))?;
        if document.critical.kind != KIND {
            return Err(malformed(&format_args!("it is of the type {:?}, not {KIND:?}", document.critical.kind)));
        }
        let annotation =
            |name| layer.annotations.as_ref().and_then(|all| all.get(name)).filter(|text| !text.is_empty());
        let signature =
            annotation(SIGNATURE).ok_or_else(|| malformed(&"its layer has no signature in an annotation"))?;
        let signature = STANDARD.decode(signature).map_err(|error| malformed(&error))?;
        let chain = match annotation(CERTIFICATE) {
            Some(leaf) => Some(chain(leaf, annotation(CHAIN).map_or("", String::as_str))?),
            None => None,
        };
        let Critical { identity, image, .. } = document.critical;
        let reference = identity.docker_reference;
        Ok(Self { payload: payload.to_vec(), signature, chain, digest: image.docker_manifest_digest, reference })
    }

    /// Whether it is about exactly `subject`.
    pub(crate) fn check_subject(&self, subject: &Digest) -> Result<(), Refusal> {
        if self.digest == subject.to_string() { Ok(()) } else { Err(Refusal::OtherDigest(shown(&self.digest))) }
    }

    /// The repository that it was made for, as we write references: cosign spells Docker's own host out.
    pub(crate) fn repository(&self) -> String {
        match self.reference.strip_prefix("index.docker.io/") {
            Some(rest) => format!("docker.io/{rest}"),
            None => self.reference.clone(),
        }
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Whether it is `key`'s signature.
    pub(crate) fn check_key(&self, key: &PublicKey) -> Result<(), Refusal> {
        if key.verifies(&self.payload, &self.signature) { Ok(()) } else { Err(Refusal::OtherKey) }
    }
}

fn chain(leaf: &str, others: &str) -> Result<Chain, Refusal> {
    let mut leaves: Vec<CertificateDer<'static>> = certificates::read_pem(leaf)?;
    let (Some(leaf), true) = (leaves.pop(), leaves.is_empty()) else {
        return Err(Refusal::malformed("the certificate", "there must be one"));
    };
    Ok(Chain { leaf, others: certificates::read_pem(others)? })
}
