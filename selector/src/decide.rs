//! Owns the choice (matching.md §6): every candidate is assessed alone, then the best of those that fit is taken, and the
//! default where there is doubt.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::artifact::{self, ArtifactError, MAX_ARTIFACTS, Parsed};
use crate::decision::{
    Answer, Decision, EntryReport, Evidence, EvidenceDigests, InputDigests, Inputs, Outcome, Reason, Verdict,
};
use crate::digest::Digest;
use crate::index::{Entry, Index, IndexError, Kind, SUBJECT_ANNOTATION};
use crate::json;
use crate::matching::{Assessment, Host};
use crate::platform::{self, PlatformClass};
use crate::policy::{Otherwise, Undeclared};
use crate::ranking::Rank;
use crate::schema::Schemas;

/// Why nothing could be decided; the default choice stays.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// The index bytes are no index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The entry that containerd is said to have chosen is not in the index.
    #[error("{0} is no entry of this image index")]
    DefaultNotInIndex(Digest),
    /// An input could not be written as JSON, so its digest is not known.
    #[error("the inputs cannot be hashed")]
    Hash(#[from] serde_json::Error),
}

/// What was found about one subject.
#[derive(Default)]
struct Found {
    /// The artifacts in force.
    artifacts: Vec<Parsed>,
    /// Why something about it is not known.
    unknown: Vec<(String, Option<Digest>)>,
    /// Something could not be read.
    unread: bool,
    /// There is an artifact, whatever it is worth.
    any: bool,
    notes: Vec<String>,
}

/// One candidate, assessed.
struct Candidate<'a> {
    entry: &'a Entry,
    class: PlatformClass,
    assessment: Assessment,
    artifacts: Vec<Digest>,
    unread: bool,
    rank: Option<Rank>,
}

/// What to do, and why.
struct Choice {
    outcome: Outcome,
    why: String,
    preferred: Vec<Digest>,
}

/// Decides which entry of the index runs.
pub fn decide(inputs: &Inputs) -> Result<Decision, DecideError> {
    let index = Index::parse(&inputs.index)?;
    let default = match &inputs.default {
        Some(digest) => Some(index.entry(digest).ok_or(DecideError::DefaultNotInIndex(*digest))?),
        None => platform::containerd_default(&index, &inputs.host),
    };
    let host = Host { facts: &inputs.facts, schemas: Schemas::builtin() };
    let mut notes = BTreeSet::new();
    let inline = Inline::read(&index, inputs.now);
    let shared = inline.about(&index.digest, inputs);
    let shared_says = shared.assess(&host);
    let mut any = shared.any || shared.unread;
    let mut candidates = Vec::new();
    for (entry, class) in platform::candidates(&index, &inputs.host) {
        let found = inline.about(&entry.digest, inputs);
        any |= found.any || found.unread;
        notes.extend(found.notes.iter().cloned());
        let own = entry.platform.as_ref().map(|platform| host.platform(platform)).unwrap_or_default();
        let assessment = own.and(shared_says.clone()).and(found.assess(&host));
        let artifacts = shared.artifacts.iter().chain(&found.artifacts).map(|artifact| artifact.digest).collect();
        let is_default = default.is_some_and(|default| default.position == entry.position);
        let mut candidate =
            Candidate { entry, class, assessment, artifacts, unread: shared.unread || found.unread, rank: None };
        candidate.rank = candidate.rank(is_default);
        notes.extend(candidate.assessment.notes.iter().cloned());
        candidates.push(candidate);
    }
    notes.extend(shared.notes);
    let choice = choose(inputs, default, &candidates, any);
    Ok(Decision {
        outcome: choice.outcome,
        why: choice.why,
        default: default.map(|entry| entry.digest),
        entries: report(&index, inputs, candidates),
        preferred: choice.preferred,
        notes: notes.into_iter().collect(),
        inputs: input_digests(inputs, index.digest)?,
    })
}

impl Candidate<'_> {
    fn verdict(&self) -> Verdict {
        self.assessment.verdict()
    }

    fn rank(&self, is_default: bool) -> Option<Rank> {
        let score = &self.assessment.score;
        (self.verdict() == Verdict::Compatible).then(|| Rank {
            class: self.class,
            policy: 0,
            author: 0,
            weight: score.weight.clamp(-100, 100),
            specificity: score.specificity,
            preferred: score.preferred,
            unknown_preferred: score.unknown_preferred,
            default: is_default,
            position: Reverse(self.entry.position),
            digest: Reverse(self.entry.digest),
        })
    }
}

/// The rules of matching.md §6.
fn choose(inputs: &Inputs, default: Option<&Entry>, candidates: &[Candidate<'_>], any: bool) -> Choice {
    let stay = |why: &str| Choice { outcome: Outcome::Default, why: why.to_owned(), preferred: Vec::new() };
    if !any {
        return stay("no entry has a compatibility artifact");
    }
    let is_default =
        |candidate: &&Candidate<'_>| default.is_some_and(|entry| entry.position == candidate.entry.position);
    let default_candidate = candidates.iter().find(is_default);
    let default_rank = default_candidate.and_then(|candidate| candidate.rank.as_ref());
    let mut fitting: Vec<&Candidate<'_>> = candidates.iter().filter(|candidate| candidate.rank.is_some()).collect();
    fitting.sort_by(|a, b| b.rank.cmp(&a.rank));
    let better = fitting.iter().filter(|candidate| !is_default(candidate) && candidate.rank.as_ref() > default_rank);
    let preferred = others(default, better.map(|candidate| candidate.entry.digest));
    match (preferred.first(), fitting.is_empty()) {
        (Some(best), _) => {
            let why = format!("{} fits this host best", best.short());
            return Choice { outcome: Outcome::Swap, why, preferred };
        }
        (None, false) => return stay("the entry that containerd chose fits this host best"),
        (None, true) => {}
    }
    let lost = |candidate: &Candidate<'_>| candidate.unread && candidate.verdict() != Verdict::Incompatible;
    if candidates.iter().any(lost) {
        return otherwise(inputs.policy.on_error, "artifacts could not be read, and no entry is known to fit");
    }
    match default_candidate.map(Candidate::verdict) {
        Some(Verdict::Incompatible) => {}
        Some(Verdict::Undetermined) => return stay("no entry is known to fit, and nobody can tell about the default"),
        _ => return stay("no entry is known to fit, and nothing speaks against the default"),
    }
    let fallback = undeclared(candidates);
    let preferred = others(default, fallback.iter().map(|candidate| candidate.entry.digest));
    if let (Some(first), Undeclared::Fallback) = (preferred.first(), inputs.policy.undeclared) {
        let why = format!("no entry is known to fit, the default does not, and {} asks for nothing", first.short());
        return Choice { outcome: Outcome::Swap, why, preferred };
    }
    otherwise(inputs.policy.on_no_fit, "no entry fits this host")
}

/// Each digest once, the default's left out: another position of the same content is the same image.
fn others(default: Option<&Entry>, digests: impl Iterator<Item = Digest>) -> Vec<Digest> {
    let mut seen: BTreeSet<Digest> = default.map(|entry| entry.digest).into_iter().collect();
    digests.filter(|digest| seen.insert(*digest)).collect()
}

/// The entries that say nothing: native ones first, then those that declare neither variant nor features, by position.
fn undeclared<'c, 'e>(candidates: &'c [Candidate<'e>]) -> Vec<&'c Candidate<'e>> {
    let silent = candidates.iter().filter(|candidate| candidate.verdict() == Verdict::Undeclared);
    let mut silent: Vec<&Candidate<'_>> = silent.collect();
    let plain = |entry: &Entry| entry.platform.as_ref().is_none_or(|platform| platform.is_plain());
    silent.sort_by_key(|candidate| (Reverse(candidate.class), !plain(candidate.entry), candidate.entry.position));
    silent
}

fn otherwise(policy: Otherwise, why: &str) -> Choice {
    let (outcome, end) = match policy {
        Otherwise::RunDefault => (Outcome::Default, "the default runs"),
        Otherwise::Deny => (Outcome::Deny, "the container is refused"),
    };
    Choice { outcome, why: format!("{why}: {end}"), preferred: Vec::new() }
}

/// The digest of an artifact and what came of reading it.
type Read = (Digest, Result<Parsed, ArtifactError>);

/// The artifacts that the index carries inline, by the entry that they are about.
struct Inline {
    by_subject: BTreeMap<Digest, Vec<Read>>,
    /// Ones that do not say what they are about: they may be about any entry.
    stray: Vec<Digest>,
    present: bool,
}

impl Inline {
    fn read(index: &Index, now: i64) -> Self {
        let mut inline = Self { by_subject: BTreeMap::new(), stray: Vec::new(), present: false };
        for entry in index.entries.iter().filter(|entry| entry.kind() == Kind::InlineArtifact) {
            inline.present = true;
            let subject = entry.annotations.get(SUBJECT_ANNOTATION).and_then(|text| text.parse().ok());
            match subject.filter(|subject| index.entry(subject).is_some()) {
                Some(subject) => {
                    let read = artifact::read_inline(entry, now);
                    inline.by_subject.entry(subject).or_default().push((entry.digest, read));
                }
                None => inline.stray.push(entry.digest),
            }
        }
        inline
    }

    /// Everything about `subject`, from the index itself and from outside.
    fn about(&self, subject: &Digest, inputs: &Inputs) -> Found {
        let mut found = Found::default();
        for (digest, read) in self.by_subject.get(subject).into_iter().flatten() {
            found.take(*digest, read.clone());
        }
        if inputs.index_digest_is(subject) {
            for digest in &self.stray {
                found.any = true;
                let text = format!("inline artifact {}: {SUBJECT_ANNOTATION} names no entry", digest.short());
                found.unknown.push((text, Some(*digest)));
            }
        }
        match inputs.evidence.get(subject) {
            Some(Evidence::Read { artifacts, .. }) => {
                if artifacts.len() > MAX_ARTIFACTS {
                    found.any = true;
                    found.unknown.push((format!("more than {MAX_ARTIFACTS} artifacts: none is read"), None));
                } else {
                    let read = artifacts.iter().map(|given| (given.digest, artifact::read(subject, given, inputs.now)));
                    read.for_each(|(digest, read)| found.take(digest, read));
                }
            }
            Some(Evidence::Unread { why }) => {
                found.lose(format!("its artifacts could not be read: {}", json::plain(why, 300)), None);
            }
            // An index that carries its artifacts is the whole story: no registry is asked.
            None if self.present => {}
            None => found.lose("its artifacts were not asked for".to_owned(), None),
        }
        let (artifacts, replaced) = artifact::in_force(std::mem::take(&mut found.artifacts));
        found.artifacts = artifacts;
        found.notes.extend(replaced);
        found.unknown.sort();
        found.unknown.dedup();
        found
    }
}

impl Inputs {
    fn index_digest_is(&self, digest: &Digest) -> bool {
        digest.matches(&self.index)
    }
}

impl Found {
    fn take(&mut self, digest: Digest, read: Result<Parsed, ArtifactError>) {
        let text = |error: &ArtifactError| format!("artifact {}: {error}", digest.short());
        match read {
            Ok(parsed) => self.artifacts.push(parsed),
            Err(error @ ArtifactError::OtherType(_)) => return self.notes.push(text(&error)),
            Err(error @ ArtifactError::Unread(_)) => self.lose(text(&error), Some(digest)),
            Err(error) => self.unknown.push((text(&error), Some(digest))),
        }
        self.any = true;
    }

    fn lose(&mut self, text: String, artifact: Option<Digest>) {
        self.unread = true;
        self.unknown.push((text, artifact));
    }

    /// What it means on this host.
    fn assess(&self, host: &Host<'_>) -> Assessment {
        let mut assessment = host.artifacts(&self.artifacts);
        self.unknown.iter().for_each(|(text, artifact)| assessment.unknown(text.clone(), *artifact));
        assessment
    }
}

/// Every entry of the index in its order.
fn report(index: &Index, inputs: &Inputs, candidates: Vec<Candidate<'_>>) -> Vec<EntryReport> {
    let mut by_position: BTreeMap<usize, Candidate<'_>> =
        candidates.into_iter().map(|candidate| (candidate.entry.position, candidate)).collect();
    let entries = index.entries.iter().map(|entry| {
        let platform = entry.platform.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let (digest, position) = (entry.digest, entry.position);
        match by_position.remove(&position) {
            Some(candidate) => EntryReport {
                digest,
                position,
                platform,
                verdict: candidate.verdict(),
                rank: candidate.rank,
                reasons: or_silent(candidate.assessment.reasons),
                artifacts: candidate.artifacts,
            },
            None => {
                let text = skipped(entry, inputs);
                let reasons = vec![Reason { answer: Answer::Note, text, artifact: None, source: None }];
                let (rank, artifacts) = (None, Vec::new());
                EntryReport { digest, position, platform, verdict: Verdict::Skipped, reasons, rank, artifacts }
            }
        }
    });
    entries.collect()
}

/// An entry about which nothing was said has that as its reason.
fn or_silent(mut reasons: Vec<Reason>) -> Vec<Reason> {
    if reasons.is_empty() {
        let text = "no artifact says anything about it".to_owned();
        reasons.push(Reason { answer: Answer::Note, text, artifact: None, source: None });
    }
    reasons
}

fn skipped(entry: &Entry, inputs: &Inputs) -> String {
    match (entry.kind(), &entry.platform) {
        (Kind::InlineArtifact, _) => "an inline compatibility artifact".to_owned(),
        (Kind::Other(what), _) => what.to_owned(),
        (Kind::Image, None) => "it does not say for which platform it is".to_owned(),
        (Kind::Image, Some(_)) => format!("cannot run on {}/{}", inputs.host.os, inputs.host.architecture),
    }
}

fn input_digests(inputs: &Inputs, index: Digest) -> Result<InputDigests, DecideError> {
    let evidence = inputs.evidence.iter().map(|(subject, evidence)| (*subject, evidence_digests(evidence)));
    Ok(InputDigests {
        index,
        facts: hash(&inputs.facts)?,
        policy: hash(&inputs.policy)?,
        schemas: Schemas::builtin().digest(),
        host: inputs.host.clone(),
        now: inputs.now,
        evidence: evidence.collect(),
    })
}

/// The digest of a value's JSON form without spaces.
fn hash(value: &impl Serialize) -> Result<Digest, serde_json::Error> {
    Ok(Digest::of(&serde_json::to_vec(value)?))
}

fn evidence_digests(evidence: &Evidence) -> EvidenceDigests {
    let mut digests =
        EvidenceDigests { list: None, artifacts: BTreeMap::new(), unread: None, unread_manifests: BTreeMap::new() };
    match evidence {
        Evidence::Unread { why } => digests.unread = Some(json::plain(why, 300)),
        Evidence::Read { list, artifacts } => {
            digests.list = *list;
            for artifact in artifacts.iter().take(MAX_ARTIFACTS) {
                let layer = |read: &Result<Vec<u8>, String>| read.as_ref().err().map(|why| json::plain(why, 300));
                let layers = artifact.layers.iter().map(|(digest, read)| (*digest, layer(read)));
                digests.artifacts.insert(artifact.digest, layers.collect());
                if let Err(why) = &artifact.manifest {
                    digests.unread_manifests.insert(artifact.digest, json::plain(why, 300));
                }
            }
        }
    }
    digests
}
