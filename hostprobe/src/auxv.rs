//! Owns the auxiliary vector that the kernel gives every program (getauxval(3)): page size and hardware capabilities.

use crate::cpu::cpuinfo::CpuInfo;
use crate::platform;
use crate::root::HostRoot;
use crate::seen::Seen;

/// Where it is read. Of a recorded root it is the vector of the process that made the record.
pub(crate) const PATH: &str = "/proc/self/auxv";

/// The types of the entries that are read here (`include/uapi/linux/auxvec.h`).
const AT_PAGESZ: u64 = 6;
const AT_HWCAP: u64 = 16;
const AT_HWCAP2: u64 = 26;

/// Type and value of each entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Auxv(Vec<(u64, u64)>);

/// How wide a word is, and in which order its bytes stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Words {
    bytes: usize,
    big_endian: bool,
}

impl Auxv {
    /// The vector of this process, or the one that was recorded.
    pub(crate) fn load(root: &HostRoot, info: &Seen<CpuInfo>) -> Seen<Self> {
        let Some(words) = platform::architecture(root, info).and_then(words) else {
            return Seen::Unknown(format!("{PATH}: the architecture is not known"));
        };
        root.seen(root.bytes(PATH), "/proc").map(|bytes| Self::parse(&bytes, words))
    }

    /// Pairs of words up to the first of type 0.
    fn parse(bytes: &[u8], words: Words) -> Self {
        let word = |bytes: &[u8]| {
            let fold = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
            if words.big_endian { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
        };
        let pairs = bytes.chunks_exact(2 * words.bytes).map(|pair| pair.split_at(words.bytes));
        Self(pairs.map(|(kind, value)| (word(kind), word(value))).take_while(|(kind, _)| *kind != 0).collect())
    }

    /// The page size in bytes.
    pub(crate) fn page_size(&self) -> Option<i64> {
        self.entry(AT_PAGESZ).and_then(|size| i64::try_from(size).ok())
    }

    /// The two words of hardware capabilities; a kernel that has no second one gives no such entry.
    pub(crate) fn capabilities(&self) -> Option<[u64; 2]> {
        Some([self.entry(AT_HWCAP)?, self.entry(AT_HWCAP2).unwrap_or_default()])
    }

    fn entry(&self, kind: u64) -> Option<u64> {
        self.0.iter().find(|(other, _)| *other == kind).map(|(_, value)| *value)
    }
}

/// The words of an architecture in GOARCH spelling.
fn words(architecture: &str) -> Option<Words> {
    let (bytes, big_endian) = match architecture {
        "amd64" | "arm64" | "ppc64le" | "riscv64" | "loong64" => (8, false),
        "s390x" | "ppc64" => (8, true),
        "386" | "arm" => (4, false),
        _ => return None,
    };
    Some(Words { bytes, big_endian })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(entries: &[u64], big_endian: bool) -> Vec<u8> {
        entries.iter().flat_map(|word| if big_endian { word.to_be_bytes() } else { word.to_le_bytes() }).collect()
    }

    #[test]
    fn entries_are_read_in_words_of_either_order() {
        let entries = [3, 6, 6, 65536, 16, 0b101, 26, 0b11, 0, 0, 6, 1];
        for (architecture, big_endian) in [("arm64", false), ("s390x", true)] {
            let auxv = Auxv::parse(&bytes(&entries, big_endian), words(architecture).unwrap());
            assert_eq!(auxv.page_size(), Some(65536), "neither an entry's value nor what stands behind the end");
            assert_eq!(auxv.capabilities(), Some([0b101, 0b11]));
        }
    }

    #[test]
    fn what_is_cut_off_is_not_there() {
        let words = words("amd64").unwrap();
        assert_eq!(Auxv::parse(&bytes(&[16, 1], false)[..15], words), Auxv::default());
        assert_eq!(Auxv::parse(&[], words).capabilities(), None);
        assert_eq!(Auxv::parse(&bytes(&[16, 1], false), words).capabilities(), Some([1, 0]));
    }

    #[test]
    fn this_process_has_a_vector() {
        let root = HostRoot::running();
        let Seen::Known(auxv) = Auxv::load(&root, &Seen::Absent) else { panic!("no vector") };
        assert!(auxv.page_size().is_some_and(|size| size >= 4096));
    }
}
