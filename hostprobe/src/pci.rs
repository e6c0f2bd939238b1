//! Owns PCI devices, and what follows from them and from modules: NFD's `pci-*` and `rdma.*` labels.

use std::collections::BTreeSet;

use bestfit_selector::facts::{Fact, Facts};

use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;
use crate::{HOST, NFD};

const DEVICES: &str = "/sys/bus/pci/devices";
const MODULES: &str = "/proc/modules";
/// Mellanox, now NVIDIA networking: NFD's rule for `rdma.capable`.
const MELLANOX: &str = "15b3";

/// One function of a device, its numbers in lower-case hex as sysfs writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Device {
    address: String,
    /// Base class and subclass.
    class: String,
    vendor: String,
    device: String,
}

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) {
    let (devices, failed) = match root.seen(root.names(DEVICES), "/sys/bus") {
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
        set_device(root, device, facts);
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
    let modules = root.seen(root.text(MODULES), "/proc/sys");
    facts.set(NFD, "rdma.available", modules.map(|text| has_rdma(&text)).true_only().fact(MODULES));
}

/// NFD names a device by class and vendor; sites that configure it name it by vendor alone (as GPU operators do) or by
/// class, vendor and device, so all three are facts.
fn set_device(root: &HostRoot, device: &Device, facts: &mut Facts) {
    let Device { address, class, vendor, device: id } = device;
    for name in [vendor.clone(), format!("{class}_{vendor}"), format!("{class}_{vendor}_{id}")] {
        facts.set(NFD, format!("pci-{name}.present"), Fact::known(true, path_of(address)));
    }
    facts.set(HOST, format!("pci.{vendor}:{id}"), Fact::known(true, path_of(address)));

    // The classes for which NFD makes labels by default; asking every bridge costs more than it tells.
    if !["03", "0b40", "12"].iter().any(|prefix| class.starts_with(prefix)) {
        return;
    }
    let path = format!("{}/sriov_totalvfs", path_of(address));
    let key = format!("pci-{class}_{vendor}.sriov.capable");
    match root.seen_line(&path, DEVICES) {
        Seen::Known(total) if total != "0" => facts.set(NFD, key, Fact::known(true, path)),
        Seen::Unknown(why) => facts.set(NFD, key, Fact::unknown(why, path)),
        Seen::Known(_) | Seen::Absent => {}
    }
}

fn path_of(address: &str) -> String {
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

/// One file, `modalias`, has all numbers; recorded roots may hold only the three others.
fn read(root: &HostRoot, address: &str) -> Result<Device, String> {
    let file = |name: &str| root.text(&format!("{DEVICES}/{address}/{name}"));
    match file("modalias") {
        Ok(alias) => {
            return parse_alias(address, alias.trim())
                .ok_or_else(|| format!("{DEVICES}/{address}/modalias: {alias:?}"));
        }
        Err(ReadError::Missing(_)) => {}
        Err(error) => return Err(error.to_string()),
    }
    let number = |name: &str, digits: usize| {
        let text = file(name).map_err(|error| error.to_string())?;
        let hex = text.trim().strip_prefix("0x").and_then(|hex| hex.get(..digits));
        hex.map(str::to_lowercase).ok_or_else(|| format!("{DEVICES}/{address}/{name}: {text:?}"))
    };
    Ok(Device {
        address: address.to_owned(),
        class: number("class", 4)?,
        vendor: number("vendor", 4)?,
        device: number("device", 4)?,
    })
}

/// `pci:v000010DEd00002330sv…sd…bc03sc02i00` (the kernel's `pci_uevent`): vendor, device, base class, subclass.
fn parse_alias(address: &str, alias: &str) -> Option<Device> {
    let rest = alias.strip_prefix("pci:v")?;
    let (vendor, rest) = rest.split_once('d')?;
    let (device, rest) = rest.split_once("sv")?;
    let (base, rest) = rest.split_once("bc")?.1.split_once("sc")?;
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
    })
}

/// Whether the modules are loaded that let programs use RDMA.
fn has_rdma(modules: &str) -> bool {
    let loaded = |name: &str| modules.lines().any(|line| line.split(' ').next() == Some(name));
    loaded("ib_uverbs") && loaded("rdma_ucm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_read() {
        let alias = "pci:v000010DEd00002330sv000010DEsd000016C1bc03sc02i00";
        let device = parse_alias("0000:01:00.0", alias).unwrap();
        assert_eq!((&*device.class, &*device.vendor, &*device.device), ("0302", "10de", "2330"));
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

    #[test]
    fn both_modules_are_needed() {
        assert!(has_rdma("rdma_ucm 32768 0 - Live 0x0\nib_uverbs 1 1 rdma_ucm, Live 0x0\n"));
        assert!(!has_rdma("rdma_ucm 32768 0 - Live 0x0\n"));
        assert!(!has_rdma("ib_uverbs_extra 1 0 ib_uverbs rdma_ucm\n"));
    }

    proptest::proptest! {
        #[test]
        fn any_alias_is_taken(alias in "(pci:v)?[0-9a-fA-Fdsvbci]{0,60}") {
            let _ = parse_alias("x", &alias);
        }
    }
}
