//! Owns the document of NFD's image-compatibility artifacts (NFD `api/image-compatibility/v1alpha1` and the `GroupRule` of
//! `api/nfd/v1alpha1`), read as `sigs.k8s.io/yaml` reads it: what NFD refuses is an error here. What NFD accepts but cannot
//! have been meant is a [`Problem`], what its author should know is a note. Evaluates nothing.

use std::collections::BTreeMap;

use super::expression::{Expression, Op};
use super::fields::{self, Reader};
use crate::document::{MAX_BYTES, MAX_WEIGHT};
use crate::json::{self, JsonError};
use crate::yaml::{self, Kind, Mark, Node};

/// The most terms, expressions and regular expressions of one document.
pub const MAX_EXPRESSIONS: usize = 1024;
/// The most values of all expressions of one document.
pub(super) const MAX_VALUES: usize = 4096;

/// One document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spec {
    /// Its version, for people: NFD does not look at it.
    pub version: String,
    /// Alternatives: one that holds is enough (matching.md §4).
    pub sets: Vec<Set>,
    /// What its author should know.
    pub notes: Vec<String>,
    pub(super) problems: Vec<Problem>,
}

/// One compatibility set: all its rules hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    /// For people.
    pub description: String,
    /// For people and for NFD's `--tags`.
    pub tag: String,
    /// The author's weight.
    pub weight: i64,
    /// In the order of evaluation.
    pub rules: Vec<Rule>,
}

/// One rule: all of `terms` hold, and one of `any` where there are some.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// For people.
    pub name: String,
    pub(super) vars: BTreeMap<String, String>,
    pub(super) vars_template: String,
    pub(super) terms: Vec<Term>,
    pub(super) any: Vec<Vec<Term>>,
}

/// What is asked of one feature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Term {
    /// As written; compared in lower case.
    pub(super) feature: String,
    /// By the name of the element. `None` in place of an expression makes NFD itself crash.
    pub(super) expressions: Option<BTreeMap<String, Option<Expression>>>,
    pub(super) name: Option<Expression>,
}

/// Something that NFD accepts and that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) mark: Mark,
    pub(super) text: String,
}

/// Reads a document as NFD reads it: what NFD accepts, however odd, is accepted.
pub fn read(bytes: &[u8]) -> Result<Spec, JsonError> {
    let stream = yaml::read(bytes, MAX_BYTES)?;
    let mut spec = Spec::default();
    let mut reader = Reader::default();
    if let Some(second) = stream.second {
        reader.problem(second, "a second document, which NFD does not read");
    }
    if let Some(root) = &stream.first {
        reader.document(root, &mut spec)?;
    }
    (spec.problems, spec.notes) = (reader.problems, reader.notes);
    Ok(spec)
}

/// Reads a document that must make sense: the first [`Problem`] is an error.
pub fn read_sensible(bytes: &[u8]) -> Result<Spec, JsonError> {
    let spec = read(bytes)?;
    match spec.problems.iter().min_by_key(|problem| problem.mark) {
        Some(first) => Err(first.mark.error(&first.text)),
        None => Ok(spec),
    }
}

impl Spec {
    /// How many things it asks for.
    pub fn size(&self) -> usize {
        let terms = self.sets.iter().flat_map(|set| &set.rules).flat_map(Rule::all_terms);
        let expressions = |term: &Term| {
            let named = term.expressions.iter().flatten().map(|(_, expression)| expression.as_ref());
            named.chain([term.name.as_ref()]).map(|expression| expression.map_or(0, Expression::size)).sum::<usize>()
        };
        terms.map(|term| 1 + expressions(term)).sum()
    }

    /// The domains of the features that it asks for, as groups (`nfd:kernel`): a newer artifact about the same ones replaces
    /// an older.
    pub fn groups(&self) -> std::collections::BTreeSet<String> {
        let terms = self.sets.iter().flat_map(|set| &set.rules).flat_map(Rule::all_terms);
        let domain = |term: &Term| term.feature.split('.').next().unwrap_or_default().to_ascii_lowercase();
        terms.map(|term| format!("nfd:{}", domain(term))).collect()
    }

    /// What it asks about, as the labels of the same names: `nfd/kernel-version.full`, `nfd/pci-device.class`.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let terms = self.sets.iter().flat_map(|set| &set.rules).flat_map(Rule::all_terms);
        terms.flat_map(|term| {
            let feature = format!("nfd/{}", term.feature.to_lowercase().replacen('.', "-", 1));
            let elements = term.expressions.iter().flatten().map(|(name, _)| format!("{feature}.{name}"));
            let elements: Vec<String> = elements.collect();
            if elements.is_empty() { vec![feature] } else { elements }
        })
    }

    /// What NFD accepts and cannot have been meant, with line and column.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.problems.iter().map(|problem| problem.mark.error(&problem.text).to_string())
    }
}

impl Rule {
    pub(super) fn all_terms(&self) -> impl Iterator<Item = &Term> {
        self.terms.iter().chain(self.any.iter().flatten())
    }
}

/// Fields of NFD's `Rule` that its `GroupRule` lacks: they ask nothing of the host.
const OUTPUTS: [&str; 6] = ["labels", "labelsTemplate", "annotations", "extendedResources", "taints", "featureGates"];

impl Reader {
    fn document(&mut self, root: &Node, spec: &mut Spec) -> Result<(), JsonError> {
        for (name, node) in self.object(root, "the document", &["version", "compatibilities"], fields::Unknown::Near)? {
            match name {
                "version" => spec.version = self.text(node)?,
                _ => spec.sets = self.list(node, |reader, item| reader.set(item))?,
            }
        }
        if spec.sets.is_empty() {
            self.notes.push("the document has no compatibility set: it asks for nothing".to_owned());
        }
        Ok(())
    }

    fn set(&mut self, node: &Node) -> Result<Set, JsonError> {
        let mut set = Set::default();
        let known = ["rules", "weight", "tag", "description"];
        for (name, node) in self.object(node, "a compatibility set", &known, fields::Unknown::Near)? {
            match name {
                "rules" => set.rules = self.list(node, |reader, item| reader.rule(item))?,
                "weight" => {
                    set.weight = self.whole(node)?;
                    let within = set.weight.clamp(-MAX_WEIGHT, MAX_WEIGHT);
                    if within != set.weight {
                        self.note(node.mark, format!("the weight {} counts as {within}", set.weight));
                    }
                }
                "tag" => set.tag = self.text(node)?,
                _ => set.description = self.text(node)?,
            }
        }
        Ok(set)
    }

    fn rule(&mut self, node: &Node) -> Result<Rule, JsonError> {
        let mut rule = Rule::default();
        let known = ["name", "vars", "varsTemplate", "matchFeatures", "matchAny"];
        for (name, node) in self.object(node, "a rule", &known, fields::Unknown::Wrong(&OUTPUTS))? {
            match name {
                "name" => rule.name = self.text(node)?,
                "vars" => rule.vars = self.entries(node, |reader, value| reader.text(value))?,
                "varsTemplate" => rule.vars_template = self.text(node)?,
                "matchFeatures" => rule.terms = self.list(node, |reader, item| reader.term(item))?,
                _ => rule.any = self.list(node, |reader, item| reader.element(item))?,
            }
        }
        Ok(rule)
    }

    /// An element of `matchAny`.
    fn element(&mut self, node: &Node) -> Result<Vec<Term>, JsonError> {
        let mut terms = Vec::new();
        for (_, node) in self.object(node, "matchAny", &["matchFeatures"], fields::Unknown::Wrong(&[]))? {
            terms = self.list(node, |reader, item| reader.term(item))?;
        }
        if terms.is_empty() {
            self.problem(node.mark, "an element of matchAny asks for nothing, so it always matches");
        }
        Ok(terms)
    }

    fn term(&mut self, node: &Node) -> Result<Term, JsonError> {
        let mut term = Term::default();
        self.count(node, 1, 0)?;
        let known = ["feature", "matchExpressions", "matchName"];
        for (name, node) in self.object(node, "matchFeatures", &known, fields::Unknown::Wrong(&[]))? {
            match name {
                "feature" => term.feature = self.text(node)?,
                "matchExpressions" if matches!(node.kind, Kind::List(_)) => {
                    let text = "matchExpressions is a list: that is the form of ocifit-k8s; NFD's is a mapping by name";
                    return Err(node.mark.error(text));
                }
                "matchExpressions" if fields::is_null(node) => term.expressions = None,
                "matchExpressions" => term.expressions = Some(self.entries(node, Self::expression)?),
                _ => term.name = if fields::is_null(node) { None } else { self.expression(node)? },
            }
        }
        if term.feature.split('.').filter(|part| !part.is_empty()).count() < 2 {
            let feature = json::plain(&term.feature, 60);
            self.problem(node.mark, format!("{feature:?} is no feature: <domain>.<feature> is expected"));
        }
        Ok(term)
    }

    fn expression(&mut self, node: &Node) -> Result<Option<Expression>, JsonError> {
        if fields::is_null(node) {
            self.problem(node.mark, "an expression is empty: NFD crashes on it");
            return Ok(None);
        }
        let (mut op, mut values, mut kind) = (String::new(), Vec::new(), String::new());
        for (name, node) in self.object(node, "an expression", &["op", "value", "type"], fields::Unknown::Wrong(&[]))? {
            match name {
                "op" => op = self.text(node)?,
                "value" => values = self.list(node, |reader, item| reader.value(item))?,
                _ => kind = self.text(node)?,
            }
        }
        let op = Op::from(op.as_str());
        // Counted before they are compiled.
        self.count(node, Expression::size_of(&op, &values), values.len())?;
        let expression = Expression::new(op, values, kind);
        if let Some(problem) = expression.problem() {
            self.problem(node.mark, problem);
        }
        if !expression.kind.is_empty() && !expression.op.is_ordered() {
            self.note(node.mark, format!("`type` means nothing to {}", expression.op));
        }
        Ok(Some(expression))
    }

    /// One value of an expression; it is noted when YAML makes something else of it than what is written.
    fn value(&mut self, node: &Node) -> Result<String, JsonError> {
        let seen = self.text(node)?;
        if let Kind::Scalar(scalar) = &node.kind
            && scalar.text != seen
        {
            let written = json::plain(&scalar.text, 60);
            self.note(node.mark, format!("the unquoted value {written} is read as {seen:?}; quote it"));
        }
        Ok(seen)
    }
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
