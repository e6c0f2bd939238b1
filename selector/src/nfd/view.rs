//! Owns the features as rules see them: the host's, and `rule.matched`, which earlier rules fill. The host's own are never
//! changed.

use std::collections::{BTreeMap, BTreeSet};

use crate::features::{Attributes, Features, Flags, Instance};

/// The feature that earlier rules fill with their vars.
pub(super) const MATCHED: &str = "rule.matched";

/// What one rule sees.
pub(super) struct View<'a> {
    pub(super) features: &'a Features,
    matched: Option<Attributes>,
    doubts: Doubts,
}

/// Vars of rules of which it is not known whether they match: each may have the value that it had before, or none.
#[derive(Default)]
struct Doubts {
    /// Why, by name.
    named: BTreeMap<String, String>,
    /// Why, where a template would have told the names.
    any: Option<String>,
    /// What was set for certain since then.
    since: BTreeSet<String>,
}

/// One feature: what there is of it in each family.
#[derive(Clone, Copy)]
pub(super) struct Seen<'v> {
    pub(super) flags: Option<&'v Flags>,
    pub(super) attributes: Option<&'v Attributes>,
    pub(super) instances: Option<&'v [Instance]>,
}

impl<'a> View<'a> {
    pub(super) fn new(features: &'a Features) -> Self {
        let matched = features.attributes.get(MATCHED).map(|family| family.elements.clone());
        Self { features, matched, doubts: Doubts::default() }
    }

    /// The feature of this name, in lower case; `None` where no family has it.
    pub(super) fn feature(&self, name: &str) -> Option<Seen<'_>> {
        let attributes = match name {
            MATCHED => self.matched.as_ref(),
            _ => self.features.attributes.get(name).map(|family| &family.elements),
        };
        let seen = Seen {
            flags: self.features.flags.get(name).map(|family| &family.elements),
            attributes,
            instances: self.features.instances.get(name).map(|family| family.elements.as_slice()),
        };
        (seen.flags.is_some() || seen.attributes.is_some() || seen.instances.is_some()).then_some(seen)
    }

    /// Takes what came out of a rule; with no vars, too, the feature exists from then on.
    pub(super) fn insert(&mut self, vars: BTreeMap<String, String>) {
        for name in vars.keys() {
            self.doubts.named.remove(name);
            self.doubts.since.insert(name.clone());
        }
        let matched = self.matched.take().unwrap_or_default();
        let vars = vars.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.matched = Some(matched.iter().chain(vars).collect());
    }

    /// Takes what would have come out of a rule: these vars, and those of its template.
    pub(super) fn leave_open(&mut self, vars: &BTreeMap<String, String>, template: bool, why: &str) {
        if template {
            self.doubts.any = Some(why.to_owned());
            self.doubts.since.clear();
        }
        for (name, value) in vars {
            let as_before = self.matched.as_ref().and_then(|matched| matched.get(name)) == Some(value.as_str());
            if !as_before || self.doubt(name).is_some() {
                self.doubts.named.insert(name.clone(), why.to_owned());
            }
        }
    }

    /// Why it is not known what a var is.
    pub(super) fn doubt(&self, name: &str) -> Option<&str> {
        let any = self.doubts.any.as_deref().filter(|_| !self.doubts.since.contains(name));
        self.doubts.named.get(name).map(String::as_str).or(any)
    }

    /// Why not all vars are known.
    pub(super) fn doubts(&self) -> Option<&str> {
        self.doubts.any.as_deref().or_else(|| self.doubts.named.values().next().map(String::as_str))
    }
}
