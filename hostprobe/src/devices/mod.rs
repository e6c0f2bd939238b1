//! Owns devices that a container is given one by one, each with its own facts, and what is known of their drivers.
//!
//! - [`nvidia`], [`amd`], [`intel`], [`accelerator`]: what computes
//! - [`fabric`]: InfiniBand, RoCE, EFA, Slingshot, Omni-Path
//! - [`cdi`]: by which names a runtime puts which of them into a container
//! - [`table`]: what a number of a device or a driver means, from data files
//!
//! No vendor's tool is run, no library of one is loaded, no device is opened. Links' states and rates are no facts.

mod accelerator;
mod amd;
mod cdi;
mod fabric;
mod intel;
mod nvidia;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use bestfit_selector::devices::{Device, Kind, summarize};
use bestfit_selector::facts::{Fact, Facts};

use crate::root::HostRoot;
use crate::seen::Seen;
use crate::{HOST, pci};

/// Adds the devices and their facts. The facts of PCI, of modules and of `features.d` are there already.
pub(crate) fn probe(root: &HostRoot, bus: &pci::Bus, facts: &mut Facts) {
    let mut devices = nvidia::probe(root, bus, facts);
    devices.extend(amd::probe(root, bus, facts));
    devices.extend(intel::probe(root, bus, facts));
    devices.extend(accelerator::probe(root, bus, facts));
    devices.extend(fabric::probe(root, bus, facts));
    cdi::probe(root, &mut devices, facts);
    facts.devices = devices;
    Kind::ALL.into_iter().for_each(|kind| summarize(facts, kind));
}

/// A device of which nothing is known but its address, and its numbers where the bus has it.
fn device(kind: Kind, address: &str, bus: &pci::Bus) -> Device {
    let listed = bus.devices.iter().find(|device| device.address.eq_ignore_ascii_case(address));
    Device {
        kind,
        address: address.to_owned(),
        pci: listed.map(pci::Device::numbers),
        index: None,
        uuid: None,
        nodes: BTreeMap::new(),
        cdi: BTreeSet::new(),
        facts: BTreeMap::new(),
    }
}

/// Says of keys that no device has spoken about: absent, or unknown where not all devices could be seen.
fn set_others(facts: &mut Facts, keys: &[&str], others: &Seen<()>, source: &str) {
    for key in keys {
        let fact = match others {
            Seen::Unknown(why) => Fact::unknown(why, source),
            Seen::Known(()) | Seen::Absent => Fact::absent(source),
        };
        facts.set(HOST, *key, fact);
    }
}

/// Numbers the devices by their addresses, as vendors' tools do.
fn number(devices: &mut [Device]) {
    devices.sort_by(|a, b| a.address.cmp(&b.address));
    (0..).zip(devices).for_each(|(index, device)| device.index = Some(index));
}

/// The value of a line `NAME=value` of a device's `uevent`.
fn uevent<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::trim)
}

/// The nodes that a graphics or accelerator driver made for a device on the PCI bus: `card0` and `renderD128` are minors 0 and
/// 128 of major 226, `accel0` is minor 0 of major 261 (Documentation/admin-guide/devices.txt).
fn bus_nodes(root: &HostRoot, address: &str, class: &str) -> BTreeMap<String, String> {
    let (names, folder, major, prefixes) = match class {
        "drm" => ("drm", "dri", 226, ["card", "renderD"]),
        _ => ("accel", "accel", 261, ["accel", "accel"]),
    };
    let names = root.names(&format!("{}/{address}/{names}", pci::DEVICES)).unwrap_or_default();
    let node = |name: String| {
        let minor: u32 = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)?.parse().ok())?;
        Some((format!("/dev/{folder}/{name}"), format!("{major}:{minor}")))
    };
    names.into_iter().filter_map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uevents_are_read() {
        let text = "DRIVER=efa\nPCI_CLASS=20000\nPCI_ID=1D0F:EFA2\nDRIVERS=x\n";
        assert_eq!(uevent(text, "DRIVER"), Some("efa"));
        assert_eq!(uevent(text, "PCI_ID"), Some("1D0F:EFA2"));
        assert_eq!(uevent(text, "PCI"), None);
    }
}
