//! Owns the detection of a CPU's target from its vendor and flags, as archspec's `host()` does it (reference/archspec.md
//! §2), and of what several different cores have in common. Reads no cpuinfo; `bestfit-hostprobe` does.

use std::collections::BTreeSet;

use super::{GENERIC, Microarchitectures, Target};

/// What detection needs to know of one core.
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

impl Microarchitectures {
    /// What one core is; `None` where its architecture is not in the data.
    pub fn detect(&self, cpu: &CpuDescription) -> Option<Detection> {
        let family = self.get(&cpu.arch)?;
        let candidates: Vec<&Target> = self.targets.iter().filter(|target| self.fits(target, family, cpu)).collect();
        let best_generic = best(candidates.iter().copied().filter(|target| target.vendor == GENERIC))?;
        let same_part = |target: &&Target| cpu.part.is_some() && target.part == cpu.part;
        let by_part = candidates.iter().any(same_part);
        let above = candidates.iter().copied().filter(|target| !by_part || same_part(target));
        // A missing niche flag, which a BIOS can switch off, must not hide a good generic level.
        let above = above.filter(|target| target.name != best_generic.name && self.runs(target, best_generic));
        let target = best(above).unwrap_or(best_generic).name.clone();
        Some(Detection { target, candidates: candidates.iter().map(|target| target.name.clone()).collect() })
    }

    /// What all of these cores are: a process may run on any of them. One kind of core is [`Self::detect`]; of several, the
    /// best target that each runs, and every target that each runs as the candidates.
    pub fn detect_all(&self, cores: &[CpuDescription]) -> Option<Detection> {
        let found = cores.iter().map(|core| self.detect(core)).collect::<Option<Vec<Detection>>>()?;
        let (first, others) = found.split_first()?;
        if others.iter().all(|other| other == first) {
            return Some(first.clone());
        }
        let declared = |found: &Detection| -> BTreeSet<String> {
            let ancestors = self.get(&found.target).map(|target| self.ancestors(target)).unwrap_or_default();
            ancestors.into_iter().map(str::to_owned).chain([found.target.clone()]).collect()
        };
        let runs =
            |found: &Detection| -> BTreeSet<String> { declared(found).union(&found.candidates).cloned().collect() };
        let common = |of: &dyn Fn(&Detection) -> BTreeSet<String>| {
            others.iter().fold(of(first), |common, other| common.intersection(&of(other)).cloned().collect())
        };
        // What is declared for each goes before what only the flags of each allow.
        let shared = common(&declared);
        let target = best(shared.iter().filter_map(|name| self.get(name)))?.name.clone();
        Some(Detection { target, candidates: common(&runs) })
    }

    /// Whether the core has what `target` asks for.
    fn fits(&self, target: &Target, family: &Target, cpu: &CpuDescription) -> bool {
        if self.family(target) != family.name {
            return false;
        }
        let by_vendor_and_features = || {
            (target.vendor == GENERIC || target.vendor == cpu.vendor)
                && target.features.iter().all(|flag| has(&cpu.features, flag))
        };
        match family.name.as_str() {
            "x86_64" => by_vendor_and_features(),
            // Nothing in cpuinfo tells armv8.3a from armv8.2a: archspec leaves these levels out as well.
            "aarch64" if target.vendor == GENERIC => target.name == "aarch64",
            "aarch64" => by_vendor_and_features(),
            "ppc64" | "ppc64le" => target.generation <= cpu.generation.unwrap_or(0),
            "riscv64" => target.vendor == GENERIC || cpu.uarch.as_deref().map(riscv_name) == Some(&target.name),
            // archspec detects nothing more on the other families.
            _ => target.name == family.name,
        }
    }
}

/// The most specific target; the first by name where two are equal, so that the answer never depends on order.
fn best<'a>(targets: impl Iterator<Item = &'a Target>) -> Option<&'a Target> {
    let key = |target: &Target| (target.ancestors.len(), target.features.len());
    targets.max_by(|a, b| key(a).cmp(&key(b)).then_with(|| b.name.cmp(&a.name)))
}

/// archspec takes sse3 for there only where ssse3 is, and cpuinfo's `pni` for nothing.
fn has(features: &BTreeSet<String>, flag: &str) -> bool {
    features.contains(flag) || (flag == "sse3" && features.contains("ssse3"))
}

/// archspec's name for what the kernel calls the microarchitecture.
fn riscv_name(uarch: &str) -> &str {
    match uarch {
        "sifive,u74-mc" => "u74mc",
        "spacemit,x60" => "x60",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: &str = include_str!("../../data/samples.tsv");

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

    fn sample(target: &str) -> CpuDescription {
        samples().into_iter().find(|(name, _)| name.ends_with(&format!("-{target}"))).unwrap().1
    }

    #[test]
    fn detects_the_samples_of_archspec() {
        let graph = Microarchitectures::builtin();
        let samples = samples();
        assert_eq!(samples.len(), 44);
        for (name, cpu) in samples {
            let expected = name.rsplit('-').next().unwrap();
            assert_eq!(graph.detect(&cpu).unwrap().target, expected, "{name}");
            assert_eq!(graph.detect_all(&[cpu.clone(), cpu.clone()]), graph.detect(&cpu), "{name}: many of one kind");
        }
    }

    #[test]
    fn a_masked_machine_is_its_generic_level() {
        let graph = Microarchitectures::builtin();
        let mut cpu = sample("zen5");
        cpu.features.remove("clzero");
        let detection = graph.detect(&cpu).unwrap();
        assert_eq!(detection.target, "x86_64_v4");
        assert!(!detection.candidates.contains("zen3"));
        assert_eq!(graph.missing(graph.get("zen3").unwrap(), &cpu.features), ["clzero"]);
        assert_eq!(graph.detect(&CpuDescription { arch: "m68k".into(), ..cpu }), None);
    }

    #[test]
    fn a_family_without_detection_is_its_root() {
        let pentium = CpuDescription { arch: "386".into(), vendor: "GenuineIntel".into(), ..CpuDescription::default() };
        let found = Microarchitectures::builtin().detect(&pentium).unwrap();
        assert_eq!((found.target.as_str(), found.candidates), ("x86", ["x86".to_owned()].into()));
    }

    #[test]
    fn different_cores_are_what_they_have_in_common() {
        let graph = Microarchitectures::builtin();
        let of = |cores: &[&str]| {
            let cores: Vec<CpuDescription> = cores.iter().map(|name| sample(name)).collect();
            graph.detect_all(&cores)
        };
        let mut little = sample("neoverse_n2");
        little.part = Some("0xd05".into());
        little.features = sample("cortex_a72").features;
        let big = sample("neoverse_n2");
        let both = graph.detect_all(&[big.clone(), little.clone()]).unwrap();
        assert_eq!(both.target, "cortex_a72");
        assert_eq!(graph.detect_all(&[little, big]), Some(both), "in any order");
        assert_eq!(of(&["neoverse_n2", "m2"]).unwrap().target, "armv8.5a", "what both descend from");
        let both = of(&["zen4", "zen5"]).unwrap();
        assert_eq!(both.target, "zen4");
        assert!(both.candidates.contains("x86_64_v4") && !both.candidates.contains("zen5"));
        assert_eq!(of(&["zen4", "haswell"]).unwrap().target, "x86_64_v3");
        assert_eq!(of(&["zen4", "a64fx"]), None, "nothing runs on both");
        assert_eq!(of(&[]), None);
    }

    proptest::proptest! {
        // The more cores there are, the less is promised; and what is promised runs on each.
        #[test]
        fn another_core_never_adds_a_target(picks in proptest::collection::vec(0_usize..44, 1..4), dropped in 0_usize..40) {
            let graph = Microarchitectures::builtin();
            let all = samples();
            let mut cores: Vec<CpuDescription> = picks.iter().map(|pick| all[*pick].1.clone()).collect();
            if let Some(flag) = cores[0].features.iter().nth(dropped).cloned() {
                cores[0].features.remove(&flag);
            }
            if let Some(found) = graph.detect_all(&cores) {
                let target = graph.get(&found.target).unwrap();
                for core in &cores {
                    let one = graph.detect(core).unwrap();
                    proptest::prop_assert!(graph.runs(graph.get(&one.target).unwrap(), target));
                    if cores.len() == 1 { continue }
                    for name in &found.candidates {
                        let wanted = graph.get(name).unwrap();
                        let declared = graph.runs(graph.get(&one.target).unwrap(), wanted);
                        proptest::prop_assert!(declared || one.candidates.contains(name));
                    }
                }
            }
        }
    }
}
