//! bestfit's selection: which entry of an OCI image index fits a host best. Pure: no file, no clock, no network, no
//! environment; the same [`Inputs`] always give the same [`Decision`].
//!
//! ```text
//! index bytes ─▶ index ─▶ platform (candidates, default) ──────────────┐
//! artifacts ─▶ artifact ─▶ the form's ─▶ compiled (what keys mean) ────┼▶ Prepared ─▶ matching ─▶ ranking ─▶ decision ─▶ record
//! site: schema, policy, rules ─────────────────────────────────────────┘      ▲
//! facts ─▶ host ──────────────────────────────────────────────────────────────┘
//! ```
//!
//! In the order of the data:
//! - [`digest`], [`facts`], [`features`], [`devices`], [`policy`], [`trust`], [`decision`]: the vocabulary;
//! - [`scope`]: what a container was given, and facts narrowed to that; [`volatile`]: what is put aside, because it never
//!   decides;
//! - [`json`], [`yaml`], [`time`], [`version`]: strict readers of foreign text;
//! - [`index`]: image indexes and manifest lists; [`platform`]: what can run on a host, and what containerd picks;
//! - [`artifact`]: what is said about an entry; [`shape`]: in which form, [`document`] (Proposal F), [`compspec`] (D), [`flat`]
//!   (H) or [`nfd`]; [`inline`]: what an index says itself; [`require`]: what an image config asks of NVIDIA's driver;
//!   `admission`: which of it counts by its signatures; [`evidence`]: which of it is in force;
//! - [`schema`], [`value`], [`microarch`], [`target`], [`flags`]: what a key means, and how a value compares;
//! - [`hook`]: the words between a site's own programs and the probe;
//! - [`compiled`]: documents with their meaning, once for any number of hosts; [`rules`]: the site's;
//! - [`host`], [`matching`]: what holds on a host, with every reason where somebody reads it; [`ranking`]: the order of what
//!   fits;
//! - [`mod@decide`]: every candidate assessed; `choice`: which one runs; [`record`]: the decision as it is logged and
//!   explained; [`exchange`]: the words between worker and decider.
//!
//! An image with two builds, and an artifact that says what the second one needs:
//!
//! ```
//! use bestfit_selector::decision::{Artifact, Evidence, HostPlatform, Outcome};
//! use bestfit_selector::digest::Digest;
//! use bestfit_selector::facts::{Fact, Facts};
//! use bestfit_selector::policy::Policy;
//! use bestfit_selector::{Inputs, decide};
//!
//! let kind = "application/vnd.oci.image.manifest.v1+json";
//! let [plain, fast] = [b"plain", b"fast "].map(|image| Digest::of(image));
//! let entry = |image| {
//!     format!(r#"{{"mediaType": "{kind}", "digest": "{image}", "size": 5, "platform": {{"os": "linux", "architecture": "amd64"}}}}"#)
//! };
//! let index = format!(r#"{{"schemaVersion": 2, "manifests": [{}, {}]}}"#, entry(plain), entry(fast)).into_bytes();
//!
//! let asks = br#"{"compatibilities": {"host": {"kernel.version": ">=5.10"}}}"#.to_vec();
//! let manifest = format!(
//!     r#"{{"schemaVersion": 2, "mediaType": "{kind}", "artifactType": "application/vnd.oci.image-compatibility.v1",
//!         "config": {{"mediaType": "application/vnd.oci.empty.v1+json", "digest": "{}", "size": 2}},
//!         "layers": [{{"mediaType": "application/vnd.oci.image-compatibility.spec.v1+json", "digest": "{}", "size": {}}}],
//!         "subject": {{"mediaType": "{kind}", "digest": "{fast}", "size": 5}}}}"#,
//!     Digest::of(b"{}"), Digest::of(&asks), asks.len(),
//! )
//! .into_bytes();
//! let artifact =
//!     Artifact { digest: Digest::of(&manifest), manifest: Ok(manifest), layers: [(Digest::of(&asks), Ok(asks))].into() };
//! let found = |artifacts| Evidence::Read { list: None, artifacts };
//!
//! let mut facts = Facts::default();
//! facts.set("host", "kernel.version", Fact::known("6.1.0", "/proc/sys/kernel/osrelease"));
//! let inputs = Inputs {
//!     evidence: [(Digest::of(&index), found(vec![])), (plain, found(vec![])), (fast, found(vec![artifact]))].into(),
//!     index,
//!     facts,
//!     policy: Policy::default(),
//!     schemas: Vec::new(),
//!     host: HostPlatform { os: "linux".into(), architecture: "amd64".into() },
//!     default: Some(plain),
//!     standings: Default::default(),
//!     stale: Default::default(),
//!     images: None,
//!     now: 1_700_000_000,
//! };
//! let decision = decide(&inputs)?;
//! assert_eq!((decision.outcome, decision.preferred), (Outcome::Swap, vec![fast]));
//! # Ok::<(), bestfit_selector::DecideError>(())
//! ```

#![forbid(unsafe_code)]

mod admission;
pub mod artifact;
mod choice;
pub mod compiled;
pub mod compspec;
pub mod decide;
pub mod decision;
pub mod devices;
pub mod digest;
pub mod document;
pub mod evidence;
#[cfg(test)]
mod examples;
pub mod exchange;
pub mod facts;
pub mod features;
pub mod flags;
pub mod flat;
#[cfg(test)]
mod forms_tests;
pub mod hook;
pub mod host;
pub mod index;
pub mod inline;
pub mod json;
pub mod matching;
pub mod microarch;
pub mod nfd;
pub mod platform;
pub mod policy;
#[cfg(test)]
mod properties;
pub mod ranking;
pub mod record;
pub mod require;
pub mod rules;
pub mod schema;
pub mod scope;
pub mod shape;
pub mod target;
#[cfg(test)]
mod testing;
pub mod time;
pub mod trust;
#[cfg(test)]
mod trusting;
pub mod value;
pub mod version;
pub mod volatile;
pub mod yaml;

pub use decide::{DecideError, decide};
pub use decision::{Decision, Inputs};
