//! Owns the way from an index to a decision: evidence from the repository, then the pure decision.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bestfit_config::Config;
use bestfit_decider::gather;
use bestfit_registry::{Reference, Repository};
use bestfit_selector::decide::decide;
use bestfit_selector::decision::{Decision, Inputs};

use super::host::Host;
use super::image;
use crate::failure::{Exit, Failure};
use crate::output::plain;

/// A decision, and how long its parts took, in microseconds.
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    pub(crate) gather_us: u64,
    pub(crate) decide_us: u64,
}

/// Asks the repository what is said about the entries of `index`, and decides.
pub(crate) async fn decide_on(
    repository: &Repository,
    reference: &Reference,
    index: Vec<u8>,
    host: Host,
    config: &Config,
) -> Result<Decided, Failure> {
    let parsed = image::parse(reference, &index)?;
    let started = Instant::now();
    let evidence = gather(repository, &parsed, &host.platform).await.evidence;
    let gathered = Instant::now();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let inputs = Inputs {
        index,
        facts: host.facts,
        policy: config.selection.policy.clone(),
        schemas: config.schemas.files.clone(),
        host: host.platform,
        default: None,
        evidence,
        standings: BTreeMap::new(),
        now: i64::try_from(now).unwrap_or(i64::MAX),
    };
    let decision = decided(&inputs, reference)?;
    Ok(Decided { decision, gather_us: micros(gathered.duration_since(started)), decide_us: micros(gathered.elapsed()) })
}

/// The pure decision; its errors name the image.
pub(crate) fn decided(inputs: &Inputs, what: &impl std::fmt::Display) -> Result<Decision, Failure> {
    decide(inputs).map_err(|error| Failure::new(Exit::Data, format!("{what}: {}", plain(&error.to_string()))))
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
