//! Owns the site's rules: which of them speak about a candidate, and what follows (matching.md §6, site policy score). What
//! depends on the candidate alone is settled once; the host's part once per host.

use std::collections::{BTreeMap, BTreeSet};

use crate::compiled::{Compiled, Meaning, Test};
use crate::decision::{Answer, Reason};
use crate::digest::Digest;
use crate::document::Document;
use crate::index::Entry;
use crate::json;
use crate::matching::{Host, Summary, Trace};
use crate::policy::{Action, Policy, Rule, covers};
use crate::schema::Schemas;
use crate::value::{Scalar, Wanted};

/// The site's rules, ready to be held against candidates and hosts.
#[derive(Debug, Default)]
pub struct Rules(Vec<Prepared>);

#[derive(Debug)]
struct Prepared {
    name: String,
    rule: Rule,
    host: Option<Compiled>,
}

/// A candidate as rules see it.
pub struct Subject<'a> {
    /// The entry of the index.
    pub entry: &'a Entry,
    /// The index.
    pub index: Digest,
    /// The artifacts in force.
    pub artifacts: Vec<Digest>,
    /// What they ask about, as `group/key`.
    pub asks: BTreeSet<String>,
}

impl Rules {
    /// Reads the rules of a policy. The site's levels are about documents: a condition of its own rules counts in full.
    pub fn new(meaning: &Meaning<'_>) -> Self {
        let plain = Policy::default();
        let conditions = Meaning { schemas: meaning.schemas, policy: &plain };
        let prepare = |(name, rule): (&String, &Rule)| {
            let host = (!rule.host.is_empty()).then(|| conditions.document(&document(rule)));
            Prepared { name: json::plain(name, 100), rule: rule.clone(), host }
        };
        Self(meaning.policy.rules.iter().filter(|(_, rule)| rule.speaks()).map(prepare).collect())
    }

    /// The rules that speak about a candidate as far as the candidate alone decides.
    pub fn about(&self, subject: &Subject<'_>) -> Vec<usize> {
        let speaks = |(_, prepared): &(usize, &Prepared)| {
            let rule = &prepared.rule;
            let asks = |pattern: &String| subject.asks.iter().any(|name| covers(pattern, name));
            let annotated = |(name, pattern): (&String, &String)| {
                subject.entry.annotations.get(name).is_some_and(|value| covers(pattern, value))
            };
            let named = |digest: &Digest| {
                [subject.entry.digest, subject.index].contains(digest) || subject.artifacts.contains(digest)
            };
            (rule.asks.is_empty() || rule.asks.iter().any(asks))
                && rule.annotations.iter().all(annotated)
                && (rule.digests.is_empty() || rule.digests.iter().any(named))
        };
        self.0.iter().enumerate().filter(speaks).map(|(at, _)| at).collect()
    }

    /// Whether the host's part of each rule holds.
    pub fn on(&self, host: &Host<'_>) -> Vec<Answer> {
        let answer = |prepared: &Prepared| match &prepared.host {
            None => Answer::True,
            Some(asked) => host.conditions(asked),
        };
        self.0.iter().map(answer).collect()
    }

    /// What the rules that speak about a candidate do to it: the answer of `into`, and the site's score.
    pub fn apply<T: Trace>(&self, about: &[usize], on: &[Answer], into: &mut Summary, trace: &mut T) -> i64 {
        let mut score = 0;
        for at in about {
            let (Some(Prepared { name, rule, .. }), Some(answer)) = (self.0.get(*at), on.get(*at)) else { continue };
            let points = i64::from(rule.score);
            let (counts, text) = match (rule.action, answer) {
                (_, Answer::False) => continue,
                (Action::Deny, Answer::True) => (Answer::False, "denied"),
                (Action::Deny, _) => (Answer::Unknown, "nobody can tell whether it is denied: a fact is not known"),
                (Action::Prefer, Answer::True) => {
                    score += points;
                    (Answer::Note, "preferred")
                }
                (Action::Avoid, Answer::True) => {
                    score -= points;
                    (Answer::Note, "avoided")
                }
                _ => (Answer::Note, "does not count: a fact is not known"),
            };
            if counts != Answer::Note {
                into.answer = into.answer.and(counts);
            }
            if T::ON {
                let text = format!("site rule {name:?}: {text}");
                trace.reason(Reason { answer: counts, text, artifact: None, source: None });
            }
        }
        score
    }

    /// The rule that denies a candidate.
    pub fn denies(&self, about: &[usize], on: &[Answer]) -> Option<&str> {
        let rules = about.iter().filter(|at| on.get(**at) == Some(&Answer::True));
        let mut rules = rules.filter_map(|at| self.0.get(*at));
        rules.find(|prepared| prepared.rule.action == Action::Deny).map(|prepared| prepared.name.as_str())
    }

    /// Whether a rule that may deny speaks about one of these candidates.
    pub fn may_deny(&self, about: &[usize], on: &[Answer]) -> bool {
        let denies = |at: &usize| {
            let deny = self.0.get(*at).is_some_and(|prepared| prepared.rule.action == Action::Deny);
            deny && on.get(*at).is_some_and(|answer| *answer != Answer::False)
        };
        about.iter().any(denies)
    }
}

/// Conditions on the host that no host could answer: a group or key that nobody knows, a value that cannot be read. The
/// name of the rule, and what is wrong.
pub fn problems(policy: &Policy, schemas: &Schemas) -> Vec<(String, String)> {
    let plain = Policy::default();
    let meaning = Meaning { schemas, policy: &plain };
    let mut problems = Vec::new();
    for (name, rule) in &policy.rules {
        let mut wrong = |why: String| problems.push((name.clone(), why));
        if !rule.speaks() {
            wrong("it has no condition, and so speaks about no entry".to_owned());
        }
        for section in meaning.document(&document(rule)).groups {
            if !section.known {
                wrong(format!("no schema knows the group {:?}", json::plain(&section.written, 100)));
                continue;
            }
            for atom in section.atoms {
                match atom.test {
                    Test::Unclear(why) | Test::Unlisted(_, why) => {
                        wrong(format!("{} = {}: {why}", atom.name, atom.wanted))
                    }
                    Test::Unchecked(why) => wrong(format!("{}: {why}", atom.name)),
                    Test::Value(_) | Test::Target(_) | Test::Flags(_) => {}
                }
            }
        }
    }
    problems
}

/// The host's conditions as a document could ask for them.
fn document(rule: &Rule) -> Document {
    let mut groups: BTreeMap<String, BTreeMap<String, Wanted>> = BTreeMap::new();
    for (name, values) in &rule.host {
        let (group, key) = name.split_once('/').unwrap_or((name, ""));
        let values = values.iter().map(|value| Scalar::Text(value.clone())).collect();
        groups.entry(group.to_owned()).or_default().insert(key.to_owned(), Wanted { values, array: true });
    }
    Document::asking(groups)
}
