//! Owns the bundle's `config.json` (OCI runtime-spec): reads it, and replaces it whole.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::arguments::identifier;
use crate::subject::CONTAINER_TYPE;

/// The annotation with the id of a pod's sandbox.
const SANDBOX_ID: &str = "io.kubernetes.cri.sandbox-id";
/// The longest runtime spec that is read, in bytes.
const MAX_SPEC: u64 = 16 << 20;

/// A bundle with its runtime spec.
pub(crate) struct Bundle {
    /// The bytes as containerd wrote them: rolling back means writing exactly these.
    pub(crate) original: Vec<u8>,
    /// The spec.
    pub(crate) spec: Value,
}

/// The bundle could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    #[error("{path}: {cause}")]
    Io { path: PathBuf, cause: std::io::Error },
    #[error("{path}: longer than {MAX_SPEC} bytes")]
    TooLong { path: PathBuf },
    #[error("{path}: {cause}")]
    Json { path: PathBuf, cause: serde_json::Error },
}

impl Bundle {
    /// Reads `<path>/config.json`.
    pub(crate) fn read(path: &Path) -> Result<Self, BundleError> {
        let file = path.join("config.json");
        let io = |cause| BundleError::Io { path: file.clone(), cause };
        if fs::metadata(&file).map_err(io)?.len() > MAX_SPEC {
            return Err(BundleError::TooLong { path: file });
        }
        let original = fs::read(&file).map_err(io)?;
        let spec = serde_json::from_slice(&original).map_err(|cause| BundleError::Json { path: file, cause })?;
        Ok(Self { original, spec })
    }

    /// An annotation of the spec.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.spec.get("annotations")?.get(key)?.as_str()
    }

    /// Where the bundle of the pod's sandbox lies, beside that of the pod's container at `path`.
    pub(crate) fn sandbox(&self, path: &Path) -> Option<PathBuf> {
        let sandbox = self.annotation(SANDBOX_ID).filter(|_| self.annotation(CONTAINER_TYPE) == Some("container"))?;
        Some(path.with_file_name(identifier(sandbox.to_owned()).ok()?))
    }
}

/// Replaces `file` with `bytes`, at once or not at all, with the same mode.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    let io = |cause| BundleError::Io { path: file.to_owned(), cause };
    let mode = fs::metadata(file).map(|meta| meta.permissions().mode() & 0o7777).unwrap_or(0o600);
    let temporary = file.with_extension("json.bestfit");
    let write = || {
        let mut to = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        to.write_all(bytes)?;
        fs::rename(&temporary, file)
    };
    write().map_err(|cause| {
        let _ = fs::remove_file(&temporary);
        io(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_annotations_and_writes_with_the_same_mode() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        fs::write(&file, r#"{"annotations":{"a":"b"}}"#).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let bundle = Bundle::read(dir.path()).unwrap();
        assert_eq!(bundle.annotation("a"), Some("b"));
        assert_eq!(bundle.annotation("c"), None);
        replace(&file, b"{}").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"{}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn the_sandbox_is_named_by_the_containers_of_pods_alone() {
        let sandbox = |kind: &str, id: &str| {
            let annotations = [("io.kubernetes.cri.container-type", kind), (SANDBOX_ID, id)];
            let spec = serde_json::json!({"annotations": std::collections::BTreeMap::from(annotations)});
            Bundle { original: Vec::new(), spec }.sandbox(Path::new("/s/ns/c"))
        };
        assert_eq!(sandbox("container", "p0d"), Some("/s/ns/p0d".into()));
        for (kind, id) in
            [("sandbox", "p0d"), ("", "p0d"), ("container", ""), ("container", ".."), ("container", "a/b")]
        {
            assert_eq!(sandbox(kind, id), None, "{kind} {id}");
        }
    }

    #[test]
    fn a_broken_spec_is_an_error_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), "{\n \"a\": }").unwrap();
        let error = Bundle::read(dir.path()).err().unwrap().to_string();
        assert!(error.ends_with("config.json: expected value at line 2 column 7"), "{error}");
    }
}
