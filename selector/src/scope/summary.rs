//! Owns what the container's own devices say together, in the place of what all devices of the host say.

use std::collections::{BTreeMap, BTreeSet};

use super::which::Which;
use super::{DIFFER, SOURCE};
use crate::devices::{Device, Kind, summarize};
use crate::facts::{Fact, Facts};

const HOST: &str = "host";

/// Leaves the container's devices, and the facts that these have together.
pub(super) fn own_devices(facts: &mut Facts, which: &BTreeMap<Kind, Which>) {
    let all = facts.devices.clone();
    let mut positions = 0..;
    facts.devices.retain(|device| match (&which[&device.kind], positions.next()) {
        (Which::Nothing, _) => false,
        (Which::These(own), position) => position.is_some_and(|position| own.contains(&position)),
        (Which::Some | Which::Untold(_), _) => true,
    });
    for kind in Kind::ALL {
        let devices: Vec<&Device> = all.iter().filter(|device| device.kind == kind).collect();
        match &which[&kind] {
            Which::These(_) => {
                said(kind, &devices).into_iter().for_each(|key| facts.set(HOST, key, Fact::absent(SOURCE)));
                summarize(facts, kind);
            }
            Which::Some => open(kind, &devices, facts),
            Which::Nothing | Which::Untold(_) => {}
        }
    }
}

/// The keys that devices of a kind speak about.
fn said(kind: Kind, devices: &[&Device]) -> BTreeSet<String> {
    let count = kind.count().filter(|_| !devices.is_empty()).map(str::to_owned);
    devices.iter().flat_map(|device| device.facts.keys().cloned()).chain(count).collect()
}

/// What differs between devices is not known of some of them, nor how many these are.
fn open(kind: Kind, devices: &[&Device], facts: &mut Facts) {
    let Some((first, others)) = devices.split_first().filter(|(_, others)| !others.is_empty()) else { return };
    for key in said(kind, devices) {
        let state = |device: &Device| device.facts.get(&key).map(|fact| fact.state.clone());
        let counts = kind.count() == Some(key.as_str());
        if counts || others.iter().any(|device| state(device) != state(first)) {
            facts.set(HOST, key, Fact::unknown(DIFFER, SOURCE));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Scope, narrow};
    use super::*;
    use crate::facts::State;
    use crate::features::Instance;

    const CAPABILITY: &str = "nvidia.compute_capability";

    fn gpu(index: u32, id: &str, capability: &str) -> Device {
        let address = format!("0000:{index:02x}:00.0");
        Device {
            kind: Kind::Nvidia,
            pci: Some(format!("0302:10de:{id}")),
            index: Some(index),
            uuid: None,
            nodes: [(format!("/dev/nvidia{index}"), format!("195:{index}"))].into(),
            cdi: [format!("nvidia.com/gpu={index}"), "nvidia.com/gpu=all".to_owned()].into(),
            facts: [(CAPABILITY.to_owned(), Fact::known(capability, address.clone()))].into(),
            address,
        }
    }

    /// An H100 and an A100.
    fn mixed() -> Facts {
        let mut facts = Facts { devices: vec![gpu(0, "2330", "9.0"), gpu(1, "20b0", "8.0")], ..Facts::default() };
        summarize(&mut facts, Kind::Nvidia);
        facts.set(HOST, "nvidia.cuda", Fact::known("12.4", "/sys"));
        let instance = |device: &str| {
            let attributes = [("class", "0302"), ("vendor", "10de"), ("device", device)];
            Instance { attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into() }
        };
        facts.features.set_instances("pci.device", ["2330", "20b0"].map(instance));
        for device in ["2330", "20b0"] {
            facts.set("nfd", format!("pci-0302_10de_{device}.present"), Fact::known(true, "/sys"));
        }
        facts
    }

    #[test]
    fn a_cdi_device_stands_for_what_it_gives() {
        let all = ["nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=all", "intel.com/gpu=x"];
        for (visible, more, expected) in [
            ("all", "", "nvidia.com/gpu=0 nvidia.com/gpu=1 nvidia.com/gpu=all"),
            ("1", "", "nvidia.com/gpu=1"),
            ("none", "", ""),
            ("MIG-x", "", "?"),
            // Which devices these names give is not known: one of a vendor without a device here, and of another vendor.
            ("none", "nvidia.com/gpu=9", ""),
            ("0", "nvidia.com/gpu=9", "?"),
            ("none", "vendor.example/nic=0", "?"),
        ] {
            let mut facts = mixed();
            let names = all.into_iter().chain([more]).filter(|name| !name.is_empty()).map(str::to_owned);
            facts.set(HOST, "cdi.devices", Fact::known(names.collect::<BTreeSet<_>>(), "/etc/cdi"));
            let spec = json!({"process": {"env": [format!("NVIDIA_VISIBLE_DEVICES={visible}")]}});
            narrow(&mut facts, &Scope::of(&spec, &[]));
            let found = match &facts.get(HOST, "cdi.devices").unwrap().state {
                State::Known { value } => value.to_string(),
                _ => "?".to_owned(),
            };
            assert_eq!(found, expected, "{visible} {more}");
        }
    }

    /// Count, compute capability, CUDA, and whether NFD sees the H100 and the A100.
    fn shown(visible: &str) -> String {
        let mut facts = mixed();
        let spec = json!({"process": {"env": [format!("NVIDIA_VISIBLE_DEVICES={visible}")]}});
        narrow(&mut facts, &Scope::of(&spec, &[]));
        let word = |group: &str, key: &str| match &facts.get(group, key).unwrap().state {
            State::Known { value } => value.to_string(),
            State::Absent => "-".to_owned(),
            State::Unknown { .. } => "?".to_owned(),
        };
        let host = ["nvidia.gpu.count", CAPABILITY, "nvidia.cuda"].map(|key| word(HOST, key)).join(", ");
        let nfd = ["2330", "20b0"].map(|device| word("nfd", &format!("pci-0302_10de_{device}.present"))).join(" ");
        format!("{host}, {nfd}, {} devices", facts.devices.len())
    }

    #[test]
    fn a_container_has_the_facts_of_its_own_devices() {
        for (visible, expected) in [
            ("0", "1, 9.0, 12.4, true -, 1 devices"),
            ("1", "1, 8.0, 12.4, - true, 1 devices"),
            ("all", "2, 8.0 9.0, 12.4, true true, 2 devices"),
            ("MIG-x", "?, ?, 12.4, ? ?, 2 devices"),
            ("none", "-, -, -, - -, 0 devices"),
        ] {
            assert_eq!(shown(visible), expected, "{visible}");
        }
    }
}
