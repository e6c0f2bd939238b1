//! Owns the reading of CPUID: what is behind each leaf, which leaves are there, and the processor's vendor and model.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::seen::Seen;

/// The four registers that one CPUID leaf gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Registers {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// The name of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

impl Register {
    pub(crate) fn of(self, registers: Registers) -> u32 {
        match self {
            Self::Eax => registers.eax,
            Self::Ebx => registers.ebx,
            Self::Ecx => registers.ecx,
            Self::Edx => registers.edx,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Eax => "eax",
            Self::Ebx => "ebx",
            Self::Ecx => "ecx",
            Self::Edx => "edx",
        }
    }
}

/// A processor's CPUID instruction, or a dump of it.
pub trait Cpuid {
    /// The registers of a leaf; `None` where a dump does not hold it. Leaves above the highest one are not asked for.
    fn registers(&self, leaf: u32, subleaf: u32) -> Option<Registers>;

    /// The extended control register 0, which says what state the operating system saves; zero without OSXSAVE, `None`
    /// where nobody recorded it.
    fn xcr0(&self) -> Option<u64>;
}

/// Recorded CPUID leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuidDump {
    leaves: BTreeMap<(u32, u32), Registers>,
    xcr0: Option<u64>,
}

/// A line of a dump that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the CPUID dump is not six numbers: leaf, subleaf, eax, ebx, ecx, edx")]
pub struct DumpError {
    line: usize,
}

impl CpuidDump {
    /// Reads lines of six decimal numbers, `leaf, subleaf, eax, ebx, ecx, edx` (the form of archspec's `windows-cpuid-*`
    /// samples). They do not hold XCR0, so it is given beside them where it is known.
    pub fn parse(text: &str, xcr0: Option<u64>) -> Result<Self, DumpError> {
        let mut leaves = BTreeMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let numbers = line.split(',').map(|number| number.trim().parse::<u32>()).collect::<Result<Vec<_>, _>>();
            let Ok([leaf, subleaf, eax, ebx, ecx, edx]) = numbers.as_deref() else {
                return Err(DumpError { line: index + 1 });
            };
            leaves.insert((*leaf, *subleaf), Registers { eax: *eax, ebx: *ebx, ecx: *ecx, edx: *edx });
        }
        Ok(Self { leaves, xcr0 })
    }
}

impl Cpuid for CpuidDump {
    fn registers(&self, leaf: u32, subleaf: u32) -> Option<Registers> {
        self.leaves.get(&(leaf, subleaf)).copied()
    }

    fn xcr0(&self) -> Option<u64> {
        self.xcr0
    }
}

/// A processor whose leaves are read once each (under a hypervisor every CPUID is an exit) and only where they exist.
pub(crate) struct Processor<'a> {
    cpuid: &'a dyn Cpuid,
    highest: u32,
    highest_extended: u32,
    read: RefCell<BTreeMap<(u32, u32), Option<Registers>>>,
}

const EXTENDED: u32 = 0x8000_0000;
const HYPERVISOR: u32 = 0x4000_0000;

impl<'a> Processor<'a> {
    pub(crate) fn new(cpuid: &'a dyn Cpuid) -> Self {
        let first = cpuid.registers(0, 0);
        let highest_extended = cpuid.registers(EXTENDED, 0).unwrap_or_default().eax;
        let highest = first.unwrap_or_default().eax;
        Self { cpuid, highest, highest_extended, read: RefCell::new(BTreeMap::from([((0, 0), first)])) }
    }

    /// The registers of a leaf: absent where the processor does not have it, unknown where a dump does not hold it.
    pub(crate) fn leaf(&self, leaf: u32, subleaf: u32) -> Seen<Registers> {
        let there = match leaf {
            EXTENDED.. => leaf <= self.highest_extended,
            HYPERVISOR.. => self.bit(1, 0, Register::Ecx, 31) == Some(true),
            _ => leaf <= self.highest,
        };
        if !there {
            return Seen::Absent;
        }
        let registers = {
            let mut read = self.read.borrow_mut();
            *read.entry((leaf, subleaf)).or_insert_with(|| self.cpuid.registers(leaf, subleaf))
        };
        registers.map_or_else(|| Seen::Unknown(format!("cpuid {leaf:x}.{subleaf:x} was not recorded")), Seen::Known)
    }

    /// One bit of a leaf: clear where the processor does not have the leaf, `None` where it was not recorded.
    pub(crate) fn bit(&self, leaf: u32, subleaf: u32, register: Register, bit: u8) -> Option<bool> {
        match self.leaf(leaf, subleaf) {
            Seen::Known(registers) => Some(register.of(registers) >> bit & 1 == 1),
            Seen::Absent => Some(false),
            Seen::Unknown(_) => None,
        }
    }

    fn registers(&self, leaf: u32, subleaf: u32) -> Option<Registers> {
        match self.leaf(leaf, subleaf) {
            Seen::Known(registers) => Some(registers),
            Seen::Absent | Seen::Unknown(_) => None,
        }
    }

    /// Whether the operating system saves AVX state, and AVX-512 state; `None` where XCR0 is not known.
    pub(crate) fn saved_state(&self) -> Option<SavedState> {
        const AVX: u64 = 0b110;
        const AVX512: u64 = 0b1110_0000 | AVX;
        let xcr0 = self.cpuid.xcr0()?;
        Some(SavedState { avx: xcr0 & AVX == AVX, avx512: xcr0 & AVX512 == AVX512 })
    }

    /// The twelve characters of leaf 0, such as `GenuineIntel`.
    pub(crate) fn vendor(&self) -> String {
        let leaf = self.registers(0, 0).unwrap_or_default();
        text_of(&[leaf.ebx, leaf.edx, leaf.ecx])
    }

    /// What calls itself the hypervisor; `None` on bare metal.
    pub(crate) fn hypervisor(&self) -> Option<String> {
        let leaf = self.registers(HYPERVISOR, 0)?;
        Some(text_of(&[leaf.ebx, leaf.ecx, leaf.edx]))
    }

    /// Family and model as Intel and AMD number them: the extended family counts for 0xf, the extended model for 6 and
    /// 0xf.
    pub(crate) fn family_and_model(&self) -> (u32, u32) {
        let eax = self.registers(1, 0).unwrap_or_default().eax;
        let base = eax >> 8 & 0xf;
        let family = if base == 0xf { base + (eax >> 20 & 0xff) } else { base };
        let extended = if base == 6 || base == 0xf { (eax >> 16 & 0xf) << 4 } else { 0 };
        (family, (eax >> 4 & 0xf) + extended)
    }

    /// Threads per core, as NFD's library counts them: Intel and AMD only, else 1.
    pub(crate) fn threads_per_core(&self) -> u32 {
        let (intel, amd) = (self.vendor() == "GenuineIntel", self.vendor() == "AuthenticAMD");
        if !intel && !amd {
            return 1;
        }
        let one = self.registers(1, 0).unwrap_or_default();
        let several = one.edx >> 28 & 1 == 1;
        let Some(topology) = self.registers(0xb, 0) else {
            let cores = self.registers(4, 0).map_or(1, |leaf| (leaf.eax >> 26) + 1);
            return if intel && several { ((one.ebx >> 16 & 0xff) / cores).max(1) } else { 1 };
        };
        match topology.ebx & 0xffff {
            // Some AMD processors leave the leaf empty; from family 23 on they have two threads.
            0 if amd && several && self.family_and_model().0 >= 23 => {
                self.registers(0x8000_001e, 0).map_or(2, |leaf| (leaf.ebx >> 8 & 0xff) + 1)
            }
            0 => 1,
            threads => threads,
        }
    }
}

/// What the operating system saves on a context switch, and so lets programs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SavedState {
    pub(crate) avx: bool,
    pub(crate) avx512: bool,
}

fn text_of(registers: &[u32]) -> String {
    let bytes: Vec<u8> = registers.iter().flat_map(|register| register.to_le_bytes()).collect();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()
}

/// NFD's name for the vendor that a processor or hypervisor calls itself (klauspost/cpuid's table).
pub(crate) fn nfd_vendor(name: &str) -> Option<&'static str> {
    Some(match name.trim_end() {
        "AMDisbetter!" | "AuthenticAMD" => "AMD",
        "CentaurHauls" | "VIA VIA VIA" => "VIA",
        "GenuineIntel" => "Intel",
        "TransmetaCPU" | "GenuineTMx86" => "Transmeta",
        "Geode by NSC" => "NSC",
        "KVMKVMKVM" | "Linux KVM Hv" => "KVM",
        "TCGTCGTCGTCG" => "QEMU",
        "Microsoft Hv" => "MSVM",
        "VMwareVMware" => "VMware",
        "XenVMMXenVMM" => "XenHVM",
        "bhyve bhyve" => "Bhyve",
        "HygonGenuine" => "Hygon",
        "Vortex86 SoC" | "SiS SiS SiS" | "RiseRiseRise" => "SiS",
        "Genuine  RDC" => "RDC",
        "QNXQVMBSQG" => "QNX",
        "ACRNACRNACRN" => "ACRN",
        "SRESRESRESRE" => "SRE",
        "Apple VZ" => "Apple",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Leaf 0 and 1 of a virtual machine on an Intel host, `cpuid -r`.
    const DUMP: &str = "0, 0, 20, 1970169159, 1818588270, 1231384169\n1, 0, 657009, 0, 0, 0\n";

    #[test]
    fn vendor_and_model_are_read() {
        let dump = CpuidDump::parse(DUMP, None).unwrap();
        let processor = Processor::new(&dump);
        assert_eq!(processor.vendor(), "GenuineIntel");
        assert_eq!(processor.family_and_model(), (6, 167));
        assert_eq!(processor.saved_state(), None);
        assert_eq!(processor.leaf(21, 0), Seen::Absent, "above the highest leaf");
        assert_eq!(processor.bit(7, 0, Register::Ebx, 5), None, "below it, but not recorded");
    }

    #[test]
    fn a_broken_dump_names_its_line() {
        assert_eq!(CpuidDump::parse("1,2,3,4,5,6\n1,2,3\n", None), Err(DumpError { line: 2 }));
    }

    #[test]
    fn avx512_needs_the_avx_state_too() {
        for (xcr0, avx, avx512) in
            [(0, false, false), (7, true, false), (0xe7, true, true), (0xe1, false, false), (0x67, true, false)]
        {
            let dump = CpuidDump { xcr0: Some(xcr0), ..CpuidDump::default() };
            assert_eq!(Processor::new(&dump).saved_state(), Some(SavedState { avx, avx512 }), "{xcr0:#x}");
        }
    }
}
