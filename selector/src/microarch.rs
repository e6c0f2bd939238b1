//! Owns CPU microarchitectures: archspec's graph of targets (`data/microarchitectures.json`, version 0.2.7), the names
//! they are known by, and the detection of a host's target from its vendor and flags (reference/archspec.md §2, §3).
//! Reads no cpuinfo; `bestfit-hostprobe` does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde::Deserialize;

use crate::json::{self, JsonError};

/// The graph that is compiled in.
pub(crate) const BUILTIN: &str = include_str!("../data/microarchitectures.json");
/// The longest file of targets that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// The vendor of targets that are no product: `x86_64_v3`, `aarch64`.
pub const GENERIC: &str = "generic";

/// What detection needs to know of a CPU: of its first core, as archspec does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuDescription {
    /// GOARCH or archspec's name of the family: `amd64`, `x86_64`, `arm64`, `ppc64le`, `riscv64`.
    pub arch: String,
    /// `vendor_id` of x86, or the name of the arm implementer ([`Microarchitectures::arm_vendor`]); else empty.
    pub vendor: String,
    /// Flags as /proc/cpuinfo spells them (`flags`, `Features`).
    pub features: BTreeSet<String>,
    /// `CPU part` of arm64: `0xd4f`.
    pub part: Option<String>,
    /// The generation of a POWER processor: 9 for `POWER9`.
    pub generation: Option<u32>,
    /// `uarch` of riscv64: `sifive,u74-mc`.
    pub uarch: Option<String>,
}

/// What a CPU is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    /// The best target: a product, or a generic level where the hypervisor hides flags.
    pub target: String,
    /// All targets of this vendor or of none whose features the CPU has.
    pub candidates: BTreeSet<String>,
}

/// One target of the graph.
#[derive(Debug, Clone)]
pub struct Target {
    /// archspec's name.
    pub name: String,
    /// `generic`, or the vendor as in `vendor_id`.
    pub vendor: String,
    /// The flags that it needs.
    pub features: BTreeSet<String>,
    /// The longest path from the root of its family; a root has 0.
    pub depth: u64,
    generation: u32,
    part: Option<String>,
    /// All targets that this one runs as well, itself excluded; sorted.
    ancestors: Vec<usize>,
}

/// The graph of targets.
#[derive(Debug, Clone)]
pub struct Microarchitectures {
    version: String,
    targets: Vec<Target>,
    names: BTreeMap<String, usize>,
    arm_vendors: BTreeMap<String, String>,
}

/// Why a file of targets was refused.
#[derive(Debug, thiserror::Error)]
pub enum MicroarchError {
    /// No JSON, or of another shape.
    #[error("the archspec data cannot be read: {0}")]
    Json(#[from] JsonError),
    /// A parent that is no target, or a cycle.
    #[error("the archspec data is no graph without cycles: see the parents of {0:?}")]
    Parents(String),
}

#[derive(Deserialize)]
struct RawFile {
    version: String,
    microarchitectures: BTreeMap<String, RawTarget>,
    #[serde(default)]
    arm_vendors: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawTarget {
    from: Vec<String>,
    vendor: String,
    features: BTreeSet<String>,
    #[serde(default)]
    generation: u32,
    cpupart: Option<String>,
}

impl Microarchitectures {
    /// The graph that is compiled in, parsed once.
    pub fn builtin() -> &'static Self {
        static GRAPH: OnceLock<Microarchitectures> = OnceLock::new();
        #[expect(clippy::expect_used, reason = "the file is compiled in, and a test parses it")]
        GRAPH.get_or_init(|| Self::parse(BUILTIN.as_bytes()).expect("the built-in archspec data is valid"))
    }

    /// Parses a file of the shape of `data/microarchitectures.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, MicroarchError> {
        let raw: RawFile = json::read(bytes, MAX_BYTES)?;
        let mut graph = Self {
            version: raw.version,
            targets: Vec::with_capacity(raw.microarchitectures.len()),
            names: BTreeMap::new(),
            arm_vendors: raw.arm_vendors,
        };
        let mut waiting: Vec<(String, RawTarget)> = raw.microarchitectures.into_iter().collect();
        while !waiting.is_empty() {
            let before = waiting.len();
            let (ready, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(_, raw)| raw.from.iter().all(|from| graph.names.contains_key(from)));
            if rest.len() == before {
                let name = rest.into_iter().next().map(|(name, _)| name).unwrap_or_default();
                return Err(MicroarchError::Parents(json::plain(&name, 100)));
            }
            ready.into_iter().for_each(|(name, raw)| graph.push(name, raw));
            waiting = rest;
        }
        Ok(graph)
    }

    /// Adds a target whose parents are there already.
    fn push(&mut self, name: String, raw: RawTarget) {
        let mut ancestors = BTreeSet::new();
        let mut depth = 0;
        for parent in raw.from.iter().filter_map(|from| self.names.get(from)) {
            ancestors.insert(*parent);
            ancestors.extend(&self.targets[*parent].ancestors);
            depth = depth.max(self.targets[*parent].depth + 1);
        }
        self.names.insert(name.clone(), self.targets.len());
        self.targets.push(Target {
            name,
            vendor: raw.vendor,
            features: raw.features,
            depth,
            generation: raw.generation,
            part: raw.cpupart,
            ancestors: ancestors.into_iter().collect(),
        });
    }

    /// The version of the data.
    pub fn version(&self) -> &str {
        &self.version
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
        let root = target.ancestors.iter().map(|index| &self.targets[*index]).find(|target| target.depth == 0);
        root.map_or(&target.name, |root| &root.name)
    }

    /// The deepest generic target among `target` and its ancestors: `x86_64_v4` of `zen4`.
    pub fn generic<'a>(&'a self, target: &'a Target) -> Option<&'a Target> {
        let all = target.ancestors.iter().map(|index| &self.targets[*index]).chain([target]);
        all.filter(|target| target.vendor == GENERIC).max_by_key(|target| (target.depth, target.features.len()))
    }

    /// The flags that `target` needs and `features` lacks.
    pub fn missing<'a>(&self, target: &'a Target, features: &BTreeSet<String>) -> Vec<&'a str> {
        target.features.iter().filter(|flag| !has(features, flag)).map(String::as_str).collect()
    }

    /// What a CPU is; `None` where its architecture is not in the data.
    pub fn detect(&self, cpu: &CpuDescription) -> Option<Detection> {
        let family = self.get(&cpu.arch)?;
        let candidates: Vec<&Target> = self.targets.iter().filter(|target| self.fits(target, family, cpu)).collect();
        let best_generic = best(candidates.iter().copied().filter(|target| target.vendor == GENERIC))?;
        let same_part = |target: &&Target| cpu.part.is_some() && target.part == cpu.part;
        let by_part = candidates.iter().any(same_part);
        let above = candidates.iter().copied().filter(|target| !by_part || same_part(target));
        let above = above.filter(|target| target.name != best_generic.name && self.runs(target, best_generic));
        let target = best(above).unwrap_or(best_generic).name.clone();
        Some(Detection { target, candidates: candidates.iter().map(|target| target.name.clone()).collect() })
    }

    /// Whether the CPU has what `target` asks for.
    fn fits(&self, target: &Target, family: &Target, cpu: &CpuDescription) -> bool {
        if self.family(target) != family.name {
            return false;
        }
        match family.name.as_str() {
            "ppc64" | "ppc64le" => target.generation <= cpu.generation.unwrap_or(0),
            "riscv64" => target.vendor == GENERIC || cpu.uarch.as_deref().is_some_and(|uarch| is_uarch(target, uarch)),
            // Nothing in cpuinfo tells armv8.3a from armv8.2a: archspec leaves these levels out as well.
            "aarch64" if target.vendor == GENERIC => target.name == "aarch64",
            _ => {
                (target.vendor == GENERIC || target.vendor == cpu.vendor)
                    && target.features.iter().all(|flag| has(&cpu.features, flag))
            }
        }
    }
}

/// The most specific target; the first by name where two are equal, so that the answer never depends on order.
fn best<'a>(targets: impl Iterator<Item = &'a Target>) -> Option<&'a Target> {
    let key = |target: &Target| (target.ancestors.len(), target.features.len());
    targets.max_by(|a, b| key(a).cmp(&key(b)).then_with(|| b.name.cmp(&a.name)))
}

/// cpuinfo calls sse3 `pni`, and ssse3 contains it.
fn has(features: &BTreeSet<String>, flag: &str) -> bool {
    features.contains(flag) || (flag == "sse3" && (features.contains("pni") || features.contains("ssse3")))
}

fn is_uarch(target: &Target, uarch: &str) -> bool {
    uarch.rsplit(',').next().is_some_and(|model| model.replace('-', "") == target.name)
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

    const SAMPLES: &str = include_str!("../data/samples.tsv");

    fn samples() -> Vec<(&'static str, CpuDescription)> {
        let rows = SAMPLES.lines().filter(|line| !line.starts_with('#'));
        rows.map(|line| {
            let f: Vec<&str> = line.split('\t').collect();
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let cpu = CpuDescription {
                arch: f[1].into(),
                vendor: f[2].into(),
                part: some(f[3]),
                generation: f[4].parse().ok(),
                uarch: some(f[5]),
                features: f[6].split_whitespace().map(str::to_owned).collect(),
            };
            (f[0], cpu)
        })
        .collect()
    }

    #[test]
    fn detects_the_samples_of_archspec() {
        let graph = Microarchitectures::builtin();
        let samples = samples();
        assert_eq!(samples.len(), 44);
        for (name, cpu) in samples {
            let expected = name.rsplit('-').next().unwrap();
            assert_eq!(graph.detect(&cpu).unwrap().target, expected, "{name}");
        }
    }

    #[test]
    fn a_masked_machine_is_its_generic_level() {
        let graph = Microarchitectures::builtin();
        let mut cpu = samples().into_iter().find(|(name, _)| name.ends_with("zen5")).unwrap().1;
        cpu.features.remove("clzero");
        let detection = graph.detect(&cpu).unwrap();
        assert_eq!(detection.target, "x86_64_v4");
        assert!(!detection.candidates.contains("zen3"));
        assert_eq!(graph.missing(graph.get("zen3").unwrap(), &cpu.features), ["clzero"]);
        assert_eq!(graph.detect(&CpuDescription { arch: "m68k".into(), ..cpu }), None);
    }

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
    fn refuses_a_graph_with_a_cycle() {
        let target = |from: &str| format!(r#"{{"from":["{from}"],"vendor":"x","features":[]}}"#);
        let file = format!(r#"{{"version":"1","microarchitectures":{{"a":{},"b":{}}}}}"#, target("b"), target("a"));
        assert!(Microarchitectures::parse(file.as_bytes()).is_err());
    }
}
