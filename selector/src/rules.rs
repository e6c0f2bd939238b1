//! Owns the site's rules: which of them speak about a candidate, and what follows (matching.md §6, site policy score). What
//! depends on the candidate alone is settled once; the host's part once per host.

use std::collections::BTreeSet;

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
    /// What the host must be like: of each list one is enough.
    host: Vec<Vec<Compiled>>,
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
        let any = |documents: Vec<Document>| documents.iter().map(|document| conditions.document(document)).collect();
        let prepare = |(name, rule): (&String, &Rule)| Prepared {
            name: json::plain(name, 100),
            rule: rule.clone(),
            host: documents(rule).map(any).collect(),
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
        let any = |all: &Vec<Compiled>| all.iter().fold(Answer::False, |any, one| any.or(host.conditions(one)));
        let answer = |prepared: &Prepared| prepared.host.iter().map(any).fold(Answer::True, Answer::and);
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
/// name of the rule, the condition, and what is wrong.
pub fn problems(policy: &Policy, schemas: &Schemas) -> Vec<(String, String, String)> {
    let plain = Policy::default();
    let meaning = Meaning { schemas, policy: &plain };
    let mut problems = Vec::new();
    for (rule, condition, documents) in policy.rules.iter().flat_map(|(name, rule)| {
        rule.host.keys().zip(documents(rule)).map(move |(condition, documents)| (name, condition, documents))
    }) {
        for section in documents.iter().flat_map(|document| meaning.document(document).groups) {
            let mut wrong = |why: String| problems.push((rule.clone(), condition.clone(), why));
            if !section.known {
                wrong(format!("no schema knows the group {:?}", json::plain(&section.written, 100)));
                continue;
            }
            for atom in section.atoms {
                match atom.test {
                    Test::Unclear(why) => wrong(why),
                    Test::Unlisted(group, _) => wrong(schemas.unlisted(&group, &atom.key)),
                    Test::Unchecked(why) => wrong(why.to_owned()),
                    Test::Value(_) | Test::Untyped(_) | Test::Target(_) | Test::Flags(_) => {}
                }
            }
        }
    }
    problems.dedup();
    problems
}

/// The host's conditions as documents could ask for them, each value by itself: whatever its type, of a list one is enough.
fn documents(rule: &Rule) -> impl Iterator<Item = Vec<Document>> {
    rule.host.iter().map(|(name, values)| {
        let (group, key) = name.split_once('/').unwrap_or((name, ""));
        let one = |value: &[String]| {
            let values = value.iter().map(|value| Scalar::Text(value.clone())).collect();
            let wanted = Wanted { values, array: value.is_empty() };
            Document::asking([(group.to_owned(), [(key.to_owned(), wanted)].into())].into())
        };
        // No value at all is asked for as such: it cannot be read.
        if values.is_empty() { vec![one(&[])] } else { values.chunks(1).map(one).collect() }
    })
}
