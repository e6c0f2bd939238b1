//! Owns the features as rules see them: the host's, and `rule.matched`, which earlier rules fill. The host's own are never
//! changed.

use std::collections::BTreeMap;

use crate::features::{Attributes, Features, Flags, Instance};

/// The feature that earlier rules fill with their vars.
pub(super) const MATCHED: &str = "rule.matched";

/// What one rule sees.
pub(super) struct View<'a> {
    pub(super) features: &'a Features,
    matched: Option<Attributes>,
    /// Why not all vars are known.
    pub(super) vars_unknown: Option<String>,
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
        Self { features, matched, vars_unknown: None }
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
        let matched = self.matched.take().unwrap_or_default();
        let vars = vars.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.matched = Some(matched.iter().chain(vars).collect());
    }
}
