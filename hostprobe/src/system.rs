//! Owns the machine's name and what its firmware says about it: NFD's `system.name` and `system.dmiid`.

use bestfit_selector::facts::Facts;

use crate::feature;
use crate::root::HostRoot;
use crate::seen::Seen;

const HOSTNAME: &str = "/proc/sys/kernel/hostname";
const DMI: &str = "/sys/devices/virtual/dmi/id";

/// The fields that every user may read; serial numbers are not among them.
const FIELDS: [&str; 16] = [
    "bios_date",
    "bios_vendor",
    "bios_version",
    "board_asset_tag",
    "board_name",
    "board_vendor",
    "board_version",
    "chassis_asset_tag",
    "chassis_type",
    "chassis_vendor",
    "chassis_version",
    "product_family",
    "product_name",
    "product_sku",
    "product_version",
    "sys_vendor",
];

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) {
    let features = &mut facts.features;
    // NFD takes the name from its environment; it is the kubelet's, which by default is this one in lower case.
    let name = match root.seen_line(HOSTNAME, "/proc/sys") {
        Seen::Absent => Seen::Unknown(format!("{HOSTNAME}: not there")),
        seen => seen.map(|name| name.to_lowercase()),
    };
    feature::open(features, "system.name");
    feature::attribute(features, "system.name", "nodename", &name);

    // Machines without DMI, such as small virtual ones and most of other architectures, have no such directory.
    match root.seen_there(DMI, "/sys/devices") {
        Seen::Absent => {}
        Seen::Unknown(why) => features.set_unknown("system.dmiid", why),
        Seen::Known(_) => {
            for field in FIELDS {
                let value = match root.attribute(&format!("{DMI}/{field}")) {
                    Ok(value) => value.map_or(Seen::Absent, Seen::Known),
                    Err(error) => Seen::Unknown(error.to_string()),
                };
                feature::attribute(features, "system.dmiid", field, &value);
            }
        }
    }
}
