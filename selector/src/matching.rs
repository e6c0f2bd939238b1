//! Owns the evaluation of what artifacts ask on a host: every key is an atom with an answer, answers combine after Kleene
//! (matching.md §2, §4, §5). Words are written only where somebody reads them: see [`Trace`]. Knows no other candidate;
//! `crate::decide` compares them.

use std::collections::BTreeSet;

use crate::artifact::{Content, Form, Layer, Parsed};
use crate::compiled::{self, Atom, Compiled, Meaning, Section};
use crate::decision::{Answer, Reason};
use crate::digest::Digest;
use crate::facts::Fact;
use crate::json;
use crate::schema::{Level, Schemas, did_you_mean};
use crate::value::{Held, Why};
use crate::{flags, flat, nfd};

mod platform;
mod require;
mod summary;

pub use crate::host::Host;
pub use require::Required;
pub(crate) use summary::{Alternatives, SILENT};
pub use summary::{Assessment, Score, Silent, Summary, Trace, Words};

/// The most groups and keys that are looked at for one subject.
pub const MAX_ATOMS: usize = 1024;

/// Why a rule was not held against a host.
pub(crate) const TOO_MUCH: &str = "its rules make too many comparisons with what this host has";

/// An artifact in force, ready to be held against hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The digest of its manifest.
    pub digest: Digest,
    /// What its author should know.
    pub notes: Vec<String>,
    forms: BTreeSet<Form>,
    inline: bool,
    /// The rank of its signer; 0 where nobody signed it.
    author: u32,
    asked: Vec<Asked>,
    /// What it asks about: `group/key` under canonical names.
    names: BTreeSet<String>,
    size: usize,
}

/// One layer, as hosts are held against it. Each kind has one function in [`Host`].
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Document(Compiled),
    NfdRules(Box<nfd::Spec>, nfd::Mode),
    /// One is enough; each with its name, for people.
    Any(Vec<(String, Asked)>),
}

impl Asked {
    fn new(content: &Content, meaning: &Meaning<'_>) -> Self {
        match content {
            Content::Document(document) => Self::Document(meaning.document(document)),
            Content::NfdRules(spec) => Self::NfdRules(spec.clone(), meaning.policy.nfd),
            Content::Sets(sets) => {
                let set = |(at, set): (usize, &flat::Set)| {
                    let more = if set.annotation.is_empty() { "" } else { ": " };
                    let name = format!("set {}{more}{}", at + 1, set.annotation);
                    (name, Self::Document(meaning.document(&set.document)))
                };
                Self::Any(sets.iter().enumerate().map(set).collect())
            }
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Self::Document(compiled) => compiled.names().map(str::to_owned).collect(),
            Self::NfdRules(spec, _) => spec.names().collect(),
            Self::Any(all) => all.iter().flat_map(|(_, asked)| asked.names()).collect(),
        }
    }
}

impl Prepared {
    /// Resolves what an artifact's documents mean, once for any number of hosts.
    pub fn new(artifact: &Parsed, meaning: &Meaning<'_>) -> Self {
        let mut prepared = Self::bare(artifact);
        let mut alternatives = Vec::new();
        let asked = &mut prepared.asked;
        for Layer { alternative, content, .. } in &artifact.layers {
            let layer = Asked::new(content, meaning);
            match alternative {
                Some(name) => alternatives.push((format!("alternative {name}"), layer)),
                None => asked.push(layer),
            }
        }
        if !alternatives.is_empty() {
            asked.push(Asked::Any(alternatives));
        }
        prepared.names = prepared.asked.iter().flat_map(Asked::names).collect();
        prepared
    }

    /// One of those that together ask for more than [`MAX_ATOMS`] things: none of them is held against anything.
    pub(crate) fn uncompiled(artifact: &Parsed, schemas: &Schemas) -> Self {
        let names = artifact.layers.iter().flat_map(|layer| layer.content.names(schemas)).collect();
        Self { names, ..Self::bare(artifact) }
    }

    fn bare(artifact: &Parsed) -> Self {
        Self {
            digest: artifact.digest,
            notes: artifact.notes.clone(),
            forms: artifact.layers.iter().map(|layer| layer.form).collect(),
            inline: artifact.inline,
            author: artifact.signer.as_ref().map(|signer| signer.rank).unwrap_or_default(),
            asked: Vec::new(),
            names: BTreeSet::new(),
            size: artifact.size(),
        }
    }

    /// The forms that it is written in, for people.
    pub fn forms(&self) -> Vec<String> {
        let inline = self.inline.then(|| "carried by the index".to_owned());
        self.forms.iter().map(Form::to_string).chain(inline).collect()
    }

    /// What it asks about: `group/key` under canonical names.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    #[cfg(test)]
    pub(crate) fn is_compiled(&self) -> bool {
        !self.asked.is_empty()
    }
}

impl Host<'_> {
    /// Everything that artifacts ask for is added to `into`; the words go to `trace`. Only those of authors whose rank is
    /// `author` weigh something: the weight counts at that rank, and nobody lends it to others.
    pub fn evaluate<'p, T: Trace>(
        &self,
        artifacts: impl Iterator<Item = &'p Prepared> + Clone,
        author: u32,
        into: &mut Summary,
        trace: &mut T,
    ) {
        self.begin();
        if artifacts.clone().map(|artifact| artifact.size).sum::<usize>() <= MAX_ATOMS {
            return artifacts.for_each(|artifact| {
                let before = into.score.weight;
                self.artifact(artifact, into, trace);
                if artifact.author < author {
                    into.score.weight = before;
                }
            });
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

    /// All layers of one artifact: they add up.
    fn artifact<T: Trace>(&self, artifact: &Prepared, into: &mut Summary, trace: &mut T) {
        artifact.asked.iter().for_each(|asked| self.asked(asked, artifact.digest, into, trace));
        if T::ON {
            artifact.notes.iter().for_each(|note| trace.note(note.clone()));
        }
    }

    fn asked<T: Trace>(&self, asked: &Asked, artifact: Digest, into: &mut Summary, trace: &mut T) {
        match asked {
            Asked::Document(document) => self.document(document, artifact, into, trace),
            Asked::NfdRules(spec, mode) => {
                let found = nfd::assess(spec, self, *mode, artifact);
                into.add(found.summary);
                found.reasons.into_iter().for_each(|reason| trace.reason(reason));
                found.notes.into_iter().for_each(|note| trace.note(note));
            }
            Asked::Any(all) => self.any(all, artifact, into, trace),
        }
    }

    /// One of them is enough; the best of those that hold counts.
    fn any<T: Trace>(&self, all: &[(String, Asked)], artifact: Digest, into: &mut Summary, trace: &mut T) {
        let mut alternatives = Alternatives::default();
        for (name, asked) in all {
            let mut one = Summary::default();
            if T::ON {
                let mut words = Words::default();
                self.asked(asked, artifact, &mut one, &mut words);
                words.reasons.into_iter().for_each(|reason| {
                    trace.reason(Reason { text: format!("[{name}] {}", reason.text), ..reason });
                });
                words.notes.into_iter().for_each(|note| trace.note(note));
            } else {
                self.asked(asked, artifact, &mut one, trace);
            }
            alternatives.push(one);
        }
        if T::ON && alternatives.differ() {
            let (answer, text, artifact) = (Answer::Unknown, SILENT.to_owned(), Some(artifact));
            trace.reason(Reason { answer, text, artifact, source: None });
        }
        into.add(alternatives.either());
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
                let hint = did_you_mean(self.schemas.nearest(&section.written));
                let text = format!("group {:?} is not known here: ignored{hint}", json::plain(&section.written, 100));
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
        match (&atom.fact, &atom.test) {
            (Some((group, key)), _) => self.fact(group, key),
            (None, compiled::Test::Unlisted(..)) => self.group(&section.group)?.own(&atom.key),
            (None, _) => self.fact(&section.group, &atom.key),
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
            compiled::Test::Value(requirement) | compiled::Test::Untyped(requirement) => requirement.hold(state),
            compiled::Test::Unlisted(_, Some(requirement)) if state.is_some() => requirement.hold(state),
            // To look for what was meant takes time: only where somebody reads it.
            compiled::Test::Unlisted(group, _) => {
                let why = if T::ON { Why::Text(self.schemas.unlisted(group, &atom.key).into()) } else { Why::NotTold };
                Held { answer: Answer::Unknown, depth: [0; 4], why }
            }
            compiled::Test::Target(wanted) if T::ON => {
                let found = self.explain_target(wanted, state);
                Held { answer: found.answer, depth: found.depth, why: Why::Text(found.detail.into()) }
            }
            compiled::Test::Target(wanted) => {
                let (answer, depth) = self.target(atom, wanted, state);
                Held { answer, depth, why: Why::NotTold }
            }
            compiled::Test::Flags(wanted) => {
                let found = flags::compare(self.schemas.targets(), self.facts, wanted, state);
                Held { answer: found.answer, depth: found.depth, why: Why::Text(found.detail.into()) }
            }
        })
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
    let untyped = matches!(atom.test, compiled::Test::Untyped(_));
    let untyped = if untyped { " [no schema: compared as text]" } else { "" };
    let text = format!("{} = {}: {}{seen}{untyped}{level}", atom.name, atom.wanted, held.why);
    Reason { answer: held.answer, text, artifact, source }
}
