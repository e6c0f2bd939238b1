//! NFD's image-compatibility artifacts (`application/vnd.nfd.image-compatibility.v1alpha1`): the document, its rules, and
//! what they say on a host. Pure and bounded.
//!
//! ```text
//! bytes ─▶ yaml ─▶ scalar, fields ─▶ spec ─▶ lenient (decides) ─▶ Assessment
//!                          expression, regexp ┘  └▶ strict (NFD's own answer)
//! ```
//! `view` is what rules see of the features, `template` makes vars of what matched.

mod expression;
mod fields;
mod lenient;
mod regexp;
mod scalar;
mod spec;
mod strict;
mod template;
mod view;

pub use spec::{MAX_EXPRESSIONS, Rule, Set, Spec, read, read_sensible};
pub use strict::{AnyStatus, ExpressionStatus, RuleStatus, SetStatus, Stop, Written, evaluate};

use serde::{Deserialize, Serialize};

use crate::decision::{Answer, Reason};
use crate::digest::Digest;
use crate::features::Features;
use crate::matching::{Alternatives, Assessment, Host, SILENT, TOO_MUCH};

/// The type of NFD's artifacts.
pub const ARTIFACT_TYPE: &str = "application/vnd.nfd.image-compatibility.v1alpha1";
/// The type of the layer that holds the document.
pub const LAYER_TYPE: &str = "application/vnd.nfd.image-compatibility.spec.v1alpha1+yaml";

/// Whose answer counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Three-valued; a host's value never is an error.
    #[default]
    Lenient,
    /// NFD's own answer; where NFD stops, nobody knows.
    Strict,
}

impl Mode {
    /// Whether it is the one that holds where the site says nothing.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    pub(crate) fn is_lenient(&self) -> bool {
        *self == Self::Lenient
    }
}

/// What a document says on a host. Its sets are alternatives, the rules of one hold together (matching.md §4).
pub fn assess(spec: &Spec, host: &Host<'_>, mode: Mode, artifact: Digest) -> Assessment {
    let mut sets = lenient::sets(spec, host, artifact);
    if mode == Mode::Strict && host.is_spent() {
        sets.iter_mut().for_each(|set| set.unknown(TOO_MUCH.to_owned(), Some(artifact)));
    } else if mode == Mode::Strict {
        match evaluate(spec, &host.facts.features) {
            Ok(statuses) => {
                let unread = unread(spec, &host.facts.features);
                for ((set, status), unread) in sets.iter_mut().zip(statuses).zip(unread) {
                    // What could not be read is for NFD what is not there, and so would be an answer made of an error.
                    if unread && set.summary.answer == Answer::Unknown {
                        continue;
                    }
                    let all = status.rules.iter().all(|rule| rule.is_match);
                    set.summary.answer = if all { Answer::True } else { Answer::False };
                }
            }
            Err(stop) => sets.iter_mut().for_each(|set| {
                set.summary.answer = Answer::True;
                set.unknown(stop.to_string(), Some(artifact));
            }),
        }
    }
    let (mut all, mut alternatives) = (Assessment::default(), Alternatives::default());
    for set in sets {
        alternatives.push(set.summary);
        all.reasons.extend(set.reasons);
        all.notes.extend(set.notes);
    }
    if alternatives.differ() {
        let (answer, text, artifact) = (Answer::Unknown, SILENT.to_owned(), Some(artifact));
        all.reasons.push(Reason { answer, text, artifact, source: None });
    }
    all.summary = alternatives.either();
    all.notes.extend(spec.notes.iter().cloned());
    all
}

/// For each set, whether it asks about features of which some could not be read, itself or by the vars of a set before it.
fn unread(spec: &Spec, features: &Features) -> Vec<bool> {
    let mut before = false;
    let unread = spec.sets.iter().map(|set| {
        let mut terms = set.rules.iter().flat_map(Rule::all_terms);
        before |= terms.any(|term| {
            let feature = term.feature.to_lowercase();
            let is_part = |name: &String| {
                name.strip_prefix(&feature).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            features.unknown.keys().any(is_part)
        });
        before
    });
    unread.collect()
}

#[cfg(test)]
mod tests;
