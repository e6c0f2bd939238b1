//! Owns which of a host's devices a container was given: the names in its runtime spec, held against the devices that were
//! found. A name that fits no device leaves open which it is, and never which kind.

use std::collections::BTreeSet;

use super::{Given, Name, Scope};
use crate::devices::{Device, Kind};
use crate::facts::Facts;

/// What a container has of one kind of devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    /// None.
    Nothing,
    /// Exactly these, by position among the devices of the facts.
    These(BTreeSet<usize>),
    /// At least one, and which cannot be told.
    Some,
    /// Whether it has any cannot be told: why.
    Untold(String),
}

/// The devices of `kind` that the container of this scope was given.
pub(super) fn which(scope: &Scope, kind: Kind, facts: &Facts, vendors: &Vendors) -> Which {
    let devices = Devices::of(facts, kind);
    let graphics = matches!(kind, Kind::Amd | Kind::Intel).then(|| devices.by_graphics(&scope.graphics, vendors));
    let graphics = graphics.unwrap_or(Which::Nothing);
    let own = match scope.given(kind) {
        Given::Nothing => Which::Nothing,
        // The node that all share gives those whose own nodes are given.
        Given::Devices(names) if names.is_empty() && matches!(graphics, Which::These(_)) => Which::Nothing,
        Given::Devices(names) => devices.named(&names),
        Given::Untold(why) => Which::Untold(why),
    };
    own.or(graphics).or(devices.of_other_vendors(&scope.others, facts))
}

impl Which {
    /// What was given twice over. A doubt takes nothing from what was given for certain.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, which) | (which, Self::Nothing) => which,
            (Self::Some, _) | (_, Self::Some) => Self::Some,
            (Self::These(some), Self::These(more)) => Self::These(&some | &more),
            (Self::Untold(_), Self::These(which)) | (Self::These(which), Self::Untold(_)) => Self::These(which),
            (Self::Untold(why), Self::Untold(_)) => Self::Untold(why),
        }
    }
}

impl Scope {
    /// Whether a device of the host has one of the names in this scope. A part of a GPU, such as `MIG-…`, has no name of a
    /// device: there it is enough that the host has such devices.
    pub fn meets(&self, facts: &Facts) -> bool {
        let found = |kind: Kind| facts.devices.iter().filter(move |device| device.kind == kind);
        let part = |name: &Name| matches!(name, Name::Other(name) if name.starts_with("MIG-") || name.contains(':'));
        let meets = |(kind, given): (&Kind, &Given)| match given {
            Given::Devices(names) if !names.is_empty() => {
                found(*kind).any(|device| names.iter().any(|name| part(name) || is(device, name)))
            }
            Given::Devices(_) => found(*kind).next().is_some(),
            Given::Nothing | Given::Untold(_) => false,
        };
        let of_graphics = match &self.graphics {
            Given::Devices(names) => facts.devices.iter().any(|device| names.iter().any(|name| is(device, name))),
            Given::Nothing | Given::Untold(_) => false,
        };
        let of_others = facts.devices.iter().any(|device| !device.cdi.is_disjoint(&self.others));
        self.given.iter().any(meets) || of_graphics || of_others || !self.nodes.is_empty()
    }
}

/// What the PCI bus says about graphics.
pub(super) struct Vendors {
    /// Vendors of all graphics and accelerators; none where not all devices could be read.
    pub(super) graphics: Option<BTreeSet<String>>,
}

impl Vendors {
    fn has(&self, kind: Kind) -> Option<bool> {
        let vendor = if kind == Kind::Amd { "1002" } else { "8086" };
        self.graphics.as_ref().map(|all| all.contains(vendor))
    }
}

/// The devices of one kind.
struct Devices<'a> {
    kind: Kind,
    found: Vec<(usize, &'a Device)>,
}

impl<'a> Devices<'a> {
    fn of(facts: &'a Facts, kind: Kind) -> Self {
        Self { kind, found: facts.devices.iter().enumerate().filter(|(_, device)| device.kind == kind).collect() }
    }

    fn positions(&self, test: impl Fn(&Device) -> bool) -> BTreeSet<usize> {
        self.found.iter().filter(|(_, device)| test(device)).map(|(position, _)| *position).collect()
    }

    /// All that are named; one that is named and not found may be any.
    fn named(&self, names: &BTreeSet<Name>) -> Which {
        let each: Vec<BTreeSet<usize>> = names.iter().map(|name| self.positions(|device| is(device, name))).collect();
        if self.found.len() == 1 {
            return Which::These(self.positions(|_| true));
        }
        if each.is_empty() || each.iter().any(BTreeSet::is_empty) {
            return Which::Some;
        }
        Which::These(each.into_iter().flatten().collect())
    }

    /// Nodes below `/dev/dri`: of a device that is known to have them, else of the only vendor there is.
    fn by_graphics(&self, given: &Given, vendors: &Vendors) -> Which {
        let names = match given {
            Given::Nothing => return Which::Nothing,
            _ if vendors.has(self.kind) == Some(false) => return Which::Nothing,
            Given::Untold(why) => return Which::Untold(why.clone()),
            Given::Devices(names) => names,
        };
        let found = self.positions(|device| names.iter().any(|name| is(device, name)));
        let nodes_known = !self.found.is_empty() && self.found.iter().all(|(_, device)| !device.nodes.is_empty());
        match &vendors.graphics {
            _ if !found.is_empty() => Which::These(found),
            _ if nodes_known => Which::Nothing,
            Some(all) if all.len() == 1 => self.named(names),
            _ => Which::Untold("whose GPU a node below /dev/dri stands for cannot be told".to_owned()),
        }
    }

    /// CDI devices of vendors that are not known here: the files that define them say what they are.
    fn of_other_vendors(&self, names: &BTreeSet<String>, facts: &Facts) -> Which {
        let found = self.positions(|device| !device.cdi.is_disjoint(names));
        let known = |name: &String| facts.devices.iter().any(|device| device.cdi.contains(name));
        match names.iter().all(known) {
            _ if !found.is_empty() => Which::These(found),
            true => Which::Nothing,
            false => Which::Untold("a CDI device of another vendor was asked for".to_owned()),
        }
    }
}

/// Whether a name is this device's.
fn is(device: &Device, name: &Name) -> bool {
    match name {
        Name::All => true,
        Name::Index(index) => device.index == Some(*index),
        Name::Uuid(uuid) => device.uuid.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(uuid)),
        Name::Node { path, numbers } => device.nodes.iter().any(|(own, its)| match numbers {
            // Its number makes a node what it is; a container may call it otherwise.
            Some(numbers) if !its.is_empty() => numbers == its,
            _ => own == path,
        }),
        Name::Cdi(name) => device.cdi.contains(name) || super::vendors_own(name).is_some_and(|name| is(device, &name)),
        Name::Other(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn device(kind: Kind, index: u32, node: (&str, &str)) -> Device {
        Device {
            kind,
            address: format!("0000:{index:02x}:00.0"),
            pci: None,
            index: Some(index),
            uuid: Some(format!("GPU-{index}")),
            nodes: [(node.0.to_owned(), node.1.to_owned())].into(),
            cdi: [format!("vendor.example/gpu={index}")].into(),
            facts: BTreeMap::new(),
        }
    }

    fn host() -> Facts {
        let devices = vec![
            device(Kind::Nvidia, 0, ("/dev/nvidia0", "195:0")),
            device(Kind::Nvidia, 1, ("/dev/nvidia1", "195:1")),
            device(Kind::Amd, 0, ("/dev/dri/renderD128", "226:128")),
            device(Kind::Amd, 1, ("/dev/dri/renderD129", "226:129")),
        ];
        Facts { devices, ..Facts::default() }
    }

    /// The positions, `some`, `?` or `-`.
    fn shown(kind: Kind, spec: &Value) -> String {
        let vendors = Vendors { graphics: Some(["10de", "1002"].map(str::to_owned).into()) };
        match which(&Scope::of(spec, &[]), kind, &host(), &vendors) {
            Which::Nothing => "-".to_owned(),
            Which::These(all) => all.iter().map(usize::to_string).collect::<Vec<_>>().join(" "),
            Which::Some => "some".to_owned(),
            Which::Untold(_) => "?".to_owned(),
        }
    }

    #[test]
    fn names_lead_to_devices() {
        let nodes = |nodes: &[(&str, u64, u64)]| {
            let all = nodes
                .iter()
                .map(|(path, major, minor)| json!({"path": path, "type": "c", "major": major, "minor": minor}));
            json!({"linux": {"devices": all.collect::<Vec<_>>()}})
        };
        let env = |value: &str| json!({"process": {"env": [format!("NVIDIA_VISIBLE_DEVICES={value}")]}});
        let cdi = |value: &str| json!({"annotations": {"cdi.k8s.io/x": value}});
        let mount = |path: &str| json!({"mounts": [{"source": "/dev/null", "destination": path}]});
        for (kind, spec, expected) in [
            (Kind::Nvidia, json!({}), "-"),
            (Kind::Nvidia, nodes(&[("/dev/nvidia0", 195, 0), ("/dev/nvidiactl", 195, 255)]), "0"),
            (Kind::Nvidia, nodes(&[("/dev/nvidia0", 195, 1)]), "1"),
            (Kind::Nvidia, nodes(&[("/dev/nvidia0", 195, 0), ("/dev/nvidia7", 195, 7)]), "some"),
            (Kind::Nvidia, env("all"), "0 1"),
            (Kind::Nvidia, env("1"), "1"),
            (Kind::Nvidia, env("0,1"), "0 1"),
            (Kind::Nvidia, env("gpu-1"), "1"),
            (Kind::Nvidia, env("GPU-7"), "some"),
            (Kind::Nvidia, env("MIG-1"), "some"),
            (Kind::Nvidia, env("0:1"), "some"),
            (Kind::Nvidia, env("nvidia.com/gpu=1"), "1"),
            (Kind::Nvidia, cdi("nvidia.com/gpu=GPU-0"), "0"),
            (Kind::Nvidia, cdi("nvidia.com/gpu=all"), "0 1"),
            (Kind::Nvidia, cdi("vendor.example/gpu=0"), "0"),
            (Kind::Amd, cdi("vendor.example/gpu=0"), "2"),
            (Kind::Intel, cdi("vendor.example/gpu=0"), "-"),
            (Kind::Nvidia, cdi("vendor.example/gpu=9"), "?"),
            (Kind::Nvidia, mount("/var/run/nvidia-container-devices/GPU-1"), "1"),
            (Kind::Nvidia, mount("/var/run/nvidia-container-devices/cdi/nvidia.com/gpu/0"), "0"),
            (Kind::Nvidia, mount("/var/run/nvidia-container-devices"), "some"),
            (Kind::Amd, json!({"process": {"env": ["AMD_VISIBLE_DEVICES=all"]}}), "2 3"),
            (Kind::Amd, json!({"process": {"env": ["AMD_VISIBLE_DEVICES=0"]}}), "some"),
            (Kind::Amd, nodes(&[("/dev/kfd", 235, 0)]), "some"),
            (Kind::Amd, nodes(&[("/dev/kfd", 235, 0), ("/dev/dri/renderD129", 226, 129)]), "3"),
            (Kind::Amd, nodes(&[("/dev/dri/renderD128", 226, 128)]), "2"),
            (Kind::Amd, nodes(&[("/dev/dri/renderD130", 226, 130)]), "-"),
            (Kind::Intel, nodes(&[("/dev/dri/renderD128", 226, 128)]), "-"),
        ] {
            assert_eq!(shown(kind, &spec), expected, "{kind:?} {spec}");
        }
    }
}
