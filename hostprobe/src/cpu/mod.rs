//! Owns everything about the processor: flags, level, model, archspec target, topology, guests' protection and resource
//! control.

mod archspec_cpuid;
mod caches;
pub mod cpuid;
pub mod cpuinfo;
mod flags;
mod hwcap;
pub(crate) mod instruction;
mod level;
mod model;
mod nfd_flags;
mod resources;
mod security;
mod target;
pub(crate) mod topology;
mod x86;

use std::collections::BTreeSet;

pub use archspec_cpuid::describe as describe_cpuid;
pub use target::describe as describe_cpuinfo;

use bestfit_selector::facts::{Fact, Facts};
use bestfit_selector::microarch::Microarchitectures;

use self::cpuid::{Cpuid, Processor};
use self::cpuinfo::CpuInfo;
use self::nfd_flags::Flags;
use self::x86::X86;
use crate::auxv::Auxv;
use crate::root::HostRoot;
use crate::seen::Seen;
use crate::{HOST, NFD, auxv, feature, platform};

/// The family that speaks for every CPU flag which is not listed.
const FAMILY: &str = "cpu-cpuid.*";
/// NFD's feature of the same.
const FEATURE: &str = "cpu.cpuid";

pub(crate) fn probe(
    root: &HostRoot,
    info: &Seen<CpuInfo>,
    auxv: &Seen<Auxv>,
    targets: &Microarchitectures,
    facts: &mut Facts,
) {
    let has_pstate = topology::probe(root, facts);
    caches::probe(root, facts);
    caches::set_vector_length(root, facts);
    let by_instruction = root.with_cpuid(|cpuid| {
        let processor = Processor::new(cpuid);
        let flags = set_processor(&processor, facts);
        of_x86(root, &X86::Instruction(&processor, flags), &has_pstate, facts);
    });
    if !by_instruction {
        model::by_cpuinfo(root, info, facts);
        let x86 = of_files(root, info, auxv, facts);
        of_x86(root, &x86, &has_pstate, facts);
    }
    target::probe(root, info, targets, facts);
}

/// What is asked of x86 processors only.
fn of_x86(root: &HostRoot, x86: &X86, has_pstate: &Seen<bool>, facts: &mut Facts) {
    security::probe(root, x86, facts);
    resources::probe(root, x86, has_pstate, facts);
}

/// The facts that CPUID gives: `cpu-cpuid.*`, `cpu-model.*` and the x86-64 level.
pub fn of_processor(cpuid: &dyn Cpuid, facts: &mut Facts) {
    set_processor(&Processor::new(cpuid), facts);
}

fn set_processor(processor: &Processor, facts: &mut Facts) -> Flags {
    let flags = nfd_flags::by_cpuid(processor);
    set_flags(&flags, "cpuid", facts);
    set_avx10(processor, &flags, facts);
    facts.set(HOST, "cpu.level", level::highest(level::of(&flags)).fact("cpuid"));
    model::by_cpuid(processor, facts);
    flags
}

fn set_flags(flags: &Flags, source: &str, facts: &mut Facts) {
    let there = |(name, found): (&&str, &nfd_flags::Found)| (found.state == Some(true)).then(|| (*name).to_owned());
    facts.features.set_flags(FEATURE, flags.iter().filter_map(there));
    for (name, found) in flags {
        let fact = match found.state {
            Some(true) => Fact::known(true, &found.source),
            Some(false) => Fact::absent(&found.source),
            None => {
                let why = format!("{source} does not tell");
                facts.features.set_unknown(&format!("{FEATURE}/{name}"), format!("{}: {why}", found.source));
                Fact::unknown(why, &found.source)
            }
        };
        facts.set(NFD, format!("cpu-cpuid.{name}"), fact);
    }
    set_others(source, facts);
    feature::open(&mut facts.features, FEATURE);
}

/// Of a name that NFD does not have nothing is known: it may be a slip of the pen, or newer than NFD.
fn set_others(source: &str, facts: &mut Facts) {
    facts.set(NFD, FAMILY, Fact::unknown("NFD has no flag of this name on this architecture", source));
}

fn set_avx10(processor: &Processor, flags: &Flags, facts: &mut Facts) {
    let version = match nfd_flags::state(flags, "AVX10") {
        Some(true) => processor.leaf(0x24, 0).map(|leaf| i64::from(leaf.ebx & 0xff)),
        Some(false) => Seen::Absent,
        None => Seen::Unknown("whether there is AVX10 cannot be told".to_owned()),
    };
    feature::labelled(facts, (FEATURE, "AVX10_VERSION"), "cpu-cpuid.AVX10_VERSION", version, "cpuid 24.0 ebx");
}

/// The same facts, as far as files tell them.
fn of_files(root: &HostRoot, info: &Seen<CpuInfo>, auxv: &Seen<Auxv>, facts: &mut Facts) -> X86<'static> {
    let path = cpuinfo::PATH;
    let architecture = platform::architecture(root, info);
    let level = match architecture {
        Some(_) => Seen::Absent,
        None => Seen::Unknown(match info {
            Seen::Unknown(why) => why.clone(),
            _ => format!("{path}: its architecture is not known"),
        }),
    };
    let words = info.as_ref().and_then(|info| info.features().map_or(Seen::Absent, Seen::Known));
    match (architecture, words) {
        (Some("amd64" | "386"), Seen::Known(words)) => {
            let flags = nfd_flags::by_cpuinfo(&words);
            set_flags(&flags, path, facts);
            let version: Seen<i64> = Seen::Unknown("it does not tell".to_owned());
            feature::labelled(facts, (FEATURE, "AVX10_VERSION"), "cpu-cpuid.AVX10_VERSION", version, path);
            let reached = level::highest(level::of(&flags));
            facts.set(HOST, "cpu.level", if architecture == Some("amd64") { reached } else { level }.fact(path));
            X86::Cpuinfo(words, flags)
        }
        (Some(other), words) => {
            set_capabilities(other, &words, auxv, facts);
            facts.set(HOST, "cpu.level", level.fact(path));
            X86::Other
        }
        (None, _) => {
            let Seen::Unknown(why) = level else { return X86::Other };
            facts.set(NFD, FAMILY, Fact::unknown(&why, path));
            facts.features.set_unknown(FEATURE, &why);
            facts.set(HOST, "cpu.level", Fact::unknown(&why, path));
            X86::Unknown(why)
        }
    }
}

/// The flags of other architectures: the kernel's hardware capabilities, of which `/proc/cpuinfo` mostly has the names.
fn set_capabilities(architecture: &str, words: &Seen<BTreeSet<String>>, auxv: &Seen<Auxv>, facts: &mut Facts) {
    let by_auxv = match auxv {
        Seen::Known(auxv) => auxv.capabilities(),
        Seen::Absent | Seen::Unknown(_) => None,
    };
    let (flags, source) = match (by_auxv, words) {
        _ if !hwcap::has(architecture) => (Err(format!("NFD knows no flags of {architecture}")), cpuinfo::PATH),
        (Some(capabilities), _) => (Ok(hwcap::of_words(architecture, capabilities)), auxv::PATH),
        (None, Seen::Known(words)) => (Ok(hwcap::of_cpuinfo(architecture, words)), cpuinfo::PATH),
        (None, Seen::Unknown(why)) => (Err(why.clone()), cpuinfo::PATH),
        (None, Seen::Absent) => {
            (Err("this architecture's file lists no flags, and there is no auxiliary vector".to_owned()), cpuinfo::PATH)
        }
    };
    match flags {
        Ok(flags) => {
            for name in hwcap::names(architecture) {
                let fact = if flags.contains(&name) { Fact::known(true, source) } else { Fact::absent(source) };
                facts.set(NFD, format!("cpu-cpuid.{name}"), fact);
            }
            facts.features.set_flags(FEATURE, flags.into_iter().map(str::to_owned));
            set_others(source, facts);
        }
        Err(why) => {
            facts.set(NFD, FAMILY, Fact::unknown(&why, source));
            facts.features.set_unknown(FEATURE, why);
        }
    }
}
