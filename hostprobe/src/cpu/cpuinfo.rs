//! Owns the first processor's block of `/proc/cpuinfo`, of any architecture.

use std::collections::BTreeSet;

use crate::root::HostRoot;
use crate::seen::Seen;

/// Where it is read.
pub(crate) const PATH: &str = "/proc/cpuinfo";

/// A block is about 1.5 KiB; a machine with many processors has hundreds, and only the first is read.
const BLOCK_LIMIT: usize = 64 << 10;

/// The first block: key and value of each line, as the kernel writes them, trimmed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuInfo(Vec<(String, String)>);

impl CpuInfo {
    /// Reads the first block of `text`: the lines up to the first empty one after a key.
    pub fn parse(text: &str) -> Self {
        let mut fields = Vec::new();
        for line in text.lines() {
            match line.split_once(':') {
                Some((key, value)) => fields.push((key.trim().to_owned(), value.trim().to_owned())),
                None if line.trim().is_empty() && !fields.is_empty() => break,
                None => {}
            }
        }
        Self(fields)
    }

    pub(crate) fn load(root: &HostRoot) -> Seen<Self> {
        let text = root.text_until(PATH, BLOCK_LIMIT, has_enough);
        match root.seen(text, "/proc").map(|text| Self::parse_any(&text)) {
            Seen::Known(info) if info.0.is_empty() => Seen::Unknown(format!("{PATH}: no field in it")),
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
        all.0.extend(first.0);
        all
    }

    /// The value of `key`, in the kernel's spelling.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
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

/// Whether `bytes` hold all that is read: one block, or two on s390x.
fn has_enough(bytes: &[u8]) -> bool {
    let blocks = if is_s390x(bytes) { 2 } else { 1 };
    bytes.windows(2).filter(|pair| *pair == b"\n\n").nth(blocks - 1).is_some()
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
        assert!(has_enough(text.as_bytes()) && !has_enough(text.split("\ncpu number : 1").next().unwrap().as_bytes()));
        assert_eq!(CpuInfo::parse_any("vendor_id : IBM/S390\n").get("machine"), None);
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
