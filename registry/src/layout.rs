//! A repository in an OCI layout on disk (image-spec, image-layout.md). Reads below its folder only, follows no link.

use std::io::ErrorKind;
use std::path::PathBuf;

use bestfit_selector::digest::Digest;
use bestfit_selector::json::plain;

use crate::document::{Descriptor, OCI_MANIFEST, RawDescriptor, RawIndex, RawManifest, media_type};
use crate::error::Error;
use crate::folder::Folder;
use crate::listing::{keep, signature_tag};
use crate::reference::Version;
use crate::repository::{Referrers, Resolved, Source};
use crate::stream::BlobStream;
use crate::{MANIFEST_LIMIT, REFERRERS_LIMIT};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Manifests that are opened to look for subjects.
const OPENED_LIMIT: usize = 1024;

/// An OCI layout.
#[derive(Debug)]
pub(crate) struct Layout {
    folder: PathBuf,
}

impl Layout {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn resolve(&self, version: &Version) -> Result<Resolved, Error> {
        let digest = match version {
            Version::Digest(digest) => *digest,
            Version::Tag(tag) => self.tagged(tag)?.digest,
            Version::Only => self.only()?.digest,
        };
        let bytes = self.blob(&digest, MANIFEST_LIMIT)?;
        let listed = || {
            let (_, index) = self.index().ok()?;
            index.manifests.into_iter().find(|raw| raw.digest == digest.to_string())?.media_type
        };
        let descriptor = Descriptor {
            media_type: media_type(&bytes, listed().as_deref()),
            digest,
            size: bytes.len() as u64,
            artifact_type: None,
            annotations: Default::default(),
        };
        Ok(Resolved { descriptor, bytes })
    }

    pub(crate) fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, Error> {
        let what = self.what(digest);
        let bytes = match self.blobs()?.read(&digest.hex(), limit) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Error::NotFound { what }),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => return Err(Error::TooLarge { what, limit }),
            Err(error) => return Err(self.wrong(format!("blob {digest}: {error}"))),
        };
        let got = Digest::of(&bytes);
        match got == *digest {
            true => Ok(bytes),
            false => Err(Error::DigestMismatch { what, expected: *digest, got }),
        }
    }

    pub(crate) fn blob_stream(&self, digest: &Digest, size: u64) -> Result<BlobStream, Error> {
        let what = self.what(digest);
        let file = match self.blobs()?.file(&digest.hex()) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Error::NotFound { what }),
            Err(error) => return Err(self.wrong(format!("blob {digest}: {error}"))),
        };
        match file.metadata() {
            Ok(data) if data.len() == size => Ok(BlobStream::file(file, *digest, size, what)),
            Ok(_) => Err(Error::WrongSize { what, declared: size }),
            Err(error) => Err(self.wrong(format!("blob {digest}: {error}"))),
        }
    }

    /// Manifests listed in `index.json` whose own `subject` says so, and the list under the fallback tag.
    pub(crate) fn referrers(&self, subject: &Digest, kinds: &[&str]) -> Result<Referrers, Error> {
        let (bytes, index) = self.index()?;
        let what = format!("referrers of {subject} in {}", self.folder.display());
        let mut manifests = Vec::new();
        let tag = format!("sha256-{}", subject.hex());
        if let Some(raw) = index.manifests.iter().find(|raw| name_of(raw) == Some(tag.as_str())) {
            let list = self.blob(&self.checked(raw.clone())?.digest, MANIFEST_LIMIT)?;
            let list = RawIndex::parse(&list).map_err(|why| Error::Malformed { what: what.clone(), why })?;
            manifests = keep(list, kinds, true, &what)?;
        }
        let candidates = index.manifests.into_iter().filter(|raw| raw.media_type.as_deref() == Some(OCI_MANIFEST));
        for (count, raw) in candidates.enumerate() {
            if count >= OPENED_LIMIT {
                return Err(Error::TooMany { what, limit: OPENED_LIMIT, unit: "manifests" });
            }
            let descriptor = self.checked(raw)?;
            if !manifests.iter().any(|known: &Descriptor| known.digest == descriptor.digest)
                && self.refers(&descriptor.digest, subject, kinds)?
            {
                manifests.push(descriptor);
            }
        }
        match manifests.len() > REFERRERS_LIMIT {
            true => Err(Error::TooMany { what, limit: REFERRERS_LIMIT, unit: "referrers" }),
            false => Ok(Referrers {
                list: Some(Digest::of(&bytes)),
                manifests,
                source: Source::Layout,
                stale: None,
                fresh: None,
            }),
        }
    }

    /// What the tag `sha256-<hex>.sig` leads to.
    pub(crate) fn signatures_by_tag(&self, subject: &Digest) -> Result<Referrers, Error> {
        let manifests = match self.tagged(&signature_tag(subject)) {
            Ok(descriptor) => vec![descriptor],
            Err(error) if error.is_absence() => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Referrers { list: None, manifests, source: Source::Layout, stale: None, fresh: None })
    }

    fn refers(&self, manifest: &Digest, subject: &Digest, kinds: &[&str]) -> Result<bool, Error> {
        let bytes = self.blob(manifest, MANIFEST_LIMIT)?;
        let parsed: RawManifest = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Malformed { what: self.what(manifest), why: error.to_string() })?;
        let about = parsed.subject.as_ref().is_some_and(|given| given.digest == subject.to_string());
        Ok(about && parsed.kind().is_some_and(|kind| kinds.contains(&kind)))
    }

    fn tagged(&self, tag: &str) -> Result<Descriptor, Error> {
        let (_, index) = self.index()?;
        let mut found = index.manifests.iter().filter(|raw| name_of(raw) == Some(tag));
        match (found.next(), found.next()) {
            (Some(one), None) => self.checked(one.clone()),
            (Some(one), Some(other)) if one.digest == other.digest => self.checked(one.clone()),
            (Some(_), Some(_)) => Err(self.wrong(format!("more than one manifest has the tag {tag:?}"))),
            (None, _) => Err(Error::NotFound { what: format!("tag {tag:?} in {}", self.folder.display()) }),
        }
    }

    /// The only manifest; referrers and their lists, which tools put beside it, do not count.
    fn only(&self) -> Result<Descriptor, Error> {
        let (_, index) = self.index()?;
        if let [one] = index.manifests.as_slice() {
            return self.checked(one.clone());
        }
        let is_image = |raw: &&RawDescriptor| name_of(raw).is_some_and(|name| !name.starts_with("sha256-"));
        let tagged: Vec<&RawDescriptor> = index.manifests.iter().filter(is_image).collect();
        match tagged.as_slice() {
            [one] => self.checked((*one).clone()),
            [] => Err(self.wrong(format!("{} manifests and no tag; write oci:DIR@DIGEST", index.manifests.len()))),
            many => {
                let names: Vec<_> = many.iter().take(20).filter_map(|raw| name_of(raw)).collect();
                let names = plain(&names.join(", "), 300);
                Err(self.wrong(format!("it has several tags, write oci:DIR:TAG with one of {names}")))
            }
        }
    }

    /// `index.json`: its bytes and what they say.
    fn index(&self) -> Result<(Vec<u8>, RawIndex), Error> {
        let root = self.root()?;
        let bytes = match root.read("index.json", MANIFEST_LIMIT) {
            Ok(bytes) => bytes,
            Err(error) => return Err(self.wrong(format!("index.json: {error}"))),
        };
        let index = RawIndex::parse(&bytes).map_err(|why| self.wrong(format!("index.json: {why}")))?;
        Ok((bytes, index))
    }

    fn root(&self) -> Result<Folder, Error> {
        Folder::open(&self.folder).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::NotFound { what: format!("OCI layout {}", self.folder.display()) },
            _ => self.wrong(error.to_string()),
        })
    }

    fn blobs(&self) -> Result<Folder, Error> {
        let blobs = self.root()?.below("blobs").and_then(|blobs| blobs.below("sha256"));
        blobs.map_err(|error| self.wrong(format!("blobs/sha256: {error}")))
    }

    fn checked(&self, raw: RawDescriptor) -> Result<Descriptor, Error> {
        raw.checked().map_err(|why| self.wrong(format!("index.json: {why}")))
    }

    fn wrong(&self, why: String) -> Error {
        Error::Layout { folder: self.folder.clone(), why }
    }

    fn what(&self, digest: &Digest) -> String {
        format!("{digest} in {}", self.folder.display())
    }
}

fn name_of(raw: &RawDescriptor) -> Option<&str> {
    raw.annotations.as_ref()?.get(REF_NAME).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::OCI_INDEX;
    use serde_json::json;
    use std::os::unix::fs::symlink;

    struct Fixture {
        folder: tempfile::TempDir,
        entries: Vec<serde_json::Value>,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
            Self { folder, entries: Vec::new() }
        }

        fn blob(&self, text: &str) -> Digest {
            let digest = Digest::of(text.as_bytes());
            std::fs::write(self.folder.path().join("blobs/sha256").join(digest.hex()), text).unwrap();
            digest
        }

        fn list(&mut self, media: &str, text: &str, tag: Option<&str>) -> Digest {
            let digest = self.blob(text);
            let mut entry = json!({"mediaType": media, "digest": digest, "size": text.len()});
            if let Some(tag) = tag {
                entry["annotations"] = json!({REF_NAME: tag});
            }
            self.entries.push(entry);
            digest
        }

        fn done(&self) -> Layout {
            let index = json!({"schemaVersion": 2, "manifests": self.entries}).to_string();
            std::fs::write(self.folder.path().join("index.json"), index).unwrap();
            Layout::new(self.folder.path().to_owned())
        }
    }

    fn artifact(subject: &Digest, kind: &str, salt: u8) -> String {
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind, "salt": salt, "layers": [],
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": "x", "size": 2},
            "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1}})
        .to_string()
    }

    #[test]
    fn tags_the_only_image_and_digests() {
        let mut fixture = Fixture::new();
        let one = fixture.list(OCI_INDEX, r#"{"one":1}"#, None);
        let layout = fixture.done();
        let only = layout.resolve(&Version::Only).unwrap();
        assert_eq!((only.descriptor.digest, only.descriptor.media_type.as_str()), (one, OCI_INDEX));
        assert!(layout.resolve(&Version::Tag("v1".into())).unwrap_err().is_absence());
        let two = fixture.list(OCI_INDEX, r#"{"two":2}"#, Some("v1"));
        fixture.list(OCI_INDEX, "{}", Some(&format!("sha256-{}", two.hex())));
        let layout = fixture.done();
        assert_eq!(layout.resolve(&Version::Only).unwrap().descriptor.digest, two);
        assert_eq!(layout.resolve(&Version::Tag("v1".into())).unwrap().descriptor.digest, two);
        assert_eq!(layout.resolve(&Version::Digest(one)).unwrap().descriptor.digest, one);
        fixture.list(OCI_INDEX, r#"{"three":3}"#, Some("v2"));
        let error = fixture.done().resolve(&Version::Only).unwrap_err().to_string();
        assert!(error.contains("v1, v2"), "{error}");
    }

    #[test]
    fn referrers_by_subject_and_by_tag() {
        let mut fixture = Fixture::new();
        let subject = fixture.list(OCI_MANIFEST, "{}", Some("v1"));
        let ours = fixture.list(OCI_MANIFEST, &artifact(&subject, "ours", 1), None);
        fixture.list(OCI_MANIFEST, &artifact(&subject, "theirs", 2), None);
        fixture.list(OCI_MANIFEST, &artifact(&ours, "ours", 3), None);
        let tagged = fixture.blob(&artifact(&subject, "ours", 4));
        let entry =
            |digest: &Digest| json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "artifactType": "ours"});
        let list = json!({"schemaVersion": 2, "manifests": [entry(&tagged), entry(&ours)]}).to_string();
        fixture.list(OCI_INDEX, &list, Some(&format!("sha256-{}", subject.hex())));
        let layout = fixture.done();
        let found = layout.referrers(&subject, &["ours"]).unwrap();
        let digests: Vec<_> = found.manifests.iter().map(|descriptor| descriptor.digest).collect();
        assert_eq!((digests, found.source), (vec![tagged, ours], Source::Layout));
        assert!(layout.referrers(&tagged, &["ours"]).unwrap().manifests.is_empty());
    }

    #[test]
    fn what_is_broken_is_an_error_and_nothing_leads_out() {
        let mut fixture = Fixture::new();
        let digest = fixture.list(OCI_MANIFEST, "{}", None);
        let layout = fixture.done();
        let file = fixture.folder.path().join("blobs/sha256").join(digest.hex());
        std::fs::write(&file, "{ }").unwrap();
        assert!(matches!(layout.blob(&digest, 10), Err(Error::DigestMismatch { .. })));
        assert!(matches!(layout.blob(&digest, 2), Err(Error::TooLarge { .. })));
        assert!(matches!(layout.blob_stream(&digest, 2), Err(Error::WrongSize { .. })));
        assert!(layout.referrers(&Digest::of(b""), &["ours"]).is_err(), "a manifest that cannot be read hides nothing");
        std::fs::remove_file(&file).unwrap();
        assert!(layout.blob(&digest, 10).unwrap_err().is_absence());
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), "{}").unwrap();
        symlink(outside.path(), &file).unwrap();
        assert!(matches!(layout.blob(&digest, 10), Err(Error::Layout { .. })));
        std::fs::write(
            fixture.folder.path().join("index.json"),
            r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x","size":1}]}"#,
        )
        .unwrap();
        assert!(matches!(layout.resolve(&Version::Only), Err(Error::Layout { .. })));
        std::fs::remove_file(fixture.folder.path().join("index.json")).unwrap();
        assert!(matches!(layout.resolve(&Version::Only), Err(Error::Layout { .. })));
        assert!(Layout::new("/nonexistent".into()).resolve(&Version::Only).unwrap_err().is_absence());
    }
}
