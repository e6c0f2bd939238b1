//! The configuration of bestfit: which files are read, what they may say, and every mistake in them at once.
//!
//! ```text
//! Location ─▶ files (config.toml, conf.d/*.toml, profiles/<profile>.toml) ─▶ TOML ─▶ keys ─▶ Config | ConfigErrors
//! ```
//!
//! - [`location`]: where the files are, in which order they are read, and reading them within limits
//! - [`mod@load`]: the stages above, later files over earlier ones, and what a profile may not loosen
//! - [`keys`]: the one table of keys: name, what is expected, documentation, reading and showing
//! - [`hooks`]: the programs that a site lists
//! - [`site`]: levels and rules, whose names the site makes up; `schemas`: the files of its group schemas
//! - [`trust`]: whom the site trusts; `material`: the files of keys, roots and revocations
//! - [`values`]: durations, sizes, paths, hosts and the other kinds of values
//! - [`model`]: the typed result, [`Config`]
//! - [`mod@advice`]: what is no mistake, and hardly meant
//! - [`places`]: where things lie that more than one program looks for
//! - [`problem`]: one mistake with its place and its hint, and all of them together
//! - [`reference`](mod@reference): the pages that are made from the table of keys
//!
//! Only "file not found" means "the defaults": a file that cannot be read, or that says something wrong, is an error.

#![forbid(unsafe_code)]

pub mod advice;
pub mod hooks;
pub mod keys;
pub mod load;
pub mod location;
mod material;
pub mod model;
mod nearest;
pub mod places;
pub mod problem;
pub mod reference;
mod schemas;
pub mod site;
pub mod trust;
pub mod values;

pub use advice::{advice, unknown_pattern};
pub use load::{Loaded, Origin, load};
pub use location::Location;
pub use model::{Cache, Config, Decider, Log, Mode, PullDeadline, Registries, Selection, SiteSchemas};
pub use problem::{ConfigErrors, Problem};
