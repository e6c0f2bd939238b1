//! Owns artifacts that an index carries itself (matching.md §4): whom each is about, and what it says. No registry is asked
//! about such an index: what it carries is all that is said about its entries.
//!
//! One is an entry whose `artifactType` is that of an artifact (Proposal F's or NFD's), whose annotation
//! [`SUBJECT_ANNOTATION`] is the digest of the entry that it is about, or [`WHOLE_INDEX`], and whose `data` holds either a
//! document (the entry's media type is then a layer's) or an artifact manifest whose layers have `data` again; docker's
//! registry accepts an index only where its entries are manifests that it has. Give it the platform `unknown/unknown`:
//! containerd passes over it then, and no client takes it for an image.

use crate::artifact::{self, ArtifactError, Parsed};
use crate::digest::Digest;
use crate::index::{Entry, Index, Kind};
use crate::json;

/// Says which entry an inline artifact is about.
pub const SUBJECT_ANNOTATION: &str = "io.bestfit.subject";
/// Stands there where it is about the index, whose own digest cannot stand in it.
pub const WHOLE_INDEX: &str = "index";

/// An artifact that an index carries, still as it lies there: who signed the index comes before its bytes.
#[derive(Debug)]
pub struct Carried<'a> {
    /// The entry that is it.
    pub entry: &'a Entry,
    /// Whom it is about.
    pub about: About,
}

/// Whom an inline artifact is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// This entry.
    Entry(Digest),
    /// Every entry.
    Index,
    /// It does not say, so it may be about any.
    Untold,
}

/// All that `index` carries, in its order.
pub fn carried(index: &Index) -> Vec<Carried<'_>> {
    let carried = index.entries.iter().filter(|entry| entry.kind() == Kind::InlineArtifact);
    carried.map(|entry| Carried { entry, about: about(index, entry) }).collect()
}

impl Carried<'_> {
    /// What it says; `now` is in seconds since 1970 UTC.
    pub fn read(&self, now: i64) -> Result<Parsed, ArtifactError> {
        match self.about {
            About::Untold => Err(ArtifactError::Malformed(untold(self.entry))),
            about => artifact::read_inline(self.entry, about, now),
        }
    }
}

fn about(index: &Index, entry: &Entry) -> About {
    let Some(text) = entry.annotations.get(SUBJECT_ANNOTATION) else { return About::Untold };
    if text == WHOLE_INDEX {
        return About::Index;
    }
    let named = text.parse().ok().and_then(|digest: Digest| index.entry(&digest));
    named.map_or(About::Untold, |entry| About::Entry(entry.digest))
}

fn untold(entry: &Entry) -> String {
    match entry.annotations.get(SUBJECT_ANNOTATION) {
        None => format!("carried by the index without {SUBJECT_ANNOTATION}: it may be about any entry"),
        Some(text) => format!("{SUBJECT_ANNOTATION} = {:?} names no entry of the index", json::plain(text, 100)),
    }
}

#[cfg(test)]
#[path = "inline_tests.rs"]
mod tests;
