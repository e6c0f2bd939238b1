//! Owns accelerators that are no GPUs: AWS Neuron, Intel Gaudi, Google's TPUs, NPUs of processors.

use bestfit_selector::devices::{Device, Kind};
use bestfit_selector::facts::{Fact, Facts};

use super::{bus_nodes, device, number, set_others, table};
use crate::root::HostRoot;
use crate::seen::Seen;
use crate::{HOST, pci};

const KIND: &str = "accelerator.kind";
/// Drivers that tell a version.
const DRIVERS: [(&str, &str); 2] = [
    ("accelerator.neuron.driver.version", "/sys/module/neuron/version"),
    ("accelerator.gaudi.driver.version", "/sys/module/habanalabs/version"),
];

pub(super) fn probe(root: &HostRoot, bus: &pci::Bus, facts: &mut Facts) -> Vec<Device> {
    for (key, path) in DRIVERS {
        facts.set(HOST, key, root.seen_line(path, "/sys/module").fact(path));
    }
    let others = bus.failed.clone().map_or(Seen::Absent, Seen::Unknown);
    set_others(facts, &["accelerator.count", KIND], &others, pci::DEVICES);
    if bus.failed.is_some() {
        return Vec::new();
    }
    let known = bus.devices.iter().filter_map(|found| Some((found, table::accelerator(&found.vendor, &found.device)?)));
    let mut devices: Vec<Device> = known
        .map(|(found, kind)| {
            let mut device = device(Kind::Accelerator, &found.address, bus);
            let source = format!("{}, by accelerators.tsv", pci::path_of(&found.address));
            device.facts.insert(KIND.to_owned(), Fact::known(kind, source));
            device.nodes = bus_nodes(root, &found.address, "accel");
            device
        })
        .collect();
    number(&mut devices);
    devices
}
