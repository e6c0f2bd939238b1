//! Owns the reading of archspec's `microarchitectures.json`: bounds, the shape, a graph without cycles whose targets each
//! belong to one family. Answers nothing about targets; that is `super`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Alias, Microarchitectures, Target};
use crate::digest::Digest;
use crate::json::{self, JsonError};

/// The longest file that is read, in bytes: archspec's own has 105 kB.
pub const MAX_BYTES: usize = 1 << 20;
/// The most targets; archspec has 80. It bounds the table of ancestors, which grows with the square.
const MAX_TARGETS: usize = 1024;
/// The most parents of one target; archspec has at most 2.
const MAX_PARENTS: usize = 16;
/// The most features of one target; archspec has at most 58.
const MAX_FEATURES: usize = 1024;
/// The most aliases of features; archspec has 8.
const MAX_ALIASES: usize = 256;
/// The longest name of a target, a vendor, a feature.
const MAX_NAME: usize = 64;

/// Why a file of targets was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MicroarchError {
    /// No JSON, or of another shape.
    #[error("the archspec data cannot be read: {0}")]
    Json(#[from] JsonError),
    /// More of something than is read, or nothing at all.
    #[error("the archspec data has {0}")]
    Amount(String),
    /// A target or feature that no artifact could name.
    #[error("the archspec data has {0:?} for a name: 1 to {MAX_NAME} letters, digits and \"_.+-\" are allowed")]
    Name(String),
    /// A parent that is no target.
    #[error("in the archspec data {target:?} descends from {parent:?}, which is no target")]
    Parent {
        /// The target.
        target: String,
        /// Its parent.
        parent: String,
    },
    /// A target that descends from itself.
    #[error("in the archspec data {0:?} descends from itself")]
    Cycle(String),
    /// A target of several families.
    #[error("in the archspec data {0:?} descends from more than one root")]
    Family(String),
    /// Aliases of features that stand for each other.
    #[error("in the archspec data the feature alias {0:?} stands for itself")]
    Alias(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    /// Ours: archspec's file has no version.
    version: Option<String>,
    microarchitectures: BTreeMap<String, RawTarget>,
    #[serde(default)]
    feature_aliases: BTreeMap<String, Alias>,
    #[serde(default)]
    conversions: RawConversions,
}

/// What is said besides (`compilers`) is of no use here.
#[derive(Deserialize)]
struct RawTarget {
    from: Vec<String>,
    vendor: String,
    features: BTreeSet<String>,
    #[serde(default)]
    generation: u32,
    #[serde(default)]
    cpupart: String,
}

#[derive(Default, Deserialize)]
struct RawConversions {
    #[serde(default)]
    arm_vendors: BTreeMap<String, String>,
}

/// Reads a file of the shape of archspec's `microarchitectures.json`.
pub(super) fn parse(bytes: &[u8]) -> Result<Microarchitectures, MicroarchError> {
    let raw: RawFile = json::read(bytes, MAX_BYTES)?;
    check_amounts(&raw)?;
    let digest = Digest::of(bytes);
    let mut graph = Microarchitectures {
        version: raw.version.map_or_else(|| digest.short(), |version| json::plain(&version, MAX_NAME)),
        digest,
        targets: Vec::with_capacity(raw.microarchitectures.len()),
        names: BTreeMap::new(),
        aliases: sort_aliases(raw.feature_aliases)?,
        arm_vendors: raw.conversions.arm_vendors,
    };
    check_targets(&raw.microarchitectures)?;
    let mut waiting: Vec<(String, RawTarget)> = raw.microarchitectures.into_iter().collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        let (ready, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(_, raw)| raw.from.iter().all(|from| graph.names.contains_key(from)));
        if rest.len() == before {
            // Each of the rest has a cycle among its ancestors, though it need not be part of one.
            return Err(MicroarchError::Cycle(rest.into_iter().next().map(|(name, _)| name).unwrap_or_default()));
        }
        for (name, raw) in ready {
            push(&mut graph, name, raw)?;
        }
        waiting = rest;
    }
    Ok(graph)
}

fn check_amounts(raw: &RawFile) -> Result<(), MicroarchError> {
    let at_most = |count: usize, limit: usize, what: &str| match count {
        count if count > limit => Err(MicroarchError::Amount(format!("{count} {what}, at most {limit} are read"))),
        _ => Ok(()),
    };
    if raw.microarchitectures.is_empty() {
        return Err(MicroarchError::Amount("no target".to_owned()));
    }
    at_most(raw.microarchitectures.len(), MAX_TARGETS, "targets")?;
    at_most(raw.feature_aliases.len(), MAX_ALIASES, "feature aliases")?;
    for (name, target) in &raw.microarchitectures {
        let name = json::plain(name, MAX_NAME);
        at_most(target.from.len(), MAX_PARENTS, &format!("parents of {name:?}"))?;
        at_most(target.features.len(), MAX_FEATURES, &format!("features of {name:?}"))?;
    }
    Ok(())
}

fn check_targets(targets: &BTreeMap<String, RawTarget>) -> Result<(), MicroarchError> {
    let is_name = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
        (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
    };
    for (name, target) in targets {
        if let Some(bad) = [name].into_iter().chain(&target.features).find(|name| !is_name(name)) {
            return Err(MicroarchError::Name(json::plain(bad, MAX_NAME)));
        }
        let vendor = &target.vendor;
        if vendor.is_empty() || vendor.len() > MAX_NAME || vendor.chars().any(char::is_control) {
            return Err(MicroarchError::Name(json::plain(vendor, MAX_NAME)));
        }
        if let Some(parent) = target.from.iter().find(|parent| !targets.contains_key(*parent)) {
            return Err(MicroarchError::Parent { target: name.clone(), parent: json::plain(parent, MAX_NAME) });
        }
    }
    Ok(())
}

/// Adds a target whose parents are there already.
fn push(graph: &mut Microarchitectures, name: String, mut raw: RawTarget) -> Result<(), MicroarchError> {
    let mut ancestors = BTreeSet::new();
    let mut depth = 0;
    for parent in raw.from.iter().filter_map(|from| graph.names.get(from)) {
        ancestors.insert(*parent);
        ancestors.extend(&graph.targets[*parent].ancestors);
        depth = depth.max(graph.targets[*parent].depth + 1);
    }
    let mut roots = ancestors.iter().copied().filter(|index| graph.targets[*index].depth == 0);
    let root = roots.next().unwrap_or(graph.targets.len());
    if roots.next().is_some() {
        return Err(MicroarchError::Family(name));
    }
    // ssse3 contains sse3, which cpuinfo calls pni: archspec adds it wherever it finds ssse3.
    if raw.features.contains("ssse3") {
        raw.features.insert("sse3".to_owned());
    }
    graph.names.insert(name.clone(), graph.targets.len());
    graph.targets.push(Target {
        name,
        vendor: raw.vendor,
        features: raw.features,
        depth,
        generation: raw.generation,
        part: Some(raw.cpupart).filter(|part| !part.is_empty()),
        parents: raw.from,
        root,
        ancestors: ancestors.into_iter().collect(),
    });
    Ok(())
}

/// Those that others are made of first.
fn sort_aliases(mut waiting: BTreeMap<String, Alias>) -> Result<Vec<(String, Alias)>, MicroarchError> {
    let mut sorted = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let open = |alias: &Alias| alias.any_of.iter().flatten().any(|feature| waiting.contains_key(feature));
        let ready: Vec<String> =
            waiting.iter().filter(|(_, alias)| !open(alias)).map(|(name, _)| name.clone()).collect();
        if ready.is_empty() {
            let name = waiting.into_keys().next().unwrap_or_default();
            return Err(MicroarchError::Alias(json::plain(&name, MAX_NAME)));
        }
        sorted.extend(ready.into_iter().filter_map(|name| waiting.remove_entry(&name)));
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(targets: &[(&str, &[&str])]) -> String {
        let target =
            |(name, from): &(&str, &[&str])| format!(r#"{name:?}:{{"from":{from:?},"vendor":"x","features":[]}}"#);
        let targets: Vec<String> = targets.iter().map(target).collect();
        format!(r#"{{"microarchitectures":{{{}}}}}"#, targets.join(","))
    }

    #[test]
    fn what_is_no_graph_is_refused_with_the_place() {
        let long = "x".repeat(MAX_NAME + 1);
        let many: Vec<String> = (0..=MAX_TARGETS).map(|number| format!("t{number}")).collect();
        let many: Vec<(&str, &[&str])> = many.iter().map(|name| (name.as_str(), &[][..])).collect();
        let cases = [
            (file(&[("a", &["b"]), ("b", &["a"])]), "in the archspec data \"a\" descends from itself"),
            (file(&[("a", &["a"])]), "in the archspec data \"a\" descends from itself"),
            (file(&[("a", &["c"])]), "in the archspec data \"a\" descends from \"c\", which is no target"),
            (
                file(&[("a", &[]), ("b", &[]), ("c", &["a", "b"])]),
                "in the archspec data \"c\" descends from more than one root",
            ),
            (file(&[]), "the archspec data has no target"),
            (file(&many), "the archspec data has 1025 targets, at most 1024 are read"),
            (file(&[(&long, &[])]), "64 letters, digits and"),
            (file(&[("a b", &[])]), "the archspec data has \"a b\" for a name"),
            (r#"{"microarchitectures":{"a":{"from":[],"features":[]}}}"#.to_owned(), "missing field `vendor`"),
            (r#"{"microarchitectures":{},"more":1}"#.to_owned(), "unknown field `more`"),
            ("{".to_owned(), "line 1 column 1: EOF"),
        ];
        for (text, expected) in cases {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn aliases_that_stand_for_each_other_are_refused() {
        let aliases = |text: &str| {
            let text = file(&[("a", &[])]).replace("}}}", &format!(r#"}}}},"feature_aliases":{text}}}"#));
            parse(text.as_bytes()).map(|graph| graph.aliases.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        assert_eq!(aliases(r#"{"a":{"any_of":["b"]},"b":{"any_of":["c"]}}"#), Ok(vec!["b".to_owned(), "a".to_owned()]));
        let refused = aliases(r#"{"a":{"any_of":["b"]},"b":{"any_of":["a"]}}"#);
        assert_eq!(refused, Err(MicroarchError::Alias("a".to_owned())));
        assert!(aliases(r#"{"a":{"none_of":[]}}"#).is_err(), "a predicate that nobody here knows");
    }
}
