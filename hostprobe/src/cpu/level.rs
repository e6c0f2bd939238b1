//! Owns the x86-64 levels of the psABI, as NFD and the kernel's flags tell them.

use super::nfd_flags::{Flags, and, state};
use crate::seen::Seen;

/// NFD's names of the levels.
pub(crate) const LABELS: [&str; 4] = ["X86_64_V1", "X86_64_V2", "X86_64_V3", "X86_64_V4"];

/// The names of the levels in `cpu.level`.
const NAMES: [&str; 4] = ["v1", "v2", "v3", "v4"];

/// What each level adds to the one before, in NFD's names (psABI, table "Micro-Architecture Levels"). OSXSAVE and the
/// conditions on AVX flags make a level depend on what the operating system saves.
const ADDED: [&[&str]; 4] = [
    &["CMOV", "CMPXCHG8", "X87", "FXSR", "MMX", "SSE", "SSE2"],
    &["CX16", "LAHF", "POPCNT", "SSE3", "SSE4", "SSE42", "SSSE3"],
    &["AVX", "AVX2", "BMI1", "BMI2", "F16C", "FMA3", "LZCNT", "MOVBE", "OSXSAVE"],
    &["AVX512F", "AVX512BW", "AVX512CD", "AVX512DQ", "AVX512VL"],
];

/// Whether each level is reached; every level holds those before it.
pub(crate) fn of(flags: &Flags) -> [Option<bool>; 4] {
    let enters = ["SYSCALL", "SYSEE"].map(|name| state(flags, name));
    let mut reached = if enters.contains(&Some(true)) {
        Some(true)
    } else if enters.contains(&None) {
        None
    } else {
        Some(false)
    };
    ADDED.map(|added| {
        reached = added.iter().fold(reached, |reached, name| and(reached, state(flags, name)));
        reached
    })
}

/// The highest level, `v1` to `v4`: unknown when it is open whether the next one is reached.
pub(crate) fn highest(levels: [Option<bool>; 4]) -> Seen<String> {
    if let Some(open) = levels.iter().position(Option::is_none) {
        return Seen::Unknown(format!("whether {} is reached cannot be told", NAMES[open]));
    }
    match levels.iter().rposition(|level| *level == Some(true)) {
        Some(level) => Seen::Known(NAMES[level].to_owned()),
        None => Seen::Absent,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cpu::nfd_flags::by_cpuinfo;

    const V1: &str = "cmov cx8 fpu fxsr mmx sse sse2 syscall";
    const V2: &str = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3";
    const V3: &str = "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave";
    const V4: &str = "avx512f avx512bw avx512cd avx512dq avx512vl";

    fn level(words: &[&str]) -> Seen<String> {
        let features: BTreeSet<String> = words.join(" ").split_whitespace().map(str::to_owned).collect();
        highest(of(&by_cpuinfo(&features)))
    }

    #[test]
    fn levels_add_up() {
        let known = |name: &str| Seen::Known(name.to_owned());
        assert_eq!(level(&[]), Seen::Absent);
        assert_eq!(level(&[V1]), known("v1"));
        assert_eq!(level(&[V1, V2]), known("v2"));
        assert_eq!(level(&[V1, V2, V3]), known("v3"));
        assert_eq!(level(&[V1, V2, V3, V4]), known("v4"));
        assert_eq!(level(&[V1, V2, V4]), known("v2"), "a level needs those before it");
    }

    #[test]
    fn each_flag_of_a_level_counts() {
        let all = [V1, V2, V3, V4].join(" ");
        for word in V3.split(' ') {
            let without: Vec<&str> = all.split(' ').filter(|other| *other != word).collect();
            assert_eq!(level(&without), Seen::Known("v2".to_owned()), "{word}");
        }
    }

    #[test]
    fn an_open_level_is_no_level() {
        assert_eq!(
            highest([Some(true), Some(true), None, None]),
            Seen::Unknown("whether v3 is reached cannot be told".to_owned())
        );
    }
}
