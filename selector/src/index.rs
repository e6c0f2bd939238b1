//! Owns the reading of an image index: OCI image index and Docker manifest list bytes become an [`Index`]. Says which
//! entries are images at all; which of them can run on a host is `crate::platform`'s.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::digest::{Digest, DigestError};
use crate::json::{self, JsonError};
use crate::nfd;

/// The longest index that is read, in bytes (trust.md, "Attacks").
pub const MAX_BYTES: usize = 4 << 20;
/// The most entries of an index (trust.md, "Attacks").
pub const MAX_ENTRIES: usize = 64;
/// The most annotations of one entry.
pub const MAX_ANNOTATIONS: usize = 256;
/// The type of a compatibility artifact (Proposal F).
pub const ARTIFACT_TYPE: &str = "application/vnd.oci.image-compatibility.v1";

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// A parsed image index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The digest of the bytes it was parsed from.
    pub digest: Digest,
    /// Its entries in their order.
    pub entries: Vec<Entry>,
}

/// One descriptor of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the index, from 0.
    pub position: usize,
    /// The digest of what it points to.
    pub digest: Digest,
    /// The size of what it points to, in bytes.
    pub size: u64,
    /// The media type of what it points to.
    pub media_type: String,
    /// The platform, where the descriptor has one.
    pub platform: Option<Platform>,
    /// The annotations of the descriptor.
    pub annotations: BTreeMap<String, String>,
    /// `artifactType` of the descriptor.
    pub artifact_type: Option<String>,
    /// The content itself, in base64, where the descriptor carries it.
    pub data: Option<String>,
}

/// `platform` of a descriptor, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// GOOS.
    #[serde(default)]
    pub os: String,
    /// GOARCH.
    #[serde(default)]
    pub architecture: String,
    /// For example `v3` (amd64) or `v8.2` (arm64).
    #[serde(default)]
    pub variant: Option<String>,
    /// `os.version`.
    #[serde(default, rename = "os.version")]
    pub os_version: Option<String>,
    /// `os.features`.
    #[serde(default, rename = "os.features")]
    pub os_features: Vec<String>,
    /// `features`: processor features, as Docker manifest lists and Proposal E write them.
    #[serde(default)]
    pub features: Vec<String>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An image that may be a candidate.
    Image,
    /// An inline compatibility artifact.
    InlineArtifact,
    /// Something else, for the reason given.
    Other(&'static str),
}

/// Why index bytes were refused.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// No JSON, or of another shape.
    #[error("the image index cannot be read: {0}")]
    Json(#[from] JsonError),
    /// JSON, but no index.
    #[error("this is no image index: {0}")]
    NotAnIndex(String),
    /// More entries than are accepted.
    #[error("the image index has {0} entries, more than the {MAX_ENTRIES} that are accepted")]
    TooManyEntries(usize),
    /// More annotations than are accepted.
    #[error("entry {position} of the image index has more than {MAX_ANNOTATIONS} annotations")]
    TooManyAnnotations {
        /// Position of the entry.
        position: usize,
    },
    /// An entry's digest is none.
    #[error("entry {position} of the image index: {source}")]
    Digest {
        /// Position of the entry.
        position: usize,
        /// Why.
        source: DigestError,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawIndex {
    schema_version: u64,
    media_type: Option<String>,
    manifests: Vec<RawEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEntry {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    artifact_type: Option<String>,
    data: Option<String>,
}

impl Index {
    /// Parses the bytes of an OCI image index or a Docker manifest list.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        let raw: RawIndex = json::read(bytes, MAX_BYTES)?;
        if raw.schema_version != 2 {
            return Err(IndexError::NotAnIndex(format!("schemaVersion is {}, not 2", raw.schema_version)));
        }
        if let Some(media_type) = raw.media_type.filter(|media_type| !is_index(media_type)) {
            return Err(IndexError::NotAnIndex(format!("mediaType is {:?}", json::plain(&media_type, 100))));
        }
        if raw.manifests.len() > MAX_ENTRIES {
            return Err(IndexError::TooManyEntries(raw.manifests.len()));
        }
        let entries = raw.manifests.into_iter().enumerate().map(|(position, raw)| raw.into_entry(position));
        Ok(Self { digest: Digest::of(bytes), entries: entries.collect::<Result<_, _>>()? })
    }

    /// The first entry with this digest.
    pub fn entry(&self, digest: &Digest) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.digest == *digest)
    }
}

impl RawEntry {
    fn into_entry(self, position: usize) -> Result<Entry, IndexError> {
        let annotations = self.annotations.unwrap_or_default();
        if annotations.len() > MAX_ANNOTATIONS {
            return Err(IndexError::TooManyAnnotations { position });
        }
        let digest = self.digest.parse().map_err(|source| IndexError::Digest { position, source })?;
        Ok(Entry {
            position,
            digest,
            size: self.size,
            media_type: self.media_type,
            platform: self.platform,
            annotations,
            artifact_type: self.artifact_type.filter(|artifact_type| !artifact_type.is_empty()),
            data: self.data,
        })
    }
}

impl Entry {
    /// Whether this entry is an image, an inline artifact, or something that is never run.
    pub fn kind(&self) -> Kind {
        if self.artifact_type.as_deref().is_some_and(|kind| [ARTIFACT_TYPE, nfd::ARTIFACT_TYPE].contains(&kind)) {
            return Kind::InlineArtifact;
        }
        if is_index(&self.media_type) {
            return Kind::Other("a nested index: not followed");
        }
        if !MANIFESTS.contains(&self.media_type.as_str()) {
            return Kind::Other("not an image manifest");
        }
        let attestation =
            self.annotations.get("vnd.docker.reference.type").is_some_and(|kind| kind == "attestation-manifest");
        let unknown = |platform: &Platform| platform.os == "unknown" && platform.architecture == "unknown";
        if attestation || self.platform.as_ref().is_some_and(unknown) {
            return Kind::Other("an attestation");
        }
        if self.artifact_type.is_some() {
            return Kind::Other("an artifact");
        }
        Kind::Image
    }

    /// The content that the descriptor carries, checked against its size and digest; `None` where it carries none.
    pub fn inline(&self) -> Option<Result<Vec<u8>, String>> {
        self.data.as_deref().map(|data| decode(data, &self.digest, self.size))
    }
}

/// Decodes `data` of a descriptor and checks it against the descriptor's size and digest (OCI image-spec, descriptor.md).
pub(crate) fn decode(data: &str, digest: &Digest, size: u64) -> Result<Vec<u8>, String> {
    let bytes = STANDARD.decode(data).map_err(|error| format!("`data` is no base64: {error}"))?;
    if bytes.len() as u64 != size {
        return Err(format!("`data` has {} bytes, its descriptor says {size}", bytes.len()));
    }
    if digest.matches(&bytes) { Ok(bytes) } else { Err(format!("`data` does not have the digest {}", digest.short())) }
}

fn is_index(media_type: &str) -> bool {
    media_type == OCI_INDEX || media_type == DOCKER_LIST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(extra: &str) -> String {
        let digest = Digest::of(b"x");
        format!(r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":1{extra}}}"#)
    }

    fn index(entries: &str) -> String {
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{entries}]}}"#)
    }

    #[test]
    fn reads_entries_and_their_kind() {
        let entries = [
            entry(r#","platform":{"os":"linux","architecture":"amd64","variant":"v3","os.features":["a"]}"#),
            entry(r#","platform":{"os":"unknown","architecture":"unknown"}"#),
            entry(r#","annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#),
            entry(r#","artifactType":"application/vnd.oci.image-compatibility.v1""#),
            entry("").replace("image.manifest", "image.index"),
            entry(r#","annotations":null,"platform":null"#),
        ];
        let index = Index::parse(index(&entries.join(",")).as_bytes()).unwrap();
        let kinds: Vec<_> = index.entries.iter().map(Entry::kind).collect();
        assert_eq!(
            kinds,
            [
                Kind::Image,
                Kind::Other("an attestation"),
                Kind::Other("an attestation"),
                Kind::InlineArtifact,
                Kind::Other("a nested index: not followed"),
                Kind::Image
            ]
        );
        let platform = index.entries[0].platform.as_ref().unwrap();
        assert_eq!((platform.variant.as_deref(), platform.os_features.len()), (Some("v3"), 1));
    }

    #[test]
    fn refuses_what_is_no_index() {
        let error = |text: &str| Index::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error("{}"), "the image index cannot be read: line 1 column 2: missing field `schemaVersion`");
        assert_eq!(
            error(r#"{"schemaVersion":2,"manifests":{}}"#),
            "the image index cannot be read: line 1 column 31: invalid type: map, expected a sequence"
        );
        assert!(error(&index("").replace(OCI_INDEX, "x/y")).contains("mediaType is \"x/y\""));
        assert!(error(&index(&entry("").replace("sha256:", "sha256:0"))).contains("entry 0 of the image index"));
        let many = vec![entry(""); 100_000].join(",");
        assert!(error(&index(&many)).contains("more than the 4194304"));
        let many = vec![entry(""); 65].join(",");
        assert_eq!(error(&index(&many)), "the image index has 65 entries, more than the 64 that are accepted");
    }
}
