//! Owns the values that a schema lists for one key, and the order among them: `mpich satisfies mpich-abi`.

use std::collections::{BTreeMap, BTreeSet};

use super::file::{Edge, Relation, value_node};

/// The values of one key as a graph without cycles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values {
    /// What each value satisfies besides itself.
    satisfies: BTreeMap<String, BTreeSet<String>>,
    /// The longest chain below each: what is more special is deeper.
    depth: BTreeMap<String, u64>,
}

impl Values {
    /// The graph of the `values` of `key`, ordered by those edges that are about it.
    pub(super) fn new(key: &str, values: &BTreeSet<String>, edges: &[Edge]) -> Self {
        let mut direct: BTreeMap<String, BTreeSet<String>> =
            values.iter().map(|value| (value.clone(), BTreeSet::new())).collect();
        for edge in edges.iter().filter(|edge| edge.relation == Relation::Satisfies) {
            if let (Some((a, source)), Some((b, target))) = (value_node(&edge.source), value_node(&edge.target))
                && a == key
                && b == key
            {
                direct.entry(source.to_owned()).or_default().insert(target.to_owned());
            }
        }
        let mut graph = Self::default();
        for value in direct.keys() {
            let mut reached = BTreeSet::new();
            let mut waiting: Vec<&String> = direct[value].iter().collect();
            while let Some(next) = waiting.pop() {
                if reached.insert(next.clone()) {
                    waiting.extend(direct.get(next).into_iter().flatten());
                }
            }
            graph.satisfies.insert(value.clone(), reached);
        }
        // Without cycles what satisfies more lies strictly deeper, so the number reached orders every chain.
        let mut by_reach: Vec<&String> = graph.satisfies.keys().collect();
        by_reach.sort_by_key(|value| graph.satisfies[*value].len());
        let mut depth: BTreeMap<String, u64> = BTreeMap::new();
        for value in by_reach {
            let below = graph.satisfies[value].iter().filter_map(|other| depth.get(other)).max();
            depth.insert(value.clone(), below.map_or(0, |below| below + 1));
        }
        graph.depth = depth;
        graph
    }

    /// Whether a host with the value `host` satisfies a requirement for `wanted`.
    pub fn satisfies(&self, host: &str, wanted: &str) -> bool {
        host == wanted || self.satisfies.get(host).is_some_and(|reached| reached.contains(wanted))
    }

    /// How special a value is; `None` where the schema does not list it.
    pub fn depth(&self, value: &str) -> Option<u64> {
        self.depth.get(value).copied()
    }

    /// All values by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.depth.keys().map(String::as_str)
    }

    /// What a value satisfies besides itself.
    pub fn above(&self, value: &str) -> impl Iterator<Item = &str> {
        self.satisfies.get(value).into_iter().flatten().map(String::as_str)
    }
}
