//! Owns everything about the processor: flags, level, model, archspec target and topology.

pub mod cpuid;
pub mod cpuinfo;
mod flags;
mod instruction;
mod level;
mod model;
mod nfd_flags;
mod target;
mod topology;

use bestfit_selector::facts::{Fact, Facts};

use self::cpuid::{Cpuid, Processor};
use self::cpuinfo::CpuInfo;
use self::nfd_flags::Flags;
use crate::root::HostRoot;
use crate::seen::Seen;
use crate::{HOST, NFD};

/// The family that speaks for every CPU flag which is not listed.
const FAMILY: &str = "cpu-cpuid.*";

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) {
    let info = CpuInfo::load(root);
    if !(root.is_running() && with_instruction(|cpuid| of_processor(cpuid, facts))) {
        model::by_cpuinfo(&info, facts);
        of_cpuinfo(&info, facts);
    }
    target::probe(root, &info, facts);
    topology::probe(root, facts);
}

/// Hands over this processor's CPUID, where it has one.
fn with_instruction(look: impl FnOnce(&dyn Cpuid)) -> bool {
    #[cfg(target_arch = "x86_64")]
    look(&instruction::ThisProcessor);
    #[cfg(not(target_arch = "x86_64"))]
    drop(look);
    cfg!(target_arch = "x86_64")
}

/// The facts that CPUID gives: `cpu-cpuid.*`, `cpu-model.*` and the x86-64 level.
pub fn of_processor(cpuid: &dyn Cpuid, facts: &mut Facts) {
    let processor = Processor::new(cpuid);
    let flags = nfd_flags::by_cpuid(&processor);
    set_flags(&flags, "cpuid", facts);
    set_avx10(&processor, &flags, facts);
    facts.set(HOST, "cpu.level", level::highest(level::of(&flags)).fact("cpuid"));
    model::by_cpuid(&processor, facts);
}

fn set_flags(flags: &Flags, source: &str, facts: &mut Facts) {
    for (name, found) in flags {
        let fact = match found.state {
            Some(true) => Fact::known(true, &found.source),
            // The family speaks for it.
            Some(false) => continue,
            None => Fact::unknown(format!("{source} does not tell"), &found.source),
        };
        facts.set(NFD, format!("cpu-cpuid.{name}"), fact);
    }
    facts.set(NFD, FAMILY, Fact::absent(source));
}

fn set_avx10(processor: &Processor, flags: &Flags, facts: &mut Facts) {
    if nfd_flags::state(flags, "AVX10") == Some(true) {
        let version = processor.leaf(0x24, 0).map(|leaf| i64::from(leaf.ebx & 0xff));
        facts.set(NFD, "cpu-cpuid.AVX10_VERSION", version.fact("cpuid 24.0 ebx"));
    }
}

/// The same facts, as far as `/proc/cpuinfo` tells them.
fn of_cpuinfo(info: &Seen<CpuInfo>, facts: &mut Facts) {
    let path = cpuinfo::PATH;
    let unknown = |why: &str| Fact::unknown(why, path);
    let known = match info {
        Seen::Known(info) => info,
        Seen::Absent => return,
        Seen::Unknown(why) => {
            facts.set(NFD, FAMILY, unknown(why));
            facts.set(HOST, "cpu.level", unknown(why));
            return;
        }
    };
    let architecture = known.architecture();
    match (architecture, known.features()) {
        (Some("amd64" | "386"), Some(features)) => {
            let flags = nfd_flags::by_cpuinfo(&features);
            set_flags(&flags, path, facts);
            facts.set(NFD, "cpu-cpuid.AVX10_VERSION", unknown("it does not tell"));
            let level = level::highest(level::of(&flags));
            facts.set(HOST, "cpu.level", if architecture == Some("amd64") { level } else { Seen::Absent }.fact(path));
            return;
        }
        // The kernel's hwcap names; NFD writes them in upper case without underscores.
        (Some("arm64" | "s390x"), Some(features)) => {
            for feature in features {
                let name = feature.to_uppercase().replace('_', "");
                facts.set(NFD, format!("cpu-cpuid.{name}"), Fact::known(true, path));
            }
            facts.set(NFD, FAMILY, Fact::absent(path));
        }
        _ => facts.set(NFD, FAMILY, unknown("this architecture's file lists no flags that NFD knows")),
    }
    let level = match architecture {
        Some(_) => Fact::absent(path),
        None => unknown("its architecture is not known"),
    };
    facts.set(HOST, "cpu.level", level);
}
