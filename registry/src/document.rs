//! Owns descriptors and the documents that list them (image-spec, descriptor.md and image-index.md), read strictly from
//! bounded bytes.

use std::collections::BTreeMap;

use bestfit_selector::digest::Digest;
use serde::{Deserialize, Serialize};

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// What a manifest request accepts.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// What a document is, by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The document's media type.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What kind of artifact the list says it is: a hint, never a fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The list's annotations: hints too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A descriptor as it stands in a foreign document; the digest is still text.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawDescriptor {
    #[serde(default)]
    pub(crate) media_type: Option<String>,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
    #[serde(default)]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

/// An image index as it came.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawIndex {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: Option<String>,
    /// Without this key it is no index; an empty list is one.
    pub(crate) manifests: Vec<RawDescriptor>,
}

/// The part of a manifest that says what it belongs to.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawManifest {
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
    #[serde(default)]
    pub(crate) config: Option<RawDescriptor>,
    #[serde(default)]
    pub(crate) subject: Option<RawDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    media_type: Option<String>,
}

impl RawDescriptor {
    /// Checks the digest.
    pub(crate) fn checked(self) -> Result<Descriptor, String> {
        Ok(Descriptor {
            digest: self.digest.parse().map_err(|error: bestfit_selector::digest::DigestError| error.to_string())?,
            media_type: self.media_type.unwrap_or_default(),
            size: self.size,
            artifact_type: self.artifact_type.filter(|kind| !kind.is_empty()),
            annotations: self.annotations.unwrap_or_default(),
        })
    }
}

impl RawIndex {
    /// Reads an OCI index (not a Docker manifest list, which has no referrers).
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let index: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match index.media_type.as_deref() {
            _ if index.schema_version != 2 => Err(format!("schemaVersion {} is not 2", index.schema_version)),
            Some(OCI_INDEX) | None => Ok(index),
            Some(other) => Err(format!("mediaType {other:?} is no OCI index")),
        }
    }
}

impl RawManifest {
    /// The artifact type: its own, or that of its config (distribution-spec, "Listing Referrers").
    pub(crate) fn kind(&self) -> Option<&str> {
        let config = || self.config.as_ref().and_then(|config| config.media_type.as_deref());
        self.artifact_type.as_deref().filter(|kind| !kind.is_empty()).or_else(config)
    }
}

/// The descriptor of these very bytes.
pub(crate) fn described(bytes: &[u8], media_type: String) -> Descriptor {
    let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
    Descriptor { media_type, digest, size, artifact_type: None, annotations: BTreeMap::new() }
}

/// The media type of a manifest: what its verified bytes say, else what the header said.
pub(crate) fn media_type(bytes: &[u8], header: Option<&str>) -> String {
    let own = serde_json::from_slice::<Typed>(bytes).ok().and_then(|typed| typed.media_type);
    let header = || header.map(|header| header.split(';').next().unwrap_or_default().trim().to_owned());
    own.or_else(header).unwrap_or_default()
}
