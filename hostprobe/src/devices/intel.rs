//! Owns Intel GPUs: those on the PCI bus, their families and drivers.

use bestfit_selector::devices::{Device, Kind};
use bestfit_selector::facts::{Fact, Facts};

use super::{bus_nodes, device, number, set_others, table, uevent};
use crate::pci;
use crate::root::HostRoot;
use crate::seen::Seen;

const VENDOR: &str = "8086";
const FAMILY: &str = "intel.gpu.family";
const DRIVER: &str = "intel.gpu.driver";

pub(super) fn probe(root: &HostRoot, bus: &pci::Bus, facts: &mut Facts) -> Vec<Device> {
    let others = bus.failed.clone().map_or(Seen::Absent, Seen::Unknown);
    set_others(facts, &["intel.gpu.count", FAMILY, DRIVER], &others, pci::DEVICES);
    if bus.failed.is_some() {
        return Vec::new();
    }
    let gpus = bus.devices.iter().filter(|found| found.vendor == VENDOR && found.class.starts_with("03"));
    let mut devices: Vec<Device> = gpus.map(|found| gpu(root, bus, found)).collect();
    number(&mut devices);
    devices
}

fn gpu(root: &HostRoot, bus: &pci::Bus, found: &pci::Device) -> Device {
    let mut device = device(Kind::Intel, &found.address, bus);
    let path = pci::path_of(&found.address);
    let family = match table::intel_family(&found.device) {
        Some(family) => Fact::known(family, format!("{path}, by intel-gpus.tsv")),
        None => Fact::unknown(format!("the table has no {VENDOR}:{}", found.device), &path),
    };
    device.facts.insert(FAMILY.to_owned(), family);
    let path = format!("{path}/uevent");
    let driver = Seen::of(root.text(&path))
        .and_then(|text| uevent(&text, "DRIVER").map_or(Seen::Absent, |name| Seen::Known(name.to_owned())));
    device.facts.insert(DRIVER.to_owned(), driver.fact(path));
    device.nodes = bus_nodes(root, &found.address, "drm");
    device
}
