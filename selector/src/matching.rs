//! Owns the evaluation of documents on a host: every key becomes an atom with an answer and a [`Reason`], answers combine
//! after Kleene (matching.md §2, §4, §5). Knows no other candidate; `crate::decide` compares them.

use std::cmp::Reverse;

use crate::artifact::{Content, Layer, Parsed};
use crate::decision::{Answer, Reason, Verdict};
use crate::digest::Digest;
use crate::document::Document;
use crate::facts::{Fact, Facts, State, Value};
use crate::index::Platform;
use crate::json;
use crate::nfd;
use crate::platform::VariantRequirement;
use crate::ranking::{PerDimension, Specificity};
use crate::schema::{Absent, Compare, Dimension, Key, Level, Role, Schemas, Type};
use crate::target;
use crate::value::{self, Comparison, Scalar, Wanted};

/// The most groups and keys that are looked at for one subject.
pub const MAX_ATOMS: usize = 1024;

/// What is held against documents.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// What is known about the host.
    pub facts: &'a Facts,
    /// What keys mean.
    pub schemas: &'a Schemas,
}

/// The result of everything that was asked of the host so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// All required atoms together.
    pub answer: Answer,
    /// Whether an artifact asked for something checkable, or said "runs anywhere".
    pub declared: bool,
    /// What satisfied atoms count for.
    pub score: Score,
    /// Each atom, in a reproducible order.
    pub reasons: Vec<Reason>,
    /// What authors should know.
    pub notes: Vec<String>,
}

/// What the satisfied atoms count for; compared only between alternatives of one artifact.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// The author's weight.
    pub weight: i32,
    /// Specificity of the satisfied required atoms.
    pub specificity: PerDimension,
    /// The schema weights of the satisfied preferred atoms.
    pub preferred: u64,
    /// Preferred atoms that could not be told.
    pub unknown_preferred: Reverse<u32>,
}

/// One key of a document with its meaning.
struct Atom<'a> {
    name: String,
    wanted: &'a Wanted,
    level: Level,
    dimension: Dimension,
    weight: u32,
}

impl Answer {
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            _ => Self::True,
        }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::True, _) | (_, Self::True) => Self::True,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            _ => Self::False,
        }
    }
}

impl Default for Assessment {
    fn default() -> Self {
        let (reasons, notes) = (Vec::new(), Vec::new());
        Self { answer: Answer::True, declared: false, score: Score::default(), reasons, notes }
    }
}

impl Assessment {
    /// What follows for the entry (matching.md §5).
    pub fn verdict(&self) -> Verdict {
        match (self.answer, self.declared) {
            (Answer::False, _) => Verdict::Incompatible,
            (Answer::Unknown, _) => Verdict::Undetermined,
            (_, true) => Verdict::Compatible,
            (_, false) => Verdict::Undeclared,
        }
    }

    /// Both hold.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.answer = self.answer.and(other.answer);
        self.declared |= other.declared;
        self.score = self.score.plus(other.score);
        self.reasons.extend(other.reasons);
        self.notes.extend(other.notes);
        self
    }

    /// Either holds; the best of those that do counts.
    #[must_use]
    pub(crate) fn or(mut self, other: Self) -> Self {
        self.score = match (self.answer, other.answer) {
            (Answer::True, Answer::True) => self.score.max(other.score),
            (_, Answer::True) => other.score,
            _ => self.score,
        };
        self.answer = self.answer.or(other.answer);
        self.declared |= other.declared;
        self.reasons.extend(other.reasons);
        self.notes.extend(other.notes);
        self
    }

    /// Something required is not known: an artifact that could not be read, or makes no sense.
    pub fn unknown(&mut self, text: String, artifact: Option<Digest>) {
        self.answer = self.answer.and(Answer::Unknown);
        self.reasons.push(Reason { answer: Answer::Unknown, text, artifact, source: None });
    }

    fn note(&mut self, text: String, artifact: Option<Digest>) {
        self.reasons.push(Reason { answer: Answer::Note, text, artifact, source: None });
    }

    /// Counts one atom.
    fn count(&mut self, atom: &Atom<'_>, found: Comparison, fact: Option<&Fact>, artifact: Option<Digest>) {
        let source = fact.map(|fact| json::plain(&fact.source, 200)).filter(|source| !source.is_empty());
        let seen = source.as_ref().map_or_else(String::new, |source| format!(" ({source})"));
        let level = if atom.level == Level::Preferred { " [preferred]" } else { "" };
        let wanted = json::plain(&atom.wanted.to_string(), 200);
        let text = format!("{} = {wanted}: {}{seen}{level}", atom.name, found.detail);
        self.reasons.push(Reason { answer: found.answer, text, artifact, source });
        match (atom.level, found.answer) {
            (Level::Required, answer) => {
                self.answer = self.answer.and(answer);
                if answer == Answer::True {
                    let specificity = Specificity { weight: atom.weight, depth: found.depth };
                    self.score.specificity.count(atom.dimension, specificity);
                }
            }
            (Level::Preferred, Answer::True) => self.score.preferred += u64::from(atom.weight),
            (Level::Preferred, Answer::Unknown) => self.score.unknown_preferred.0 += 1,
            (Level::Preferred | Level::Info, _) => {}
        }
    }
}

impl Score {
    fn plus(self, other: Self) -> Self {
        Self {
            weight: self.weight.saturating_add(other.weight),
            specificity: self.specificity.max(other.specificity),
            preferred: self.preferred + other.preferred,
            unknown_preferred: Reverse(self.unknown_preferred.0 + other.unknown_preferred.0),
        }
    }
}

impl Host<'_> {
    /// Everything that the artifacts in force ask for.
    pub fn artifacts(&self, artifacts: &[Parsed]) -> Assessment {
        let layers = artifacts.iter().flat_map(|artifact| &artifact.layers);
        let atoms: usize = layers.map(|layer| layer.content.size()).sum();
        if atoms > MAX_ATOMS {
            let mut assessment = Assessment::default();
            assessment.unknown(format!("its artifacts ask for more than {MAX_ATOMS} things"), None);
            return assessment;
        }
        let each = artifacts.iter().map(|artifact| self.artifact(artifact));
        each.fold(Assessment::default(), Assessment::and)
    }

    /// All layers of one artifact: plain ones add up, alternatives are alternatives to each other.
    fn artifact(&self, artifact: &Parsed) -> Assessment {
        let (alternatives, plain): (Vec<&Layer>, Vec<&Layer>) =
            artifact.layers.iter().partition(|layer| layer.alternative.is_some());
        let assess = |layer: &&Layer| self.layer(layer, artifact.digest);
        let both = plain.iter().map(assess).fold(Assessment::default(), Assessment::and);
        let either = alternatives.iter().map(assess).reduce(Assessment::or);
        let mut all = both.and(either.unwrap_or_default());
        all.notes.extend(artifact.notes.iter().cloned());
        all
    }

    fn layer(&self, layer: &Layer, artifact: Digest) -> Assessment {
        let mut assessment = match &layer.content {
            Content::Document(document) => self.document(document, artifact),
            Content::NfdRules(spec) => nfd::assess(spec, self, nfd::Mode::Lenient, artifact),
        };
        if let Some(name) = &layer.alternative {
            for reason in &mut assessment.reasons {
                reason.text = format!("[alternative {name}] {}", reason.text);
            }
        }
        assessment
    }

    fn document(&self, document: &Document, artifact: Digest) -> Assessment {
        let mut assessment = Assessment { declared: document.is_empty(), ..Assessment::default() };
        assessment.score.weight = document.weight;
        assessment.notes.extend(document.notes.iter().cloned());
        if document.is_empty() {
            assessment.note("it says that it runs anywhere".to_owned(), Some(artifact));
        }
        for (group, keys) in &document.groups {
            self.group(&mut assessment, document, group, keys, artifact);
        }
        assessment
    }

    fn group(
        &self,
        into: &mut Assessment,
        document: &Document,
        group: &str,
        keys: &std::collections::BTreeMap<String, Wanted>,
        artifact: Digest,
    ) {
        let schema = self.schemas.group(group);
        if schema.is_none() && !self.facts.has_group(group) {
            let text = format!("group {:?} is not known here: ignored", json::plain(group, 100));
            into.notes.push(text.clone());
            return into.note(text, Some(artifact));
        }
        let canonical_group = schema.map_or(group, |schema| &schema.id);
        for (written, wanted) in keys {
            let known = schema.and_then(|schema| schema.key(written));
            let key = known.map_or(written.as_str(), |(key, _)| key);
            let fact = self.facts.get(canonical_group, key);
            let untyped = || fact.map(untyped);
            let meaning = match known {
                Some((_, meaning)) => Some(meaning.clone()),
                None if schema.is_none() => untyped(),
                None => None,
            };
            let name = format!("{canonical_group}/{key}");
            let stated = document.level([&format!("{group}/{written}"), &name]);
            let name = json::plain(&name, 200);
            let Some(meaning) = meaning else {
                let level = stated.unwrap_or_default();
                let near = schema.and_then(|schema| schema.nearest(written));
                let hint = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
                let found = Comparison::new(Answer::Unknown, format!("no known key{hint}"));
                let atom = Atom { name, wanted, level, dimension: Dimension::Other, weight: 0 };
                into.declared |= level == Level::Required;
                into.count(&atom, found, None, Some(artifact));
                continue;
            };
            let level = stated.unwrap_or(meaning.level);
            if meaning.role != Role::Requires || level == Level::Info {
                let what = if meaning.role == Role::Provides { "a fact of the image" } else { "information" };
                let wanted = json::plain(&wanted.to_string(), 200);
                into.note(format!("{name} = {wanted}: {what}, not checked"), Some(artifact));
                continue;
            }
            let found = self.answer(&meaning, wanted, fact);
            let atom = Atom { name, wanted, level, dimension: meaning.dimension, weight: meaning.weight };
            into.declared |= level == Level::Required;
            into.count(&atom, found, fact, Some(artifact));
        }
    }

    fn answer(&self, key: &Key, wanted: &Wanted, fact: Option<&Fact>) -> Comparison {
        let state = fact.map(|fact| &fact.state);
        if key.kind == Type::Dag {
            return target::compare(self.facts, &wanted.values, state);
        }
        let not_told = || State::Unknown { why: "this host's facts do not say".to_owned() };
        value::compare(key, wanted, state.unwrap_or(&not_told()))
    }

    /// What the entry's own platform asks for beyond os and architecture. It may rule an entry out; alone it never makes
    /// one Compatible, since only artifacts do.
    pub fn platform(&self, platform: &Platform) -> Assessment {
        let mut assessment = Assessment::default();
        if !platform.features.is_empty() || !platform.os_features.is_empty() {
            assessment.unknown("platform: features are asked for, which bestfit cannot check".to_owned(), None);
        }
        let (group, key, wanted) = match platform.requirement() {
            None => return assessment,
            Some(VariantRequirement::Level(level)) => ("host", "cpu.level", level),
            Some(VariantRequirement::Target(name)) => (target::GROUP, target::TARGET, name),
            Some(VariantRequirement::Unknown(variant)) => {
                let text = format!("platform.variant = {}: not known", json::plain(&variant, 60));
                assessment.unknown(text, None);
                return assessment;
            }
        };
        let fact = self.facts.get(group, key).or_else(|| self.facts.get(target::GROUP, target::TARGET));
        let meaning = self.schemas.group(group).and_then(|schema| schema.key(key)).map(|(_, key)| key);
        let weight = meaning.map_or(0, |key| key.weight);
        let wanted = Wanted { values: vec![Scalar::Text(wanted)], array: false };
        let found = target::compare(self.facts, &wanted.values, fact.map(|fact| &fact.state));
        let name = "platform.variant".to_owned();
        let atom = Atom { name, wanted: &wanted, level: Level::Required, dimension: Dimension::Cpu, weight };
        assessment.count(&atom, found, fact, None);
        assessment
    }
}

/// The meaning of a key in a group that only the host's facts know: equality (matching.md §1).
fn untyped(fact: &Fact) -> Key {
    let kind = match &fact.state {
        State::Known { value: Value::Bool(_) } => Type::Bool,
        State::Known { value: Value::Int(_) } => Type::Int,
        State::Known { value: Value::Set(_) } => Type::Set,
        State::Known { value: Value::Text(_) } | State::Absent | State::Unknown { .. } => Type::String,
    };
    Key {
        kind,
        compare: Some(Compare::Eq),
        role: Role::Requires,
        level: Level::Required,
        weight: 10,
        dimension: Dimension::Other,
        absent: Absent::Mismatch,
        specificity: 0,
        aliases: Vec::new(),
        value_aliases: Default::default(),
        doc: String::new(),
    }
}
