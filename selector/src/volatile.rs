//! Owns what never decides because it changes by itself (matching.md §5): the state of links, and network interfaces that come
//! and go with every pod. Who decides puts it aside first, so that it is part of no hash and of no remembered decision.

use crate::features::Features;

/// Why a rule about such a thing has no answer.
const WHY: &str = "it changes by itself, and never decides";
/// NFD's feature of interfaces without a device: every pod has some.
const VIRTUAL: &str = "network.virtual";
/// NFD's feature of interfaces with a device.
const DEVICES: &str = "network.device";
/// What an interface's link says about itself.
const LINK: [&str; 2] = ["operstate", "speed"];

/// Makes what is volatile unknown. Features that a host does not have stay away.
pub fn set_aside(features: &mut Features) {
    if features.instances.remove(VIRTUAL).is_some() {
        features.set_unknown(VIRTUAL, WHY);
    }
    let Some(mut devices) = features.instances.remove(DEVICES) else { return };
    for name in LINK {
        devices.elements.iter_mut().for_each(|device| drop(device.attributes.remove(name)));
        features.set_unknown(&format!("{DEVICES}/{name}"), WHY);
    }
    features.set_instances(DEVICES, devices.elements);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Instance;

    fn interface(state: &str) -> Instance {
        let pairs = [("name", "eth0"), ("operstate", state), ("speed", "25000"), ("mtu", "9000")];
        Instance { attributes: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into() }
    }

    fn host(state: &str, pods: usize) -> Features {
        let mut features = Features::default();
        features.set_instances(DEVICES, [interface(state)]);
        features.set_instances(VIRTUAL, (0..pods).map(|_| interface("up")));
        features
    }

    #[test]
    fn links_and_pods_change_nothing() {
        let (mut one, mut other) = (host("up", 3), host("down", 0));
        set_aside(&mut one);
        set_aside(&mut other);
        assert_eq!(one, other);
        let left: Vec<_> = one.instances[DEVICES].elements[0].attributes.keys().collect();
        assert_eq!(left, ["mtu", "name"]);
        let unknown: Vec<_> = one.unknown.keys().collect();
        assert_eq!(unknown, ["network.device/operstate", "network.device/speed", "network.virtual"]);
    }

    #[test]
    fn a_host_without_them_is_as_it_was() {
        let mut none = Features::default();
        set_aside(&mut none);
        assert!(none.is_empty());
    }
}
