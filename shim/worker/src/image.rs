//! Owns what the worker reads of image manifests and image configs (OCI image-spec, manifest.md and config.md; Docker's
//! schema 2 has the same fields). Parsing only; the bytes come from containerd's store, checked against their digest.

use std::collections::BTreeMap;

use bestfit_selector::digest::Digest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// The most layers an image may have: overlayfs takes no more than 500 lower directories.
const MAX_LAYERS: usize = 500;

/// The document is no manifest or config that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    /// Not the JSON that it should be.
    #[error("{what} {digest}: {cause}")]
    Json { what: &'static str, digest: Digest, cause: serde_json::Error },
    /// Too many layers.
    #[error("manifest {0}: {1} layers, at most {MAX_LAYERS} are read")]
    Layers(Digest, usize),
    /// Layers and diff ids do not pair up.
    #[error("config {0}: {1} diff ids for {2} layers")]
    DiffIds(Digest, usize, usize),
}

/// A descriptor inside a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

impl Manifest {
    /// Reads the manifest that `digest` names.
    pub(crate) fn parse(digest: Digest, bytes: &[u8]) -> Result<Self, ImageError> {
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|cause| ImageError::Json { what: "manifest", digest, cause })?;
        if manifest.layers.len() > MAX_LAYERS {
            return Err(ImageError::Layers(digest, manifest.layers.len()));
        }
        Ok(manifest)
    }

    /// Whether a layer is encrypted (containerd/imgcrypt: `+encrypted`, before that `+enc`): what it unpacks to depends on keys that
    /// not everybody has.
    pub(crate) fn is_encrypted(&self) -> bool {
        let mut suffixes = self.layers.iter().flat_map(|layer| layer.media_type.split('+').skip(1));
        suffixes.any(|suffix| matches!(suffix, "encrypted" | "enc"))
    }
}

/// An image config: what the image contributes to a process, and its layers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct ImageConfig {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) config: ProcessConfig,
    #[serde(default)]
    pub(crate) rootfs: RootFs,
}

/// The `config` object: every field may be missing or null.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ProcessConfig {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) user: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) env: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) cmd: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) working_dir: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) volumes: BTreeMap<String, serde_json::Value>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) stop_signal: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) labels: BTreeMap<String, String>,
}

/// The `rootfs` object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct RootFs {
    #[serde(default)]
    pub(crate) diff_ids: Vec<Digest>,
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(value: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

impl ImageConfig {
    /// Reads the config that `digest` names.
    pub(crate) fn parse(digest: Digest, bytes: &[u8]) -> Result<Self, ImageError> {
        serde_json::from_slice(bytes).map_err(|cause| ImageError::Json { what: "image config", digest, cause })
    }

    /// The chain id of each layer, the lowest first; the last one names the whole root filesystem.
    pub(crate) fn chain_ids(&self, config: Digest, manifest: &Manifest) -> Result<Vec<String>, ImageError> {
        let (ids, layers) = (&self.rootfs.diff_ids, manifest.layers.len());
        if ids.len() != layers || ids.is_empty() {
            return Err(ImageError::DiffIds(config, ids.len(), layers));
        }
        Ok(chain_ids(ids))
    }
}

/// OCI image-spec config.md, "Layer ChainID".
fn chain_ids(diff_ids: &[Digest]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for id in diff_ids {
        let next = match chain.last() {
            None => id.to_string(),
            Some(parent) => {
                let hash = Sha256::digest(format!("{parent} {id}"));
                format!("sha256:{}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            }
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: &str) -> Digest {
        format!("sha256:{}", byte.repeat(32)).parse().unwrap()
    }

    #[test]
    fn chain_ids_hash_the_parent_and_the_layer() {
        let chain = chain_ids(&[digest("11"), digest("22")]);
        assert_eq!(chain[0], digest("11").to_string());
        // printf 'sha256:11…11 sha256:22…22' | sha256sum
        let text = format!("{} {}", digest("11"), digest("22"));
        assert_eq!(chain[1], Digest::of(text.as_bytes()).to_string());
    }

    #[test]
    fn null_and_missing_fields_are_empty() {
        let bytes =
            br#"{"config":{"Entrypoint":null,"Cmd":["a"],"Volumes":null},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let config = ImageConfig::parse(digest("00"), bytes).unwrap();
        assert_eq!(config.config.cmd, ["a"]);
        assert!(config.config.entrypoint.is_empty() && config.config.volumes.is_empty());
        assert_eq!(ImageConfig::parse(digest("00"), b"{}").unwrap(), ImageConfig::default());
        let error = ImageConfig::parse(digest("00"), b"{\"config\": 3}").unwrap_err().to_string();
        assert!(error.contains("line 1 column"), "{error}");
    }

    #[test]
    fn encrypted_layers_are_known_by_their_media_type() {
        let of = |media_type: &str| {
            let layer = Descriptor { media_type: media_type.to_owned(), digest: digest("33"), size: 1 };
            Manifest { config: layer.clone(), layers: vec![layer] }.is_encrypted()
        };
        for (media_type, encrypted) in [
            ("application/vnd.oci.image.layer.v1.tar+gzip", false),
            ("application/vnd.oci.image.layer.v1.tar+encrypted", true),
            ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", true),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip+enc", true),
            ("application/vnd.encrypted.notes.v1.tar", false),
        ] {
            assert_eq!(of(media_type), encrypted, "{media_type}");
        }
    }

    #[test]
    fn layers_and_diff_ids_must_pair_up() {
        let layer = Descriptor { media_type: String::new(), digest: digest("33"), size: 1 };
        let manifest = Manifest { config: layer.clone(), layers: vec![layer] };
        assert!(ImageConfig::default().chain_ids(digest("00"), &manifest).is_err());
    }
}
