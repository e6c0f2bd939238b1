//! Owns the group `io.archspec`: what the processor is in archspec's graph of microarchitectures. Every core of
//! `/proc/cpuinfo` is looked at, whose flags the kernel has masked already, and the host is what all of them are; where the
//! file of the running machine cannot be read, CPUID tells.

use std::collections::BTreeSet;

use bestfit_selector::facts::{Facts, Value};
use bestfit_selector::microarch::{CpuDescription, Microarchitectures};

use super::archspec_cpuid;
use super::cpuinfo::{self, CpuInfo};
use crate::ARCHSPEC;
use crate::platform;
use crate::root::HostRoot;
use crate::seen::Seen;

/// Where the kernel lists the cores of Intel's hybrid processors, by kind.
const HYBRID: [&str; 2] = ["cpu_core", "cpu_atom"];

/// Cores that are alike to archspec.
struct Cores {
    /// `0-3,8`.
    processors: String,
    cpu: CpuDescription,
    /// Flags as the kernel lists them; `None` where it lists none, or CPUID was asked.
    features: Option<BTreeSet<String>>,
}

pub(crate) fn probe(root: &HostRoot, info: &Seen<CpuInfo>, targets: &Microarchitectures, facts: &mut Facts) {
    let path = cpuinfo::PATH;
    let architecture = platform::architecture(root, info);
    let cores = info.as_ref().and_then(|info| match architecture {
        Some(architecture) => match cores(info, architecture, targets) {
            Some(cores) => Seen::Known(cores),
            None => Seen::Unknown(format!("{path}: too many kinds of cores")),
        },
        None => Seen::Unknown(format!("{path}: its architecture is not known")),
    });
    match (&cores, root.has_machine()) {
        (Seen::Unknown(_), true)
            if root.with_cpuid(|cpuid| of_cpuid(archspec_cpuid::describe(cpuid), targets, facts)) =>
        {
            hybrid(root, &Seen::Known(Vec::new()), targets, facts);
        }
        _ => {
            of_cores(&cores, targets, facts);
            hybrid(root, &cores, targets, facts);
        }
    }
}

/// What archspec's detection needs of each kind of core in `text`, a `/proc/cpuinfo` of this architecture (GOARCH);
/// nothing where there are too many kinds.
pub fn describe(text: &str, architecture: &str, targets: &Microarchitectures) -> Vec<CpuDescription> {
    cores(&CpuInfo::parse(text), architecture, targets).into_iter().flatten().map(|cores| cores.cpu).collect()
}

/// The kinds of cores as archspec tells them apart.
fn cores(info: &CpuInfo, architecture: &str, targets: &Microarchitectures) -> Option<Vec<Cores>> {
    let mut kinds: Vec<(Vec<u32>, CpuDescription, Option<BTreeSet<String>>)> = Vec::new();
    for kind in info.kinds()? {
        let cpu = description(&kind.info, architecture, targets);
        match kinds.iter_mut().find(|(_, known, _)| *known == cpu) {
            Some((processors, ..)) => processors.extend(&kind.processors),
            None => kinds.push((kind.processors.clone(), cpu, kind.info.features())),
        }
    }
    let cores =
        kinds.into_iter().map(|(processors, cpu, features)| Cores { processors: ranges(processors), cpu, features });
    Some(cores.collect())
}

fn of_cores(cores: &Seen<Vec<Cores>>, targets: &Microarchitectures, facts: &mut Facts) {
    let detected = cores.as_ref().and_then(|cores| {
        let descriptions: Vec<CpuDescription> = cores.iter().map(|cores| cores.cpu.clone()).collect();
        targets.detect_all(&descriptions).map_or_else(
            || {
                let of: BTreeSet<&str> = cores.iter().map(|cores| cores.cpu.arch.as_str()).collect();
                let of = of.into_iter().collect::<Vec<_>>().join(", ");
                Seen::Unknown(format!("no target of the archspec data {} fits {of}", targets.version()))
            },
            Seen::Known,
        )
    });
    let vendor = cores.as_ref().and_then(|cores| {
        let vendors: BTreeSet<&str> = cores.iter().map(|cores| cores.cpu.vendor.as_str()).collect();
        match vendors.into_iter().collect::<Vec<_>>().as_slice() {
            [] | [""] => Seen::Absent,
            [one] => Seen::Known((*one).to_owned()),
            several => Seen::Unknown(format!("its cores are of several vendors: {}", several.join(", "))),
        }
    });
    let features = cores.as_ref().and_then(|cores| {
        let family = cores.first().and_then(|cores| targets.get(&cores.cpu.arch)).map_or("", |root| &root.name);
        let each = |cores: &Cores| targets.with_aliases(family, cores.features.as_ref().unwrap_or(&BTreeSet::new()));
        let all = cores.iter().map(each).reduce(|all, each| all.intersection(&each).cloned().collect());
        let listed = cores.iter().any(|cores| cores.features.is_some());
        // POWER lists none, but some names hold for the whole family.
        let silent = || Seen::Unknown(format!("{}: this architecture's file lists no flags", cpuinfo::PATH));
        all.filter(|all| listed || !all.is_empty()).map_or_else(silent, Seen::Known)
    });
    let mut set = |key: &str, value: Seen<Value>| facts.set(ARCHSPEC, key, value.fact(cpuinfo::PATH));
    set("cpu.vendor", vendor.map(Value::from));
    set("cpu.features", features.map(Value::from));
    set("cpu.target", detected.as_ref().map(|found| found.target.clone().into()));
    set("cpu.candidates", detected.map(|found| found.candidates.into()));
}

/// The same of the processor that runs this program: of one core, and without the flags that archspec does not know.
fn of_cpuid(cpu: CpuDescription, targets: &Microarchitectures, facts: &mut Facts) {
    let detected = match targets.detect(&cpu) {
        Some(found) => Seen::Known(found),
        None => Seen::Unknown(format!("no target of the archspec data {} fits {}", targets.version(), cpu.arch)),
    };
    let mut set = |key: &str, value: Seen<Value>| facts.set(ARCHSPEC, key, value.fact("cpuid"));
    set("cpu.vendor", Seen::Known(cpu.vendor.into()));
    set("cpu.features", Seen::Unknown(format!("only {} lists all of them", cpuinfo::PATH)));
    set("cpu.target", detected.as_ref().map(|found| found.target.clone().into()));
    set("cpu.candidates", detected.map(|found| found.candidates.into()));
}

/// Whether there are several kinds of cores, and how they differ.
fn hybrid(root: &HostRoot, cores: &Seen<Vec<Cores>>, targets: &Microarchitectures, facts: &mut Facts) {
    let mut source = cpuinfo::PATH;
    let mut lines = cores.as_ref().map(|cores| of_kinds(cores, targets));
    if matches!(&lines, Seen::Known(lines) if lines.len() < 2) {
        // Both kinds of Intel's cores have the same flags: the kernel lists them elsewhere.
        let kind = |name: &str| match root.seen_line(&format!("/sys/devices/{name}/cpus"), "/sys/devices") {
            Seen::Known(processors) => Some(format!("{processors}: {name}")),
            Seen::Absent | Seen::Unknown(_) => None,
        };
        let kinds: BTreeSet<String> = HYBRID.into_iter().filter_map(kind).collect();
        if kinds.len() > 1 {
            source = "/sys/devices/cpu_*/cpus";
            lines = Seen::Known(kinds);
        }
    }
    facts.set(ARCHSPEC, "cpu.hybrid", lines.as_ref().map(|lines| lines.len() > 1).fact(source));
    let lines = lines.and_then(|lines| if lines.len() > 1 { Seen::Known(lines) } else { Seen::Absent });
    facts.set(ARCHSPEC, "cpu.cores", lines.fact(source));
}

/// One line for each kind: `4-7: neoverse_n2 (0xd49), lacks sve2`.
fn of_kinds(cores: &[Cores], targets: &Microarchitectures) -> BTreeSet<String> {
    let any: BTreeSet<&String> = cores.iter().flat_map(|cores| &cores.cpu.features).collect();
    let line = |cores: &Cores| {
        let found = targets.detect(&cores.cpu).map_or_else(|| "no known target".to_owned(), |found| found.target);
        let part = cores.cpu.part.as_ref().map_or_else(String::new, |part| format!(" ({} {part})", cores.cpu.vendor));
        let lacks: Vec<&str> =
            any.iter().filter(|flag| !cores.cpu.features.contains(**flag)).map(|flag| flag.as_str()).collect();
        let lacks = if lacks.is_empty() { String::new() } else { format!(", lacks {}", lacks.join(" ")) };
        format!("{}: {found}{part}{lacks}", cores.processors)
    };
    cores.iter().map(line).collect()
}

/// `0-3,8` of 0, 1, 2, 3, 8.
fn ranges(mut numbers: Vec<u32>) -> String {
    numbers.sort_unstable();
    numbers.dedup();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let range = |(first, last): (u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    ranges.into_iter().map(range).collect::<Vec<_>>().join(",")
}

/// What archspec's detection needs of one core.
fn description(info: &CpuInfo, architecture: &str, targets: &Microarchitectures) -> CpuDescription {
    let vendor = match info.get("CPU implementer") {
        Some(code) => targets.arm_vendor(code).unwrap_or(code),
        None => info.get("vendor_id").unwrap_or_default(),
    };
    CpuDescription {
        arch: architecture.to_owned(),
        vendor: vendor.to_owned(),
        features: info.features().unwrap_or_default(),
        part: info.get("CPU part").map(str::to_owned),
        generation: info.get("cpu").and_then(power_generation),
        uarch: info.get("uarch").or_else(|| named_uarch(info)).map(str::to_owned),
    }
}

/// archspec's rule for kernels that name the product instead of the microarchitecture.
fn named_uarch(info: &CpuInfo) -> Option<&'static str> {
    info.get("model name").filter(|name| *name == "Spacemit(R) X60").map(|_| "spacemit,x60")
}

/// The generation of a POWER processor: 9 of `POWER9, altivec supported`, 8 of `POWER8E (raw), …`.
fn power_generation(cpu: &str) -> Option<u32> {
    let digits = cpu.strip_prefix("POWER")?;
    let end = digits.find(|char: char| !char.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use bestfit_selector::facts::State;

    use super::*;

    const MIXED: &str = "processor : 0\nFeatures : fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid\nCPU implementer : 0x41\nCPU part : 0xd08\n\n\
        processor : 1\nFeatures : fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid\nCPU implementer : 0x41\nCPU part : 0xd08\n\n\
        processor : 2\nFeatures : fp asimd\nCPU implementer : 0x61\nCPU part : 0x022\n\n";

    fn facts(text: &str) -> Vec<String> {
        let targets = Microarchitectures::builtin();
        let mut facts = Facts::default();
        let cores = Seen::Known(cores(&CpuInfo::parse(text), "arm64", targets).unwrap());
        of_cores(&cores, targets, &mut facts);
        let root = tempfile::tempdir().unwrap();
        hybrid(&HostRoot::at(&root).unwrap(), &cores, targets, &mut facts);
        let line = |(key, fact): (&String, &bestfit_selector::facts::Fact)| match &fact.state {
            State::Known { value } => format!("{key} = {value}"),
            State::Absent => format!("{key} absent"),
            State::Unknown { why } => format!("{key} unknown: {why}"),
        };
        facts.facts[ARCHSPEC].iter().map(line).collect()
    }

    #[test]
    fn several_kinds_of_cores_are_what_each_of_them_is() {
        assert_eq!(
            facts(MIXED),
            [
                "cpu.candidates = aarch64",
                "cpu.cores = 0-1: cortex_a72 (ARM 0xd08) 2: aarch64 (Apple 0x022), lacks aes cpuid crc32 evtstrm pmull sha1 sha2",
                "cpu.features = asimd fp neon",
                "cpu.hybrid = true",
                "cpu.target = aarch64",
                "cpu.vendor unknown: its cores are of several vendors: ARM, Apple",
            ]
        );
    }

    #[test]
    fn a_file_without_flags_lacks_none() {
        let targets = Microarchitectures::builtin();
        let mut facts = Facts::default();
        let text = "processor : 0\nhart : 1\nisa : rv64imafdc\nuarch : sifive,u74-mc\n";
        of_cores(&Seen::Known(cores(&CpuInfo::parse(text), "riscv64", targets).unwrap()), targets, &mut facts);
        assert!(matches!(facts.get(ARCHSPEC, "cpu.features").unwrap().state, State::Unknown { .. }));
        let target = &facts.get(ARCHSPEC, "cpu.target").unwrap().state;
        assert_eq!(*target, State::Known { value: "u74mc".into() });
    }

    #[test]
    fn one_kind_of_cores_is_not_hybrid() {
        let text = MIXED.split("processor : 2").next().unwrap();
        let facts = facts(text);
        assert!(facts.contains(&"cpu.hybrid = false".to_owned()) && facts.contains(&"cpu.cores absent".to_owned()));
        assert!(facts.contains(&"cpu.target = cortex_a72".to_owned()), "{facts:?}");
    }

    #[test]
    fn the_kernel_tells_the_kinds_of_intels_cores() {
        let root = tempfile::tempdir().unwrap();
        for (name, processors) in [("cpu_core", "0-7\n"), ("cpu_atom", "8-15\n")] {
            std::fs::create_dir_all(root.path().join("sys/devices").join(name)).unwrap();
            std::fs::write(root.path().join("sys/devices").join(name).join("cpus"), processors).unwrap();
        }
        let mut facts = Facts::default();
        hybrid(&HostRoot::at(&root).unwrap(), &Seen::Known(Vec::new()), Microarchitectures::builtin(), &mut facts);
        let cores = facts.get(ARCHSPEC, "cpu.cores").unwrap();
        assert_eq!(
            cores.state,
            State::Known {
                value: Value::from(BTreeSet::from(["0-7: cpu_core".to_owned(), "8-15: cpu_atom".to_owned()]))
            }
        );
        assert_eq!(cores.source, "/sys/devices/cpu_*/cpus");
    }

    #[test]
    fn ranges_are_short() {
        assert_eq!(
            (ranges(vec![8, 0, 1, 2, 3]), ranges(vec![0]), ranges(vec![])),
            ("0-3,8".into(), "0".into(), String::new())
        );
    }

    #[test]
    fn power_generations_are_read() {
        for (cpu, generation) in [
            ("POWER9, altivec supported", Some(9)),
            ("POWER8E (raw), altivec supported", Some(8)),
            ("POWER10 (architected)", Some(10)),
            ("PPC970", None),
            ("POWER", None),
        ] {
            assert_eq!(power_generation(cpu), generation, "{cpu}");
        }
    }
}
