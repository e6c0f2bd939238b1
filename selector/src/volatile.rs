//! Owns what never decides because it changes by itself (matching.md §5): the state of links, and network interfaces and block
//! devices that come and go with pods. Who decides puts it aside first, so that it is part of no hash and of no remembered
//! decision.

use crate::features::Features;

/// Why a rule about such a thing has no answer.
const WHY: &str = "it changes by itself, and never decides";
/// NFD's features of things that pods bring: interfaces without a device, and block devices, of which nothing tells a node's
/// own disk from a volume (loop, dm, rbd, iSCSI, a cloud's disks).
const OF_PODS: [&str; 2] = ["network.virtual", "storage.block"];
/// NFD's feature of interfaces with a device.
const DEVICES: &str = "network.device";
/// How many virtual functions an interface has. They move into pods, and nothing tells one from another interface.
const FUNCTIONS: &str = "sriov_numvfs";
/// What an interface's link says about itself.
const LINK: [&str; 2] = ["operstate", "speed"];

/// Makes what is volatile unknown. Features that a host does not have stay away.
pub fn set_aside(features: &mut Features) {
    for feature in OF_PODS {
        if features.instances.remove(feature).is_some() {
            features.set_unknown(feature, WHY);
        }
    }
    let Some(mut devices) = features.instances.remove(DEVICES) else { return };
    let functions = devices.elements.iter().filter_map(|device| device.attributes.get(FUNCTIONS));
    if functions.into_iter().any(|count| count != "0") {
        return features.set_unknown(DEVICES, WHY);
    }
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
        features.set_instances("network.virtual", (0..pods).map(|_| interface("up")));
        features.set_instances("storage.block", (0..pods).map(|_| interface("up")));
        features
    }

    fn function(count: &str) -> Instance {
        Instance { attributes: [(FUNCTIONS.to_owned(), count.to_owned())].into() }
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
        let aside = ["network.device/operstate", "network.device/speed", "network.virtual", "storage.block"];
        assert_eq!(unknown, aside);
    }

    #[test]
    fn virtual_functions_that_moved_into_pods_change_nothing() {
        let host = |interfaces: &[Instance]| {
            let mut features = Features::default();
            features.set_instances(DEVICES, interfaces.to_vec());
            set_aside(&mut features);
            features
        };
        assert_eq!(host(&[function("2"), interface("up")]), host(&[function("2")]));
        assert_ne!(host(&[function("0"), interface("up")]), host(&[function("0")]), "another card");
    }

    #[test]
    fn a_host_without_them_is_as_it_was() {
        let mut none = Features::default();
        set_aside(&mut none);
        assert!(none.is_empty());
    }
}
