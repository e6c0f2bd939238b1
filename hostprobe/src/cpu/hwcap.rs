//! Owns NFD's CPU flags of architectures without CPUID: the kernel's hardware capabilities, by bit of `AT_HWCAP` and
//! `AT_HWCAP2`. Names and bits are NFD's (nfd-features.md §4), which stops before the newest capabilities.

use std::collections::BTreeSet;

/// The flags of one architecture: those of the first word from bit 0, then those of the second.
struct Table {
    first: &'static [&'static str],
    second: &'static [&'static str],
}

const ARM64: Table = Table {
    first: &[
        "FP", "ASIMD", "EVTSTRM", "AES", "PMULL", "SHA1", "SHA2", "CRC32", "ATOMICS", "FPHP", "ASIMDHP", "CPUID",
        "ASIMDRDM", "JSCVT", "FCMA", "LRCPC", "DCPOP", "SHA3", "SM3", "SM4", "ASIMDDP", "SHA512", "SVE", "ASIMDFHM",
        "DIT", "USCAT", "ILRCPC", "FLAGM", "SSBS", "SB", "PACA", "PACG",
    ],
    second: &[
        "DCPODP",
        "SVE2",
        "SVEAES",
        "SVEPMULL",
        "SVEBITPERM",
        "SVESHA3",
        "SVESM4",
        "FLAGM2",
        "FRINT",
        "SVEI8MM",
        "SVEF32MM",
        "SVEF64MM",
        "SVEBF16",
        "I8MM",
        "BF16",
        "DGH",
        "RNG",
        "BTI",
        "MTE",
        "ECV",
        "AFP",
        "RPRES",
        "MTE3",
        "SME",
        "SMEI16I64",
        "SMEF64F64",
        "SMEI8I32",
        "SMEF16F32",
        "SMEB16F32",
        "SMEF32F32",
        "SMEFA64",
        "WFXT",
        "EBF16",
        "SVEEBF16",
    ],
};

/// Bits 2 to 5 of the first word, and those below 17 of the second, have no name.
const PPC64LE: Table = Table {
    first: &[
        "PPCLE",
        "TRUE_LE",
        "",
        "",
        "",
        "",
        "ARCHPMU",
        "VSX",
        "ARCH_2_06",
        "POWER6X",
        "DFP",
        "PA6T",
        "ARCH_2_05",
        "IC_SNOOP",
        "SMT",
        "BOOKE",
        "CELLBE",
        "POWER5+",
        "POWER5",
        "POWER4",
        "NOTB",
        "EFPDOUBLE",
        "EFPFLOAT",
        "SPE",
        "UCACHE",
        "4xxMAC",
        "MMU",
        "FPU",
        "ALTIVEC",
        "PPC601",
        "PPC64",
        "PPC32",
    ],
    second: &[
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "MMA",
        "ARCH_3_1",
        "HTM-NO-SUSPEND",
        "SCV",
        "DARN",
        "IEEE128",
        "ARCH_3_00",
        "HTM-NOSC",
        "VCRYPTO",
        "TAR",
        "ISEL",
        "EBB",
        "DSCR",
        "HTM",
        "ARCH_2_07",
    ],
};

const S390X: Table = Table {
    first: &[
        "ESAN3", "ZARCH", "STFLE", "MSA", "LDISP", "EIMM", "DFP", "EDAT", "ETF3EH", "HIGHGPRS", "TE", "VX", "VXD",
        "VXE", "GS", "VXE2", "VXP", "SORT", "DFLT", "VXP2", "NNPA", "PCIMIO", "SIE",
    ],
    second: &[],
};

fn table(architecture: &str) -> Option<&'static Table> {
    Some(match architecture {
        "arm64" => &ARM64,
        "ppc64le" => &PPC64LE,
        "s390x" => &S390X,
        _ => return None,
    })
}

/// Whether NFD knows flags of this architecture that are not CPUID's (GOARCH).
pub(crate) fn has(architecture: &str) -> bool {
    table(architecture).is_some()
}

/// All flags that NFD knows of this architecture.
pub(crate) fn names(architecture: &str) -> impl Iterator<Item = &'static str> {
    let all = table(architecture).into_iter().flat_map(|table| table.first.iter().chain(table.second));
    all.copied().filter(|name| !name.is_empty())
}

/// The flags of the bits that are set.
pub(crate) fn of_words(architecture: &str, words: [u64; 2]) -> Vec<&'static str> {
    let Some(table) = table(architecture) else { return Vec::new() };
    let set = |(names, word): (&'static [&'static str], u64)| {
        let bits = names.iter().enumerate();
        bits.filter(move |(bit, name)| word >> bit & 1 == 1 && !name.is_empty()).map(|(_, name)| *name)
    };
    [table.first, table.second].into_iter().zip(words).flat_map(set).collect()
}

/// The same by the kernel's own names of them in `/proc/cpuinfo`, which are these in lower case. POWER's file has none.
pub(crate) fn of_cpuinfo(architecture: &str, features: &BTreeSet<String>) -> Vec<&'static str> {
    names(architecture).filter(|name| features.contains(&name.to_lowercase())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The kernel's `include/uapi/asm/hwcap.h` and `cputable.h`, at the ends of each table and somewhere between.
    #[test]
    fn each_name_is_at_its_bit() {
        let cases = [
            ("arm64", [1 << 0, 0], "FP"),
            ("arm64", [1 << 22, 0], "SVE"),
            ("arm64", [1 << 31, 0], "PACG"),
            ("arm64", [0, 1 << 1], "SVE2"),
            ("arm64", [0, 1 << 17], "BTI"),
            ("arm64", [0, 1 << 33], "SVEEBF16"),
            ("ppc64le", [0x0000_0080, 0], "VSX"),
            ("ppc64le", [0x1000_0000, 0], "ALTIVEC"),
            ("ppc64le", [0x8000_0000, 0], "PPC32"),
            ("ppc64le", [0x0002_0000, 0], "POWER5+"),
            ("ppc64le", [0x0000_0040, 0], "ARCHPMU"),
            ("ppc64le", [0, 0x8000_0000], "ARCH_2_07"),
            ("ppc64le", [0, 0x0080_0000], "ARCH_3_00"),
            ("ppc64le", [0, 0x0002_0000], "MMA"),
            ("s390x", [1 << 7, 0], "EDAT"),
            ("s390x", [1 << 11, 0], "VX"),
            ("s390x", [1 << 22, 0], "SIE"),
        ];
        for (architecture, words, name) in cases {
            assert_eq!(of_words(architecture, words), [name], "{architecture}");
        }
        assert!(of_words("s390x", [0, u64::MAX]).is_empty() && of_words("amd64", [u64::MAX; 2]).is_empty());
    }

    #[test]
    fn names_of_cpuinfo_are_the_same() {
        let words = "fp asimd sve2 smei16i64 sve2p1".split(' ').map(str::to_owned).collect();
        assert_eq!(of_cpuinfo("arm64", &words), ["FP", "ASIMD", "SVE2", "SMEI16I64"], "NFD has no sve2p1");
    }
}
