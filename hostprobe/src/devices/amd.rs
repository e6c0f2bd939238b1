//! Owns AMD GPUs: those that the compute driver lists, else those on the PCI bus; their targets, memory and parts. The
//! formats are host-facts.md §1, known from documentation only: what looks otherwise is unknown.

use std::collections::BTreeMap;

use bestfit_selector::devices::{Device, Kind};
use bestfit_selector::facts::{Fact, Facts};

use super::{bus_nodes, device, number, set_others};
use crate::root::HostRoot;
use crate::seen::Seen;
use crate::{HOST, pci};

const VENDOR: &str = "1002";
const NODES: &str = "/sys/class/kfd/kfd/topology/nodes";
const MODULE: &str = "/sys/module/amdgpu/version";
const ROCM: &str = "/opt/rocm/.info/version";

const GFX: &str = "amd.gfx";
const MEMORY: &str = "amd.vram";
/// What a device says about its parts, by file.
const PARTITIONS: [(&str, &str); 2] =
    [("amd.partition.compute", "current_compute_partition"), ("amd.partition.memory", "current_memory_partition")];
const KEYS: [&str; 5] = ["amd.gpu.count", GFX, MEMORY, PARTITIONS[0].0, PARTITIONS[1].0];

pub(super) fn probe(root: &HostRoot, bus: &pci::Bus, facts: &mut Facts) -> Vec<Device> {
    facts.set(HOST, "amd.driver.version", root.seen_line(MODULE, "/sys/module").fact(MODULE));
    facts.set(HOST, "amd.rocm.version", root.seen_line(ROCM, "/opt").fact(ROCM));
    let nodes = root.seen(root.names(NODES), "/sys/class");
    let listed = match nodes {
        Seen::Known(names) => of_driver(root, bus, &names).map_or_else(Seen::Unknown, Seen::Known),
        Seen::Absent => of_bus(bus),
        Seen::Unknown(why) => Seen::Unknown(why),
    };
    set_others(facts, &KEYS, &listed.as_ref().map(|_| ()), NODES);
    match listed {
        Seen::Known(devices) => devices,
        Seen::Absent | Seen::Unknown(_) => Vec::new(),
    }
}

/// The GPUs on the bus, which without the compute driver have no target.
fn of_bus(bus: &pci::Bus) -> Seen<Vec<Device>> {
    if let Some(why) = &bus.failed {
        return Seen::Unknown(why.clone());
    }
    let is_gpu =
        |found: &&pci::Device| found.vendor == VENDOR && matches!(&*found.class, "0300" | "0302" | "0380" | "1200");
    let mut devices: Vec<Device> =
        bus.devices.iter().filter(is_gpu).map(|found| device(Kind::Amd, &found.address, bus)).collect();
    number(&mut devices);
    Seen::Known(devices)
}

/// The GPUs among the nodes of the compute driver. One node that cannot be read leaves open what the GPUs are.
fn of_driver(root: &HostRoot, bus: &pci::Bus, names: &[String]) -> Result<Vec<Device>, String> {
    let mut devices: Vec<Device> = Vec::new();
    for name in names {
        let path = format!("{NODES}/{name}/properties");
        let text = root.text(&path).map_err(|error| error.to_string())?;
        let node = parse(&text);
        // A node of processors has no units of this kind.
        if node.get("simd_count").copied().unwrap_or_default() == 0 {
            if !node.contains_key("cpu_cores_count") {
                return Err(format!("{path}: neither of a processor nor of a GPU"));
            }
            continue;
        }
        devices.push(gpu(root, bus, &node, &path, name, &devices));
    }
    number(&mut devices);
    Ok(devices)
}

/// Lines `name number`.
fn parse(text: &str) -> BTreeMap<&str, u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name, value.trim().parse().ok()?)))
        .collect()
}

fn gpu(
    root: &HostRoot,
    bus: &pci::Bus,
    node: &BTreeMap<&str, u64>,
    path: &str,
    name: &str,
    before: &[Device],
) -> Device {
    let address = address(node).unwrap_or_else(|| format!("node{name}"));
    let mut found = device(Kind::Amd, &address, bus);
    let gfx = match node.get("gfx_target_version").copied().and_then(target) {
        Some(target) => Fact::known(target, path),
        None => Fact::unknown("no target in \"gfx_target_version\"", path),
    };
    found.facts.insert(GFX.to_owned(), gfx);
    set_memory(root, &mut found);
    found.nodes = bus_nodes(root, &address, "drm");
    if let Some(minor) = node.get("drm_render_minor").filter(|minor| **minor > 0) {
        // Parts of a GPU share its address, and each has a node of its own.
        found.nodes.retain(|node, _| !node.contains("renderD"));
        found.nodes.insert(format!("/dev/dri/renderD{minor}"), format!("226:{minor}"));
    }
    if before.iter().any(|device| device.address == address) {
        found.address = format!("{address}/{name}");
    }
    found
}

/// `domain` and `location_id` (bus, device and function; the part of a divided GPU above them) as a PCI address.
fn address(node: &BTreeMap<&str, u64>) -> Option<String> {
    let (domain, location) = (node.get("domain").copied().unwrap_or_default(), *node.get("location_id")?);
    let (bus, device, function) = (location >> 8 & 0xff, location >> 3 & 0x1f, location & 7);
    Some(format!("{domain:04x}:{bus:02x}:{device:02x}.{function}"))
}

/// 90402 is gfx942, 90010 is gfx90a: major, minor and stepping, the last in hexadecimal.
fn target(version: u64) -> Option<String> {
    let (major, minor, step) = (version / 10_000, version / 100 % 100, version % 100);
    (major > 0).then(|| format!("gfx{major}{minor}{step:x}"))
}

fn set_memory(root: &HostRoot, found: &mut Device) {
    let folder = pci::path_of(&found.address);
    let mut divided = false;
    for (key, file) in PARTITIONS {
        let path = format!("{folder}/{file}");
        let seen = root.seen(root.text(&path), pci::DEVICES).map(|text| text.trim().to_owned());
        divided |=
            key == PARTITIONS[0].0 && !matches!(&seen, Seen::Known(mode) if mode == "SPX") && seen != Seen::Absent;
        found.facts.insert(key.to_owned(), seen.fact(path));
    }
    let path = format!("{folder}/mem_info_vram_total");
    let bytes = match divided {
        true => Seen::Unknown("parts of a divided GPU share its memory".to_owned()),
        false => root.seen_number(&path, pci::DEVICES),
    };
    found.facts.insert(MEMORY.to_owned(), bytes.fact(path));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_targets_and_addresses() {
        // ROCm's own code: gfx90a, gfx942, gfx1101, gfx1030, gfx906, gfx950.
        for (version, expected) in [
            (90010, "gfx90a"),
            (90402, "gfx942"),
            (110_001, "gfx1101"),
            (100_300, "gfx1030"),
            (90006, "gfx906"),
            (90500, "gfx950"),
        ] {
            assert_eq!(target(version).as_deref(), Some(expected));
        }
        assert_eq!(target(0), None);
        let of = |location: u64| address(&[("domain", 1), ("location_id", location)].into());
        assert_eq!(of(0xc300).as_deref(), Some("0001:c3:00.0"));
        assert_eq!(of(0x1000_0c01).as_deref(), Some("0001:0c:00.1"), "the second part of a GPU");
        assert_eq!(address(&BTreeMap::new()), None);
    }

    #[test]
    fn properties_are_read() {
        let node =
            parse("cpu_cores_count 0\nsimd_count 1216\ngfx_target_version 90402\nx\ny z\nbig 99999999999999999999\n");
        assert_eq!(node, [("cpu_cores_count", 0), ("simd_count", 1216), ("gfx_target_version", 90402)].into());
    }
}
