//! Owns memory: page size, total, NUMA nodes, swap, and non-volatile DIMMs.

use bestfit_selector::facts::Facts;

use crate::cpu::cpuinfo::{self, CpuInfo};
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;
use crate::{HOST, NFD};

const MEMINFO: &str = "/proc/meminfo";
const NODES: &str = "/sys/bus/node/devices";
const SWAPS: &str = "/proc/swaps";
const NV_DEVICES: &str = "/sys/bus/nd/devices";
const AUXV: &str = "/proc/self/auxv";
const SMAPS: &str = "/proc/self/smaps";

const GIB: i64 = 1 << 30;

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) {
    let (size, source) = page_size(root);
    facts.set(HOST, "page_size", size.fact(source));

    let total = root.seen(root.text(MEMINFO), "/proc").and_then(|text| match total(&text) {
        Some(bytes) => Seen::Known(bytes),
        None => Seen::Unknown(format!("{MEMINFO}: no MemTotal in kB")),
    });
    let total = match total {
        Seen::Absent => Seen::Unknown(format!("{MEMINFO}: not there")),
        seen => seen,
    };
    facts.set(HOST, "memory.total", total.fact(MEMINFO));

    let nodes = root.seen(root.names(NODES), "/sys/bus").map(|names| names.len() as i64);
    facts.set(NFD, "memory-numa", nodes.as_ref().map(|nodes| *nodes > 1).true_only().fact(NODES));
    facts.set(HOST, "numa.nodes", nodes.fact(NODES));

    // One line is the heading.
    let swap = root.seen(root.text(SWAPS), "/proc/sys/vm");
    let swap = swap.map(|text| text.lines().filter(|line| !line.trim().is_empty()).count() > 1);
    facts.set(NFD, "memory-swap", swap.true_only().fact(SWAPS));

    nv(root, facts);
}

fn nv(root: &HostRoot, facts: &mut Facts) {
    let devices = root.seen(root.names(NV_DEVICES), "/sys/bus");
    let present = devices.as_ref().map(|names| !names.is_empty()).true_only();
    facts.set(NFD, "memory-nv.present", present.fact(NV_DEVICES));
    let dax = devices.and_then(|names| {
        let mut types = names.iter().map(|name| root.text(&format!("{NV_DEVICES}/{name}/devtype")));
        // A bus or a region has no such file.
        let answer = types.find_map(|devtype| match devtype {
            Ok(devtype) => (devtype.trim() == "nd_dax").then_some(Seen::Known(true)),
            Err(ReadError::Missing(_)) => None,
            Err(error) => Some(Seen::Unknown(error.to_string())),
        });
        answer.unwrap_or(Seen::Absent)
    });
    facts.set(NFD, "memory-nv.dax", dax.fact(format!("{NV_DEVICES}/*/devtype")));
}

/// The page size in bytes. The auxiliary vector is this process's, so it speaks about the running machine only; elsewhere
/// a recorded process or the architecture tells.
fn page_size(root: &HostRoot) -> (Seen<i64>, &'static str) {
    if root.is_running() {
        let size = match root.bytes(AUXV) {
            Ok(bytes) => {
                auxv_page_size(&bytes).map_or_else(|| Seen::Unknown(format!("{AUXV}: no AT_PAGESZ")), Seen::Known)
            }
            Err(error) => Seen::Unknown(error.to_string()),
        };
        return (size, AUXV);
    }
    let mapping_ends = |bytes: &[u8]| bytes.windows(10).any(|window| window == b"\nVmFlags: ");
    if let Ok(text) = root.text_until(SMAPS, 64 << 10, mapping_ends)
        && let Some(size) = smaps_page_size(&text)
    {
        return (Seen::Known(size), SMAPS);
    }
    let architecture = CpuInfo::load(root).map(|info| info.architecture());
    match architecture {
        // Linux has no other page size there.
        Seen::Known(Some("amd64" | "386" | "s390x" | "riscv64")) => (Seen::Known(4096), cpuinfo::PATH),
        _ => (Seen::Unknown(format!("{SMAPS} tells no KernelPageSize, nor does the architecture")), SMAPS),
    }
}

/// `AT_PAGESZ` of an auxiliary vector of this machine's word size.
fn auxv_page_size(auxv: &[u8]) -> Option<i64> {
    const AT_PAGESZ: usize = 6;
    const WORD: usize = size_of::<usize>();
    let word = |bytes: &[u8]| bytes.try_into().map(usize::from_ne_bytes).ok();
    let entry = auxv.chunks_exact(2 * WORD).find(|entry| word(&entry[..WORD]) == Some(AT_PAGESZ))?;
    i64::try_from(word(&entry[WORD..])?).ok()
}

/// The kernel's page size in the first mapping, the program's own text, in bytes.
fn smaps_page_size(smaps: &str) -> Option<i64> {
    kilobytes(smaps, "KernelPageSize:")
}

/// `MemTotal` in bytes, rounded down to a GiB: kernels of one machine differ in what they reserve.
fn total(meminfo: &str) -> Option<i64> {
    kilobytes(meminfo, "MemTotal:").map(|bytes| bytes / GIB * GIB)
}

fn kilobytes(text: &str, key: &str) -> Option<i64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim_end().parse::<i64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_rounded_down_to_a_gib() {
        for (kilobytes, gib) in [("24668720", 23), ("1048576", 1), ("1048575", 0)] {
            assert_eq!(total(&format!("MemTotal:       {kilobytes} kB\nMemFree: 1 kB\n")), Some(gib * GIB));
        }
        for text in ["", "MemTotal: 1 MB\n", "MemTotal: x kB\n", "MemTotal: 9223372036854775807 kB\n"] {
            assert_eq!(total(text), None, "{text}");
        }
    }

    #[test]
    fn the_auxiliary_vector_is_read_in_words() {
        let mut auxv = Vec::new();
        for word in [3usize, 6, 6, 65536, 0, 0] {
            auxv.extend(word.to_ne_bytes());
        }
        assert_eq!(auxv_page_size(&auxv), Some(65536), "an entry's value is not taken for a key");
        assert_eq!(auxv_page_size(&auxv[..16]), None);
        assert_eq!(auxv_page_size(&[]), None);
    }

    // `head -5 /proc/self/smaps` of `cat` on a machine with 64 KiB pages would show 64.
    #[test]
    fn smaps_tell_the_page_size() {
        let smaps =
            "aaaad0000000-aaaad0010000 r-xp 00000000 fe:00 1 /usr/bin/cat\nSize: 64 kB\nKernelPageSize:       64 kB\n";
        assert_eq!(smaps_page_size(smaps), Some(65536));
        assert_eq!(smaps_page_size("MMUPageSize: 4 kB\n"), None);
    }
}
