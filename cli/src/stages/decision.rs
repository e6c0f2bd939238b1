//! Owns the way from an index to a decision: evidence from the repository, then the pure decision.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bestfit_config::Config;
use bestfit_decider::{Gathered, Verifier, gather};
use bestfit_registry::{Reference, Repository};
use bestfit_selector::decide::decide;
use bestfit_selector::decision::{Decision, ImageConfigs, Inputs};

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
    let verifier = Verifier { trust: &config.selection.policy.trust, name: reference.name(), now: now() };
    let found = gather(repository, &parsed, &host.platform, &verifier, host.nvidia, None).await;
    let Gathered { evidence, standings, stale, images, .. } = found;
    let gathered = Instant::now();
    let inputs = Inputs {
        index,
        facts: host.facts,
        policy: config.selection.policy.clone(),
        schemas: config.schemas.files.clone(),
        host: host.platform,
        default: None,
        evidence,
        images: images.map(|of| ImageConfigs { user: Vec::new(), of }),
        standings,
        stale,
        now: verifier.now,
    };
    let decision = decided(&inputs, reference)?;
    Ok(Decided { decision, gather_us: micros(gathered.duration_since(started)), decide_us: micros(gathered.elapsed()) })
}

/// The pure decision; its errors name the image.
pub(crate) fn decided(inputs: &Inputs, what: &impl std::fmt::Display) -> Result<Decision, Failure> {
    decide(inputs).map_err(|error| Failure::new(Exit::Data, format!("{what}: {}", plain(&error.to_string()))))
}

/// Seconds since 1970 UTC.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
