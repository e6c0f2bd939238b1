//! Signatures about one digest: what they are, what must be fetched to check them, and whether one holds for a site. Pure:
//! no file, no clock, no network; keys and roots come in with [`Trust`].
//!
//! ```text
//! referrer or `.sig` manifest ─▶ wanted (form, blobs to fetch) ─▶ Candidate ─▶ judge ─▶ Standing
//!                                              Trust (the site's list) ────────▲
//! ```
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use bestfit_selector::digest::Digest;
use bestfit_selector::trust::{Standing, Trust};

/// The artifact types of manifests that can hold a signature, as a list of referrers names them; descriptors of tag-fallback
/// lists may carry other types, so the manifest decides ([`wanted`]).
pub const ARTIFACT_TYPES: [&str; 2] =
    ["application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.cncf.notary.signature"];
/// The most signatures about one subject that are looked at (reference: trust.md, "Attacks").
pub const MAX_SIGNATURES: usize = 32;
/// The longest blob of a signature, in bytes.
pub const MAX_BLOB: u64 = 256 << 10;

/// The form of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Sigstore's bundle, as cosign 3 attaches it.
    Bundle,
    /// cosign's older form under the tag `sha256-<hex>.sig`.
    SimpleSigning,
    /// Notary Project, JWS or COSE.
    Notation,
}

/// What has to be fetched to check the signatures of one manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Their form.
    pub form: Form,
    /// Digest and size of each blob; at most [`MAX_SIGNATURES`], none longer than [`MAX_BLOB`].
    pub blobs: Vec<(Digest, u64)>,
}

/// A manifest that may hold signatures, with its blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The digest of `manifest`, already checked.
    pub digest: Digest,
    /// Its bytes.
    pub manifest: Vec<u8>,
    /// The blobs that [`wanted`] named, each with its digest checked, or why it could not be read.
    pub blobs: BTreeMap<Digest, Result<Vec<u8>, String>>,
}

/// What must be fetched of a manifest; `None` where it holds no signature in a form that is known.
pub fn wanted(manifest: &[u8]) -> Option<Wanted> {
    let _ = manifest;
    None
}

/// Whether one of `candidates` is a signature about `subject` by somebody whom the site trusts for `repository`
/// (`host/repository`). `now` is in seconds since 1970 UTC.
pub fn judge(trust: &Trust, subject: &Digest, repository: &str, candidates: &[Candidate], now: i64) -> Standing {
    let _ = (trust, subject, repository, candidates, now);
    Standing::Untrusted { why: vec!["no signature is verified yet".to_owned()] }
}

/// What is wrong with the keys and roots of a site: the position in [`Trust::accept`], and the mistake.
pub fn problems(trust: &Trust) -> Vec<(usize, String)> {
    let _ = trust;
    Vec::new()
}
