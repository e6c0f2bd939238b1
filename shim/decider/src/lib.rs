//! The stage that reads what comes from outside: which artifacts say something about the entries of an index.
//!
//! ```text
//! repository + index ─▶ gather ─▶ evidence ─▶ bestfit_selector::decide
//! ```
//!
//! - [`mod@gather`]: three rounds of requests at most, each sent side by side: referrers, artifact manifests, documents;
//!   at most 2,048 requests
//! - [`mod@signatures`]: what was signed about one digest, in the same rounds and one more, or two where only a manifest says that it is an
//!   artifact
//!
//! The same stage serves `bestfit explain` and, in the program beside this library, the shim: there it runs as an
//! unprivileged process ([`mod@confine`]), spoken to over a pipe (`serve`). It applies nothing and trusts nothing.
#![forbid(unsafe_code)]

pub mod confine;
pub mod gather;
pub mod signatures;

pub use gather::{Gathered, gather};
pub use signatures::Verifier;
