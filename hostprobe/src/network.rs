//! Owns network interfaces: NFD's `network.device` and `network.virtual`, and its labels of virtual functions.

use bestfit_selector::facts::Facts;
use bestfit_selector::features::Instance;

use crate::NFD;
use crate::feature;
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;

const INTERFACES: &str = "/sys/class/net";

/// What NFD reads of an interface that belongs to a device.
const DEVICE_FILES: [&str; 5] = ["operstate", "speed", "device/sriov_numvfs", "device/sriov_totalvfs", "mtu"];
/// And of any other.
const VIRTUAL_FILES: [&str; 3] = ["operstate", "speed", "mtu"];

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) {
    let all = root.seen(root.names(INTERFACES), "/sys/class").and_then(|names| Seen::of(read(root, &names)));
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
        let dir = format!("{INTERFACES}/{name}");
        if root.exists(&format!("{dir}/device"))? {
            devices.push(feature::instance(root, name, &dir, &DEVICE_FILES)?);
        } else {
            others.push(feature::instance(root, name, &dir, &VIRTUAL_FILES)?);
        }
    }
    Ok((devices, others))
}

fn is_positive(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|count| count > 0)
}
