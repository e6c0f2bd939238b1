//! Owns the evaluation of what artifacts ask on a host: every key is an atom with an answer, answers combine after Kleene
//! (matching.md §2, §4, §5). Words are written only where somebody reads them: see [`Trace`]. Knows no other candidate;
//! `crate::decide` compares them.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::artifact::{Content, Layer, Parsed};
use crate::compiled::{self, Atom, Compiled, Meaning, Section};
use crate::decision::{Answer, Reason, Verdict};
use crate::digest::Digest;
use crate::facts::Fact;
use crate::index::Platform;
use crate::json;
use crate::nfd;
use crate::platform::VariantRequirement;
use crate::ranking::{PerDimension, Specificity};
use crate::schema::{Dimension, Level};
use crate::target;
use crate::value::{Depth, Held, Scalar, Why};

pub use crate::host::Host;

/// The most groups and keys that are looked at for one subject.
pub const MAX_ATOMS: usize = 1024;

/// The result of everything that was asked of the host, without words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// All required atoms together.
    pub answer: Answer,
    /// Whether an artifact asked for something checkable, or said "runs anywhere".
    pub declared: bool,
    /// What satisfied atoms count for.
    pub score: Score,
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

/// An artifact in force, ready to be held against hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The digest of its manifest.
    pub digest: Digest,
    /// What its author should know.
    pub notes: Vec<String>,
    plain: Vec<Form>,
    alternatives: Vec<(String, Form)>,
    size: usize,
}

/// One layer, in the form that hosts are held against. Each form has one function in [`Host`].
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Document(Compiled),
    NfdRules(Box<nfd::Spec>),
}

/// Who reads the words of an evaluation.
pub trait Trace {
    /// Whether anybody does.
    const ON: bool;

    /// Takes a reason.
    fn reason(&mut self, reason: Reason);

    /// Takes what authors should know.
    fn note(&mut self, note: String);
}

/// Nobody reads.
pub struct Silent;

impl Trace for Silent {
    const ON: bool = false;

    fn reason(&mut self, _: Reason) {}

    fn note(&mut self, _: String) {}
}

/// Everything is kept.
#[derive(Default)]
pub struct Words {
    /// Each atom, in a reproducible order.
    pub reasons: Vec<Reason>,
    /// What authors should know.
    pub notes: Vec<String>,
}

impl Trace for Words {
    const ON: bool = true;

    fn reason(&mut self, reason: Reason) {
        self.reasons.push(reason);
    }

    fn note(&mut self, note: String) {
        self.notes.push(note);
    }
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
        verdict(self.answer, self.declared)
    }

    /// Both hold.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.answer = self.answer.and(other.answer);
        self.declared |= other.declared;
        self.score.add(other.score);
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

    fn of(summary: Summary, words: Words) -> Self {
        let Summary { answer, declared, score } = summary;
        Self { answer, declared, score, reasons: words.reasons, notes: words.notes }
    }
}

fn verdict(answer: Answer, declared: bool) -> Verdict {
    match (answer, declared) {
        (Answer::False, _) => Verdict::Incompatible,
        (Answer::Unknown, _) => Verdict::Undetermined,
        (_, true) => Verdict::Compatible,
        (_, false) => Verdict::Undeclared,
    }
}

impl Default for Summary {
    fn default() -> Self {
        Self { answer: Answer::True, declared: false, score: Score::default() }
    }
}

impl Summary {
    /// What follows for the entry (matching.md §5).
    pub fn verdict(&self) -> Verdict {
        verdict(self.answer, self.declared)
    }

    /// Both hold.
    fn add(&mut self, other: Self) {
        self.answer = self.answer.and(other.answer);
        self.declared |= other.declared;
        self.score.add(other.score);
    }

    /// Either holds; the best of those that do counts.
    fn or(mut self, other: Self) -> Self {
        self.score = match (self.answer, other.answer) {
            (Answer::True, Answer::True) => self.score.max(other.score),
            (_, Answer::True) => other.score,
            _ => self.score,
        };
        self.answer = self.answer.or(other.answer);
        self.declared |= other.declared;
        self
    }

    /// Counts one atom.
    fn count(&mut self, atom: &Atom, answer: Answer, depth: Depth) {
        match (atom.level, answer) {
            (Level::Required, answer) => {
                self.declared = true;
                self.answer = self.answer.and(answer);
                if answer == Answer::True {
                    self.score.specificity.count(atom.dimension, Specificity { weight: atom.weight, depth });
                }
            }
            (Level::Preferred, Answer::True) => self.score.preferred += u64::from(atom.weight),
            (Level::Preferred, Answer::Unknown) => self.score.unknown_preferred.0 += 1,
            (Level::Preferred | Level::Info, _) => {}
        }
    }
}

impl Score {
    fn add(&mut self, other: Self) {
        self.weight = self.weight.saturating_add(other.weight);
        self.specificity = self.specificity.max(other.specificity);
        self.preferred += other.preferred;
        self.unknown_preferred.0 += other.unknown_preferred.0;
    }
}

impl Prepared {
    /// Resolves what an artifact's documents mean, once for any number of hosts.
    pub fn new(artifact: &Parsed, meaning: &Meaning<'_>) -> Self {
        let mut prepared = Self {
            digest: artifact.digest,
            notes: artifact.notes.clone(),
            plain: Vec::new(),
            alternatives: Vec::new(),
            size: artifact.layers.iter().map(|layer| layer.content.size()).sum(),
        };
        for Layer { alternative, content } in &artifact.layers {
            let form = match content {
                Content::Document(document) => Form::Document(meaning.document(document)),
                Content::NfdRules(spec) => Form::NfdRules(spec.clone()),
            };
            match alternative {
                Some(name) => prepared.alternatives.push((name.clone(), form)),
                None => prepared.plain.push(form),
            }
        }
        prepared
    }

    /// What it asks about: `group/key` under canonical names, or `group/` where a form has no keys.
    pub fn names(&self) -> BTreeSet<String> {
        let forms = self.plain.iter().chain(self.alternatives.iter().map(|(_, form)| form));
        let names = forms.flat_map(|form| -> Vec<String> {
            match form {
                Form::Document(compiled) => compiled.names().map(str::to_owned).collect(),
                Form::NfdRules(spec) => spec.groups().iter().map(|group| format!("{group}/")).collect(),
            }
        });
        names.collect()
    }
}

impl Host<'_> {
    /// Everything that artifacts ask for is added to `into`; the words go to `trace`.
    pub fn evaluate<'p, T: Trace>(
        &self,
        artifacts: impl Iterator<Item = &'p Prepared> + Clone,
        into: &mut Summary,
        trace: &mut T,
    ) {
        if artifacts.clone().map(|artifact| artifact.size).sum::<usize>() <= MAX_ATOMS {
            return artifacts.for_each(|artifact| self.artifact(artifact, into, trace));
        }
        into.answer = into.answer.and(Answer::Unknown);
        if T::ON {
            let text = format!("its artifacts ask for more than {MAX_ATOMS} things");
            trace.reason(Reason { answer: Answer::Unknown, text, artifact: None, source: None });
        }
    }

    /// Whether all that a document asks for holds, whatever its keys count for.
    pub fn conditions(&self, document: &Compiled) -> Answer {
        let sections = document.groups.iter().map(|section| {
            let each = section.atoms.iter().map(|atom| self.hold::<Silent>(atom, self.fact_of(section, atom)));
            let told =
                if self.group(&section.group).is_some() || section.known { Answer::True } else { Answer::Unknown };
            each.fold(told, |all, held| all.and(held.map_or(Answer::Unknown, |held| held.answer)))
        });
        sections.fold(Answer::True, Answer::and)
    }

    /// All layers of one artifact: plain ones add up, alternatives are alternatives to each other.
    fn artifact<T: Trace>(&self, artifact: &Prepared, into: &mut Summary, trace: &mut T) {
        artifact.plain.iter().for_each(|form| self.form(form, artifact.digest, into, trace));
        let either = artifact.alternatives.iter().map(|(name, form)| {
            let mut one = Summary::default();
            if T::ON {
                let mut words = Words::default();
                self.form(form, artifact.digest, &mut one, &mut words);
                words.reasons.into_iter().for_each(|reason| {
                    trace.reason(Reason { text: format!("[alternative {name}] {}", reason.text), ..reason });
                });
                words.notes.into_iter().for_each(|note| trace.note(note));
            } else {
                self.form(form, artifact.digest, &mut one, trace);
            }
            one
        });
        if let Some(either) = either.reduce(Summary::or) {
            into.add(either);
        }
        if T::ON {
            artifact.notes.iter().for_each(|note| trace.note(note.clone()));
        }
    }

    fn form<T: Trace>(&self, form: &Form, artifact: Digest, into: &mut Summary, trace: &mut T) {
        match form {
            Form::Document(document) => self.document(document, artifact, into, trace),
            Form::NfdRules(spec) => {
                let found = nfd::assess(spec, self, nfd::Mode::Lenient, artifact);
                into.add(Summary { answer: found.answer, declared: found.declared, score: found.score });
                found.reasons.into_iter().for_each(|reason| trace.reason(reason));
                found.notes.into_iter().for_each(|note| trace.note(note));
            }
        }
    }

    fn document<T: Trace>(&self, document: &Compiled, artifact: Digest, into: &mut Summary, trace: &mut T) {
        into.declared |= document.empty;
        into.score.weight = into.score.weight.saturating_add(document.weight);
        if T::ON {
            document.notes.iter().for_each(|note| trace.note(note.clone()));
            if document.empty {
                trace.reason(note("it says that it runs anywhere".to_owned(), artifact));
            }
        }
        document.groups.iter().for_each(|section| self.section(section, artifact, into, trace));
    }

    fn section<T: Trace>(&self, section: &Section, artifact: Digest, into: &mut Summary, trace: &mut T) {
        if !section.known && self.group(&section.group).is_none() {
            if T::ON {
                let text = format!("group {:?} is not known here: ignored", json::plain(&section.written, 100));
                trace.note(text.clone());
                trace.reason(note(text, artifact));
            }
            return;
        }
        for atom in &section.atoms {
            self.atom(atom, self.fact_of(section, atom), Some(artifact), into, trace);
        }
    }

    fn fact_of(&self, section: &Section, atom: &Atom) -> Option<&Fact> {
        match &atom.fact {
            Some((group, key)) => self.fact(group, key),
            None => self.fact(&section.group, &atom.key),
        }
    }

    fn atom<T: Trace>(
        &self,
        atom: &Atom,
        fact: Option<&Fact>,
        artifact: Option<Digest>,
        into: &mut Summary,
        trace: &mut T,
    ) {
        let Some(held) = self.hold::<T>(atom, fact) else {
            if let (true, compiled::Test::Unchecked(what)) = (T::ON, &atom.test) {
                let text = format!("{} = {}: {what}", atom.name, atom.wanted);
                trace.reason(Reason { answer: Answer::Note, text, artifact, source: None });
            }
            return;
        };
        into.count(atom, held.answer, held.depth);
        if T::ON {
            trace.reason(reason(atom, &held, fact, artifact));
        }
    }

    /// Holds an atom against its fact; `None` where it is not checked.
    fn hold<'f, T: Trace>(&self, atom: &'f Atom, fact: Option<&'f Fact>) -> Option<Held<'f>> {
        let state = fact.map(|fact| &fact.state);
        Some(match &atom.test {
            compiled::Test::Unchecked(_) => return None,
            compiled::Test::Unclear(why) => {
                Held { answer: Answer::Unknown, depth: [0; 4], why: Why::Text(why.as_str().into()) }
            }
            compiled::Test::Value(requirement) => requirement.hold(state),
            compiled::Test::Target(wanted) if T::ON => {
                let found = self.explain_target(wanted, state);
                Held { answer: found.answer, depth: found.depth, why: Why::Text(found.detail.into()) }
            }
            compiled::Test::Target(wanted) => {
                let (answer, depth) = self.target(atom, wanted, state);
                Held { answer, depth, why: Why::NotTold }
            }
        })
    }

    /// What the entry's own platform asks for, added to `into`.
    pub fn judge_platform<T: Trace>(&self, platform: &Platform, into: &mut Summary, trace: &mut T) {
        if platform.is_plain() {
            return;
        }
        let found = self.platform(platform);
        into.add(Summary { answer: found.answer, declared: found.declared, score: found.score });
        found.reasons.into_iter().for_each(|reason| trace.reason(reason));
        found.notes.into_iter().for_each(|note| trace.note(note));
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
        let fact = self.fact(group, key).or_else(|| self.fact(target::GROUP, target::TARGET));
        let meaning = self.schemas.group(group).and_then(|schema| schema.key(key)).map(|(_, key)| key);
        let atom = Atom {
            key: key.to_owned(),
            fact: None,
            name: "platform.variant".to_owned(),
            wanted: wanted.clone(),
            level: Level::Required,
            dimension: Dimension::Cpu,
            weight: meaning.map_or(0, |key| key.weight),
            test: compiled::Test::Target(vec![Scalar::Text(wanted)]),
        };
        let (mut summary, mut words) = (Summary::default(), Words::default());
        self.atom(&atom, fact, None, &mut summary, &mut words);
        summary.declared = false;
        assessment.and(Assessment::of(summary, words))
    }
}

fn note(text: String, artifact: Digest) -> Reason {
    Reason { answer: Answer::Note, text, artifact: Some(artifact), source: None }
}

/// One atom in words: what was asked, what the host said, and where it says so.
fn reason(atom: &Atom, held: &Held<'_>, fact: Option<&Fact>, artifact: Option<Digest>) -> Reason {
    let source = fact.map(|fact| json::plain(&fact.source, 200)).filter(|source| !source.is_empty());
    let seen = source.as_ref().map_or_else(String::new, |source| format!(" ({source})"));
    let level = if atom.level == Level::Preferred { " [preferred]" } else { "" };
    let text = format!("{} = {}: {}{seen}{level}", atom.name, atom.wanted, held.why);
    Reason { answer: held.answer, text, artifact, source }
}
