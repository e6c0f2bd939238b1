//! Owns the CPUID and XGETBV instructions of the running processor.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, reason = "XGETBV has no safe form")]

use super::cpuid::{Cpuid, Registers};

/// The processor that runs this program.
pub(crate) struct ThisProcessor;

impl Cpuid for ThisProcessor {
    fn registers(&self, leaf: u32, subleaf: u32) -> Option<Registers> {
        let result = cpuid_count(leaf, subleaf);
        Some(Registers { eax: result.eax, ebx: result.ebx, ecx: result.ecx, edx: result.edx })
    }

    fn xcr0(&self) -> Option<u64> {
        const OSXSAVE: u32 = 1 << 27;
        if self.registers(1, 0).is_none_or(|leaf| leaf.ecx & OSXSAVE == 0) {
            return Some(0);
        }
        // SAFETY: OSXSAVE is set, so the operating system has enabled XGETBV.
        Some(unsafe { xgetbv() })
    }
}

fn cpuid_count(leaf: u32, subleaf: u32) -> std::arch::x86_64::CpuidResult {
    #[allow(unused_unsafe, reason = "the intrinsic is safe in newer compilers than our oldest")]
    // SAFETY: every x86-64 processor has CPUID.
    unsafe {
        std::arch::x86_64::__cpuid_count(leaf, subleaf)
    }
}

/// # Safety
///
/// CPUID.1:ECX.OSXSAVE must be set.
#[target_feature(enable = "xsave")]
unsafe fn xgetbv() -> u64 {
    // SAFETY: the caller has seen OSXSAVE; register 0 exists wherever the instruction does.
    unsafe { std::arch::x86_64::_xgetbv(0) }
}
