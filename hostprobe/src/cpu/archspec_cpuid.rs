//! Owns what archspec's detection sees of an x86 processor by CPUID alone: where `/proc/cpuinfo` cannot be read, and in dumps.
//! The bits are those of archspec's `cpuid.json`, and six more that its own targets ask for (`clzero`, `tsc_adjust`,
//! `flush_l1d`, `avx_vnni_int8`, `avx_ne_convert`, `avx_vnni_int16`).

use std::collections::BTreeSet;

use bestfit_selector::microarch::CpuDescription;

use super::cpuid::Register::{self, Eax, Ebx, Ecx, Edx};
use super::cpuid::{Cpuid, Processor};

/// The flags of one register of one leaf: `bit:name`, in the spelling of `/proc/cpuinfo`.
struct Row {
    leaf: u32,
    subleaf: u32,
    register: Register,
    flags: &'static str,
}

const fn row(leaf: u32, subleaf: u32, register: Register, flags: &'static str) -> Row {
    Row { leaf, subleaf, register, flags }
}

const TABLE: &[Row] = &[
    row(
        0x1,
        0,
        Ecx,
        "0:pni 1:pclmulqdq 2:dtes64 3:monitor 4:ds_cpl 5:vmx 6:smx 7:est 8:tm2 9:ssse3 10:cid 12:fma 13:cx16 \
         14:xtpr 15:pdcm 17:pcid 18:dca 19:sse4_1 20:sse4_2 21:x2apic 22:movbe 23:popcnt 24:tscdeadline \
         25:aes 26:xsave 27:osxsave 28:avx 29:f16c 30:rdrand 31:hypervisor",
    ),
    row(
        0x1,
        0,
        Edx,
        "0:fpu 1:vme 2:de 3:pse 4:tsc 5:msr 6:pae 7:mce 8:cx8 9:apic 11:sep 12:mtrr 13:pge 14:mca 15:cmov \
         16:pat 17:pse36 18:pn 19:clflush 21:dts 22:acpi 23:mmx 24:fxsr 25:sse 26:sse2 27:ss 28:ht 29:tm \
         30:ia64 31:pbe",
    ),
    row(
        0x7,
        0,
        Ebx,
        "0:fsgsbase 1:tsc_adjust 2:sgx 3:bmi1 4:hle 5:avx2 6:fdp-excptn-only 7:smep 8:bmi2 9:erms 10:invpcid \
         11:rtm 12:pqm 14:mpx 15:pqe 16:avx512f 17:avx512dq 18:rdseed 19:adx 20:smap 21:avx512ifma 22:pcommit \
         23:clflushopt 24:clwb 25:intel_pt 26:avx512pf 27:avx512er 28:avx512cd 29:sha_ni 30:avx512bw \
         31:avx512vl",
    ),
    row(
        0x7,
        0,
        Ecx,
        "0:prefetchwt1 1:avx512vbmi 2:umip 3:pku 4:ospke 5:waitpkg 6:avx512_vbmi2 7:cet_ss 8:gfni 9:vaes \
         10:vpclmulqdq 11:avx512_vnni 12:avx512_bitalg 13:tme 14:avx512_vpopcntdq 22:rdpid 25:cldemote \
         27:movdiri 28:movdir64b 29:enqcmd 30:sgx_lc 31:pks",
    ),
    row(
        0x7,
        0,
        Edx,
        "4:fsrm 8:avx512_vp2intersect 10:md_clear 14:serialize 16:tsxldtrk 22:amx_bf16 23:avx512_fp16 \
         24:amx_tile 25:amx_int8 28:flush_l1d 31:ssbd",
    ),
    row(
        0x7,
        1,
        Eax,
        "0:sha512 1:sm3 2:sm4 3:rao_int 4:avx_vnni 5:avx512_bf16 7:cmpccxadd 8:arch_perfmon_ext 10:fzrm \
         11:fsrs 12:fsrc 18:lkgs 21:amx_fp16 23:avx_ifma 26:lam",
    ),
    row(0x7, 1, Edx, "4:avx_vnni_int8 5:avx_ne_convert 10:avx_vnni_int16"),
    row(0xd, 1, Eax, "0:xsaveopt 1:xsavec 2:xgetbv1 3:xsaves 4:xfd"),
    row(
        0x80000001,
        0,
        Ecx,
        "0:lahf_lm 1:cmp_legacy 2:svm 3:extapic 4:cr8_legacy 5:abm 6:sse4a 7:misalignsse 8:3dnowprefetch \
         9:osvw 10:ibs 11:xop 12:skinit 13:wdt 15:lwp 16:fma4 17:tce 19:nodeid_msr 21:tbm 22:topoext \
         23:perfctr_core 24:perfctr_nb 26:dbx 27:perftsc 28:pci_l2i 29:mwaitx",
    ),
    row(
        0x80000001,
        0,
        Edx,
        "0:fpu 1:vme 2:de 3:pse 4:tsc 5:msr 6:pae 7:mce 8:cx8 9:apic 10:syscall 11:syscall 12:mtrr 13:pge \
         14:mca 15:cmov 16:pat 17:pse36 19:mp 20:nx 22:mmxext 23:mmx 24:fxsr 25:fxsr_opt 26:pdpe1gp 27:rdtscp \
         29:lm 30:3dnowext 31:3dnow",
    ),
    row(0x80000008, 0, Ebx, "0:clzero"),
];

/// Flags beside `avx…` that programs may use only where the operating system saves AVX state (Linux, `cpuid_deps`).
const WITH_AVX: [&str; 6] = ["f16c", "fma", "fma4", "vaes", "vpclmulqdq", "xop"];

/// What archspec's detection needs of a processor. Flags that need state which the operating system does not save are not
/// there; a dump that does not say what it saves is taken to save all, as archspec does.
pub fn describe(cpuid: &dyn Cpuid) -> CpuDescription {
    let processor = Processor::new(cpuid);
    let mut features = BTreeSet::new();
    for row in TABLE {
        let flags = row.flags.split(' ').filter_map(|flag| flag.split_once(':'));
        let there = |bit: &str| {
            bit.parse().is_ok_and(|bit| processor.bit(row.leaf, row.subleaf, row.register, bit) == Some(true))
        };
        features.extend(flags.filter(|(bit, _)| there(bit)).map(|(_, name)| name.to_owned()));
    }
    if let Some(saved) = processor.saved_state() {
        let usable = |flag: &str| match flag {
            _ if flag.starts_with("avx512") => saved.avx512,
            _ if flag.starts_with("avx") || WITH_AVX.contains(&flag) => saved.avx,
            _ => true,
        };
        features.retain(|flag| usable(flag));
    }
    CpuDescription { arch: "amd64".to_owned(), vendor: processor.vendor(), features, ..CpuDescription::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::cpuid::CpuidDump;

    // Leaf 1 has sse4_2, avx and fma; leaf 7 has avx2 and avx512f.
    const DUMP: &str = "0, 0, 7, 1970169159, 1818588270, 1231384169\n1, 0, 0, 0, 269488128, 0\n7, 0, 0, 65568, 0, 0\n";

    #[test]
    fn flags_count_as_far_as_their_state_is_saved() {
        let features =
            |xcr0| describe(&CpuidDump::parse(DUMP, xcr0).unwrap()).features.into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(features(None), "avx avx2 avx512f fma sse4_2");
        assert_eq!(features(Some(0xe7)), "avx avx2 avx512f fma sse4_2");
        assert_eq!(features(Some(7)), "avx avx2 fma sse4_2");
        assert_eq!(features(Some(3)), "sse4_2");
    }

    #[test]
    fn the_table_is_well_formed() {
        let flags = TABLE.iter().flat_map(|row| row.flags.split(' '));
        for flag in flags {
            let (bit, name) = flag.split_once(':').unwrap();
            assert!(bit.parse::<u8>().unwrap() < 32 && !name.is_empty(), "{flag}");
        }
    }
}
