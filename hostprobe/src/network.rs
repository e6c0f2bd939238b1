//! Owns network interfaces: NFD's `network.device` and `network.virtual`, and its labels of virtual functions.

use bestfit_selector::facts::Facts;
use bestfit_selector::features::Instance;

use crate::feature;
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;
use crate::{Look, NFD};

const INTERFACES: &str = "/sys/class/net";

/// Interfaces that belong to a device have this link to it.
const DEVICE: &str = "device";
/// What NFD reads of such an interface.
const DEVICE_FILES: [&str; 5] = ["operstate", "speed", "device/sriov_numvfs", "device/sriov_totalvfs", "mtu"];
/// What of it does not change by itself (`bestfit_selector::volatile`).
const SETTLED_FILES: [&str; 3] = ["device/sriov_numvfs", "device/sriov_totalvfs", "mtu"];
/// What NFD reads of any other interface.
const VIRTUAL_FILES: [&str; 3] = ["operstate", "speed", "mtu"];

pub(crate) fn probe(root: &HostRoot, look: Look, facts: &mut Facts) {
    let all = match look {
        Look::Everything => {
            root.seen(root.names(INTERFACES), "/sys/class").and_then(|names| Seen::of(read(root, &names)))
        }
        Look::Settled => root.seen(root.names_with(INTERFACES, DEVICE), "/sys/class").and_then(|names| {
            let devices = names.iter().map(|name| feature::instance(root, name, &dir(name), &SETTLED_FILES));
            Seen::of(devices.collect::<Result<_, _>>().map(|devices| (devices, Vec::new())))
        }),
    };
    let (devices, others) = (all.as_ref().map(|all| all.0.clone()), all.as_ref().map(|all| all.1.clone()));
    for (label, file) in [("capable", "sriov_totalvfs"), ("configured", "sriov_numvfs")] {
        let positive = devices.as_ref().map(|devices| feature::any(devices, file, is_positive));
        let source = format!("{INTERFACES}/*/device/{file}");
        facts.set(NFD, format!("network-sriov.{label}"), positive.true_only().fact(source));
    }
    feature::instances(&mut facts.features, "network.device", devices);
    feature::instances(&mut facts.features, "network.virtual", others);
}

/// The interfaces that belong to a device, and the others.
fn read(root: &HostRoot, names: &[String]) -> Result<(Vec<Instance>, Vec<Instance>), ReadError> {
    let (mut devices, mut others) = (Vec::new(), Vec::new());
    // The bonding driver's list of its interfaces lies among them.
    for name in names.iter().filter(|name| *name != "bonding_masters") {
        let dir = dir(name);
        if root.exists(&format!("{dir}/{DEVICE}"))? {
            devices.push(feature::instance(root, name, &dir, &DEVICE_FILES)?);
        } else {
            others.push(feature::instance(root, name, &dir, &VIRTUAL_FILES)?);
        }
    }
    Ok((devices, others))
}

fn dir(name: &str) -> String {
    format!("{INTERFACES}/{name}")
}

fn is_positive(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|count| count > 0)
}
