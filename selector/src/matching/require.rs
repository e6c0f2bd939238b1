//! Owns what `NVIDIA_REQUIRE_*` of an image config means on a host. Like an entry's platform it may rule the entry out; alone
//! it never makes one Compatible, since only artifacts do.

use super::{Host, Summary, Trace};
use crate::compiled::{Atom, Meaning, Test};
use crate::decision::{Answer, Reason};
use crate::facts::Fact;
use crate::json;
use crate::policy::Policy;
use crate::require::{Condition, Constraint, Op};
use crate::schema::Schemas;
use crate::value::{Held, Scalar, Wanted, Why};

/// The group whose keys answer.
const GROUP: &str = "host";
/// Where the requirements stand, for people.
const SOURCE: &str = "image config";

/// One variable, ready to be held against hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required {
    variable: String,
    alternatives: Vec<Vec<(String, Atom)>>,
}

/// What came of one alternative: its answer, and the condition that decided, in words.
struct Told<'r> {
    answer: Answer,
    held: Vec<(&'r Atom, Held<'r>)>,
    why: String,
}

impl Required {
    /// Resolves what the conditions of a variable mean. The site's levels are about documents: NVIDIA's toolkit does not ask
    /// them either.
    pub fn new(constraint: &Constraint, schemas: &Schemas) -> Self {
        let meaning = Meaning { schemas, policy: &Policy::default() };
        let one = |condition: &Condition| (condition.text.clone(), atom(condition, &meaning));
        let mut alternatives: Vec<Vec<_>> =
            constraint.alternatives.iter().map(|all| all.iter().map(one).collect()).collect();
        if let Some(why) = &constraint.broken {
            let mut atom = meaning.key(GROUP, "", &Wanted { values: Vec::new(), array: true });
            atom.test = Test::Unclear("nobody can read it".to_owned());
            alternatives.push(vec![(why.clone(), atom)]);
        }
        Self { variable: constraint.variable.clone(), alternatives }
    }
}

fn atom(condition: &Condition, meaning: &Meaning<'_>) -> Atom {
    let (op, value) = (condition.op, &condition.value);
    let key = match condition.subject.as_str() {
        "cuda" => "nvidia.cuda",
        "driver" => "nvidia.driver.version",
        "arch" => "nvidia.compute_capability",
        _ => "",
    };
    let wanted = match op {
        Op::Ne => vec![format!("<{value}"), format!(">{value}")],
        _ => vec![format!("{op}{value}")],
    };
    let values = wanted.into_iter().map(Scalar::Text).collect();
    let mut atom = meaning.key(GROUP, key, &Wanted { values, array: op == Op::Ne });
    match condition.subject.as_str() {
        "brand" => atom.test = Test::Unclear("the brand of this host's GPUs is not known".to_owned()),
        other if key.is_empty() => {
            atom.test = Test::Unclear(format!("nobody knows what {:?} is", json::plain(other, 60)));
        }
        _ => {}
    }
    atom
}

impl Host<'_> {
    /// Holds a variable against this host; what holds counts, but declares nothing.
    pub fn required<T: Trace>(&self, required: &Required, into: &mut Summary, trace: &mut T) {
        let order = |told: &Told<'_>| match told.answer {
            Answer::True => 0,
            Answer::Unknown => 1,
            Answer::False | Answer::Note => 2,
        };
        let told = required.alternatives.iter().map(|all| self.alternative(all));
        let Some(best) = told.min_by_key(order) else { return };
        let mut one = Summary::default();
        best.held.iter().for_each(|(atom, held)| one.count(atom, held.answer, held.depth));
        into.add(Summary { declared: false, ..one });
        if T::ON {
            let others = required.alternatives.len() - 1;
            let more = match (best.answer, others) {
                (Answer::True, _) | (_, 0) => String::new(),
                (Answer::False, _) => format!("; none of {others} alternatives holds either"),
                _ => format!("; none of {others} alternatives is known to hold"),
            };
            let text = format!("{SOURCE}: {} asks for {}{more}", required.variable, best.why);
            trace.reason(Reason { answer: best.answer, text, artifact: None, source: Some(SOURCE.to_owned()) });
        }
    }

    fn alternative<'r>(&'r self, all: &'r [(String, Atom)]) -> Told<'r> {
        let (mut answer, mut held, mut why) = (Answer::True, Vec::new(), String::new());
        for (text, atom) in all {
            let fact = self.fact(GROUP, &atom.key);
            let unchecked = || Held { answer: Answer::Unknown, depth: [0; 4], why: Why::NotTold };
            let one = self.hold::<super::Silent>(atom, fact).unwrap_or_else(unchecked);
            let next = answer.and(one.answer);
            // The condition that decided first speaks for all.
            if next != answer || why.is_empty() {
                why = words(text, &one, fact);
            }
            answer = next;
            held.push((atom, one));
        }
        Told { answer, held, why }
    }
}

fn words(text: &str, held: &Held<'_>, fact: Option<&Fact>) -> String {
    let source = fact.map(|fact| json::plain(&fact.source, 200)).filter(|source| !source.is_empty());
    let seen = source.map_or_else(String::new, |source| format!(" ({source})"));
    format!("{text}: {}{seen}", held.why)
}
