//! Owns memory: page size, total, NUMA nodes, swap, and non-volatile DIMMs.

use std::collections::BTreeSet;

use bestfit_selector::facts::{Fact, Facts};

use crate::auxv::{self, Auxv};
use crate::cpu::cpuinfo::{self, CpuInfo};
use crate::cpu::topology;
use crate::feature;
use crate::root::{HostRoot, Part};
use crate::seen::Seen;
use crate::{HOST, NFD, platform};

const MEMINFO: &str = "/proc/meminfo";
const NODES: &str = "/sys/bus/node/devices";
const SWAPS: &str = "/proc/swaps";
const NV_DEVICES: &str = "/sys/bus/nd/devices";
const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";
const HUGE_FAMILY: &str = "hugepages.*";
const TRANSPARENT: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
const NODE: &str = "/sys/devices/system/node";
const SMAPS: &str = "/proc/self/smaps";

const GIB: i64 = 1 << 30;

/// Free memory changes all the time.
pub(crate) const TOTAL: Part = Part { path: MEMINFO, name: "total", of: only_total };
/// As does how much of the swap is used.
pub(crate) const SWAP: Part =
    Part { path: SWAPS, name: "any", of: |text| lines(text).take(2).map(first_word).collect() };

pub(crate) fn probe(root: &HostRoot, info: &Seen<CpuInfo>, auxv: &Seen<Auxv>, facts: &mut Facts) {
    let (size, source) = page_size(root, info, auxv);
    facts.set(HOST, "page_size", size.fact(source));

    let total = root.seen(root.text_of(&TOTAL), "/proc").and_then(|text| match total(&text) {
        Some(bytes) => Seen::Known(bytes),
        None => Seen::Unknown(format!("{MEMINFO}: no MemTotal in kB")),
    });
    let total = match total {
        Seen::Absent => Seen::Unknown(format!("{MEMINFO}: not there")),
        seen => seen,
    };
    facts.set(HOST, "memory.total", total.fact(MEMINFO));

    numa(root, facts);
    swap(root, facts);
    nv(root, facts);
    huge_pages(root, facts);
    transparent_huge_pages(root, facts);
    far_nodes(root, facts);
}

fn numa(root: &HostRoot, facts: &mut Facts) {
    let nodes = root.seen(root.names(NODES), "/sys/bus").map(|names| names.len() as i64);
    let several = nodes.as_ref().map(|nodes| *nodes > 1);
    match &nodes {
        Seen::Known(count) => {
            facts.features.set_attribute("memory.numa", "is_numa", (*count > 1).to_string());
            facts.features.set_attribute("memory.numa", "node_count", count.to_string());
        }
        Seen::Absent => {}
        Seen::Unknown(why) => facts.features.set_unknown("memory.numa", why),
    }
    facts.set(NFD, "memory-numa", several.true_only().fact(NODES));
    facts.set(HOST, "numa.nodes", nodes.fact(NODES));
}

fn swap(root: &HostRoot, facts: &mut Facts) {
    let swaps = root.seen(root.text_of(&SWAP), "/proc/sys/vm");
    // One line is the heading.
    let enabled = swaps.map(|text| lines(&text).count() > 1);
    match &enabled {
        Seen::Known(enabled) => facts.features.set_attribute("memory.swap", "enabled", enabled.to_string()),
        Seen::Absent => {}
        Seen::Unknown(why) => facts.features.set_unknown("memory.swap", why),
    }
    facts.set(NFD, "memory-swap", enabled.true_only().fact(SWAPS));
}

/// Lines that are not empty.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty())
}

/// The first word of a line, on a line of its own.
fn first_word(line: &str) -> String {
    format!("{}\n", line.split_whitespace().next().unwrap_or_default())
}

fn nv(root: &HostRoot, facts: &mut Facts) {
    let devices = match root.seen(root.names(NV_DEVICES), "/sys/bus") {
        Seen::Known(names) => {
            let read =
                |name: &String| feature::instance(root, name, &format!("{NV_DEVICES}/{name}"), &["devtype", "mode"]);
            Seen::of(names.iter().map(read).collect::<Result<Vec<_>, _>>())
        }
        // A kernel without such devices has no such bus.
        Seen::Absent => Seen::Known(Vec::new()),
        Seen::Unknown(why) => Seen::Unknown(why),
    };
    let present = devices.as_ref().map(|devices| !devices.is_empty());
    let dax = devices.as_ref().map(|devices| feature::any(devices, "devtype", |value| value == "nd_dax"));
    facts.set(NFD, "memory-nv.present", present.true_only().fact(NV_DEVICES));
    facts.set(NFD, "memory-nv.dax", dax.true_only().fact(format!("{NV_DEVICES}/*/devtype")));
    feature::instances(&mut facts.features, "memory.nv", devices);
}

/// How many pages of each huge size are reserved. A size whose number cannot be read leaves open whether any is.
fn huge_pages(root: &HostRoot, facts: &mut Facts) {
    const FEATURE: &str = "memory.hugepages";
    let names = match root.seen(root.names(HUGE_PAGES), "/sys/kernel") {
        Seen::Known(names) => names,
        Seen::Absent => Vec::new(),
        Seen::Unknown(why) => {
            facts.set(HOST, HUGE_FAMILY, Fact::unknown(&why, HUGE_PAGES));
            return facts.features.set_unknown(FEATURE, why);
        }
    };
    facts.set(HOST, HUGE_FAMILY, Fact::absent(HUGE_PAGES));
    let mut enabled = Seen::Known(false);
    for name in names {
        let size = name.strip_prefix("hugepages-").and_then(|size| size.strip_suffix("kB"));
        let Some(kibibytes) = size.and_then(|size| size.parse::<u64>().ok()) else { continue };
        let path = format!("{HUGE_PAGES}/{name}/nr_hugepages");
        let count = Seen::of(root.text(&path)).map(|text| text.trim().to_owned());
        match &count {
            Seen::Known(count) if count.parse::<u64>().is_ok_and(|count| count > 0) => enabled = Seen::Known(true),
            Seen::Unknown(why) if enabled == Seen::Known(false) => enabled = Seen::Unknown(why.clone()),
            _ => {}
        }
        let size = quantity(kibibytes);
        feature::attribute(&mut facts.features, FEATURE, &format!("hugepages-{size}"), &count);
        let total = count.and_then(|count| match count.parse::<i64>() {
            Ok(count) => Seen::Known(count),
            Err(_) => Seen::Unknown(format!("{path}: not a number: {count:?}")),
        });
        facts.set(HOST, format!("hugepages.{size}.total"), total.fact(path));
    }
    feature::open(&mut facts.features, FEATURE);
    feature::attribute(&mut facts.features, FEATURE, "enabled", &enabled);
}

/// The word in brackets of `always [madvise] never`.
fn transparent_huge_pages(root: &HostRoot, facts: &mut Facts) {
    let chosen = root.seen_line(TRANSPARENT, "/sys/kernel").and_then(|text| {
        let word = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        word.map_or_else(
            || Seen::Unknown(format!("{TRANSPARENT}: no word in brackets")),
            |(word, _)| Seen::Known(word.to_owned()),
        )
    });
    facts.set(HOST, "thp", chosen.fact(TRANSPARENT));
}

/// How many nodes have memory and no processors: memory of high bandwidth, or behind CXL.
fn far_nodes(root: &HostRoot, facts: &mut Facts) {
    let list = |name: &str| {
        let path = format!("{NODE}/{name}");
        root.seen_line(&path, "/sys/devices/system").and_then(|text| match topology::processors(&text) {
            _ if text.is_empty() => Seen::Known(BTreeSet::new()),
            Some(nodes) => Seen::Known(nodes),
            None => Seen::Unknown(format!("{path}: not a list of nodes: {text:?}")),
        })
    };
    let far = list("has_memory").and_then(|memory| list("has_cpu").map(|cpu| memory.difference(&cpu).count() as i64));
    facts.set(HOST, "numa.hbm", far.fact(format!("{NODE}/has_memory")));
}

/// Kibibytes as Kubernetes writes the quantity: in the largest unit of which they are a whole number.
fn quantity(kibibytes: u64) -> String {
    let (mut number, mut units) = (kibibytes, ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter());
    let mut unit = units.next();
    while number != 0 && number % 1024 == 0 && units.len() > 0 {
        (number, unit) = (number / 1024, units.next());
    }
    format!("{number}{}", unit.unwrap_or(&""))
}

/// The page size in bytes: the auxiliary vector says it; for a root that was recorded without one a recorded process or
/// the architecture does.
fn page_size(root: &HostRoot, info: &Seen<CpuInfo>, auxv: &Seen<Auxv>) -> (Seen<i64>, &'static str) {
    match auxv {
        Seen::Known(auxv) => {
            let size = auxv.page_size();
            return (
                size.map_or_else(|| Seen::Unknown(format!("{}: no AT_PAGESZ", auxv::PATH)), Seen::Known),
                auxv::PATH,
            );
        }
        Seen::Unknown(why) if root.has_machine() => return (Seen::Unknown(why.clone()), auxv::PATH),
        Seen::Unknown(_) | Seen::Absent => {}
    }
    let mapping_ends = |bytes: &[u8]| bytes.windows(10).any(|window| window == b"\nVmFlags: ");
    if let Ok(text) = root.text_until(SMAPS, 64 << 10, mapping_ends)
        && let Some(size) = smaps_page_size(&text)
    {
        return (Seen::Known(size), SMAPS);
    }
    match platform::architecture(root, info) {
        // Linux has no other page size there.
        Some("amd64" | "386" | "s390x" | "riscv64") => (Seen::Known(4096), cpuinfo::PATH),
        _ => (Seen::Unknown(format!("{SMAPS} tells no KernelPageSize, nor does the architecture")), SMAPS),
    }
}

/// The kernel's page size in the first mapping, the program's own text, in bytes.
fn smaps_page_size(smaps: &str) -> Option<i64> {
    kilobytes(smaps, "KernelPageSize:")
}

/// `MemTotal` in bytes, rounded down to a GiB: kernels of one machine differ in what they reserve.
fn total(meminfo: &str) -> Option<i64> {
    kilobytes(meminfo, "MemTotal:").map(|bytes| bytes / GIB * GIB)
}

/// `/proc/meminfo` with nothing but the total, and that only as exactly as it counts.
fn only_total(meminfo: &str) -> String {
    total(meminfo).map_or_else(String::new, |bytes| format!("MemTotal: {} kB\n", bytes / 1024))
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
        assert_eq!(
            only_total("MemTotal: 24668720 kB\nMemFree: 1 kB\n"),
            only_total("MemTotal: 24668000 kB\nMemFree: 2 kB\n")
        );
        assert_eq!(total(&only_total("MemTotal: 24668720 kB\n")), Some(23 * GIB));
        for text in ["", "MemTotal: 1 MB\n", "MemTotal: x kB\n", "MemTotal: 9223372036854775807 kB\n"] {
            assert_eq!(total(text), None, "{text}");
        }
    }

    // Sizes of x86, and of arm64 with 4 and 64 KiB pages.
    #[test]
    fn sizes_are_written_as_quantities() {
        let cases = [
            (64, "64Ki"),
            (2048, "2Mi"),
            (32_768, "32Mi"),
            (524_288, "512Mi"),
            (1_048_576, "1Gi"),
            (16_777_216, "16Gi"),
            (1536, "1536Ki"),
        ];
        for (kibibytes, text) in cases {
            assert_eq!(quantity(kibibytes), text);
        }
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
