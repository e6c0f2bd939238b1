//! Owns `/proc/cpuinfo`, of any architecture: the first processor's block, and how the others differ from it.

use std::collections::BTreeSet;

use crate::root::HostRoot;
use crate::seen::Seen;

/// Where it is read.
pub(crate) const PATH: &str = "/proc/cpuinfo";

/// A block is about 1.5 KiB, and machines with more than 4096 processors are rare.
const LIMIT: usize = 16 << 20;

/// The most kinds of cores that a machine is believed to have: two or three are known.
const MAX_KINDS: usize = 16;

/// The fields that make a core another kind of core.
const IDENTITY: [&str; 11] = [
    "vendor_id",
    "model name",
    "flags",
    "Features",
    "features",
    "CPU implementer",
    "CPU part",
    "cpu",
    "uarch",
    "isa",
    "hart isa",
];

/// The first block: key and value of each line, as the kernel writes them, trimmed; and the kinds of cores of all blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuInfo {
    fields: Vec<(String, String)>,
    kinds: Vec<Kind>,
}

/// Cores that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Their numbers, in the order of the file.
    pub(crate) processors: Vec<u32>,
    /// What tells them from others.
    pub(crate) info: CpuInfo,
}

impl CpuInfo {
    /// Reads `text`. A block is the lines up to the first empty one after a key.
    pub fn parse(text: &str) -> Self {
        let mut blocks = Blocks(text.lines());
        let first = blocks.next().unwrap_or_default();
        let mut kinds: Vec<(Vec<&str>, Vec<u32>)> = Vec::new();
        // The first block is a core even where it has no number; later ones without are about the machine (POWER).
        let number = |block: &Block<'_>| value(block, "processor").and_then(|number| number.parse().ok());
        let later = blocks.filter_map(|block| Some((number(&block)?, block)));
        for (number, block) in std::iter::once((number(&first).unwrap_or(0), first.clone())).chain(later) {
            let identity = IDENTITY.map(|key| value(&block, key).unwrap_or_default()).to_vec();
            if !kinds.is_empty() && identity.iter().all(|value| value.is_empty()) {
                // Old kernels list the number alone: it is as the first.
                continue;
            }
            match kinds.iter().position(|(known, _)| *known == identity) {
                Some(kind) => kinds[kind].1.push(number),
                None => kinds.push((identity, vec![number])),
            }
            if kinds.len() > MAX_KINDS {
                break;
            }
        }
        let kind = |(identity, processors): (Vec<&str>, Vec<u32>)| {
            let fields = IDENTITY.iter().zip(identity).filter(|(_, value)| !value.is_empty());
            let fields = fields.map(|(key, value)| ((*key).to_owned(), value.to_owned())).collect();
            Kind { processors, info: Self { fields, kinds: Vec::new() } }
        };
        let fields = first.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self { fields, kinds: kinds.into_iter().map(kind).collect() }
    }

    /// The kinds of cores, that of the first one first; `None` where there are too many.
    pub(crate) fn kinds(&self) -> Option<&[Kind]> {
        Some(self.kinds.as_slice()).filter(|kinds| kinds.len() <= MAX_KINDS)
    }

    pub(crate) fn load(root: &HostRoot) -> Seen<Self> {
        let text = root.text_until(PATH, LIMIT, |_| false);
        match root.seen(text, "/proc").map(|text| Self::parse_any(&text)) {
            Seen::Known(info) if info.fields.is_empty() => Seen::Unknown(format!("{PATH}: no field in it")),
            // Every kernel has this file: without it the root was recorded in part.
            Seen::Absent => Seen::Unknown(format!("{PATH}: not there")),
            seen => seen,
        }
    }

    fn parse_any(text: &str) -> Self {
        if is_s390x(text.as_bytes()) { Self::parse_s390x(text) } else { Self::parse(text) }
    }

    /// s390x has one block for the machine and then one for each processor, of which the first is read as well.
    fn parse_s390x(text: &str) -> Self {
        let (machine, rest) = text.split_once("\n\n").unwrap_or((text, ""));
        let (mut all, first) = (Self::parse(machine), Self::parse(rest));
        all.fields.extend(first.fields);
        all
    }

    /// The value of `key`, in the kernel's spelling.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The CPU features in the kernel's spelling; `None` where this architecture's file lists none.
    pub fn features(&self) -> Option<BTreeSet<String>> {
        // x86 and newer riscv; arm; s390x.
        let list = ["flags", "Features", "features"].iter().find_map(|key| self.get(key))?;
        Some(list.split_whitespace().map(str::to_owned).collect())
    }

    /// The architecture in GOARCH spelling, by the fields that only its kernel writes.
    pub fn architecture(&self) -> Option<&'static str> {
        let has = |feature| self.features().is_some_and(|features| features.contains(feature));
        if self.get("vendor_id").is_some_and(|vendor| vendor.starts_with("IBM/S390")) {
            return Some("s390x");
        }
        if self.get("flags").is_some() && self.get("vendor_id").is_some() {
            return Some(if has("lm") { "amd64" } else { "386" });
        }
        if self.get("CPU implementer").is_some() {
            return Some(if has("asimd") || has("fp") { "arm64" } else { "arm" });
        }
        if let Some(isa) = self.get("isa") {
            return isa.starts_with("rv64").then_some("riscv64");
        }
        // The file does not tell the byte order; containers on big-endian POWER are not in use.
        if self.get("cpu").is_some_and(|cpu| cpu.starts_with("POWER")) {
            return Some("ppc64le");
        }
        self.get("CPU Family").filter(|family| family.starts_with("Loongson")).map(|_| "loong64")
    }
}

/// Key and value of each line of one block.
type Block<'t> = Vec<(&'t str, &'t str)>;

fn value<'t>(block: &Block<'t>, key: &str) -> Option<&'t str> {
    block.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
}

/// The blocks of a text.
struct Blocks<'t>(std::str::Lines<'t>);

impl<'t> Iterator for Blocks<'t> {
    type Item = Block<'t>;

    fn next(&mut self) -> Option<Block<'t>> {
        let mut block = Vec::new();
        for line in self.0.by_ref() {
            match line.split_once(':') {
                Some((key, value)) => block.push((key.trim(), value.trim())),
                None if line.trim().is_empty() && !block.is_empty() => break,
                None => {}
            }
        }
        Some(block).filter(|block| !block.is_empty())
    }
}

fn is_s390x(bytes: &[u8]) -> bool {
    bytes.starts_with(b"vendor_id") && bytes.windows(8).take(64).any(|window| window == b"IBM/S390")
}

/// NFD's name for an arm implementer code, as klauspost/cpuid reads it from MIDR.
pub(crate) fn nfd_arm_vendor(implementer: &str) -> Option<&'static str> {
    Some(match implementer {
        "0x41" => "ARM",
        "0x42" => "Broadcom",
        "0x43" => "Cavium",
        "0x44" => "DEC",
        "0x46" => "Fujitsu",
        "0x49" => "Infineon",
        "0x4d" => "Motorola",
        "0x4e" => "NVIDIA",
        "0x50" => "AMCC",
        "0x51" => "Qualcomm",
        "0x56" => "Marvell",
        "0x69" => "Intel",
        "0xc0" => "Ampere",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_block_is_read_and_no_other() {
        // linux-rhel7-x86_64_v3 of archspec's samples begins with such a comment line.
        let info = CpuInfo::parse("\nCOMMENT : x\nprocessor\t: 0\nflags\t\t: fpu lm\n\nprocessor\t: 1\nflags: other\n");
        assert_eq!(info.get("processor"), Some("0"));
        assert_eq!(info.features(), Some(["fpu".to_owned(), "lm".to_owned()].into()));
    }

    #[test]
    fn two_blocks_are_read_of_s390x() {
        let text = "vendor_id       : IBM/S390\nfeatures\t: esan3 zarch\nprocessor 0: version = FF,  machine = 3906\n\n\
                    cpu number      : 0\nidentification  : 0133E8\nmachine         : 3906\n\ncpu number : 1\n";
        let info = CpuInfo::parse_any(text);
        assert_eq!((info.get("machine"), info.get("identification")), (Some("3906"), Some("0133E8")));
        assert_eq!(CpuInfo::parse_any("vendor_id : IBM/S390\n").get("machine"), None);
    }

    #[test]
    fn cores_that_differ_are_told_apart() {
        let core = |number: u32, part: &str| {
            format!(
                "processor\t: {number}\nBogoMIPS\t: {number}.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"
            )
        };
        let text = [core(0, "0xd05"), core(1, "0xd05"), core(2, "0xd0b"), core(3, "0xd05")].concat() + "Hardware : x\n";
        let info = CpuInfo::parse(&text);
        let kinds: Vec<_> =
            info.kinds().unwrap().iter().map(|kind| (kind.processors.clone(), kind.info.get("CPU part"))).collect();
        assert_eq!(kinds, [(vec![0, 1, 3], Some("0xd05")), (vec![2], Some("0xd0b"))]);
        assert_eq!((info.get("BogoMIPS"), info.get("Hardware")), (Some("0.00"), None));
        assert_eq!(CpuInfo::parse("cpu : POWER9\n\ntimebase : 1\n").kinds().unwrap().len(), 1);
        let many: String = (0..=MAX_KINDS).map(|part| core(0, &part.to_string())).collect();
        assert_eq!(CpuInfo::parse(&many).kinds(), None);
    }

    #[test]
    fn a_value_may_hold_a_colon() {
        assert_eq!(CpuInfo::parse("model name : a: b\n").get("model name"), Some("a: b"));
    }

    #[test]
    fn the_shape_tells_the_architecture() {
        let cases = [
            ("vendor_id : GenuineIntel\nflags : fpu lm sse2\n", Some("amd64")),
            ("vendor_id : GenuineIntel\nflags : fpu sse2\n", Some("386")),
            ("Features : fp asimd\nCPU implementer : 0x41\nCPU architecture: 8\n", Some("arm64")),
            ("Features : half thumb neon\nCPU implementer : 0x41\nCPU architecture: 7\n", Some("arm")),
            ("processor : 0\nisa : rv64imafdc\nuarch : sifive,u74-mc\n", Some("riscv64")),
            ("processor : 0\ncpu : POWER9, altivec supported\n", Some("ppc64le")),
            ("vendor_id       : IBM/S390\nfeatures : esan3 zarch\n", Some("s390x")),
            ("system type : x\nCPU Family : Loongson-64bit\n", Some("loong64")),
            ("isa : rv32imac\n", None),
            ("", None),
        ];
        for (text, architecture) in cases {
            assert_eq!(CpuInfo::parse(text).architecture(), architecture, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken(text in "(?s).{0,200}") {
            let info = CpuInfo::parse(&text);
            let _ = (info.architecture(), info.features());
        }
    }
}
