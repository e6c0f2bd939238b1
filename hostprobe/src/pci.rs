//! Owns PCI devices: NFD's `pci.device`, its `pci-*` labels, and `rdma.capable` that follows from them.

use std::collections::BTreeSet;

use bestfit_selector::facts::{Fact, Facts};
use bestfit_selector::features::Instance;

use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;
use crate::{HOST, NFD, feature};

pub(crate) const DEVICES: &str = "/sys/bus/pci/devices";
/// Mellanox, now NVIDIA networking: NFD's rule for `rdma.capable`.
const MELLANOX: &str = "15b3";

/// What NFD reads of those devices that have it, and calls by these names.
const SRIOV: &str = "sriov_totalvfs";
const OPTIONAL: [&str; 3] = [SRIOV, "iommu_group/type", "iommu/intel-iommu/version"];

/// One function of a device, its numbers in lower-case hex as sysfs writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) address: String,
    /// Base class and subclass.
    pub(crate) class: String,
    pub(crate) vendor: String,
    pub(crate) device: String,
    /// Vendor and device of the subsystem, or why they are not known. Only NFD's features have them.
    subsystem: Result<[String; 2], String>,
    /// Those of [`OPTIONAL`] that it has.
    optional: Vec<(&'static str, String)>,
}

/// The devices that could be read.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    pub(crate) devices: Vec<Device>,
    /// Why there may be others.
    pub(crate) failed: Option<String>,
}

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) -> Bus {
    let names = root.seen(root.names(DEVICES), "/sys/bus");
    // NFD has no such feature where there is no such bus.
    let has_bus = !matches!(names, Seen::Absent);
    let (devices, failed) = match names {
        Seen::Known(names) => read_all(root, names),
        Seen::Absent => (Vec::new(), None),
        Seen::Unknown(why) => (Vec::new(), Some(why)),
    };
    // What was found stands; about the rest there is an answer only when everything could be read.
    let rest = || match &failed {
        Some(why) => Fact::unknown(why, DEVICES),
        None => Fact::absent(DEVICES),
    };
    facts.set(NFD, "pci-*", rest());
    facts.set(HOST, "pci.*", rest());
    for device in &devices {
        set_device(device, facts);
    }
    let ids: BTreeSet<String> = devices.iter().map(|device| format!("{}:{}", device.vendor, device.device)).collect();
    let all = match &failed {
        Some(why) => Fact::unknown(why, DEVICES),
        None => Fact::known(ids, DEVICES),
    };
    facts.set(HOST, "pci.devices", all);

    match devices.iter().find(|device| device.vendor == MELLANOX) {
        Some(device) => facts.set(NFD, "rdma.capable", Fact::known(true, path_of(&device.address))),
        None => facts.set(NFD, "rdma.capable", rest()),
    }
    let instances = match &failed {
        Some(why) => Seen::Unknown(why.clone()),
        None if has_bus => {
            let instances: Result<Vec<Instance>, String> = devices.iter().map(Device::instance).collect();
            instances.map_or_else(Seen::Unknown, Seen::Known)
        }
        None => Seen::Absent,
    };
    feature::instances(&mut facts.features, "pci.device", instances);
    Bus { devices, failed }
}

impl Device {
    /// NFD's attributes of a device; its address is none of them.
    fn instance(&self) -> Result<Instance, String> {
        let [subsystem_vendor, subsystem_device] = self.subsystem.as_ref().map_err(String::clone)?;
        let mandatory = [
            ("class", &self.class),
            ("vendor", &self.vendor),
            ("device", &self.device),
            ("subsystem_vendor", subsystem_vendor),
            ("subsystem_device", subsystem_device),
        ];
        let all = mandatory.into_iter().chain(self.optional.iter().map(|(name, value)| (*name, value)));
        Ok(Instance { attributes: all.map(|(name, value)| (name.to_owned(), value.clone())).collect() })
    }

    /// Class, vendor and device: `0302:10de:2330`.
    pub(crate) fn numbers(&self) -> String {
        format!("{}:{}:{}", self.class, self.vendor, self.device)
    }
}

/// NFD names a device by class and vendor; sites that configure it name it by vendor alone (as GPU operators do) or by
/// class, vendor and device, so all three are facts.
fn set_device(found: &Device, facts: &mut Facts) {
    let Device { address, class, vendor, device, .. } = found;
    for name in [vendor.clone(), format!("{class}_{vendor}"), format!("{class}_{vendor}_{device}")] {
        facts.set(NFD, format!("pci-{name}.present"), Fact::known(true, path_of(address)));
    }
    facts.set(HOST, format!("pci.{vendor}:{device}"), Fact::known(true, path_of(address)));
    if found.optional.iter().any(|(name, _)| *name == SRIOV) {
        let source = format!("{}/{SRIOV}", path_of(address));
        facts.set(NFD, format!("pci-{class}_{vendor}.sriov.capable"), Fact::known(true, source));
    }
}

/// Where a device lies in sysfs.
pub(crate) fn path_of(address: &str) -> String {
    format!("{DEVICES}/{address}")
}

/// The devices that could be read, and the first failure.
fn read_all(root: &HostRoot, names: Vec<String>) -> (Vec<Device>, Option<String>) {
    let (mut devices, mut failed) = (Vec::new(), None);
    for name in names {
        match read(root, &name) {
            Ok(device) => devices.push(device),
            Err(why) => failed = failed.or(Some(why)),
        }
    }
    (devices, failed)
}

/// One file, `modalias`, has all numbers; recorded roots may hold only the five others.
fn read(root: &HostRoot, address: &str) -> Result<Device, String> {
    let path = path_of(address);
    let mut device = match root.attribute(&format!("{path}/modalias")).map_err(|error| error.to_string())? {
        Some(alias) => parse_alias(address, &alias).ok_or_else(|| format!("{path}/modalias: {alias:?}"))?,
        None => read_numbers(root, address)?,
    };
    for name in OPTIONAL {
        if let Some(value) = root.attribute(&format!("{path}/{name}")).map_err(|error| error.to_string())? {
            device.optional.push((name, value));
        }
    }
    Ok(device)
}

fn read_numbers(root: &HostRoot, address: &str) -> Result<Device, String> {
    let number = |name: &str| {
        let path = format!("{DEVICES}/{address}/{name}");
        let text = root.text(&path).map_err(|error: ReadError| error.to_string())?;
        // A class has six digits, of which the last two are the programming interface.
        let hex = text.trim().strip_prefix("0x").and_then(|hex| hex.get(..4));
        hex.map(str::to_lowercase).ok_or_else(|| format!("{path}: {text:?}"))
    };
    Ok(Device {
        address: address.to_owned(),
        class: number("class")?,
        vendor: number("vendor")?,
        device: number("device")?,
        subsystem: number("subsystem_vendor").and_then(|vendor| Ok([vendor, number("subsystem_device")?])),
        optional: Vec::new(),
    })
}

/// `pci:v000010DEd00002330sv000010DEsd000016C1bc03sc02i00` (the kernel's `pci_uevent`): vendor, device, those of the
/// subsystem, base class, subclass.
fn parse_alias(address: &str, alias: &str) -> Option<Device> {
    let rest = alias.strip_prefix("pci:v")?;
    let (vendor, rest) = rest.split_once('d')?;
    let (device, rest) = rest.split_once("sv")?;
    let (subsystem_vendor, rest) = rest.split_once("sd")?;
    let (subsystem_device, rest) = rest.split_once("bc")?;
    let (base, rest) = rest.split_once("sc")?;
    let (sub, _) = rest.split_once('i')?;
    let hex = |text: &str, digits: usize| {
        let is_hex = text.len() >= digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| text[text.len() - digits..].to_lowercase())
    };
    Some(Device {
        address: address.to_owned(),
        class: format!("{}{}", hex(base, 2)?, hex(sub, 2)?),
        vendor: hex(vendor, 4)?,
        device: hex(device, 4)?,
        subsystem: Ok([hex(subsystem_vendor, 4)?, hex(subsystem_device, 4)?]),
        optional: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_read() {
        let alias = "pci:v000010DEd00002330sv000010DEsd000016C1bc03sc02i00";
        let device = parse_alias("0000:01:00.0", alias).unwrap();
        assert_eq!((&*device.class, &*device.vendor, &*device.device), ("0302", "10de", "2330"));
        assert_eq!(device.subsystem, Ok(["10de", "16c1"].map(str::to_owned)));
        for bad in [
            "",
            "pci:v",
            "pci:v10DEd",
            "virtio:d00000001v00001AF4",
            "pci:vd00002330svsdbc03sc02i00",
            "pci:vé10DEd00002330svsdbc03sc02i00",
        ] {
            assert_eq!(parse_alias("x", bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_alias_is_taken(alias in "(pci:v)?[0-9a-fA-Fdsvbci]{0,60}") {
            let _ = parse_alias("x", &alias);
        }
    }
}
