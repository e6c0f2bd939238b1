//! Owns the features as rules see them: the host's, and `rule.matched`, which earlier rules fill. The host's own are never
//! changed.

use std::collections::BTreeMap;

use crate::features::{Features, Instance, Nothing};

/// The feature that earlier rules fill with their vars.
pub(super) const MATCHED: &str = "rule.matched";

/// What one rule sees.
pub(super) struct View<'a> {
    pub(super) features: &'a Features,
    matched: Option<BTreeMap<String, String>>,
    /// Why not all vars are known.
    pub(super) vars_unknown: Option<String>,
}

/// One feature: what there is of it in each family.
#[derive(Clone, Copy)]
pub(super) struct Seen<'v> {
    pub(super) flags: Option<&'v BTreeMap<String, Nothing>>,
    pub(super) attributes: Option<&'v BTreeMap<String, String>>,
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
        self.matched.get_or_insert_default().extend(vars);
    }
}
