//! Owns NFD's x86 CPU flags as a set: evaluated from CPUID, or told by `/proc/cpuinfo`. Each flag is true, false, or
//! undetermined (`None`); nothing undetermined passes as either.

use std::collections::{BTreeMap, BTreeSet};

use super::cpuid::Register::{Ebx, Ecx, Edx};
use super::cpuid::{Processor, Register};
use super::flags::{CpuinfoName, Needs, Row, TABLE};
use super::{cpuinfo, level};
use crate::seen::Seen;

/// Flags by NFD's name.
pub(crate) type Flags = BTreeMap<&'static str, Found>;

/// What is known about one flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whether the processor has it and programs may use it; `None` where that cannot be told.
    pub(crate) state: Option<bool>,
    /// Where it was looked up.
    pub(crate) source: String,
}

/// Kleene's AND.
pub(crate) fn and(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// Kleene's OR.
fn or(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    and(left.map(|value| !value), right.map(|value| !value)).map(|value| !value)
}

/// The state of a flag; one that is in no table is not determined.
pub(crate) fn state(flags: &Flags, name: &str) -> Option<bool> {
    flags.get(name).and_then(|found| found.state)
}

/// Adds what one place says: a flag that two places have is there when either says so.
fn add(flags: &mut Flags, name: &'static str, state: Option<bool>, source: String) {
    match flags.get_mut(name) {
        Some(found) => {
            // The place that decided is the one to name.
            if found.state != Some(true) && state != Some(false) {
                found.source = source;
            }
            found.state = or(found.state, state);
        }
        None => {
            flags.insert(name, Found { state, source });
        }
    }
}

/// All flags of a processor.
pub(crate) fn by_cpuid(processor: &Processor) -> Flags {
    let saved = processor.saved_state();
    let mut flags = Flags::new();
    let avx =
        [26, 27, 28].iter().fold(saved.map(|saved| saved.avx), |state, bit| and(state, processor.bit(1, 0, Ecx, *bit)));
    add(&mut flags, "AVX", avx, "cpuid 1.0 ecx, xcr0".to_owned());
    for row in TABLE {
        let source = place(row.leaf, row.subleaf, row.register);
        let asked = leaf_counts(processor, row);
        for flag in row.flags {
            let usable = match flag.needs {
                Needs::Nothing => Some(true),
                Needs::Avx => avx,
                Needs::Avx512 => saved.map(|saved| saved.avx512),
            };
            let bit = processor.bit(row.leaf, row.subleaf, row.register, flag.bit);
            add(&mut flags, flag.name, and(and(asked, bit), usable), source.clone());
        }
    }
    add_of_several_bits(&mut flags, processor, avx);
    add_levels(&mut flags);
    flags
}

/// Whether NFD's library looks at this leaf: some only on AMD, or where another flag is set.
fn leaf_counts(processor: &Processor, row: &Row) -> Option<bool> {
    match row.leaf {
        0x8000_001f | 0x8000_0021 => Some(processor.vendor() == "AuthenticAMD"),
        0x12 => processor.bit(7, 0, Ebx, 2),
        0x24 => processor.bit(7, 1, Edx, 19),
        0xd => processor.bit(1, 0, Ecx, 26),
        0x8000_000a => processor.bit(0x8000_0001, 0, Ecx, 2),
        0x8000_001b => processor.bit(0x8000_0001, 0, Ecx, 10),
        _ => Some(true),
    }
}

fn add_of_several_bits(flags: &mut Flags, processor: &Processor, avx: Option<bool>) {
    let bit = |leaf, register, bit| processor.bit(leaf, 0, register, bit);
    let bmi1 = bit(7, Ebx, 3);
    let abm = bit(0x8000_0001, Ecx, 5);
    let several = [
        ("AVX2", and(avx, bit(7, Ebx, 5)), place(7, 0, Ebx)),
        ("AVXSLOW", and(avx, Some(is_avx_slow(processor))), place(1, 0, Register::Eax)),
        ("BMI1", bmi1, place(7, 0, Ebx)),
        ("BMI2", and(bmi1, bit(7, Ebx, 8)), place(7, 0, Ebx)),
        ("FMA3", and(bit(1, Ecx, 12), bit(1, Ecx, 27)), place(1, 0, Ecx)),
        ("LZCNT", abm, place(0x8000_0001, 0, Ecx)),
        ("POPCNT", abm, place(0x8000_0001, 0, Ecx)),
        ("HTT", and(bit(1, Edx, 28), Some(processor.threads_per_core() > 1)), place(1, 0, Edx)),
        ("KEYLOCKERW", and(bit(7, Ecx, 23), and(bit(0x19, Ebx, 0), bit(0x19, Ebx, 2))), place(0x19, 0, Ebx)),
        ("TDX_GUEST", is_tdx_guest(processor), "cpuid 21.0".to_owned()),
    ];
    for (name, state, source) in several {
        add(flags, name, state, source);
    }
    if processor.vendor() == "AuthenticAMD" {
        for name in ["TSA_L1_NO", "TSA_SQ_NO"] {
            add(flags, name, Some(is_immune_to_tsa(processor)), place(1, 0, Register::Eax));
        }
    }
}

/// Whether an AMD processor is immune to transient scheduler attacks by its age or kind, without a bit that says so.
fn is_immune_to_tsa(processor: &Processor) -> bool {
    match processor.family_and_model() {
        (family, _) if family < 0x19 => true,
        (0x1a, model) => model <= 0x4f || (0x60..=0x7f).contains(&model),
        _ => false,
    }
}

/// Whether AVX is carried out in two halves: Intel before Haswell, AMD before Zen 2.
fn is_avx_slow(processor: &Processor) -> bool {
    let (family, model) = processor.family_and_model();
    match processor.vendor().as_str() {
        "GenuineIntel" => family == 6 && model < 60,
        "AuthenticAMD" => family < 0x17 || family == 0x17 && model < 49,
        _ => false,
    }
}

fn is_tdx_guest(processor: &Processor) -> Option<bool> {
    const HYPERV_ISOLATION_TDX: u32 = 0xbe3;
    let tdx = match processor.leaf(0x21, 0) {
        Seen::Known(leaf) => Some([leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == b"IntelTDX    "),
        Seen::Absent => Some(false),
        Seen::Unknown(_) => None,
    };
    let hyperv = match processor.leaf(0x4000_000c, 0) {
        Seen::Known(leaf) => {
            Some(processor.hypervisor().as_deref() == Some("Microsoft Hv") && leaf.ebx == HYPERV_ISOLATION_TDX)
        }
        Seen::Absent => Some(false),
        Seen::Unknown(_) => None,
    };
    or(tdx, hyperv)
}

fn place(leaf: u32, subleaf: u32, register: Register) -> String {
    format!("cpuid {leaf:x}.{subleaf:x} {}", register.name())
}

/// What the flag words of `/proc/cpuinfo` tell, which the kernel has masked already by what it saves.
pub(crate) fn by_cpuinfo(features: &BTreeSet<String>) -> Flags {
    let mut flags = Flags::new();
    let source = || cpuinfo::PATH.to_owned();
    for flag in TABLE.iter().flat_map(|row| row.flags) {
        let state = match flag.cpuinfo {
            CpuinfoName::Told(word) => Some(features.contains(word)),
            CpuinfoName::Hinted(word) => features.contains(word).then_some(true),
            CpuinfoName::Silent => None,
        };
        add(&mut flags, flag.name, state, source());
    }
    for (name, word) in
        [("AVX", "avx"), ("AVX2", "avx2"), ("BMI1", "bmi1"), ("BMI2", "bmi2"), ("FMA3", "fma"), ("LZCNT", "abm")]
    {
        add(&mut flags, name, Some(features.contains(word)), source());
    }
    for name in ["AVXSLOW", "HTT", "KEYLOCKERW"] {
        add(&mut flags, name, None, source());
    }
    add(&mut flags, "TDX_GUEST", features.contains("tdx_guest").then_some(true), source());
    add_levels(&mut flags);
    flags
}

fn add_levels(flags: &mut Flags) {
    for (name, state) in level::LABELS.into_iter().zip(level::of(flags)) {
        add(flags, name, state, "the flags of this level".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::cpuid::CpuidDump;

    fn words(text: &str) -> BTreeSet<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_name_stands_for_the_same_place_or_is_combined() {
        let flags = by_cpuinfo(&words("pni abm"));
        assert_eq!(state(&flags, "SSE3"), Some(true));
        assert_eq!(state(&flags, "LZCNT"), Some(true));
        assert_eq!(state(&flags, "AVX"), Some(false));
        assert_eq!(state(&flags, "VMX"), None, "kernels hide vmx where the firmware switched it off");
        assert_eq!(state(&flags, "LBRVIRT"), None);
    }

    /// avx, xsave, osxsave and fma in leaf 1; avx2, avx512f and bmi in leaf 7.
    fn processor_with_avx512(xcr0: Option<u64>) -> Flags {
        let ecx = 1u32 << 26 | 1 << 27 | 1 << 28 | 1 << 12;
        let ebx = 1u32 << 3 | 1 << 5 | 1 << 8 | 1 << 16;
        let dump = format!("0,0,7,1970169159,1818588270,1231384169\n1,0,657009,0,{ecx},0\n7,0,0,{ebx},0,0");
        by_cpuid(&Processor::new(&CpuidDump::parse(&dump, xcr0).unwrap()))
    }

    #[test]
    fn avx_needs_what_the_operating_system_saves() {
        let cases = [
            (Some(0xe7), [Some(true); 3]),
            (Some(0x07), [Some(true), Some(true), Some(false)]),
            (Some(0x03), [Some(false); 3]),
            (None, [None; 3]),
        ];
        for (xcr0, expected) in cases {
            let flags = processor_with_avx512(xcr0);
            assert_eq!(["AVX", "AVX2", "AVX512F"].map(|name| state(&flags, name)), expected, "{xcr0:x?}");
            assert_eq!(state(&flags, "BMI2"), Some(true));
        }
    }

    #[test]
    fn a_leaf_above_the_highest_is_false_and_one_not_recorded_is_open() {
        let flags = processor_with_avx512(Some(0xe7));
        assert_eq!(state(&flags, "AVX10_512"), Some(false), "leaf 0x24 > 7");
        assert_eq!(state(&flags, "AVXVNNI"), None, "leaf 7.1 is not in the dump");
        assert_eq!(flags["AVX512F"].source, "cpuid 7.0 ebx");
    }

    #[test]
    fn or_and_and_are_kleenes() {
        let all = [Some(false), None, Some(true)];
        for (i, left) in all.into_iter().enumerate() {
            for (j, right) in all.into_iter().enumerate() {
                assert_eq!(and(left, right), all[i.min(j)]);
                assert_eq!(or(left, right), all[i.max(j)]);
            }
        }
    }
}
