//! Owns interfaces to fabrics: InfiniBand, RoCE v2, EFA, Slingshot, Omni-Path. What an interface is does not change with its
//! links: their states and rates are never read (host-facts.md §7).

use std::collections::BTreeMap;

use bestfit_selector::devices::{Device, Kind};
use bestfit_selector::facts::{Fact, Facts, State};

use super::{device, set_others, uevent};
use crate::pci;
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;

/// All that speak verbs, whatever the fabric below.
const VERBS: &str = "/sys/class/infiniband";
/// Their nodes.
const UVERBS: &str = "/sys/class/infiniband_verbs";
const CXI: &str = "/sys/class/cxi";
const SLINGSHOT_ID: (&str, &str) = ("17db", "0501");
/// Interfaces made of software on any network, as rdma(8) calls them by default.
const SOFTWARE: [&str; 2] = ["rxe", "siw"];
/// The first identifiers of a port tell; there are up to 256.
const IDENTIFIERS: usize = 16;

const INFINIBAND: &str = "fabric.infiniband";
const ROCE: &str = "fabric.roce";
const EFA: &str = "fabric.efa";
const GENERATION: &str = "fabric.efa.generation";
const SLINGSHOT: &str = "fabric.slingshot";
const OMNI_PATH: &str = "fabric.opa";

pub(super) fn probe(root: &HostRoot, bus: &pci::Bus, facts: &mut Facts) -> Vec<Device> {
    let verbs = root.seen(root.names(VERBS), "/sys/class");
    set_others(facts, &[INFINIBAND, ROCE, EFA, GENERATION, OMNI_PATH], &verbs.as_ref().map(|_| ()), VERBS);
    let mut devices = Vec::new();
    if let Seen::Known(names) = &verbs {
        let nodes = if names.is_empty() { BTreeMap::new() } else { nodes(root) };
        let real = names.iter().filter(|name| !SOFTWARE.iter().any(|prefix| name.starts_with(prefix)));
        devices.extend(real.map(|name| interface(root, bus, name, &nodes)));
    }
    let cxi = root.seen(root.names(CXI), "/sys/class");
    let listed = bus.devices.iter().any(|found| (&*found.vendor, &*found.device) == SLINGSHOT_ID);
    let others = match &cxi {
        Seen::Absent if listed => Seen::Unknown(format!("{CXI}: not there, though the bus has such an interface")),
        seen => seen.as_ref().map(|_| ()),
    };
    set_others(facts, &[SLINGSHOT], &others, CXI);
    if let Seen::Known(names) = &cxi {
        devices.extend(names.iter().map(|name| slingshot(root, bus, name)));
    }
    unique(&mut devices);
    devices
}

/// Interfaces of one function of a device go by their own names.
fn unique(devices: &mut [Device]) {
    let addresses: Vec<String> = devices.iter().map(|device| device.address.clone()).collect();
    for (position, device) in devices.iter_mut().enumerate() {
        let again = addresses[..position].iter().filter(|address| **address == device.address).count();
        if again > 0 {
            device.address = format!("{}/{again}", device.address);
        }
    }
}

/// One of those that speak verbs.
fn interface(root: &HostRoot, bus: &pci::Bus, name: &str, nodes: &BTreeMap<String, (String, String)>) -> Device {
    let folder = format!("{VERBS}/{name}");
    let path = format!("{folder}/device/uevent");
    let text = match root.attribute(&path) {
        Ok(text) => text.unwrap_or_default(),
        Err(error) => {
            let mut found = device(Kind::Fabric, name, bus);
            for key in [INFINIBAND, ROCE, EFA, OMNI_PATH] {
                found.facts.insert(key.to_owned(), Fact::unknown(error.to_string(), &path));
            }
            return found;
        }
    };
    let mut found = device(Kind::Fabric, uevent(&text, "PCI_SLOT_NAME").unwrap_or(name), bus);
    match uevent(&text, "DRIVER") {
        Some("efa") => {
            found.facts.insert(EFA.to_owned(), Fact::known(true, &path));
            let id = uevent(&text, "PCI_ID").and_then(generation);
            let number =
                id.map_or_else(|| Fact::unknown("no known device id", &path), |number| Fact::known(number, &path));
            found.facts.insert(GENERATION.to_owned(), number);
        }
        Some("hfi1") => {
            found.facts.insert(OMNI_PATH.to_owned(), Fact::known(true, &path));
            found.nodes.insert(format!("/dev/{name}"), String::new());
        }
        _ => ports(root, &folder, &mut found),
    }
    found.nodes.extend(nodes.get(name).cloned());
    found
}

/// `1D0F:EFA2` is the third generation.
fn generation(id: &str) -> Option<i64> {
    let digit = id.to_lowercase().strip_prefix("1d0f:efa")?.parse::<i64>().ok()?;
    Some(digit + 1)
}

/// What the ports of an interface are linked by. What one of them does not tell is unknown of the whole.
fn ports(root: &HostRoot, folder: &str, found: &mut Device) {
    let path = format!("{folder}/ports");
    let mut said: Vec<(&str, Seen<bool>)> = Vec::new();
    match root.names(&path) {
        Err(error) => said.extend([INFINIBAND, ROCE].map(|key| (key, Seen::Unknown(error.to_string())))),
        Ok(names) => {
            for name in names {
                let port = format!("{path}/{name}");
                match Seen::of(root.text(&format!("{port}/link_layer"))).map(|layer| layer.trim().to_owned()) {
                    Seen::Known(layer) if layer == "InfiniBand" => said.push((INFINIBAND, Seen::Known(true))),
                    Seen::Known(layer) if layer == "Ethernet" => said.push((ROCE, has_roce(root, &port))),
                    Seen::Known(_) | Seen::Absent => {}
                    Seen::Unknown(why) => said.extend([INFINIBAND, ROCE].map(|key| (key, Seen::Unknown(why.clone())))),
                }
            }
        }
    }
    for (key, seen) in said {
        // One port that has it is enough; then what could not be seen; then what has it not.
        let rank = |fact: &Fact| match &fact.state {
            State::Known { value } => i32::from(value.to_string() == "true") * 2,
            _ => 1,
        };
        let fact = seen.fact(&path);
        if found.facts.get(key).is_none_or(|before| rank(before) < rank(&fact)) {
            found.facts.insert(key.to_owned(), fact);
        }
    }
}

/// Whether a port on Ethernet has an identifier of RoCE v2. It has none at all while its network interface is down.
fn has_roce(root: &HostRoot, port: &str) -> Seen<bool> {
    let path = format!("{port}/gid_attrs/types");
    let names = match root.names(&path) {
        Ok(names) => names,
        Err(error) => return Seen::Unknown(error.to_string()),
    };
    let mut any = false;
    for name in names.iter().take(IDENTIFIERS) {
        match root.attribute(&format!("{path}/{name}")) {
            Ok(Some(kind)) if kind == "RoCE v2" => return Seen::Known(true),
            Ok(kind) => any |= kind.is_some(),
            Err(error) => return Seen::Unknown(error.to_string()),
        }
    }
    if any { Seen::Known(false) } else { Seen::Unknown(format!("{path}: no identifier is set")) }
}

/// The nodes of interfaces, by the name of the interface: path and `major:minor`.
fn nodes(root: &HostRoot) -> BTreeMap<String, (String, String)> {
    let names = root.names(UVERBS).unwrap_or_default();
    let node = |name: String| {
        let read =
            |file: &str| -> Result<Option<String>, ReadError> { root.attribute(&format!("{UVERBS}/{name}/{file}")) };
        let interface = read("ibdev").ok()??;
        let numbers = read("dev").ok().flatten().unwrap_or_default();
        Some((interface, (format!("/dev/infiniband/{name}"), numbers)))
    };
    names.into_iter().filter_map(node).collect()
}

fn slingshot(root: &HostRoot, bus: &pci::Bus, name: &str) -> Device {
    let text = root.attribute(&format!("{CXI}/{name}/device/uevent")).ok().flatten().unwrap_or_default();
    let mut found = device(Kind::Fabric, uevent(&text, "PCI_SLOT_NAME").unwrap_or(name), bus);
    found.facts.insert(SLINGSHOT.to_owned(), Fact::known(true, format!("{CXI}/{name}")));
    found.nodes.insert(format!("/dev/{name}"), String::new());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_counted_from_one() {
        assert_eq!(generation("1D0F:EFA0"), Some(1));
        assert_eq!(generation("1d0f:efa2"), Some(3));
        assert_eq!(generation("1D0F:EC20"), None);
        assert_eq!(generation("15B3:1021"), None);
    }
}
