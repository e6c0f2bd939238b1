//! Pull-only access to OCI registries that may be hostile, and to OCI layouts on disk.
//!
//! ```text
//! text ─▶ reference ─┬─▶ layout (oci:DIR)
//!                    └─▶ hosts (certs.d) ─▶ remote ─▶ auth ─▶ http ─▶ network
//!                                            │ cache, backoff ─▶ folder (openat, no links)
//! ```
//!
//! - [`mod@reference`]: what the user writes, normalised as docker does
//! - [`client`]: options, shared state; [`repository`]: the methods that callers use
//! - `hosts`, `endpoint`: containerd's `hosts.toml`, and which servers stand for a registry
//! - `challenge`, `credentials`, `helper`, `auth`: `WWW-Authenticate`, docker's config, tokens
//! - [`mod@network`]: the ports and files that one registry needs
//! - `http`, `names`, `zone`: one bounded exchange, redirects, which addresses a redirect may reach
//! - `document`, `listing`: descriptors, indexes, `Link` headers, referrer lists
//! - `remote`, `layout`: the two kinds of repository
//! - `cache`, `backoff`, `folder`: what stays on disk between short-lived processes
//!
//! Two rules stand above all: an error is never absence, and bytes are counted while they are read and hashed before
//! they are handed out.
//!
//! ```
//! use bestfit_registry::{Client, Options, Reference, Repository};
//!
//! async fn artifacts(repository: &Repository, reference: &Reference) -> Result<(), bestfit_registry::Error> {
//!     let image = repository.resolve(&reference.version()).await?;
//!     let kinds = ["application/vnd.oci.image-compatibility.v1"];
//!     for artifact in repository.referrers(&image.descriptor.digest, &kinds).await?.manifests {
//!         println!("{}", artifact.digest);
//!     }
//!     Ok(())
//! }
//!
//! let reference = Reference::parse("registry.example/hpc/app:v1")?;
//! assert_eq!(reference.name(), "registry.example/hpc/app");
//! let repository = Client::new(Options::default()).repository(&reference);
//! let asked = artifacts(&repository, &reference); // nothing is sent before it is awaited
//! # drop(asked);
//! # Ok::<(), bestfit_registry::ReferenceError>(())
//! ```
#![forbid(unsafe_code)]

mod auth;
mod backoff;
mod cache;
mod challenge;
pub mod client;
mod credentials;
mod document;
mod endpoint;
pub mod error;
mod folder;
mod helper;
mod hosts;
mod http;
mod layout;
mod listing;
mod names;
pub mod network;
pub mod reference;
mod remote;
pub mod repository;
mod stream;
mod zone;

pub use cache::kept;
pub use client::{Client, Options};
pub use document::Descriptor;
pub use error::Error;
pub use network::{Network, network};
pub use reference::{Reference, ReferenceError, Version};
pub use repository::{AtMost, Referrers, Repository, Resolved, Source};
pub use stream::BlobStream;

/// Bytes that a manifest or an index may have: 4 MiB, the most that registries must accept (distribution-spec, "Pushing
/// Manifests").
pub const MANIFEST_LIMIT: u64 = 4 << 20;
/// Referrers that are taken of one subject; more is an error.
pub const REFERRERS_LIMIT: usize = 256;
