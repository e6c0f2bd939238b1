//! Owns NFD's own answer, to the letter: `ExecuteGroupRule` without fail-fast and the validator around it, with the vars
//! that come out of rules that did not match, and with the errors that end everything. The JSON form is that of
//! `nfd compat validate-node --output-json`, its wrong flags of single expressions included.

use std::collections::BTreeMap;

use serde::Serialize;

use super::expression::Expression;
use super::spec::{Rule, Spec, Term};
use super::template::{self, Matched, TemplateError};
use super::view::{Seen, View};
use crate::features::{Attributes, Features, Flags};

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// NFD ends with an error or crashes; its own words differ.
    #[error("NFD itself stops: {0}")]
    Error(String),
    /// NFD may go on, bestfit cannot.
    #[error("the template is not supported: {0}")]
    Unsupported(String),
}

/// One compatibility set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetStatus {
    /// Its rules.
    pub rules: Vec<RuleStatus>,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The author's weight.
    #[serde(skip_serializing_if = "is_zero")]
    pub weight: i64,
    /// The tag.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag: String,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleStatus {
    /// Its name.
    pub name: String,
    /// Whether it matches.
    pub is_match: bool,
    /// The expressions of `matchFeatures`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matched_expressions: Vec<ExpressionStatus>,
    /// The elements of `matchAny`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matched_any: Vec<AnyStatus>,
}

/// One element of `matchAny`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AnyStatus {
    /// Its expressions; NFD writes `null` for none.
    pub matched_expressions: Option<Vec<ExpressionStatus>>,
}

/// One expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpressionStatus {
    /// As written.
    pub feature: String,
    /// The element; empty for `matchName`.
    pub name: String,
    /// The expression; `None` where the document has null.
    pub expression: Option<Written>,
    /// `matchExpression` or `matchName`.
    pub matcher_type: &'static str,
    /// What NFD says of it.
    pub is_match: bool,
}

/// An expression in NFD's JSON shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    op: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    value: Vec<String>,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    kind: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(weight: &i64) -> bool {
    *weight == 0
}

/// NFD dereferences it.
const EMPTY: &str = "an empty expression";

/// The expressions of one term that matched, as NFD keeps them.
struct Found<'s> {
    feature: String,
    expressions: BTreeMap<&'s str, &'s Expression>,
    name: Option<&'s Expression>,
}

/// The outcome of a list of terms.
struct Outcome<'s> {
    is_match: bool,
    found: Vec<Found<'s>>,
    elements: Matched,
}

/// Everything that NFD's validator says, or where it stops.
pub fn evaluate(spec: &Spec, features: &Features) -> Result<Vec<SetStatus>, Stop> {
    let mut view = View::new(features);
    let mut sets = Vec::new();
    for set in &spec.sets {
        let rules = set.rules.iter().map(|each| rule(each, &mut view)).collect::<Result<_, _>>()?;
        let (description, tag) = (set.description.clone(), set.tag.clone());
        sets.push(SetStatus { rules, description, weight: set.weight, tag });
    }
    Ok(sets)
}

fn rule(rule: &Rule, view: &mut View<'_>) -> Result<RuleStatus, Stop> {
    let (mut vars, mut any, mut some) = (BTreeMap::new(), Vec::new(), rule.any.is_empty());
    for element in &rule.any {
        let outcome = terms(element, view)?;
        if outcome.is_match {
            some = true;
            expand(rule, &outcome, &mut vars)?;
        }
        let expressions = statuses(element, &outcome.found)?;
        any.push(AnyStatus { matched_expressions: (!expressions.is_empty()).then_some(expressions) });
    }
    let (mut all, mut expressions) = (true, Vec::new());
    if !rule.terms.is_empty() {
        let outcome = terms(&rule.terms, view)?;
        expressions = statuses(&rule.terms, &outcome.found)?;
        all = outcome.is_match;
        if all {
            expand(rule, &outcome, &mut vars)?;
        }
    }
    let is_match = some && all;
    if all {
        vars.extend(rule.vars.clone());
    } else {
        vars.clear();
    }
    view.insert(vars);
    Ok(RuleStatus { name: rule.name.clone(), is_match, matched_expressions: expressions, matched_any: any })
}

fn expand(rule: &Rule, outcome: &Outcome<'_>, vars: &mut BTreeMap<String, String>) -> Result<(), Stop> {
    if !rule.vars_template.is_empty() {
        vars.extend(template::expand(&rule.vars_template, &outcome.elements).map_err(|error| match error {
            TemplateError::Fails(why) => Stop::Error(why),
            TemplateError::Unsupported(what) => Stop::Unsupported(what),
        })?);
    }
    Ok(())
}

/// All terms. Once one has failed, a `matchName` without expressions is no longer looked at (NFD keeps the flag).
fn terms<'s>(terms: &'s [Term], view: &View<'_>) -> Result<Outcome<'s>, Stop> {
    let mut outcome = Outcome { is_match: true, found: Vec::new(), elements: Matched::new() };
    let mut holds = true;
    for term in terms {
        let feature = term.feature.to_lowercase();
        let (domain, name) = term.feature.split_once('.').unwrap_or((&feature, ""));
        let slot = outcome.elements.entry(domain.to_owned()).or_default();
        let Some(seen) = view.feature(&feature) else {
            outcome.is_match = false;
            continue;
        };
        let mut found = Found { feature, expressions: BTreeMap::new(), name: None };
        let mut elements = Vec::new();
        if let Some(expressions) = &term.expressions {
            holds = multi(expressions, seen, &mut found.expressions, &mut elements)?;
        }
        if let (true, Some(expression)) = (holds, &term.name) {
            holds = names(expression, seen, &mut elements)?;
            found.name = holds.then_some(expression);
        }
        slot.entry(name.to_owned()).or_default().extend(elements);
        if found.name.is_some() || !found.expressions.is_empty() {
            outcome.found.push(found);
        }
        outcome.is_match &= holds;
    }
    Ok(outcome)
}

/// What matched, for a template; `None` where the terms do not match.
pub(super) fn matched(terms: &[Term], view: &View<'_>) -> Result<Option<Matched>, Stop> {
    let outcome = self::terms(terms, view)?;
    Ok(outcome.is_match.then_some(outcome.elements))
}

type Elements = Vec<BTreeMap<String, String>>;

/// NFD's `MatchMulti`.
fn multi<'s>(
    expressions: &'s BTreeMap<String, Option<Expression>>,
    seen: Seen<'_>,
    found: &mut BTreeMap<&'s str, &'s Expression>,
    elements: &mut Elements,
) -> Result<bool, Stop> {
    let mut all = seen.flags.is_some() || seen.attributes.is_some();
    for (name, expression) in expressions {
        if !all && seen.flags.is_none() && seen.attributes.is_none() {
            break;
        }
        let expression = given(expression)?;
        let absent = expression.op == super::expression::Op::DoesNotExist;
        let (mut some, mut refuted) = (false, false);
        if let Some(flags) = seen.flags {
            let holds = expression.strict(flags.contains(name), None).map_err(Stop::Error)?;
            if holds {
                elements.push(element(name, None));
                found.insert(name, expression);
            }
            some |= holds;
            refuted |= !holds && absent;
        }
        if let (Some(attributes), false) = (seen.attributes, refuted) {
            let value = attributes.get(name);
            let holds = expression.strict(value.is_some(), value).map_err(Stop::Error)?;
            if holds {
                elements.push(element(name, Some(value.unwrap_or_default())));
                found.insert(name, expression);
            }
            some |= holds;
            refuted |= !holds && absent;
        }
        all &= some && !refuted;
    }
    elements.sort_by(|a, b| a.get("Name").cmp(&b.get("Name")));
    let mut instance = false;
    for each in seen.instances.unwrap_or_default() {
        let mut whole = true;
        for (name, expression) in expressions {
            let expression = given(expression)?;
            let value = each.attributes.get(name).map(String::as_str);
            if expression.strict(value.is_some(), value).map_err(Stop::Error)? {
                found.insert(name, expression);
            } else {
                whole = false;
            }
        }
        if whole {
            elements.push(each.attributes.clone());
        }
        instance |= whole;
    }
    Ok(all || instance)
}

/// NFD's `MatchNamesMulti`.
fn names(expression: &Expression, seen: Seen<'_>, elements: &mut Elements) -> Result<bool, Stop> {
    let mut named = Vec::new();
    for name in seen.flags.into_iter().flat_map(Flags::names) {
        if expression.strict(true, Some(name)).map_err(Stop::Error)? {
            named.push(element(name, None));
        }
    }
    for (name, value) in seen.attributes.into_iter().flat_map(Attributes::iter) {
        if expression.strict(true, Some(name)).map_err(Stop::Error)? {
            named.push(element(name, Some(value)));
        }
    }
    named.sort_by(|a, b| a.get("Name").cmp(&b.get("Name")));
    for each in seen.instances.unwrap_or_default() {
        let mut some = false;
        for name in each.attributes.keys() {
            some |= expression.strict(true, Some(name)).map_err(Stop::Error)?;
        }
        if some {
            named.push(each.attributes.clone());
        }
    }
    let some = !named.is_empty();
    elements.extend(named);
    Ok(some)
}

fn given(expression: &Option<Expression>) -> Result<&Expression, Stop> {
    expression.as_ref().ok_or_else(|| Stop::Error(EMPTY.to_owned()))
}

fn element(name: &str, value: Option<&str>) -> BTreeMap<String, String> {
    let name = ("Name".to_owned(), name.to_owned());
    [Some(name), value.map(|value| ("Value".to_owned(), value.to_owned()))].into_iter().flatten().collect()
}

/// What the validator says of each expression. It crashes where it must compare one that is null with another.
fn statuses(terms: &[Term], found: &[Found<'_>]) -> Result<Vec<ExpressionStatus>, Stop> {
    let same = |a: &Expression, b: &Expression| a.op == b.op && a.values == b.values;
    let mut statuses = Vec::new();
    for term in terms {
        let of_term = || found.iter().filter(|found| found.feature == term.feature);
        let status = |name: &str, expression: Option<&Expression>, matcher_type, is_match| ExpressionStatus {
            feature: term.feature.clone(),
            name: name.to_owned(),
            expression: expression.map(Written::from),
            matcher_type,
            is_match,
        };
        for (name, expression) in term.expressions.iter().flatten() {
            let mut others = of_term().filter_map(|it| it.expressions.get(name.as_str()));
            let is_match = match expression {
                Some(expression) => others.any(|it| same(it, expression)),
                None if others.next().is_some() => return Err(Stop::Error(EMPTY.to_owned())),
                None => false,
            };
            statuses.push(status(name, expression.as_ref(), "matchExpression", is_match));
        }
        if let Some(expression) = &term.name {
            let is_match = of_term().any(|found| found.name.is_some_and(|name| same(name, expression)));
            statuses.push(status("", Some(expression), "matchName", is_match));
        }
    }
    statuses.sort_by_cached_key(|it| {
        (it.feature.clone(), it.name.clone(), it.expression.as_ref().map_or_else(String::new, Written::text))
    });
    let alike = |a: &ExpressionStatus, b: &ExpressionStatus| a.feature == b.feature && a.name == b.name;
    let crashes = |pair: &[ExpressionStatus]| match pair {
        [a, b] => alike(a, b) && (a.expression.is_none() || b.expression.is_none()),
        _ => false,
    };
    if statuses.windows(2).any(crashes) { Err(Stop::Error(EMPTY.to_owned())) } else { Ok(statuses) }
}

impl From<&Expression> for Written {
    fn from(expression: &Expression) -> Self {
        let (op, value) = (expression.op.to_string(), expression.values.clone());
        Self { op, value, kind: expression.kind.clone() }
    }
}

impl Written {
    /// What NFD sorts by.
    fn text(&self) -> String {
        match self.value.is_empty() {
            true => format!("{{op: {:?}}}", self.op),
            false => format!("{{op: {:?}, value: {:?}}}", self.op, self.value),
        }
    }
}
