//! Owns the choice among assessed candidates (matching.md §6): the best of those that fit, the default where there is doubt, and
//! what the site refuses.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::admission::swappable;
use crate::decision::{Inputs, Outcome, Reason, Verdict};
use crate::digest::Digest;
use crate::index::Entry;
use crate::platform::PlatformClass;
use crate::policy::{Otherwise, Undeclared};
use crate::ranking::Rank;
use crate::trust::TrustMode;

/// One candidate, assessed.
pub(crate) struct Candidate<'a> {
    pub(crate) entry: &'a Entry,
    pub(crate) class: PlatformClass,
    pub(crate) verdict: Verdict,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) artifacts: Vec<Digest>,
    pub(crate) unread: bool,
    /// An artifact counts that nobody whom the site trusts signed.
    pub(crate) unsigned: bool,
    pub(crate) rank: Option<Rank>,
    /// The rule of the site that denies it.
    pub(crate) denied: Option<String>,
}

/// Why nothing is known about any entry.
pub(crate) const UNKNOWN_ARCHITECTURE: &str = "the architecture of this host is not known";

/// What to do, and why.
pub(crate) struct Choice {
    pub(crate) outcome: Outcome,
    pub(crate) why: String,
    pub(crate) preferred: Vec<Digest>,
    /// Why the container is refused where none of `preferred` can be applied.
    pub(crate) otherwise: Option<String>,
}

impl Choice {
    fn new(outcome: Outcome, why: String) -> Self {
        Self { outcome, why, preferred: Vec::new(), otherwise: None }
    }

    fn swap(why: String, preferred: Vec<Digest>) -> Self {
        Self { preferred, ..Self::new(Outcome::Swap, why) }
    }
}

/// What follows from all candidates; `any` says that something is said about one of them.
pub(crate) fn choose(
    inputs: &Inputs,
    index: &Digest,
    default: Option<&Entry>,
    candidates: &[Candidate<'_>],
    any: bool,
) -> Choice {
    let is_default =
        |candidate: &&Candidate<'_>| default.is_some_and(|entry| entry.position == candidate.entry.position);
    let default_candidate = candidates.iter().find(is_default);
    let choice = signed(best(inputs, default, default_candidate, candidates, any), inputs, index);
    heed(choice, inputs, default_candidate, candidates)
}

/// The rules of matching.md §6.
fn best(
    inputs: &Inputs,
    default: Option<&Entry>,
    default_candidate: Option<&Candidate<'_>>,
    candidates: &[Candidate<'_>],
    any: bool,
) -> Choice {
    let stay = |why: &str| Choice::new(Outcome::Default, why.to_owned());
    let trust = &inputs.policy.trust;
    let strict = trust.mode == TrustMode::Require;
    if candidates.is_empty() && default.is_none() {
        let host = &inputs.host;
        let why = format!("no entry runs on {}/{}", host.os, host.architecture);
        let why = if host.is_known() { why } else { UNKNOWN_ARCHITECTURE.to_owned() };
        return if strict { required(&why) } else { stay(&why) };
    }
    match trust.mode {
        _ if any => {}
        TrustMode::Off | TrustMode::Warn => return stay("no entry has a compatibility artifact"),
        TrustMode::Enforce => return stay("no entry has a compatibility artifact of a signer whom this site trusts"),
        TrustMode::Require => {
            return required("no entry has a compatibility artifact of a signer whom this site trusts");
        }
    }
    let default_rank = default_candidate.and_then(|candidate| candidate.rank.as_ref());
    let mut fitting: Vec<&Candidate<'_>> = candidates.iter().filter(|candidate| candidate.rank.is_some()).collect();
    fitting.sort_by(|a, b| b.rank.cmp(&a.rank));
    let better = fitting.iter().filter(|candidate| candidate.rank.as_ref() > default_rank);
    let preferred = others(default, better.map(|candidate| candidate.entry.digest));
    match (preferred.first(), fitting.is_empty()) {
        (Some(best), _) => {
            let why = format!("{} fits this host best", best.short());
            return Choice::swap(why, preferred);
        }
        (None, false) => return stay("the entry that containerd chose fits this host best"),
        (None, true) => {}
    }
    let lost = |candidate: &Candidate<'_>| candidate.unread && candidate.verdict != Verdict::Incompatible;
    if candidates.iter().any(lost) {
        let why = "artifacts could not be read, and no entry is known to fit";
        return if strict { required(why) } else { otherwise(inputs.policy.on_error, why) };
    }
    // A trusted no is left to `on_no_fit`; a default of which only its platform or the site says no has nobody's word.
    let spoken_of = default_candidate.is_some_and(|candidate| !candidate.artifacts.is_empty());
    match default_candidate.map(|candidate| candidate.verdict) {
        Some(Verdict::Incompatible) if spoken_of || !strict => {}
        _ if strict => return required("no entry is known to fit by an artifact of a signer whom this site trusts"),
        Some(Verdict::Undetermined) => return stay("no entry is known to fit, and nobody can tell about the default"),
        _ => return stay("no entry is known to fit, and nothing speaks against the default"),
    }
    let fallback = undeclared(candidates);
    let preferred = others(default, fallback.iter().map(|candidate| candidate.entry.digest));
    // Where only trusted artifacts count, saying nothing is no way around them.
    let fallback = inputs.policy.undeclared == Undeclared::Fallback && !trust.mode.only_trusted();
    if let (Some(first), true) = (preferred.first(), fallback) {
        let why = format!("no entry is known to fit, the default does not, and {} asks for nothing", first.short());
        return Choice::swap(why, preferred);
    }
    if !may_refuse(inputs, candidates) {
        return otherwise(Otherwise::RunDefault, "no entry fits this host by artifacts that nobody trusted signed");
    }
    otherwise(inputs.policy.on_no_fit, "no entry fits this host")
}

/// Only what the site trusts, or a site that asks for no signatures, may refuse a container (matching.md §6).
fn may_refuse(inputs: &Inputs, candidates: &[Candidate<'_>]) -> bool {
    inputs.policy.trust.mode != TrustMode::Warn || !candidates.iter().any(|candidate| candidate.unsigned)
}

/// Nothing is swapped for what the site wants signed and is not.
fn signed(choice: Choice, inputs: &Inputs, index: &Digest) -> Choice {
    if choice.outcome != Outcome::Swap {
        return choice;
    }
    let strict = inputs.policy.trust.mode == TrustMode::Require;
    match swappable(inputs, index, &choice.preferred) {
        Ok(preferred) if preferred == choice.preferred => choice,
        Ok(preferred) => {
            let best = preferred.first().map(Digest::short).unwrap_or_default();
            Choice { why: format!("{best} fits this host best of those that are signed"), preferred, ..choice }
        }
        Err(unsigned) if strict => required(&unsigned.why),
        Err(unsigned) if unsigned.unread => otherwise(inputs.policy.on_error, &unsigned.why),
        Err(unsigned) => otherwise(Otherwise::RunDefault, &unsigned.why),
    }
}

/// What the site denies does not run for want of something better: neither where nothing else is known to fit, nor where what
/// does cannot be applied.
fn heed(choice: Choice, inputs: &Inputs, default: Option<&Candidate<'_>>, candidates: &[Candidate<'_>]) -> Choice {
    let Some(default) = default else { return choice };
    let denied =
        default.denied.as_ref().map(|rule| format!("site rule {rule:?} denies the entry that containerd chose"));
    match (choice.outcome, denied) {
        (Outcome::Default, Some(denied)) => {
            otherwise(Otherwise::Deny, &format!("{denied}, and no entry is known to fit"))
        }
        (Outcome::Swap, Some(denied)) => Choice { otherwise: Some(denied), ..choice },
        (Outcome::Swap, None) => {
            let refused = inputs.policy.on_no_fit == Otherwise::Deny
                && default.verdict == Verdict::Incompatible
                && may_refuse(inputs, candidates);
            let why = "the entry that containerd chose does not fit this host (selection.on_no_fit = \"deny\")";
            Choice { otherwise: refused.then(|| why.to_owned()), ..choice }
        }
        _ => choice,
    }
}

/// Each digest once, the default's left out: another position of the same content is the same image.
fn others(default: Option<&Entry>, digests: impl Iterator<Item = Digest>) -> Vec<Digest> {
    let mut seen: BTreeSet<Digest> = default.map(|entry| entry.digest).into_iter().collect();
    digests.filter(|digest| seen.insert(*digest)).collect()
}

/// The entries that say nothing: native ones first, then those that declare neither variant nor features, by position.
fn undeclared<'c, 'e>(candidates: &'c [Candidate<'e>]) -> Vec<&'c Candidate<'e>> {
    let silent = candidates.iter().filter(|candidate| candidate.verdict == Verdict::Undeclared);
    let mut silent: Vec<&Candidate<'_>> = silent.collect();
    let plain = |entry: &Entry| entry.platform.as_ref().is_none_or(|platform| platform.is_plain());
    silent.sort_by_key(|candidate| (Reverse(candidate.class), !plain(candidate.entry), candidate.entry.position));
    silent
}

/// What `trust.mode = "require"` refuses.
fn required(why: &str) -> Choice {
    let why = format!("{why}: the container is refused (trust.mode = \"require\")");
    Choice::new(Outcome::Deny, why)
}

fn otherwise(policy: Otherwise, why: &str) -> Choice {
    let (outcome, end) = match policy {
        Otherwise::RunDefault => (Outcome::Default, "the default runs"),
        Otherwise::Deny => (Outcome::Deny, "the container is refused"),
    };
    Choice::new(outcome, format!("{why}: {end}"))
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
