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

/// An artifact that an index carries.
#[derive(Debug)]
pub struct Carried {
    /// Its digest: that of the entry.
    pub digest: Digest,
    /// Whom it is about.
    pub about: About,
    /// What it says.
    pub read: Result<Parsed, ArtifactError>,
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

/// Reads all that `index` carries, in its order; `now` is in seconds since 1970 UTC.
pub fn read(index: &Index, now: i64) -> Vec<Carried> {
    let carried = index.entries.iter().filter(|entry| entry.kind() == Kind::InlineArtifact);
    let read = |entry: &Entry| {
        let about = about(index, entry);
        let read = match about {
            About::Untold => Err(ArtifactError::Malformed(untold(entry))),
            _ => artifact::read_inline(entry, about, now),
        };
        Carried { digest: entry.digest, about, read }
    };
    carried.map(read).collect()
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
