//! The one face of a repository, whether it lies in a registry or on disk. The methods take `&self`: lookups of different
//! subjects can run side by side.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bestfit_selector::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::client::Shared;
use crate::document::Descriptor;
use crate::error::Error;
use crate::layout::Layout;
use crate::reference::Version;
use crate::remote::Remote;
use crate::stream::BlobStream;

/// A repository to read from.
#[derive(Debug)]
pub struct Repository(Kind);

#[derive(Debug)]
enum Kind {
    Remote(Box<Remote>),
    Layout(Layout),
}

/// A manifest or an index that a version led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Media type, digest and size of the bytes.
    pub descriptor: Descriptor,
    /// The bytes, which have that digest.
    pub bytes: Vec<u8>,
}

/// Holds the number of requests down until it is dropped: see [`Repository::at_most`].
#[derive(Debug)]
#[must_use]
pub struct AtMost(Option<Arc<Shared>>);

impl Drop for AtMost {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.http.at_most(None);
        }
    }
}

/// The manifests that may refer to a subject. A hint: the caller opens them and checks subject and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrers {
    /// Digest of the list's bytes (of all pages in a row); none where there is no list.
    pub list: Option<Digest>,
    /// At most [`crate::REFERRERS_LIMIT`] image manifests.
    pub manifests: Vec<Descriptor>,
    /// Who gave the list.
    pub source: Source,
    /// Why a cached list is used although it is outdated; none for a fresh one.
    pub stale: Option<String>,
    /// How much longer the list counts as fresh; none where it does not, or is read anew each time.
    pub fresh: Option<Duration>,
}

/// Where a list of referrers comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The registry's Referrers API.
    Api,
    /// The tag `sha256-<hex>` (distribution-spec, "Referrers Tag Schema").
    TagFallback,
    /// The tag of one manifest.
    Tag,
    /// An OCI layout.
    Layout,
    /// The on-disk cache.
    Cache,
}

impl Repository {
    pub(crate) fn remote(shared: Arc<Shared>, host: &str, repository: &str) -> Self {
        Self(Kind::Remote(Box::new(Remote::new(shared, host, repository))))
    }

    pub(crate) fn layout(folder: PathBuf) -> Self {
        Self(Kind::Layout(Layout::new(folder)))
    }

    /// While what this gives lives, the client of this repository sends at most so many requests: whoever can push to a
    /// repository must not make every node flood its registry.
    pub fn at_most(&self, requests: u64) -> AtMost {
        let shared = match &self.0 {
            Kind::Remote(remote) => Some(remote.shared()),
            Kind::Layout(_) => None,
        };
        shared.iter().for_each(|shared| shared.http.at_most(Some(requests)));
        AtMost(shared)
    }

    /// The manifest or index that a tag or digest leads to. A tag is asked for anew each time.
    ///
    /// # Errors
    /// [`Error::NotFound`] where it is not there; every other error says nothing about that.
    pub async fn resolve(&self, version: &Version) -> Result<Resolved, Error> {
        match &self.0 {
            Kind::Remote(remote) => remote.resolve(version).await,
            Kind::Layout(layout) => layout.resolve(version),
        }
    }

    /// A manifest or index of at most [`crate::MANIFEST_LIMIT`] bytes, with this digest.
    ///
    /// # Errors
    /// As [`Repository::resolve`]; [`Error::DigestMismatch`] and [`Error::TooLarge`] for bytes that are not it.
    pub async fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        match &self.0 {
            Kind::Remote(remote) => remote.manifest(digest).await,
            Kind::Layout(layout) => layout.blob(digest, crate::MANIFEST_LIMIT),
        }
    }

    /// A small blob of at most `limit` bytes, with this digest; kept in the cache.
    ///
    /// # Errors
    /// As [`Repository::manifest`].
    pub async fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, Error> {
        match &self.0 {
            Kind::Remote(remote) => remote.blob(digest, limit).await,
            Kind::Layout(layout) => layout.blob(digest, limit),
        }
    }

    /// A blob of exactly `size` bytes piece by piece; never kept in the cache.
    ///
    /// # Errors
    /// As [`Repository::manifest`]; [`Error::WrongSize`] for another declared size.
    pub async fn blob_stream(&self, digest: &Digest, size: u64) -> Result<BlobStream, Error> {
        match &self.0 {
            Kind::Remote(remote) => remote.blob_stream(digest, size).await,
            Kind::Layout(layout) => layout.blob_stream(digest, size),
        }
    }

    /// The manifests that may be artifacts of one of these types with this subject, in one list: a registry filters by one type
    /// at most, so several are filtered here.
    ///
    /// # Errors
    /// Any failure: an empty list means that the registry itself says that there are none.
    pub async fn referrers(&self, subject: &Digest, artifact_types: &[&str]) -> Result<Referrers, Error> {
        match &self.0 {
            Kind::Remote(remote) => remote.referrers(subject, artifact_types).await,
            Kind::Layout(layout) => layout.referrers(subject, artifact_types),
        }
    }

    /// The manifest under the tag `sha256-<hex>.sig`, where cosign put signatures before there were referrers, as a list of one
    /// or none.
    ///
    /// # Errors
    /// Any failure: an empty list means that the registry itself says that there is no such tag.
    pub async fn signatures_by_tag(&self, subject: &Digest) -> Result<Referrers, Error> {
        match &self.0 {
            Kind::Remote(remote) => remote.signatures_by_tag(subject).await,
            Kind::Layout(layout) => layout.signatures_by_tag(subject),
        }
    }
}
