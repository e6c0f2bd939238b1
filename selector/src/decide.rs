//! Owns the decision: every candidate is assessed alone, then `crate::choice` takes the best of those that fit, and the default
//! where there is doubt. [`Prepared`] is all that does not depend on the host: it answers for any number of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::artifact::MAX_ARTIFACTS;
use crate::choice::{Candidate, UNKNOWN_ARCHITECTURE, choose};
use crate::compiled::Meaning;
use crate::decision::{
    Answer, ConfigDigest, Decision, EntryReport, Evidence, EvidenceDigests, ImageConfig, ImageConfigs, ImageDigests,
    InputDigests, Inputs, Reason, Verdict,
};
use crate::digest::Digest;
use crate::evidence::{Found, Sources};
use crate::facts::Facts;
use crate::index::{Entry, Index, IndexError, Kind};
use crate::json;
use crate::matching::{Host, Silent, Summary, Trace, Words};
use crate::platform::{self, PlatformClass};
use crate::ranking::Rank;
use crate::rules::{Rules, Subject};
use crate::schema::{SchemaErrors, Schemas};

/// Why nothing could be decided; the default choice stays.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// The index bytes are no index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The entry that containerd is said to have chosen is not in the index.
    #[error("{0} is no entry of this image index")]
    DefaultNotInIndex(Digest),
    /// The site's schemas make no sense.
    #[error("the group schemas of this site: {0}")]
    Schemas(#[from] SchemaErrors),
    /// An input could not be written as JSON, so its digest is not known.
    #[error("the inputs cannot be hashed")]
    Hash(#[from] serde_json::Error),
}

/// Everything about a decision that does not depend on the host's facts.
pub struct Prepared<'a> {
    inputs: &'a Inputs,
    index: Index,
    /// The site's and the built-in schemas; `None` where the site has none.
    schemas: Option<Schemas>,
    rules: Rules,
    /// Position of the entry that containerd chose.
    default: Option<usize>,
    shared: Found,
    slots: Vec<Slot>,
    /// Nothing is said about any entry, and the site lets platform variants decide then.
    by_variant: bool,
}

/// One candidate, whatever the host.
struct Slot {
    /// Position in the index.
    position: usize,
    class: PlatformClass,
    found: Found,
    /// The site's rules that may speak about it.
    rules: Vec<usize>,
}

/// One host, asked about.
pub struct Asked<'p> {
    prepared: &'p Prepared<'p>,
    host: Host<'p>,
    rules: Vec<Answer>,
}

/// Decides which entry of the index runs.
pub fn decide(inputs: &Inputs) -> Result<Decision, DecideError> {
    Prepared::new(inputs)?.on(&inputs.facts).decide()
}

impl<'a> Prepared<'a> {
    /// Parses the index and every artifact, and resolves what they mean. The facts of `inputs` are not looked at.
    pub fn new(inputs: &'a Inputs) -> Result<Self, DecideError> {
        let index = Index::parse(&inputs.index)?;
        let default = match &inputs.default {
            Some(digest) => Some(index.entry(digest).ok_or(DecideError::DefaultNotInIndex(*digest))?),
            None => platform::containerd_default(&index, &inputs.host),
        };
        let default = default.map(|entry| entry.position);
        let schemas = if inputs.schemas.is_empty() { None } else { Some(Schemas::with(&inputs.schemas)?) };
        let meaning = Meaning { schemas: schemas.as_ref().unwrap_or(Schemas::builtin()), policy: &inputs.policy };
        let rules = Rules::new(&meaning);
        let mut sources = Sources::new(inputs, &index, meaning);
        let shared = sources.about(&index.digest);
        let candidates = platform::candidates(&index, &inputs.host);
        let slots = candidates.map(|(entry, class)| {
            let found = sources.about(&entry.digest);
            let artifacts = || shared.artifacts.iter().chain(&found.artifacts);
            let subject = Subject {
                entry,
                index: index.digest,
                artifacts: artifacts().map(|artifact| artifact.digest).collect(),
                asks: artifacts().flat_map(|artifact| artifact.names()).cloned().collect(),
            };
            let rules = rules.about(&subject);
            Slot { position: entry.position, class, found, rules }
        });
        let slots: Vec<Slot> = slots.collect();
        let said = |found: &Found| found.any || found.unread;
        let silent = !said(&shared) && !slots.iter().any(|slot| said(&slot.found));
        // Where only trusted artifacts count, what a registry hides must not let a variant win.
        let by_variant = silent && inputs.policy.platform_variants && !inputs.policy.trust.mode.only_trusted();
        Ok(Self { inputs, index, schemas, rules, default, shared, slots, by_variant })
    }

    /// Asks about one host.
    pub fn on<'p>(&'p self, facts: &'p Facts) -> Asked<'p> {
        let host = Host::new(facts, self.schemas(), self.inputs.policy.vendor);
        let rules = self.rules.on(&host);
        Asked { prepared: self, host, rules }
    }

    /// How many candidates there are.
    pub fn candidates(&self) -> usize {
        self.slots.len()
    }

    /// The second from which on an artifact that counts is older than the site allows: no decision holds longer.
    pub fn outdated_from(&self) -> Option<i64> {
        [&self.shared]
            .into_iter()
            .chain(self.slots.iter().map(|slot| &slot.found))
            .filter_map(|found| found.outdated_from)
            .min()
    }

    fn schemas(&self) -> &Schemas {
        self.schemas.as_ref().unwrap_or(Schemas::builtin())
    }

    fn is_revoked(&self, entry: &Entry) -> bool {
        self.inputs.policy.trust.revoked_digests.contains(&entry.digest)
    }

    fn entry(&self, slot: &Slot) -> &Entry {
        &self.index.entries[slot.position]
    }
}

impl Asked<'_> {
    /// The verdict on the candidate at `at` (below [`Prepared::candidates`]), and its place in the order: all that the
    /// choice needs, without words.
    pub fn rank(&self, at: usize) -> Option<(Verdict, Option<Rank>)> {
        Some(self.judge(self.prepared.slots.get(at)?, &mut Silent))
    }

    fn judge<T: Trace>(&self, slot: &Slot, trace: &mut T) -> (Verdict, Option<Rank>) {
        let (prepared, mut all) = (self.prepared, Summary::default());
        let entry = prepared.entry(slot);
        if let Some(platform) = &entry.platform {
            self.host.judge_platform(platform, &mut all, trace);
            all.declared |= prepared.by_variant && platform.asks_of_processor();
        }
        let author = prepared.shared.author.max(slot.found.author);
        prepared.shared.evaluate(&self.host, author, &mut all, trace);
        slot.found.evaluate(&self.host, author, &mut all, trace);
        let policy = prepared.rules.apply(&slot.rules, &self.rules, &mut all, trace);
        let trust = &prepared.inputs.policy.trust;
        if prepared.is_revoked(entry) {
            all.answer = Answer::False;
            let text = "revoked by this site".to_owned();
            trace.reason(Reason { answer: Answer::False, text, artifact: None, source: None });
        }
        let artifacts = !(prepared.shared.artifacts.is_empty() && slot.found.artifacts.is_empty());
        let verdict = match all.verdict() {
            // What fits by itself alone has nobody's word that it fits.
            Verdict::Compatible if trust.mode.only_trusted() && !artifacts => Verdict::Undeclared,
            verdict => verdict,
        };
        let score = all.score;
        let rank = (verdict == Verdict::Compatible).then(|| Rank {
            class: slot.class,
            policy,
            author,
            weight: score.weight.clamp(-100, 100),
            specificity: score.specificity,
            preferred: score.preferred,
            unknown_preferred: score.unknown_preferred,
            default: prepared.default == Some(slot.position),
            position: Reverse(slot.position),
            digest: Reverse(entry.digest),
        });
        (verdict, rank)
    }

    /// The decision, with every reason.
    pub fn decide(&self) -> Result<Decision, DecideError> {
        let prepared = self.prepared;
        let mut notes: BTreeSet<String> = prepared.shared.notes.iter().cloned().collect();
        let mut any = prepared.shared.any || prepared.shared.unread || prepared.by_variant;
        let mut candidates = Vec::new();
        let mut forms = BTreeMap::new();
        for slot in &prepared.slots {
            let mut words = Words::default();
            let (verdict, rank) = self.judge(slot, &mut words);
            let found = &slot.found;
            any |= found.any || found.unread || prepared.is_revoked(prepared.entry(slot));
            any |= prepared.rules.may_deny(&slot.rules, &self.rules);
            notes.extend(found.notes.iter().cloned());
            notes.extend(words.notes);
            let in_force = || prepared.shared.artifacts.iter().chain(&found.artifacts);
            forms.extend(in_force().map(|artifact| (artifact.digest, artifact.forms())));
            candidates.push(Candidate {
                entry: prepared.entry(slot),
                class: slot.class,
                verdict,
                reasons: words.reasons,
                artifacts: in_force().map(|artifact| artifact.digest).collect(),
                unread: prepared.shared.unread || found.unread,
                unsigned: prepared.shared.unsigned || found.unsigned,
                rank,
                denied: prepared.rules.denies(&slot.rules, &self.rules).map(str::to_owned),
            });
        }
        let (inputs, index) = (prepared.inputs, &prepared.index);
        let default = prepared.default.map(|position| &index.entries[position]);
        let choice = choose(inputs, &index.digest, default, &candidates, any);
        Ok(Decision {
            outcome: choice.outcome,
            why: choice.why,
            default: default.map(|entry| entry.digest),
            entries: report(index, inputs, candidates),
            preferred: choice.preferred,
            otherwise: choice.otherwise,
            notes: notes.into_iter().collect(),
            forms,
            inputs: self.input_digests()?,
        })
    }

    fn input_digests(&self) -> Result<InputDigests, DecideError> {
        let inputs = self.prepared.inputs;
        let evidence = inputs.evidence.iter().map(|(subject, evidence)| (*subject, evidence_digests(evidence)));
        Ok(InputDigests {
            index: self.prepared.index.digest,
            facts: hash(self.host.facts)?,
            policy: hash(&inputs.policy)?,
            schemas: self.prepared.schemas().digest(),
            host: inputs.host.clone(),
            now: inputs.now,
            evidence: evidence.collect(),
            standings: inputs.standings.clone(),
            stale: inputs.stale.iter().map(|(about, why)| (*about, json::plain(why, 300))).collect(),
            images: inputs.images.as_ref().map(image_digests),
        })
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
                verdict: candidate.verdict,
                rank: candidate.rank,
                reasons: or_silent(candidate.reasons),
                artifacts: candidate.artifacts,
            },
            None => {
                let open = !inputs.host.is_known() && entry.kind() == Kind::Image && entry.platform.is_some();
                let (verdict, answer, text) = match open {
                    true => (Verdict::Undetermined, Answer::Unknown, UNKNOWN_ARCHITECTURE.to_owned()),
                    false => (Verdict::Skipped, Answer::Note, skipped(entry, inputs)),
                };
                let reasons = vec![Reason { answer, text, artifact: None, source: None }];
                let (rank, artifacts) = (None, Vec::new());
                EntryReport { digest, position, platform, verdict, reasons, rank, artifacts }
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

/// The digest of a value's JSON form without spaces.
fn hash(value: &impl Serialize) -> Result<Digest, serde_json::Error> {
    Ok(Digest::of(&serde_json::to_vec(value)?))
}

fn image_digests(images: &ImageConfigs) -> ImageDigests {
    let one = |config: &ImageConfig| ConfigDigest {
        digest: config.digest,
        unread: config.read.as_ref().err().map(|why| json::plain(why, 300)),
    };
    let of = images.of.iter().map(|(subject, config)| (*subject, one(config))).collect();
    ImageDigests { user: images.user.clone(), of }
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
