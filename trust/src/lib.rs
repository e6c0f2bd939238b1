//! Signatures about one digest: what they are, what must be fetched to check them, and whether one holds for a site. Pure
//! but for one look at the clock, which sigstore-verify takes itself (decision 17): no file, no network; the time, keys and
//! roots come in, with [`Trust`](bestfit_selector::trust::Trust).
//!
//! In the order of the data: `manifest` (which form, which blobs); `bundle` and `statement` (Sigstore), `simple` (cosign's older
//! form), both in `sigstore`, `notation` with `jws` and `cose`; `entry` (the site's list) with `keys`, `certificates`, `fingerprint`,
//! `distinguished`, `timestamp`; `judge`; `refusal` has the words for what does not count.
//!
//! ```text
//! referrer or `.sig` manifest ─▶ wanted (form, blobs to fetch) ─▶ Candidate ─▶ judge ─▶ Standing
//!                                              Trust (the site's list) ────────▲
//! ```
//!
//! ```
//! use bestfit_selector::digest::Digest;
//! use bestfit_selector::trust::{Accept, By, Standing, Trust};
//!
//! let pem = "-----BEGIN PUBLIC KEY-----
//! MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEluNQDHgPxlpKK1m/wqv2uEBp4kDt
//! OT2ohkdUMQHzfECq9WNKvnh4qdMhF+vXAFQbRyBtOhCSn4wusy349E9gbQ==
//! -----END PUBLIC KEY-----
//! ";
//! let vendor = Accept { name: "vendor".into(), scopes: Vec::new(), by: By::Key { pem: pem.into() } };
//! let trust = Trust { accept: vec![vendor], ..Trust::default() };
//! assert_eq!(bestfit_trust::problems(&trust), []);
//!
//! // No manifest that could hold a signature was found; `wanted` says what must be fetched of one.
//! let standing = bestfit_trust::judge(&trust, &Digest::of(b"artifact"), "registry.example/hpc/app", &[], 1_700_000_000);
//! assert!(matches!(standing, Standing::Untrusted { .. }));
//! ```
#![forbid(unsafe_code)]

mod bundle;
mod certificates;
mod cose;
mod distinguished;
mod entry;
mod fingerprint;
mod judge;
mod jws;
mod keyless;
mod keys;
mod manifest;
mod notation;
pub mod parsers;
mod refusal;
mod sigstore;
mod simple;
mod statement;
mod timestamp;

use std::collections::BTreeMap;
use std::fmt;

use bestfit_selector::digest::Digest;

pub use judge::{judge, judge_until, problems};

use manifest::Manifest;

/// The artifact types of manifests that can hold a signature, as a list of referrers names them; descriptors of tag-fallback
/// lists may carry other types, so the manifest decides ([`wanted`]).
pub const ARTIFACT_TYPES: [&str; 2] =
    ["application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.cncf.notary.signature"];
/// The most signatures about one subject that are looked at (reference: trust.md, "Attacks").
pub const MAX_SIGNATURES: usize = 32;
/// The longest blob of a signature, in bytes.
pub const MAX_BLOB: u64 = 256 << 10;

/// How far, in seconds, a clock may be ahead of ours: what is dated later is refused. An entry of a transparency log must not be
/// ahead at all: within this, it is unknown whether its signature holds.
pub const SKEW: i64 = 300;

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
    Manifest::read(manifest).map(|manifest| manifest.wanted())
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bundle => "bundle",
            Self::SimpleSigning => "simple signing",
            Self::Notation => "notation",
        })
    }
}
