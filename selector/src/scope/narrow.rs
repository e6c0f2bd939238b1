//! Owns narrowing: facts about devices that the container was not given become absent, and those that may be about another
//! device than its own become unknown. All other facts stay as they are.

use std::collections::{BTreeMap, BTreeSet};

use super::pci::PciId;
use super::summary::own_devices;
use super::which::{Vendors, Which, which};
use super::{DIFFER, Given, SOURCE, Scope, cdi_kind, drivers};
use crate::devices::{Device, Kind};
use crate::facts::{Fact, Facts, State, Value};

const NFD: &str = "nfd";
const HOST: &str = "host";
/// Names by which a runtime can put devices into a container.
const CDI: &str = "cdi.devices";
/// NFD's feature of PCI devices.
const PCI: &str = "pci.device";
/// NFD's features that hold what vendors' programs wrote into `features.d`.
const LOCAL: [&str; 2] = ["local.label", "local.feature"];
/// Labels below these names are about a vendor's devices.
const LABELS: [(&str, Kind); 6] = [
    ("nvidia.com/", Kind::Nvidia),
    ("amd.com/", Kind::Amd),
    ("beta.amd.com/", Kind::Amd),
    ("gpu.intel.com/", Kind::Intel),
    ("habana.ai/", Kind::Accelerator),
    ("rdma.", Kind::Fabric),
];

/// Keys of the group `host` that are worth nothing without a node of the kernel's.
const NODES: [(&str, &str); 5] = [
    ("kvm", KVM),
    ("kvm.nested", KVM),
    ("fuse.device", "/dev/fuse"),
    ("shmem.xpmem", "/dev/xpmem"),
    ("shmem.knem", "/dev/knem"),
];
const KVM: &str = "/dev/kvm";
/// NFD's feature that says whether there is KVM.
const KVM_FEATURE: &str = "kernel.kvm";

/// Narrows the facts of a host to what a container was given.
pub fn narrow(facts: &mut Facts, scope: &Scope) {
    let narrowing = Narrowing::new(facts, scope);
    narrowing.nfd(facts);
    narrowing.host(facts);
    drivers::narrow(facts, &narrowing.which);
    narrowing.instances(facts);
    own_devices(facts, &narrowing.which);
    nodes(facts, scope);
}

/// What needs a node of the kernel's, where the container has none.
fn nodes(facts: &mut Facts, scope: &Scope) {
    let held = |node: &str| match scope.node(node) {
        Given::Devices(_) => Held::Yes,
        Given::Nothing => Held::No,
        Given::Untold(why) => Held::Untold(why),
    };
    for (key, node) in NODES {
        if let Some(fact) = facts.facts.get_mut(HOST).and_then(|keys| keys.get_mut(key)) {
            set(fact, held(node));
        }
    }
    let Some(family) = facts.features.attributes.get_mut(KVM_FEATURE) else { return };
    match (family.elements.get("enabled") == Some("true"), held(KVM)) {
        (false, _) | (true, Held::Yes) => {}
        (true, Held::No) => family.elements.insert("enabled", "false"),
        (true, Held::Untold(why)) => {
            family.elements.remove("enabled");
            facts.features.set_unknown(&format!("{KVM_FEATURE}/enabled"), why);
        }
    }
}

/// Whether a fact is one about the container's devices.
pub(super) enum Held {
    Yes,
    No,
    Untold(String),
}

struct Narrowing {
    which: BTreeMap<Kind, Which>,
    /// The devices of the host.
    devices: Vec<Device>,
    /// All PCI devices of the host; none where not all could be read.
    pci: Option<Vec<PciId>>,
}

impl Narrowing {
    fn new(facts: &Facts, scope: &Scope) -> Self {
        let instances = facts.features.instances.get(PCI);
        let pci: Option<Vec<PciId>> = instances.map(|all| all.elements.iter().map(PciId::of).collect());
        let graphics = |device: &&PciId| device.class.starts_with("03") || device.class.starts_with("12");
        let vendors = |pci: &Vec<PciId>| pci.iter().filter(graphics).map(|device| device.vendor.clone()).collect();
        let vendors = Vendors { graphics: pci.as_ref().map(vendors) };
        let which = Kind::ALL.into_iter().map(|kind| (kind, which(scope, kind, facts, &vendors))).collect();
        Self { which, devices: facts.devices.clone(), pci }
    }

    /// The PCI numbers of the container's devices; none where it cannot be told which it has.
    fn own(&self, kind: Kind) -> Option<Vec<PciId>> {
        let Which::These(positions) = &self.which[&kind] else { return None };
        positions.iter().map(|position| PciId::of_device(self.devices.get(*position)?)).collect()
    }

    /// Whether what is said about `pattern`, devices of `kind`, is said about those of the container, whichever these are.
    /// Without a pattern it is said about all of the host.
    fn held(&self, kind: Kind, pattern: Option<&PciId>) -> Held {
        match (&self.which[&kind], pattern, self.own(kind)) {
            (Which::Nothing, ..) => Held::No,
            (Which::Untold(why), ..) => Held::Untold(why.clone()),
            (_, Some(pattern), _) if !pattern.is_main() => Held::Yes,
            (_, Some(pattern), Some(own)) if own.iter().any(|device| pattern.covers(device)) => Held::Yes,
            (_, Some(_), Some(_)) => Held::No,
            (..) => self.held_by_any(kind, pattern),
        }
    }

    /// The same where any device of the kind may be the container's.
    fn held_by_any(&self, kind: Kind, pattern: Option<&PciId>) -> Held {
        let Some(pci) = &self.pci else {
            return Held::Untold("the PCI devices of this host could not all be read".to_owned());
        };
        let mut main = pci.iter().filter(|device| device.kind() == Some(kind) && device.is_main());
        let same = match pattern {
            Some(pattern) => main.all(|device| pattern.covers(device)),
            None => {
                let first = main.next();
                main.all(|device| Some(device) == first)
            }
        };
        if same { Held::Yes } else { Held::Untold(DIFFER.to_owned()) }
    }

    /// Whether a vendor's label is about the container's devices. What such labels count are all of the host.
    fn held_label(&self, kind: Kind, key: &str) -> Held {
        let all = self.devices.iter().filter(|device| device.kind == kind).count();
        let has_all = match &self.which[&kind] {
            Which::These(own) => own.len() == all,
            _ => all <= 1,
        };
        match self.held(kind, None) {
            Held::Yes if key.ends_with(".count") && !has_all => Held::Untold("it counts all of the host".to_owned()),
            held => held,
        }
    }

    fn nfd(&self, facts: &mut Facts) {
        for (key, fact) in facts.facts.get_mut(NFD).into_iter().flatten() {
            if let Some(pattern) = PciId::of_label(key) {
                if let Some(kind) = pattern.kind() {
                    set(fact, self.held(kind, Some(&pattern)));
                }
            } else if let Some(kind) = kind_of_label(key) {
                set(fact, self.held_label(kind, key));
            }
        }
        for name in LOCAL {
            let Some(family) = facts.features.attributes.get_mut(name) else { continue };
            let mut untold = Vec::new();
            family.elements.retain(|key, _| match kind_of_label(key).map(|kind| self.held_label(kind, key)) {
                None | Some(Held::Yes) => true,
                Some(Held::No) => false,
                Some(Held::Untold(why)) => {
                    untold.push((format!("{name}/{key}"), why));
                    false
                }
            });
            facts.features.unknown.extend(untold);
        }
    }

    fn host(&self, facts: &mut Facts) {
        let Some(keys) = facts.facts.get_mut(HOST) else { return };
        for kind in Kind::ALL {
            let about = |key: &str| key.starts_with(kind.prefix());
            match &self.which[&kind] {
                Which::Nothing => {
                    keys.retain(|key, _| !about(key));
                    keys.insert(format!("{}*", kind.prefix()), Fact::absent(SOURCE));
                }
                Which::Untold(why) => {
                    let known = keys.iter_mut().filter(|(key, _)| about(key));
                    known.for_each(|(_, fact)| set(fact, Held::Untold(why.clone())));
                }
                Which::These(_) | Which::Some => {}
            }
        }
        for (key, fact) in keys {
            match key.strip_prefix("pci.") {
                Some("devices") => retain(fact, |id| self.held_id(id).unwrap_or(Held::Yes)),
                Some(id) => {
                    if let Some(held) = self.held_id(id) {
                        set(fact, held);
                    }
                }
                None if key == CDI => retain(fact, |name| self.held_cdi(name)),
                None => {}
            }
        }
    }

    /// A CDI device as a name of the devices that it gives, all of which the container must have. One of which these are not
    /// known goes by its vendor.
    fn held_cdi(&self, name: &str) -> Held {
        let mut gives = self.devices.iter().enumerate().filter(|(_, device)| device.cdi.contains(name)).peekable();
        if gives.peek().is_none() {
            return match cdi_kind(name).map(|kind| &self.which[&kind]) {
                Some(Which::Nothing) => Held::No,
                _ => Held::Untold(format!("which devices {name} gives a container is not known")),
            };
        }
        let mut held = Held::Yes;
        for (position, device) in gives {
            match &self.which[&device.kind] {
                Which::Nothing => return Held::No,
                Which::These(own) if !own.contains(&position) => return Held::No,
                Which::These(_) => {}
                Which::Some => held = Held::Untold(DIFFER.to_owned()),
                Which::Untold(why) => held = Held::Untold(why.clone()),
            }
        }
        held
    }

    /// `vendor:device` as a name of devices that a container is given one by one.
    fn held_id(&self, id: &str) -> Option<Held> {
        let (vendor, device) = id.split_once(':')?;
        let pattern = PciId { class: String::new(), vendor: vendor.to_owned(), device: device.to_owned() };
        let listed = self.pci.iter().flatten().find(|device| pattern.covers(device));
        let kind = listed.unwrap_or(&pattern).kind()?;
        let main = listed.is_none_or(PciId::is_main);
        let pattern = if main { pattern } else { listed.unwrap_or(&pattern).clone() };
        Some(self.held(kind, Some(&pattern)))
    }

    fn instances(&self, facts: &mut Facts) {
        let Some(family) = facts.features.instances.get_mut(PCI) else { return };
        let mut untold = None;
        family.elements.retain(|instance| {
            let id = PciId::of(instance);
            match id.kind().map(|kind| self.held(kind, Some(&id))) {
                None | Some(Held::Yes) => true,
                Some(Held::No) => false,
                Some(Held::Untold(why)) => {
                    untold = Some(why);
                    false
                }
            }
        });
        if let Some(why) = untold {
            facts.features.instances.remove(PCI);
            facts.features.set_unknown(PCI, why);
        }
    }
}

fn kind_of_label(key: &str) -> Option<Kind> {
    LABELS.iter().find(|(prefix, _)| key.starts_with(prefix)).map(|(_, kind)| *kind)
}

/// Narrowing takes knowledge away: what was absent or unknown does not become known.
pub(super) fn set(fact: &mut Fact, held: Held) {
    match held {
        Held::Yes => {}
        Held::No => *fact = Fact::absent(SOURCE),
        Held::Untold(why) if matches!(fact.state, State::Known { .. }) => *fact = Fact::unknown(why, SOURCE),
        Held::Untold(_) => {}
    }
}

/// A set of names, of which those stay that are about the container's devices.
pub(super) fn retain(fact: &mut Fact, held: impl Fn(&str) -> Held) {
    let State::Known { value: Value::Set(names) } = &fact.state else { return };
    let mut kept = BTreeSet::new();
    for name in names {
        match held(name) {
            Held::Yes => drop(kept.insert(name.clone())),
            Held::No => {}
            untold @ Held::Untold(_) => return set(fact, untold),
        }
    }
    if kept != *names {
        *fact = Fact::known(kept, fact.source.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Instance;
    use serde_json::json;

    fn host(devices: &[(&str, &str, &str)]) -> Facts {
        let mut facts = Facts::default();
        let mut ids = BTreeSet::new();
        let mut instances = Vec::new();
        for (class, vendor, device) in devices {
            facts.set(NFD, format!("pci-{class}_{vendor}.present"), Fact::known(true, "/sys"));
            facts.set(NFD, format!("pci-{class}_{vendor}_{device}.present"), Fact::known(true, "/sys"));
            facts.set(HOST, format!("pci.{vendor}:{device}"), Fact::known(true, "/sys"));
            ids.insert(format!("{vendor}:{device}"));
            let attributes = [("class", class), ("vendor", vendor), ("device", device)];
            let attributes = attributes.map(|(name, value)| (name.to_owned(), (*value).to_owned())).into();
            instances.push(Instance { attributes });
        }
        facts.set(NFD, "pci-*", Fact::absent("/sys"));
        facts.set(HOST, "pci.*", Fact::absent("/sys"));
        facts.set(HOST, "pci.devices", Fact::known(ids, "/sys"));
        facts.set(HOST, "kernel.version", Fact::known("6.1", "/proc"));
        facts.features.set_instances(PCI, instances);
        facts
    }

    fn narrowed(mut facts: Facts, spec: &serde_json::Value, image_env: &[&str]) -> Facts {
        let own: Vec<String> = image_env.iter().map(|&variable| variable.to_owned()).collect();
        narrow(&mut facts, &Scope::of(spec, &own));
        facts
    }

    /// `t` known, `a` absent, `?` unknown, `-` nothing said.
    fn letter(facts: &Facts, group: &str, key: &str) -> char {
        match facts.get(group, key).map(|fact| &fact.state) {
            Some(State::Known { .. }) => 't',
            Some(State::Absent) => 'a',
            Some(State::Unknown { .. }) => '?',
            None => '-',
        }
    }

    const NIC: (&str, &str, &str) = ("0200", "1af4", "1041");
    const H100: (&str, &str, &str) = ("0302", "10de", "2330");
    const A100: (&str, &str, &str) = ("0302", "10de", "20b0");

    fn gpu() -> serde_json::Value {
        json!({"linux": {"devices": [{"path": "/dev/nvidia0"}]}})
    }

    #[test]
    fn without_a_gpu_there_is_no_gpu_fact() {
        let mut whole = host(&[NIC, H100]);
        whole.set(NFD, "nvidia.com/cuda.driver-version.major", Fact::known("550", "/f"));
        whole.set(HOST, "nvidia.driver.version", Fact::known("550.54.15", "/sys"));
        whole.set(
            HOST,
            "kernel.modules",
            Fact::known(BTreeSet::from(["nvidia".to_owned(), "ext4".to_owned()]), "/proc"),
        );
        whole.features.set_attribute("local.label", "nvidia.com/gpu.present", "true");
        whole.features.set_attribute("local.label", "site.example/x", "true");
        let loaded = ["nvidia", "ib_uverbs", "rdma_ucm", "mlx5_ib", "ext4"].map(str::to_owned);
        whole.features.set_flags("kernel.loadedmodule", loaded);
        let found = narrowed(whole, &json!({}), &[]);
        for (group, key, state) in [
            (NFD, "pci-0302_10de.present", 'a'),
            (NFD, "pci-0302_10de_2330.present", 'a'),
            (NFD, "nvidia.com/cuda.driver-version.major", 'a'),
            (HOST, "pci.10de:2330", 'a'),
            (HOST, "nvidia.driver.version", 'a'),
            (HOST, "amd.gfx", 'a'),
            (NFD, "pci-0200_1af4.present", 't'),
            (HOST, "pci.1af4:1041", 't'),
            (HOST, "kernel.version", 't'),
        ] {
            assert_eq!(letter(&found, group, key), state, "{group} {key}");
        }
        let set = |key: &str| match &found.get(HOST, key).unwrap().state {
            State::Known { value } => value.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!((set("pci.devices"), set("kernel.modules")), ("1af4:1041".to_owned(), "ext4".to_owned()));
        assert_eq!(found.features.instances[PCI].elements.len(), 1);
        assert_eq!(found.features.attributes["local.label"].elements.len(), 1);
        assert_eq!(found.features.flags["kernel.loadedmodule"].elements.len(), 1);
        assert!(found.features.unknown.is_empty());
    }

    #[test]
    fn without_its_node_the_kernel_offers_nothing() {
        let mut whole = host(&[]);
        for (key, _) in NODES {
            whole.set(HOST, key, Fact::known(true, "/dev"));
        }
        whole.features.set_attribute(KVM_FEATURE, "enabled", "true");
        let device = |path: &str| json!({"linux": {"devices": [{"path": path, "type": "c", "major": 10, "minor": 1}]}});
        let mount = |source: &str| json!({"mounts": [{"source": source, "destination": source}]});
        for (spec, letters, enabled) in [
            (json!({}), "aaaaa", "false"),
            (device("/dev/kvm"), "ttaaa", "true"),
            (device("/dev/fuse"), "aataa", "false"),
            (mount("/dev"), "?????", "?"),
            (mount("/dev/xpmem"), "aaa?a", "false"),
            (mount("/data"), "aaaaa", "false"),
            (json!({"annotations": {"cdi.k8s.io/x": "vendor.example/kvm=1"}}), "?????", "?"),
        ] {
            let found = narrowed(whole.clone(), &spec, &[]);
            let of_keys: String = NODES.iter().map(|(key, _)| letter(&found, HOST, key)).collect();
            let feature = found.features.attributes[KVM_FEATURE].elements.get("enabled");
            assert_eq!((of_keys.as_str(), feature.unwrap_or("?")), (letters, enabled), "{spec}");
            assert_eq!(feature.is_none(), found.features.unknown.contains_key("kernel.kvm/enabled"), "{spec}");
        }
        let without = narrowed(host(&[]), &device("/dev/kvm"), &[]);
        assert_eq!(letter(&without, HOST, "kvm"), '-', "a node adds no knowledge");
    }

    #[test]
    fn equal_gpus_are_the_containers_own() {
        let whole = host(&[NIC, H100, H100]);
        let found = narrowed(whole.clone(), &gpu(), &[]);
        assert_eq!(found.facts[NFD], whole.facts[NFD]);
        assert_eq!(found.features, whole.features);
    }

    #[test]
    fn of_different_gpus_only_what_they_share_is_known() {
        let found = narrowed(host(&[H100, A100]), &gpu(), &[]);
        assert_eq!(letter(&found, NFD, "pci-0302_10de.present"), 't');
        assert_eq!(letter(&found, NFD, "pci-0302_10de_2330.present"), '?');
        assert_eq!(letter(&found, HOST, "pci.devices"), '?');
        assert!(found.features.unknown.contains_key(PCI) && !found.features.instances.contains_key(PCI));
    }

    #[test]
    fn a_doubt_takes_knowledge_away_and_adds_none() {
        let spec = json!({"process": {"env": ["NVIDIA_VISIBLE_DEVICES=all"]}});
        let own = ["NVIDIA_VISIBLE_DEVICES=all"];
        let found = narrowed(host(&[NIC, H100]), &spec, &own);
        assert_eq!(letter(&found, NFD, "pci-0302_10de.present"), '?');
        let found = narrowed(host(&[NIC]), &spec, &own);
        assert_eq!(letter(&found, NFD, "pci-0302_10de.present"), 'a');
        assert_eq!(letter(&found, HOST, "nvidia.driver.version"), '-');
    }

    #[test]
    fn a_graphics_node_is_the_only_vendors_own() {
        let node = json!({"linux": {"devices": [{"path": "/dev/dri/renderD128"}]}});
        let amd = ("0380", "1002", "740f");
        let found = narrowed(host(&[NIC, amd]), &node, &[]);
        assert_eq!(letter(&found, NFD, "pci-0380_1002.present"), 't');
        let found = narrowed(host(&[amd, ("0300", "1a03", "2000")]), &node, &[]);
        assert_eq!(letter(&found, NFD, "pci-0380_1002.present"), '?', "beside a server's own graphics");
        assert_eq!(letter(&found, NFD, "pci-0300_1a03.present"), 't');
    }
}
