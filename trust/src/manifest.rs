//! Owns the manifests that signatures lie in: which form they have, which blobs belong to them, what they are about. The
//! descriptor in a list of referrers may lie (reference: trust.md, "What cosign 3 writes"); the manifest decides.

use std::collections::BTreeMap;

use bestfit_selector::digest::Digest;
use bestfit_selector::json;
use serde::Deserialize;

use crate::{Form, MAX_BLOB, MAX_SIGNATURES, Wanted};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const NOTATION: &str = "application/vnd.cncf.notary.signature";
/// Media types of Notary Project's envelopes.
pub(crate) const JWS: &str = "application/jose+json";
pub(crate) const COSE: &str = "application/cose";
/// The longest manifest that is read, in bytes (trust.md, "Attacks").
const MAX_MANIFEST: usize = 4 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u64,
    artifact_type: Option<String>,
    config: Option<Typed>,
    #[serde(default)]
    layers: Vec<Layer>,
    subject: Option<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    media_type: String,
}

#[derive(Deserialize)]
struct Named {
    digest: Digest,
}

/// One layer: one signature, or something else.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Layer {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

/// A manifest with signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) form: Form,
    /// What it says it is about; the older form of cosign says so by its tag alone.
    pub(crate) subject: Option<Digest>,
    /// The layers that are signatures.
    pub(crate) signatures: Vec<Layer>,
}

impl Manifest {
    /// Reads a manifest; `None` where it holds no signature in a form that is known.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let raw: Raw = json::read(bytes, MAX_MANIFEST).ok()?;
        if raw.schema_version != 2 {
            return None;
        }
        let form = raw.form()?;
        let signatures = raw.layers.into_iter().filter(|layer| belongs(form, &layer.media_type)).collect();
        Some(Self { form, subject: raw.subject.map(|subject| subject.digest), signatures })
    }

    /// What has to be fetched of it. What is too long stays out, and [`fn@crate::judge`] says so.
    pub(crate) fn wanted(&self) -> Wanted {
        let fit = self.signatures.iter().filter(|layer| layer.size <= MAX_BLOB);
        Wanted { form: self.form, blobs: fit.take(MAX_SIGNATURES).map(|layer| (layer.digest, layer.size)).collect() }
    }
}

impl Raw {
    fn form(&self) -> Option<Form> {
        let has = |form| self.layers.iter().any(|layer| belongs(form, &layer.media_type));
        let config = self.config.as_ref().map(|config| config.media_type.as_str());
        let notary = self.artifact_type.as_deref() == Some(NOTATION) || config == Some(NOTATION);
        if notary && has(Form::Notation) {
            return Some(Form::Notation);
        }
        [Form::Bundle, Form::SimpleSigning].into_iter().find(|form| has(*form))
    }
}

fn belongs(form: Form, media_type: &str) -> bool {
    match form {
        Form::Bundle => media_type == BUNDLE,
        Form::SimpleSigning => media_type == SIMPLE_SIGNING,
        Form::Notation => media_type == JWS || media_type == COSE,
    }
}
