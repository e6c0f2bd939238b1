//! Owns USB devices: NFD's `usb.device` and `usb-*` labels.

use bestfit_selector::facts::{Fact, Facts};
use bestfit_selector::features::Instance;

use crate::NFD;
use crate::feature;
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;

const DEVICES: &str = "/sys/bus/usb/devices";

/// NFD's names and the kernel's.
const FILES: [(&str, &str); 4] =
    [("class", "bDeviceClass"), ("vendor", "idVendor"), ("device", "idProduct"), ("serial", "serial")];

/// The class of a device whose interfaces have classes of their own.
const PER_INTERFACE: &str = "00";

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) {
    let devices = match root.seen(root.names(DEVICES), "/sys/bus") {
        Seen::Known(names) => Seen::of(read_all(root, &names)),
        // A kernel without USB has no such bus.
        Seen::Absent => Seen::Known(Vec::new()),
        Seen::Unknown(why) => Seen::Unknown(why),
    };
    let rest = match &devices {
        Seen::Unknown(why) => Fact::unknown(why, DEVICES),
        _ => Fact::absent(DEVICES),
    };
    facts.set(NFD, "usb-*", rest);
    if let Seen::Known(devices) = &devices {
        for device in devices {
            let field = |name: &str| device.attributes.get(name).map_or("", String::as_str);
            let label = format!("usb-{}_{}_{}.present", field("class"), field("vendor"), field("device"));
            facts.set(NFD, label, Fact::known(true, DEVICES));
        }
    }
    feature::instances(&mut facts.features, "usb.device", devices);
}

fn read_all(root: &HostRoot, names: &[String]) -> Result<Vec<Instance>, ReadError> {
    let mut all = Vec::new();
    // A name with a colon is an interface, and no interface is a product.
    for name in names.iter().filter(|name| !name.contains(':')) {
        let dir = format!("{DEVICES}/{name}");
        let mut device = Instance::default();
        for (attribute, file) in FILES {
            if let Some(value) = root.attribute(&format!("{dir}/{file}"))?.filter(|value| !value.is_empty()) {
                device.attributes.insert(attribute.to_owned(), value);
            }
        }
        if !device.attributes.contains_key("device") {
            continue;
        }
        if device.attributes.get("class").is_some_and(|class| class == PER_INTERFACE) {
            all.extend(per_interface(root, &dir, &device)?);
        } else {
            all.push(device);
        }
    }
    Ok(all)
}

/// One instance for each interface, with the interface's class.
fn per_interface(root: &HostRoot, dir: &str, device: &Instance) -> Result<Vec<Instance>, ReadError> {
    let mut instances = Vec::new();
    for name in root.names(dir)?.iter().filter(|name| name.contains(':')) {
        if let Some(class) = root.attribute(&format!("{dir}/{name}/bInterfaceClass"))? {
            let mut instance = device.clone();
            instance.attributes.insert("class".to_owned(), class);
            instances.push(instance);
        }
    }
    Ok(instances)
}
