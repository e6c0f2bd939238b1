//! Owns block devices: NFD's `storage.block`, and its label of devices that do not rotate.

use bestfit_selector::facts::Facts;

use crate::NFD;
use crate::feature;
use crate::root::HostRoot;
use crate::seen::Seen;

const DEVICES: &str = "/sys/block";

/// What NFD reads of each device.
const FILES: [&str; 4] = ["queue/dax", "queue/rotational", "queue/nr_zones", "queue/zoned"];

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) {
    // Kernels without block devices have no such directory.
    let devices = root.seen(root.names(DEVICES), "/sys/class").and_then(|names| {
        let read = names.iter().map(|name| feature::instance(root, name, &format!("{DEVICES}/{name}"), &FILES));
        Seen::of(read.collect::<Result<Vec<_>, _>>())
    });
    // As in NFD a loop or ram device counts.
    let still = devices.as_ref().map(|devices| feature::any(devices, "rotational", |value| value == "0"));
    facts.set(NFD, "storage-nonrotationaldisk", still.true_only().fact(format!("{DEVICES}/*/queue/rotational")));
    feature::instances(&mut facts.features, "storage.block", devices);
}
