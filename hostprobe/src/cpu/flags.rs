//! Owns the table of NFD's x86 CPU flags: where CPUID has each, and what `/proc/cpuinfo` calls it. Names, bits and
//! conditions are those of klauspost/cpuid 2.4 (nfd-features.md §3), also where they are odd (`FXSROPT` is the SSE bit).
//! Flags that need more than one bit are in `nfd_flags`.

use super::cpuid::Register::{self, Eax, Ebx, Ecx, Edx};

/// Some flags of one register of one leaf.
pub(crate) struct Row {
    pub(crate) leaf: u32,
    pub(crate) subleaf: u32,
    pub(crate) register: Register,
    pub(crate) flags: &'static [Flag],
}

/// One flag of a register.
pub(crate) struct Flag {
    pub(crate) bit: u8,
    /// NFD's name.
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) cpuinfo: CpuinfoName,
}

/// The state that the operating system must save before the flag counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    Avx,
    Avx512,
}

/// What `/proc/cpuinfo` says about a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CpuinfoName {
    /// The flag is there if and only if this word is.
    Told(&'static str),
    /// This word proves the flag; without it nothing is known: kernels hide it, clear it, or learnt it late.
    Hinted(&'static str),
    /// Nothing.
    Silent,
}

const fn flag(bit: u8, name: &'static str) -> Flag {
    Flag { bit, name, needs: Needs::Nothing, cpuinfo: CpuinfoName::Silent }
}

const fn told(bit: u8, name: &'static str, cpuinfo: &'static str) -> Flag {
    Flag { bit, name, needs: Needs::Nothing, cpuinfo: CpuinfoName::Told(cpuinfo) }
}

const fn hinted(bit: u8, name: &'static str, cpuinfo: &'static str) -> Flag {
    Flag { bit, name, needs: Needs::Nothing, cpuinfo: CpuinfoName::Hinted(cpuinfo) }
}

impl Flag {
    const fn avx(self) -> Self {
        Self { needs: Needs::Avx, ..self }
    }

    const fn avx512(self) -> Self {
        Self { needs: Needs::Avx512, ..self }
    }
}

const fn row(leaf: u32, subleaf: u32, register: Register, flags: &'static [Flag]) -> Row {
    Row { leaf, subleaf, register, flags }
}

/// All flags that are one bit.
pub(crate) const TABLE: &[Row] = &[
    row(
        0x1,
        0,
        Edx,
        &[
            told(0, "X87", "fpu"),
            told(8, "CMPXCHG8", "cx8"),
            told(11, "SYSEE", "sep"),
            told(15, "CMOV", "cmov"),
            told(23, "MMX", "mmx"),
            told(24, "FXSR", "fxsr"),
            told(25, "FXSROPT", "sse"),
            told(25, "SSE", "sse"),
            told(26, "SSE2", "sse2"),
        ],
    ),
    row(
        0x1,
        0,
        Ecx,
        &[
            told(0, "SSE3", "pni"),
            hinted(5, "VMX", "vmx"),
            told(9, "SSSE3", "ssse3"),
            told(19, "SSE4", "sse4_1"),
            told(20, "SSE42", "sse4_2"),
            told(25, "AESNI", "aes"),
            told(1, "CLMUL", "pclmulqdq"),
            told(22, "MOVBE", "movbe"),
            told(23, "POPCNT", "popcnt"),
            told(30, "RDRAND", "rdrand"),
            told(31, "HYPERVISOR", "hypervisor"),
            told(29, "F16C", "f16c"),
            told(13, "CX16", "cx16"),
            told(26, "XSAVE", "xsave"),
            told(27, "OSXSAVE", "xsave"),
        ],
    ),
    row(
        0x7,
        0,
        Ebx,
        &[
            hinted(2, "SGX", "sgx"),
            hinted(4, "HLE", "hle"),
            told(9, "ERMS", "erms"),
            hinted(11, "RTM", "rtm"),
            hinted(14, "MPX", "mpx"),
            told(18, "RDSEED", "rdseed"),
            told(19, "ADX", "adx"),
            told(29, "SHA", "sha_ni"),
            told(16, "AVX512F", "avx512f").avx512(),
            told(17, "AVX512DQ", "avx512dq").avx512(),
            told(21, "AVX512IFMA", "avx512ifma").avx512(),
            told(26, "AVX512PF", "avx512pf").avx512(),
            told(27, "AVX512ER", "avx512er").avx512(),
            told(28, "AVX512CD", "avx512cd").avx512(),
            told(30, "AVX512BW", "avx512bw").avx512(),
            told(31, "AVX512VL", "avx512vl").avx512(),
        ],
    ),
    row(
        0x7,
        0,
        Ecx,
        &[
            hinted(5, "WAITPKG", "waitpkg"),
            hinted(7, "CETSS", "user_shstk"),
            told(8, "GFNI", "gfni"),
            told(9, "VAES", "vaes"),
            told(10, "VPCLMULQDQ", "vpclmulqdq"),
            hinted(13, "TME", "tme"),
            hinted(25, "CLDEMOTE", "cldemote"),
            flag(23, "KEYLOCKER"),
            hinted(27, "MOVDIRI", "movdiri"),
            hinted(28, "MOVDIR64B", "movdir64b"),
            hinted(29, "ENQCMD", "enqcmd"),
            hinted(30, "SGXLC", "sgx_lc"),
            told(1, "AVX512VBMI", "avx512vbmi").avx512(),
            flag(3, "AMXFP8").avx512(),
            told(6, "AVX512VBMI2", "avx512_vbmi2").avx512(),
            told(11, "AVX512VNNI", "avx512_vnni").avx512(),
            told(12, "AVX512BITALG", "avx512_bitalg").avx512(),
            told(14, "AVX512VPOPCNTDQ", "avx512_vpopcntdq").avx512(),
        ],
    ),
    row(
        0x7,
        0,
        Edx,
        &[
            hinted(4, "FSRM", "fsrm"),
            flag(9, "SRBDS_CTRL"),
            hinted(10, "MD_CLEAR", "md_clear"),
            flag(11, "RTM_ALWAYS_ABORT"),
            hinted(14, "SERIALIZE", "serialize"),
            flag(15, "HYBRID_CPU"),
            hinted(16, "TSXLDTRK", "tsxldtrk"),
            hinted(18, "PCONFIG", "pconfig"),
            hinted(20, "CETIBT", "ibt"),
            flag(26, "IBPB"),
            flag(27, "STIBP"),
            hinted(28, "FLUSH_L1D", "flush_l1d"),
            hinted(29, "IA32_ARCH_CAP", "arch_capabilities"),
            flag(30, "IA32_CORE_CAP"),
            flag(31, "SPEC_CTRL_SSBD"),
            told(8, "AVX512VP2INTERSECT", "avx512_vp2intersect").avx512(),
            told(22, "AMXBF16", "amx_bf16").avx512(),
            told(23, "AVX512FP16", "avx512_fp16").avx512(),
            told(24, "AMXTILE", "amx_tile").avx512(),
            told(25, "AMXINT8", "amx_int8").avx512(),
        ],
    ),
    row(
        0x7,
        1,
        Eax,
        &[
            told(4, "AVXVNNI", "avx_vnni").avx(),
            flag(1, "SM3_X86"),
            flag(2, "SM4_X86"),
            flag(7, "CMPCCXADD"),
            flag(10, "MOVSB_ZL"),
            flag(11, "STOSB_SHORT"),
            flag(12, "CMPSB_SCADBS_SHORT"),
            hinted(17, "FRED", "fred"),
            flag(22, "HRESET"),
            flag(23, "AVXIFMA"),
            hinted(26, "LAM", "lam"),
            told(5, "AVX512BF16", "avx512_bf16").avx512(),
            flag(19, "WRMSRNS").avx512(),
            flag(21, "AMXFP16").avx512(),
            flag(27, "MSRLIST").avx512(),
        ],
    ),
    row(
        0x7,
        1,
        Edx,
        &[
            flag(4, "AVXVNNIINT8"),
            flag(5, "AVXNECONVERT"),
            flag(6, "AMXTRANSPOSE"),
            flag(7, "AMXTF32"),
            flag(8, "AMXCOMPLEX"),
            flag(10, "AVXVNNIINT16"),
            flag(14, "PREFETCHI"),
            flag(19, "AVX10"),
            flag(21, "APX_F"),
        ],
    ),
    row(
        0x7,
        2,
        Edx,
        &[flag(0, "PSFD"), flag(1, "IDPRED_CTRL"), flag(2, "RRSBA_CTRL"), flag(4, "BHI_CTRL"), flag(5, "MCDT_NO")],
    ),
    row(0x12, 0, Eax, &[flag(12, "SGXPQC")]),
    row(0x24, 0, Ebx, &[flag(16, "AVX10_128"), flag(17, "AVX10_256"), flag(18, "AVX10_512")]),
    row(
        0xd,
        1,
        Eax,
        &[
            hinted(0, "XSAVEOPT", "xsaveopt"),
            hinted(1, "XSAVEC", "xsavec"),
            hinted(2, "XGETBV1", "xgetbv1"),
            hinted(3, "XSAVES", "xsaves"),
        ],
    ),
    row(
        0x8000_0001,
        0,
        Ecx,
        &[
            told(0, "LAHF", "lahf_lm"),
            hinted(2, "SVM", "svm"),
            told(6, "SSE4A", "sse4a"),
            hinted(10, "IBS", "ibs"),
            told(22, "TOPEXT", "topoext"),
            told(11, "XOP", "xop").avx(),
            told(16, "FMA4", "fma4").avx(),
        ],
    ),
    row(
        0x8000_0001,
        0,
        Edx,
        &[
            told(11, "SYSCALL", "syscall"),
            told(20, "NX", "nx"),
            told(22, "MMXEXT", "mmxext"),
            told(23, "MMX", "mmx"),
            told(24, "FXSR", "fxsr"),
            told(25, "FXSROPT", "sse"),
            told(27, "RDTSCP", "rdtscp"),
            told(30, "AMD3DNOWEXT", "3dnowext"),
            told(31, "AMD3DNOW", "3dnow"),
        ],
    ),
    row(
        0x8000_0007,
        0,
        Ebx,
        &[hinted(0, "MCAOVERFLOW", "overflow_recov"), hinted(1, "SUCCOR", "succor"), flag(2, "HWA")],
    ),
    row(0x8000_0007, 0, Edx, &[hinted(9, "CPBOOST", "cpb")]),
    row(
        0x8000_0008,
        0,
        Ebx,
        &[
            flag(28, "PSFD"),
            hinted(27, "CPPC", "cppc"),
            flag(24, "SPEC_CTRL_SSBD"),
            hinted(23, "PPIN", "amd_ppin"),
            flag(21, "TLB_FLUSH_NESTED"),
            flag(20, "EFER_LMSLE_UNS"),
            flag(19, "IBRS_PROVIDES_SMP"),
            flag(18, "IBRS_PREFERRED"),
            flag(17, "STIBP_ALWAYSON"),
            flag(15, "STIBP"),
            flag(14, "IBRS"),
            flag(13, "INT_WBINVD"),
            flag(12, "IBPB"),
            hinted(9, "WBNOINVD", "wbnoinvd"),
            flag(8, "MCOMMIT"),
            hinted(4, "RDPRU", "rdpru"),
            flag(3, "INVLPGB"),
            flag(1, "MSRIRC"),
            hinted(0, "CLZERO", "clzero"),
        ],
    ),
    row(
        0x8000_000a,
        0,
        Edx,
        &[
            hinted(0, "SVMNP", "npt"),
            hinted(1, "LBRVIRT", "lbrv"),
            hinted(2, "SVML", "svm_lock"),
            hinted(3, "NRIPS", "nrip_save"),
            hinted(4, "TSCRATEMSR", "tsc_scale"),
            hinted(5, "VMCBCLEAN", "vmcb_clean"),
            hinted(6, "SVMFBASID", "flushbyasid"),
            hinted(7, "SVMDA", "decodeassists"),
            hinted(10, "SVMPF", "pausefilter"),
            hinted(12, "SVMPFT", "pfthreshold"),
        ],
    ),
    row(0x8000_001a, 0, Eax, &[flag(0, "FP128"), flag(1, "MOVU"), flag(2, "FP256")]),
    row(
        0x8000_001b,
        0,
        Eax,
        &[
            flag(0, "IBSFFV"),
            flag(1, "IBSFETCHSAM"),
            flag(2, "IBSOPSAM"),
            flag(3, "IBSRDWROPCNT"),
            flag(4, "IBSOPCNT"),
            flag(5, "IBSBRNTRGT"),
            flag(6, "IBSOPCNTEXT"),
            flag(7, "IBSRIPINVALIDCHK"),
            flag(8, "IBS_OPFUSE"),
            flag(9, "IBS_FETCH_CTLX"),
            flag(10, "IBS_OPDATA4"),
            flag(11, "IBS_ZEN4"),
        ],
    ),
    row(
        0x8000_001f,
        0,
        Eax,
        &[
            hinted(0, "SME", "sme"),
            hinted(1, "SEV", "sev"),
            flag(2, "MSR_PAGEFLUSH"),
            hinted(3, "SEV_ES", "sev_es"),
            hinted(4, "SEV_SNP", "sev_snp"),
            flag(5, "VMPL"),
            flag(10, "SME_COHERENT"),
            flag(11, "SEV_64BIT"),
            flag(12, "SEV_RESTRICTED"),
            flag(13, "SEV_ALTERNATIVE"),
            flag(14, "SEV_DEBUGSWAP"),
            flag(15, "IBS_PREVENTHOST"),
            flag(16, "VTE"),
            flag(24, "VMSA_REGPROT"),
        ],
    ),
    row(
        0x8000_0021,
        0,
        Eax,
        &[
            flag(31, "SRSO_MSR_FIX"),
            flag(30, "SRSO_USER_KERNEL_NO"),
            flag(29, "SRSO_NO"),
            flag(28, "IBPB_BRTYPE"),
            flag(27, "SBPB"),
            flag(23, "AVX512BMM"),
            flag(5, "TSA_VERW_CLEAR"),
        ],
    ),
    row(0x8000_0021, 0, Ecx, &[flag(1, "TSA_L1_NO"), flag(2, "TSA_SQ_NO")]),
];
