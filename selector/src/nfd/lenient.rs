//! Owns the answer that decides: NFD's rules over features of which some are unknown. Three-valued; a host's value never is
//! an error, only what was never seen is Unknown; vars come out of rules that match, and of no others.

use std::collections::BTreeMap;

use super::expression::{Expression, Op};
use super::spec::{Rule, Spec, Term};
use super::template;
use super::view::{MATCHED, Seen, View};
use crate::decision::{Answer, Reason};
use crate::digest::Digest;
use crate::facts::{Fact, State};
use crate::features::{Attributes, Flags};
use crate::json;
use crate::matching::{Assessment, Host, TOO_MUCH};
use crate::ranking::Specificity;
use crate::schema::Dimension;

/// One set after the other; each is an alternative to the others.
pub(super) fn sets(spec: &Spec, host: &Host<'_>, artifact: Digest) -> Vec<Assessment> {
    let mut rules = Rules { host, artifact, view: View::new(&host.facts.features), rule: String::new() };
    let several = spec.sets.len() > 1;
    let mut sets = Vec::new();
    for (at, set) in spec.sets.iter().enumerate() {
        let shown = if set.tag.is_empty() { format!("set {}", at + 1) } else { json::plain(&set.tag, 60) };
        let place = if several { format!("[{shown}] ") } else { String::new() };
        let each = set.rules.iter().map(|rule| {
            rules.rule = format!("{place}{}", json::plain(&rule.name, 60));
            rules.rule(rule)
        });
        let mut all = each.fold(Assessment::default(), Assessment::and);
        all.summary.score.weight = set.weight.clamp(-100, 100) as i32;
        sets.push(all);
    }
    sets
}

struct Rules<'h> {
    host: &'h Host<'h>,
    artifact: Digest,
    view: View<'h>,
    /// Where the expressions stand, for people.
    rule: String,
}

/// What came of one expression.
type Found = (Answer, String);

impl Rules<'_> {
    fn rule(&mut self, rule: &Rule) -> Assessment {
        let any = rule.any.iter().map(|terms| self.terms(terms)).reduce(Assessment::or);
        let mut all = self.terms(&rule.terms).and(any.unwrap_or_default());
        let mut vars = BTreeMap::new();
        let template = !rule.vars_template.is_empty();
        let mut why = format!("{} is not known to match", self.rule);
        if all.summary.answer == Answer::True && template {
            match self.expand(rule) {
                Ok(more) => vars.extend(more),
                Err(fails) => {
                    why = format!("{}: varsTemplate: {fails}", self.rule);
                    all.unknown(why.clone(), Some(self.artifact));
                }
            }
        }
        match all.summary.answer {
            Answer::True => vars.extend(rule.vars.clone()),
            Answer::Unknown => self.view.leave_open(&rule.vars, template, &why),
            _ => {}
        }
        self.view.insert(vars);
        all
    }

    /// The template, where all that matched is known: strict evaluation tells the elements.
    fn expand(&self, rule: &Rule) -> Result<BTreeMap<String, String>, String> {
        let error = |error| match error {
            template::TemplateError::Fails(why) => format!("it fails: {why}"),
            template::TemplateError::Unsupported(what) => format!("{what} is not supported"),
        };
        let about_vars = rule.all_terms().any(|term| term.feature.eq_ignore_ascii_case(MATCHED));
        if let (true, Some(why)) = (about_vars, self.view.doubts()) {
            return Err(format!("it is made of vars of which not all are known: {why}"));
        }
        let mut vars = BTreeMap::new();
        for terms in rule.any.iter().chain([&rule.terms]).filter(|terms| !terms.is_empty()) {
            let found = super::strict::matched(terms, &self.view).map_err(|stop| stop.to_string())?;
            if let Some(elements) = found {
                vars.extend(template::expand(&rule.vars_template, &elements).map_err(error)?);
            }
        }
        Ok(vars)
    }

    fn terms(&self, terms: &[Term]) -> Assessment {
        terms.iter().map(|term| self.term(term)).fold(Assessment::default(), Assessment::and)
    }

    fn term(&self, term: &Term) -> Assessment {
        let mut assessment = Assessment::default();
        assessment.summary.declared = true;
        let feature = term.feature.to_lowercase();
        let seen = match self.seen(&feature) {
            Ok(seen) => seen,
            Err((answer, why)) => {
                self.count(&mut assessment, &feature, None, answer, &why);
                return assessment;
            }
        };
        if let Some(expressions) = &term.expressions {
            let union = self.union(&feature, expressions, seen);
            let instance = self.instances(&feature, expressions, seen);
            let all = |found: &Option<Vec<Found>>| {
                found.as_ref().map_or(Answer::False, |found| {
                    found.iter().fold(Answer::True, |answer, (next, _)| answer.and(*next))
                })
            };
            // The family that answers best speaks for the term.
            let rank = |answer| (answer == Answer::True, answer == Answer::Unknown);
            let better = instance.is_some() && (union.is_none() || rank(all(&instance)) > rank(all(&union)));
            let found = if better { instance } else { union };
            match found {
                Some(found) if !expressions.is_empty() => {
                    for ((name, expression), (answer, why)) in expressions.iter().zip(found) {
                        self.count(&mut assessment, &feature, Some((name, expression.as_ref())), answer, &why);
                    }
                }
                Some(_) => self.count(&mut assessment, &feature, None, Answer::True, "the host has it"),
                None => self.count(&mut assessment, &feature, None, Answer::False, "the host has none"),
            }
        }
        if let Some(expression) = &term.name {
            let (answer, why) = self.names(&feature, expression, seen);
            self.count(&mut assessment, &feature, Some(("(name)", Some(expression))), answer, &why);
        }
        if term.expressions.is_none() && term.name.is_none() {
            self.count(&mut assessment, &feature, None, Answer::True, "the host has it");
        }
        assessment
    }

    /// The feature, or what follows from not having it.
    fn seen(&self, feature: &str) -> Result<Seen<'_>, Found> {
        if let Some(why) = self.view.features.unknown.get(feature) {
            return Err((Answer::Unknown, json::plain(why, 200)));
        }
        self.view.feature(feature).ok_or_else(|| match (feature, self.view.doubts()) {
            (MATCHED, Some(why)) => (Answer::Unknown, why.to_owned()),
            (MATCHED, None) => (Answer::False, "no rule stands before this one".to_owned()),
            _ if self.is_absent(feature) => (Answer::False, "absent on this host".to_owned()),
            _ => (Answer::Unknown, "this host's features do not name it".to_owned()),
        })
    }

    /// Whether the labels that are made of a feature are absent, and so is what they are made of: no `pci-*` without a bus.
    fn is_absent(&self, feature: &str) -> bool {
        let (Some((domain, _)), Some(labels)) = (feature.split_once('.'), self.host.facts.facts.get("nfd")) else {
            return false;
        };
        let (own, family) = (feature.replacen('.', "-", 1), format!("{domain}-"));
        let absent = |fact: &Fact| fact.state == State::Absent;
        let all =
            |prefix: &str| labels.iter().filter(|(label, _)| label.starts_with(prefix)).all(|(_, fact)| absent(fact));
        let is = |label: &str, prefix: &str| labels.get(label).is_some_and(absent) && all(prefix);
        is(&own, &own) || is(&format!("{family}*"), &family)
    }

    /// Why this element, which is not there or is a var, could not be seen.
    fn unseen(&self, feature: &str, name: &str) -> Option<String> {
        let unknown = &self.view.features.unknown;
        let vars = || self.view.doubt(name).filter(|_| feature == MATCHED).map(str::to_owned);
        unknown.get(&format!("{feature}/{name}")).map(|why| json::plain(why, 200)).or_else(vars)
    }

    /// Flags and attributes together, per expression; `None` where the feature has neither.
    fn union(
        &self,
        feature: &str,
        expressions: &BTreeMap<String, Option<Expression>>,
        seen: Seen<'_>,
    ) -> Option<Vec<Found>> {
        if seen.flags.is_none() && seen.attributes.is_none() {
            return None;
        }
        let one = |(name, expression): (&String, &Option<Expression>)| {
            let Some(expression) = expression else { return (Answer::Unknown, "an empty expression".to_owned()) };
            let flag = seen.flags.map(|flags| flags.contains(name));
            let value = seen.attributes.map(|attributes| attributes.get(name));
            let there = flag == Some(true) || value.flatten().is_some();
            // That a var is there stays so, whatever value it has.
            let open = !there || (feature == MATCHED && !matches!(expression.op, Op::Exists | Op::DoesNotExist));
            if open
                && expression.op != Op::Any
                && let Some(why) = self.unseen(feature, name)
            {
                return (Answer::Unknown, why);
            }
            let of_flag = flag.map(|flag| expression.lenient(flag, None));
            let of_value = value.map(|value| expression.lenient(value.is_some(), value));
            let why = [&of_flag, &of_value].into_iter().flatten().find_map(|(_, why)| why.clone());
            let both = [of_flag, of_value].into_iter().flatten().map(|(answer, _)| answer);
            let answer = match expression.op {
                Op::DoesNotExist => both.reduce(Answer::and),
                _ => both.reduce(Answer::or),
            };
            let has = match (flag, value.flatten()) {
                (_, Some(value)) => format!("the host has {:?}", json::plain(value, 100)),
                (Some(true), None) => "the host has it".to_owned(),
                _ => "the host does not have it".to_owned(),
            };
            (answer.unwrap_or(Answer::False), why.unwrap_or(has))
        };
        Some(expressions.iter().map(one).collect())
    }

    /// The instance that answers best, with its answers; `None` where there is none.
    fn instances(
        &self,
        feature: &str,
        expressions: &BTreeMap<String, Option<Expression>>,
        seen: Seen<'_>,
    ) -> Option<Vec<Found>> {
        let instances = seen.instances?;
        let values = |expression: &Option<Expression>| expression.as_ref().map_or(1, |one| one.values.len().max(1));
        if !self.host.spend(instances.len() * expressions.values().map(values).sum::<usize>()) {
            return Some(vec![(Answer::Unknown, TOO_MUCH.to_owned()); expressions.len()]);
        }
        let of = |instance: &crate::features::Instance| -> Vec<Found> {
            let one = |(name, expression): (&String, &Option<Expression>)| {
                let Some(expression) = expression else { return (Answer::Unknown, "an empty expression".to_owned()) };
                let value = instance.attributes.get(name).map(String::as_str);
                if let (None, false, Some(why)) = (value, expression.op == Op::Any, self.unseen(feature, name)) {
                    return (Answer::Unknown, why);
                }
                let (answer, why) = expression.lenient(value.is_some(), value);
                let value = value.map_or_else(|| "nothing".to_owned(), |value| format!("{:?}", json::plain(value, 60)));
                (answer, why.unwrap_or_else(|| format!("the nearest of {} has {value}", instances.len())))
            };
            expressions.iter().map(one).collect()
        };
        let key = |found: &Vec<Found>| {
            let count = |wanted| found.iter().filter(|(answer, _)| *answer == wanted).count();
            // Nothing False goes first, then the most True; the first of equals stays.
            (std::cmp::Reverse(count(Answer::False)), count(Answer::True))
        };
        let none = || vec![(Answer::False, "the host has none".to_owned()); expressions.len()];
        let best = instances.iter().map(of).reduce(|best, next| if key(&next) > key(&best) { next } else { best });
        match best {
            None if expressions.is_empty() => None,
            best => Some(best.unwrap_or_else(none)),
        }
    }

    fn names(&self, feature: &str, expression: &Expression, seen: Seen<'_>) -> Found {
        let count = |family: Option<usize>| family.unwrap_or_default();
        let of_instances = seen.instances.map(|all| all.iter().map(|instance| instance.attributes.len()).sum());
        let elements = count(seen.flags.map(Flags::len)) + count(seen.attributes.map(Attributes::len));
        if !self.host.spend((elements + count(of_instances)) * expression.values.len().max(1)) {
            return (Answer::Unknown, TOO_MUCH.to_owned());
        }
        let flags = seen.flags.into_iter().flat_map(Flags::names);
        let attributes = seen.attributes.into_iter().flat_map(Attributes::names);
        let instances =
            seen.instances.into_iter().flatten().flat_map(|instance| instance.attributes.keys().map(String::as_str));
        let (mut answer, mut why) = (Answer::False, "no element has such a name".to_owned());
        for name in flags.chain(attributes).chain(instances) {
            let (holds, reason) = expression.lenient(true, Some(name));
            if holds == Answer::True {
                return (holds, format!("the host has {}", json::plain(name, 100)));
            }
            answer = answer.or(holds);
            why = reason.unwrap_or(why);
        }
        let prefix = format!("{feature}/");
        let unseen = self.view.features.unknown.iter().find(|(name, _)| name.starts_with(&prefix));
        let unseen = unseen.map(|(name, why)| format!("{}: {}", json::plain(name, 100), json::plain(why, 200)));
        match unseen.or_else(|| self.view.doubts().filter(|_| feature == MATCHED).map(str::to_owned)) {
            Some(why) => (Answer::Unknown, why),
            None => (answer, why),
        }
    }

    /// Counts one expression, or a whole feature.
    fn count(
        &self,
        into: &mut Assessment,
        feature: &str,
        asked: Option<(&str, Option<&Expression>)>,
        answer: Answer,
        why: &str,
    ) {
        let name = match asked {
            Some((name, Some(expression))) => format!("{feature}/{name} {expression}"),
            Some((name, None)) => format!("{feature}/{name}"),
            None => feature.to_owned(),
        };
        let text = format!("nfd rule {}: {}: {why}", self.rule, json::plain(&name, 200));
        into.reasons.push(Reason { answer, text, artifact: Some(self.artifact), source: None });
        into.summary.answer = into.summary.answer.and(answer);
        let counts = answer == Answer::True && feature != MATCHED;
        let any = asked.and_then(|(_, expression)| expression).is_some_and(|expression| expression.op == Op::Any);
        if counts && !any {
            let (dimension, specificity) = self.specificity(feature, asked);
            into.summary.score.specificity.count(dimension, specificity);
        }
    }

    /// What an expression counts for: as the label of the same name does, else as its domain does.
    fn specificity(&self, feature: &str, asked: Option<(&str, Option<&Expression>)>) -> (Dimension, Specificity) {
        let (name, expression) = asked.map_or(("", None), |(name, expression)| (name, expression));
        let label = match feature {
            "system.osrelease" => format!("system-os_release.{name}"),
            "memory.numa" => "memory-numa".to_owned(),
            _ => format!("{}.{name}", feature.replacen('.', "-", 1)),
        };
        let key = self.host.schemas.group("nfd").and_then(|group| group.key(&label).map(|(_, key)| key.clone()));
        let domain = match feature.split('.').next().unwrap_or_default() {
            "cpu" => Dimension::Cpu,
            "kernel" => Dimension::Kernel,
            "pci" | "usb" => Dimension::Accelerator,
            "network" => Dimension::Fabric,
            "system" => Dimension::Libs,
            _ => Dimension::Other,
        };
        let (dimension, weight, fixed) =
            key.map_or((domain, 10, 0), |key| (key.dimension, key.weight, key.specificity));
        let mut depth = expression.map_or([0; 4], Expression::depth);
        if fixed > 0 {
            depth = [fixed, 0, 0, 0];
        }
        (dimension, Specificity { weight, depth })
    }
}
