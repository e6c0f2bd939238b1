//! Owns CPU microarchitectures: archspec's graph of targets, the names they are known by, what they descend from and which
//! features they have (reference/archspec.md). The graph of archspec 0.2.7 is compiled in (`data/microarchitectures.json`);
//! a site may give a newer one.
//!
//! - `data`: the file; `detect`: what a CPU is

mod data;
mod detect;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde::Deserialize;

pub use data::{MAX_BYTES, MicroarchError};
pub use detect::{CpuDescription, Detection};

use crate::digest::Digest;

/// The graph that is compiled in.
const BUILTIN: &str = include_str!("../data/microarchitectures.json");
/// The name of archspec's file, by which it is told from group schemas.
pub const FILE: &str = "microarchitectures.json";
/// The vendor of targets that are no product: `x86_64_v3`, `aarch64`.
pub const GENERIC: &str = "generic";

/// Whether a file of this name is archspec's data.
pub fn is_file(name: &str) -> bool {
    name.rsplit('/').next() == Some(FILE)
}

/// One target of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// archspec's name.
    pub name: String,
    /// `generic`, or the vendor as in `vendor_id`.
    pub vendor: String,
    /// The flags that it needs.
    pub features: BTreeSet<String>,
    /// The longest path from the root of its family; a root has 0.
    pub depth: u64,
    /// The generation of a POWER processor, else 0.
    pub generation: u32,
    /// `CPU part` of arm64 products: `0xd4f`.
    pub part: Option<String>,
    /// What it was derived from, as the data lists it.
    pub parents: Vec<String>,
    /// The root of its family; its own place where it is the root.
    root: usize,
    /// All targets that this one runs as well, itself excluded; sorted.
    ancestors: Vec<usize>,
}

/// The graph of targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Microarchitectures {
    version: String,
    digest: Digest,
    targets: Vec<Target>,
    names: BTreeMap<String, usize>,
    /// Other names of features; those that others are made of stand first.
    aliases: Vec<(String, Alias)>,
    arm_vendors: BTreeMap<String, String>,
}

/// When a feature counts as there under another name: all of the conditions hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Alias {
    /// Any of these features is there.
    any_of: Option<BTreeSet<String>>,
    /// The target is of one of these families.
    families: Option<BTreeSet<String>>,
    /// Why it is there, for people.
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

impl Alias {
    fn holds(&self, family: &str, features: &BTreeSet<String>) -> bool {
        self.any_of.as_ref().is_none_or(|any| any.iter().any(|feature| features.contains(feature)))
            && self.families.as_ref().is_none_or(|families| families.contains(family))
    }
}

impl Microarchitectures {
    /// The graph that is compiled in, parsed once.
    pub fn builtin() -> &'static Self {
        static GRAPH: OnceLock<Microarchitectures> = OnceLock::new();
        #[expect(clippy::expect_used, reason = "the file is compiled in, and a test parses it")]
        GRAPH.get_or_init(|| Self::parse(BUILTIN.as_bytes()).expect("the built-in archspec data is valid"))
    }

    /// Reads a file of the shape of archspec's `microarchitectures.json`, at most [`MAX_BYTES`] long. What it says about
    /// compilers is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, MicroarchError> {
        data::parse(bytes)
    }

    /// The version of the data; where it says none, the start of its digest.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The digest of the file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// All targets, parents before their children.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The name of an arm implementer: `0x41` is `ARM`.
    pub fn arm_vendor(&self, implementer: &str) -> Option<&str> {
        self.arm_vendors.get(implementer).map(String::as_str)
    }

    /// The target of this name, in any spelling in use: archspec's, GOARCH (`arm64`), psABI (`x86-64-v3`), OCI variant
    /// (`v3`).
    pub fn get(&self, name: &str) -> Option<&Target> {
        let exact = |name: &str| self.names.get(name).map(|index| &self.targets[*index]);
        exact(name).or_else(|| exact(&alias(name)))
    }

    /// Every target that a CPU of type `target` runs as well, the target itself excluded; sorted by name.
    pub fn ancestors<'a>(&'a self, target: &'a Target) -> BTreeSet<&'a str> {
        target.ancestors.iter().map(|index| self.targets[*index].name.as_str()).collect()
    }

    /// Whether a CPU of type `host` runs `wanted` by declaration: it is the same or an ancestor.
    pub fn runs(&self, host: &Target, wanted: &Target) -> bool {
        host.name == wanted.name
            || self.names.get(&wanted.name).is_some_and(|index| host.ancestors.binary_search(index).is_ok())
    }

    /// The root of the family: `x86_64` of `zen4`.
    pub fn family<'a>(&'a self, target: &'a Target) -> &'a str {
        self.targets.get(target.root).map_or(&target.name, |root| &root.name)
    }

    /// The deepest generic target among `target` and its ancestors: `x86_64_v4` of `zen4`. The first by name where two are
    /// equal.
    pub fn generic<'a>(&'a self, target: &'a Target) -> Option<&'a Target> {
        let all = target.ancestors.iter().map(|index| &self.targets[*index]).chain([target]);
        let key = |target: &Target| (target.ancestors.len(), target.depth, target.features.len());
        let generic = all.filter(|target| target.vendor == GENERIC);
        generic.max_by(|a, b| key(a).cmp(&key(b)).then_with(|| b.name.cmp(&a.name)))
    }

    /// Whether every CPU of type `target` has the feature, by any of its names (`sse4.1`, `avx512`, `neon`).
    pub fn has_feature(&self, target: &Target, feature: &str) -> bool {
        target.features.contains(feature) || self.with_aliases(self.family(target), &target.features).contains(feature)
    }

    /// Whether any target needs a feature of this name, or it is another name of one.
    pub fn knows_feature(&self, name: &str) -> bool {
        name == "sse3"
            || self.aliases.iter().any(|(alias, _)| alias == name)
            || self.targets.iter().any(|target| target.features.contains(name))
    }

    /// `features` and every other name that holds for them in this family: `sse3` and `sse4.1` of cpuinfo's `pni` and
    /// `sse4_1`, `neon` on every aarch64.
    pub fn with_aliases(&self, family: &str, features: &BTreeSet<String>) -> BTreeSet<String> {
        let mut all = features.clone();
        if all.contains("pni") {
            // The kernel's name of sse3, which archspec's table of aliases does not have.
            all.insert("sse3".to_owned());
        }
        for (name, alias) in &self.aliases {
            if alias.holds(family, &all) {
                all.insert(name.clone());
            }
        }
        all
    }

    /// The flags that `target` needs and `features` lacks.
    pub fn missing<'a>(&self, target: &'a Target, features: &BTreeSet<String>) -> Vec<&'a str> {
        let family = self.family(target);
        let all = self.with_aliases(family, features);
        target.features.iter().filter(|flag| !all.contains(*flag)).map(String::as_str).collect()
    }
}

fn alias(name: &str) -> String {
    match name {
        "amd64" | "x86-64" | "v1" | "x86_64_v1" | "x86-64-v1" => "x86_64".to_owned(),
        "arm64" | "armv8" | "v8" => "aarch64".to_owned(),
        "386" | "i386" => "x86".to_owned(),
        "v2" | "v3" | "v4" => format!("x86_64_{name}"),
        _ => name.replace('-', "_"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_knows_every_spelling_and_its_order() {
        let graph = Microarchitectures::builtin();
        let spellings = [
            ("arm64", "aarch64"),
            ("amd64", "x86_64"),
            ("x86-64-v3", "x86_64_v3"),
            ("v3", "x86_64_v3"),
            ("neoverse-v2", "neoverse_v2"),
            ("zen4", "zen4"),
        ];
        for (given, expected) in spellings {
            assert_eq!(graph.get(given).unwrap().name, expected);
        }
        assert!(graph.get("zen9").is_none());
        let (zen4, zen5, v3) = (graph.get("zen4").unwrap(), graph.get("zen5").unwrap(), graph.get("v3").unwrap());
        assert!(graph.runs(zen5, zen4) && !graph.runs(zen4, zen5) && graph.runs(zen4, zen4) && graph.runs(zen4, v3));
        assert_eq!((graph.family(zen4), graph.generic(zen4).unwrap().name.as_str()), ("x86_64", "x86_64_v4"));
        assert_eq!((graph.get("x86_64").unwrap().depth, v3.depth), (0, 2));
        assert!(graph.ancestors(zen4).contains("zen3"));
    }

    #[test]
    fn features_go_by_all_their_names() {
        let graph = Microarchitectures::builtin();
        let has = |target: &str, feature: &str| graph.has_feature(graph.get(target).unwrap(), feature);
        for (target, feature, expected) in [
            ("zen4", "avx512", true),
            ("zen3", "avx512", false),
            ("haswell", "sse4.1", true),
            ("core2", "sse3", true),
            ("power9le", "altivec", true),
            ("neoverse_v2", "neon", true),
            ("zen4", "neon", false),
            ("x86_64", "sse2", false),
        ] {
            assert_eq!(has(target, feature), expected, "{target} {feature}");
        }
        let pni = ["pni".to_owned()].into();
        assert!(graph.with_aliases("x86_64", &pni).contains("sse3"));
    }

    #[test]
    fn data_without_a_version_goes_by_its_digest() {
        let text =
            r#"{"microarchitectures":{"a":{"from":[],"vendor":"generic","features":[],"compilers":{"gcc":[]}}}}"#;
        let graph = Microarchitectures::parse(text.as_bytes()).unwrap();
        assert_eq!((graph.version(), graph.digest()), (graph.digest().short().as_str(), Digest::of(text.as_bytes())));
        assert_eq!(Microarchitectures::builtin().version(), "0.2.7");
    }
}
