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

/// The result of everything that was asked of the host so far, with its words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assessment {
    /// What it comes to.
    pub summary: Summary,
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

impl Assessment {
    /// Both hold.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.summary.add(other.summary);
        self.reasons.extend(other.reasons);
        self.notes.extend(other.notes);
        self
    }

    /// Either holds; the best of those that do counts.
    #[must_use]
    pub(crate) fn or(mut self, other: Self) -> Self {
        self.summary = self.summary.or(other.summary);
        self.reasons.extend(other.reasons);
        self.notes.extend(other.notes);
        self
    }

    /// Something required is not known: an artifact that could not be read, or makes no sense.
    pub fn unknown(&mut self, text: String, artifact: Option<Digest>) {
        self.summary.answer = self.summary.answer.and(Answer::Unknown);
        self.reasons.push(Reason { answer: Answer::Unknown, text, artifact, source: None });
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
        match (self.answer, self.declared) {
            (Answer::False, _) => Verdict::Incompatible,
            (Answer::Unknown, _) => Verdict::Undetermined,
            (_, true) => Verdict::Compatible,
            (_, false) => Verdict::Undeclared,
        }
    }

    /// Both hold.
    pub(super) fn add(&mut self, other: Self) {
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

/// Alternatives, one of which is enough.
#[derive(Debug, Default)]
pub(crate) struct Alternatives {
    telling: Option<Summary>,
    silent: Option<Summary>,
}

/// Why an alternative does not hold although nothing in it fails.
pub(crate) const SILENT: &str = "an alternative in which nothing can be checked is not known to hold";

impl Alternatives {
    pub(crate) fn push(&mut self, one: Summary) {
        let same = if one.declared { &mut self.telling } else { &mut self.silent };
        *same = Some(same.take().map_or(one.clone(), |all| all.or(one)));
    }

    /// Whether one of them asks for something that can be checked, and another for nothing such: what that one is about is
    /// not known here, so beside the former it is not known to hold.
    pub(crate) fn differ(&self) -> bool {
        self.telling.is_some() && self.silent.is_some()
    }

    /// Either holds; the best of those that do counts.
    pub(crate) fn either(self) -> Summary {
        match (self.telling, self.silent) {
            (Some(telling), Some(mut silent)) => {
                silent.answer = silent.answer.and(Answer::Unknown);
                telling.or(silent)
            }
            (telling, silent) => telling.or(silent).unwrap_or_default(),
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
