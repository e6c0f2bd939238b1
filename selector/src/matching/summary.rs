//! Owns what evaluations come to: answers combined after Kleene, what satisfied requirements count for, and the words, where
//! somebody reads them (matching.md §5). Evaluates nothing itself.

use std::cmp::Reverse;

use crate::compiled::Atom;
use crate::decision::{Answer, Reason, Verdict};
use crate::digest::Digest;
use crate::ranking::{PerDimension, Specificity};
use crate::schema::Level;
use crate::value::Depth;

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

    pub(super) fn of(summary: Summary, words: Words) -> Self {
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
    pub(super) fn add(&mut self, other: Self) {
        self.answer = self.answer.and(other.answer);
        self.declared |= other.declared;
        self.score.add(other.score);
    }

    /// Either holds; the best of those that do counts.
    pub(super) fn or(mut self, other: Self) -> Self {
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
    pub(super) fn count(&mut self, atom: &Atom, answer: Answer, depth: Depth) {
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
