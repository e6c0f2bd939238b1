//! Owns Intel's and AMD's resource control and Intel's speed selection: NFD's `cpu.rdt` and `cpu.sst`.

use bestfit_selector::facts::Facts;

use super::cpuid::{Processor, Register};
use super::nfd_flags::and;
use super::x86::X86;
use crate::feature;
use crate::root::HostRoot;
use crate::seen::Seen;

const RDT: &str = "cpu.rdt";
const SST: &str = "cpu.sst";
const CPUS: &str = "/sys/devices/system/cpu";
const CLASSES: &str = "/sys/fs/resctrl/info/L3/num_closids";

/// A capability: NFD's name, where CPUID has its bits (all must be set), and what `/proc/cpuinfo` calls it.
type Capability = (&'static str, &'static [(u32, u32, Register, u8)], &'static [&'static str]);

const MONITORING: (u32, u32, Register, u8) = (7, 0, Register::Ebx, 12);
const CACHE_MONITORING: (u32, u32, Register, u8) = (0xf, 0, Register::Edx, 1);
const ALLOCATION: (u32, u32, Register, u8) = (7, 0, Register::Ebx, 15);

const CAPABILITIES: [Capability; 6] = [
    ("RDTMON", &[MONITORING, CACHE_MONITORING], &["cqm_llc"]),
    ("RDTCMT", &[MONITORING, CACHE_MONITORING, (0xf, 1, Register::Edx, 0)], &["cqm_occup_llc"]),
    (
        "RDTMBM",
        &[MONITORING, CACHE_MONITORING, (0xf, 1, Register::Edx, 1), (0xf, 1, Register::Edx, 2)],
        &["cqm_mbm_total", "cqm_mbm_local"],
    ),
    ("RDTL3CA", &[ALLOCATION, (0x10, 0, Register::Ebx, 1)], &["cat_l3"]),
    ("RDTL2CA", &[ALLOCATION, (0x10, 0, Register::Ebx, 2)], &["cat_l2"]),
    ("RDTMBA", &[ALLOCATION, (0x10, 0, Register::Ebx, 3)], &["mba"]),
];

pub(crate) fn probe(root: &HostRoot, x86: &X86, has_pstate: &Seen<bool>, facts: &mut Facts) {
    feature::open(&mut facts.features, RDT);
    for (name, bits, words) in CAPABILITIES {
        let there = x86.ask_or(
            |processor| {
                let all = |state, (leaf, subleaf, register, bit): &_| {
                    and(state, processor.bit(*leaf, *subleaf, *register, *bit))
                };
                bits.iter().fold(Some(true), all)
            },
            // The kernel leaves out what its command line switches off, so that a missing word says nothing.
            |features| words.iter().all(|word| features.contains(*word)).then_some(true),
            name,
        );
        let there = there.true_only();
        feature::attribute(&mut facts.features, RDT, name, &there);
        if name == "RDTL3CA" {
            // One class is the default that everything has.
            let classes = there.and_then(|_| match root.attribute(CLASSES) {
                Ok(Some(text)) => text.parse::<i64>().map_or(Seen::Absent, |count| Seen::Known(count - 1)),
                Ok(None) => Seen::Absent,
                Err(error) => Seen::Unknown(error.to_string()),
            });
            feature::attribute(&mut facts.features, RDT, "RDTL3CA_NUM_CLOSID", &classes);
        }
    }
    feature::open(&mut facts.features, SST);
    let faster = has_pstate.as_ref().and_then(|has| if *has { faster_base(root, x86) } else { Seen::Absent });
    let source = format!("{CPUS}/cpu*/cpufreq/base_frequency");
    feature::labelled(facts, (SST, "bf.enabled"), "cpu-power.sst_bf.enabled", faster.true_only(), source);
}

/// Whether any processor's base frequency is above the nominal one that CPUID gives. Intel's P-state driver tells it.
fn faster_base(root: &HostRoot, x86: &X86) -> Seen<bool> {
    let names = match root.names(CPUS) {
        Ok(names) => names,
        Err(error) => return Seen::Unknown(error.to_string()),
    };
    let mut nominal = None;
    for name in names.iter().filter(|name| super::topology::is_cpu(name)) {
        let path = format!("{CPUS}/{name}/cpufreq/base_frequency");
        let kilohertz = match root.attribute(&path) {
            Ok(None) => continue,
            Ok(Some(text)) => text.parse::<u64>().map_err(|_| format!("{path}: not a number: {text:?}")),
            Err(error) => Err(error.to_string()),
        };
        let nominal = nominal.get_or_insert_with(|| x86.ask(nominal_megahertz, "its frequency"));
        match (kilohertz, &*nominal) {
            (Err(why), _) => return Seen::Unknown(why),
            (_, Seen::Unknown(why)) => return Seen::Unknown(why.clone()),
            (_, Seen::Absent) => return Seen::Unknown("cpuid 16 has no nominal frequency".to_owned()),
            (Ok(kilohertz), Seen::Known(megahertz)) if kilohertz / 1000 > u64::from(*megahertz) => {
                return Seen::Known(true);
            }
            _ => {}
        }
    }
    Seen::Known(false)
}

fn nominal_megahertz(processor: &Processor) -> Seen<u32> {
    processor.leaf(0x16, 0).and_then(|leaf| if leaf.eax == 0 { Seen::Absent } else { Seen::Known(leaf.eax) })
}
