//! Owns the stages that `explain` and `check` share, in the order in which they happen:
//!
//! - [`host`]: which host is asked about: its facts and its platform
//! - [`configuration`]: what the site says, without mistakes
//! - [`image`]: configuration and reference → the bytes of an index, or of a single image
//! - [`decision`]: index → evidence → decision
//! - [`replay`]: a record → the same inputs → a decision again
//! - [`program`]: the other programs of bestfit, which `ps` and `doctor` ask
//! - [`file`](mod@file): bounded reading of files that a user names

pub(crate) mod configuration;
pub(crate) mod decision;
pub(crate) mod file;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod program;
pub(crate) mod replay;

use std::future::Future;
use std::time::Duration;

use crate::failure::{Exit, Failure};
use crate::output::with_progress;

/// The longest that a command waits for others; each single request to a registry has its own, shorter limits.
const DEADLINE: Duration = Duration::from_secs(120);

/// Runs the part of a command that waits for others.
pub(crate) fn block_on<T>(what: String, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Unavailable, format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let bounded = tokio::time::timeout(DEADLINE, work);
        with_progress(what.clone(), bounded).await.unwrap_or_else(|_| {
            let seconds = DEADLINE.as_secs();
            Err(Failure::new(Exit::Unavailable, format!("{what}: no end within {seconds} s")).hint("try again later"))
        })
    })
}
