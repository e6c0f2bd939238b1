//! Owns devices that a container can be given one by one, and how the facts of several become facts of the host: what is
//! promised must hold on each. `bestfit-hostprobe` fills them, the container's scope narrows
//! them; this module reads nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::facts::{Fact, Facts, State, Value};
use crate::schema::{Schemas, Type};

/// The group that these facts stand in.
const GROUP: &str = "host";

/// One device that a container is given or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// What it is, and so which keys it speaks for.
    pub kind: Kind,
    /// Its PCI address (`0000:1b:00.0`), or its name in sysfs where it is on no PCI bus. Unique within its kind.
    pub address: String,
    /// PCI class, vendor and device in lower-case hexadecimal (`0302:10de:2330`), where it is on a PCI bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci: Option<String>,
    /// The number by which its vendor's tools call it (`NVIDIA_VISIBLE_DEVICES=0`): the position among the devices of this
    /// kind in the order of their PCI addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// The name that its vendor gave it (`GPU-…`), where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Its device nodes on the host: path, then `major:minor` in decimal, empty where that could not be read. A node that
    /// several devices share (`/dev/nvidiactl`, `/dev/kfd`) is not among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<String, String>,
    /// The CDI devices that give it to a container, by full name (`nvidia.com/gpu=0`).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cdi: BTreeSet<String>,
    /// What it says, by key of the group `host`. It says nothing about other keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Fact>,
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An NVIDIA GPU.
    Nvidia,
    /// An AMD GPU.
    Amd,
    /// An Intel GPU.
    Intel,
    /// Another accelerator: AWS Neuron, Habana Gaudi, an NPU, a TPU.
    Accelerator,
    /// An interface to a fabric: InfiniBand, RoCE, EFA, Slingshot, Omni-Path.
    Fabric,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Nvidia, Self::Amd, Self::Intel, Self::Accelerator, Self::Fabric];

    /// Keys of the group `host` that begin so speak about these devices or their driver, and about nothing else.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Nvidia => "nvidia.",
            Self::Amd => "amd.",
            Self::Intel => "intel.",
            Self::Accelerator => "accelerator.",
            Self::Fabric => "fabric.",
        }
    }

    /// The key that counts them; fabrics are not counted.
    pub(crate) fn count(self) -> Option<&'static str> {
        match self {
            Self::Nvidia => Some("nvidia.gpu.count"),
            Self::Amd => Some("amd.gpu.count"),
            Self::Intel => Some("intel.gpu.count"),
            Self::Accelerator => Some("accelerator.count"),
            Self::Fabric => None,
        }
    }
}

/// Records what the devices of a kind among `facts.devices` say together: their count, and for each key that any of them
/// speaks about what holds on each that does. Numbers become the least, truths hold where all do, sets become what is
/// common, and texts and versions that differ become a set, each of which a requirement is held against. What one could not
/// see is unknown; what one lacks is absent.
pub fn summarize(facts: &mut Facts, kind: Kind) {
    let devices: Vec<&Device> = facts.devices.iter().filter(|device| device.kind == kind).collect();
    let mut said: BTreeMap<String, Fact> = BTreeMap::new();
    if let (Some(key), Some(first)) = (kind.count(), devices.first()) {
        let source = format!("{} and {} more", first.address, devices.len() - 1);
        let source = if devices.len() == 1 { first.address.clone() } else { source };
        said.insert(key.to_owned(), Fact::known(devices.len() as i64, source));
    }
    for (key, fact) in devices.iter().flat_map(|device| &device.facts) {
        let joined = match said.remove(key) {
            Some(before) => join(key, before, fact.clone()),
            None => fact.clone(),
        };
        said.insert(key.clone(), joined);
    }
    for (key, fact) in said {
        facts.set(GROUP, key, fact);
    }
}

/// What holds on both. The source is that of the fact that decided.
fn join(key: &str, a: Fact, b: Fact) -> Fact {
    match (&a.state, &b.state) {
        (State::Unknown { .. }, _) => a,
        (_, State::Unknown { .. }) => b,
        (State::Absent, _) => a,
        (_, State::Absent) => b,
        (State::Known { value: left }, State::Known { value: right }) => match lesser(key, left, right) {
            None => Fact::unknown(format!("devices differ, and {left} and {right} have no order"), a.source),
            Some(value) if value == *left => a,
            Some(value) if value == *right => b,
            Some(value) => Fact::known(value, a.source),
        },
    }
}

fn lesser(key: &str, left: &Value, right: &Value) -> Option<Value> {
    match (left, right) {
        (Value::Bool(a), Value::Bool(b)) => Some(Value::Bool(*a && *b)),
        (Value::Int(a), Value::Int(b)) => Some(Value::Int(*a.min(b))),
        (Value::Text(a), Value::Text(b)) if a == b => Some(left.clone()),
        // Texts that differ were gathered into a set before.
        (Value::Set(a), Value::Set(b)) if is_set(key) => Some(Value::Set(a & b)),
        (a, b) => match (texts(a), texts(b)) {
            (Some(a), Some(b)) => Some(Value::Set(&a | &b)),
            _ => None,
        },
    }
}

fn texts(value: &Value) -> Option<BTreeSet<String>> {
    match value {
        Value::Text(text) => Some([text.clone()].into()),
        Value::Set(texts) => Some(texts.clone()),
        Value::Bool(_) | Value::Int(_) => None,
    }
}

fn is_set(key: &str) -> bool {
    let host = Schemas::builtin().group(GROUP);
    host.and_then(|host| host.key(key)).is_some_and(|(_, key)| key.kind == Type::Set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Several;

    fn device(address: &str, facts: &[(&str, Value)]) -> Device {
        let facts = facts.iter().map(|(key, value)| ((*key).to_owned(), Fact::known(value.clone(), address)));
        Device {
            kind: Kind::Nvidia,
            address: address.to_owned(),
            pci: None,
            index: None,
            uuid: None,
            nodes: BTreeMap::new(),
            cdi: BTreeSet::new(),
            facts: facts.collect(),
        }
    }

    fn summary(devices: &[Device]) -> Facts {
        let mut facts = Facts { devices: devices.to_vec(), ..Facts::default() };
        summarize(&mut facts, Kind::Nvidia);
        facts
    }

    fn state(facts: &Facts, key: &str) -> State {
        facts.get(GROUP, key).unwrap().state.clone()
    }

    fn known(value: impl Into<Value>) -> State {
        State::Known { value: value.into() }
    }

    #[test]
    fn of_several_devices_each_counts() {
        let key = "nvidia.compute_capability";
        let found = summary(&[
            device("0000:01:00.0", &[(key, "10.0".into()), ("nvidia.gpu.model", "B".into()), ("amd.vram", 8.into())]),
            device("0000:02:00.0", &[(key, "9.0".into()), ("nvidia.gpu.model", "A".into()), ("amd.vram", 4.into())]),
            device("0000:03:00.0", &[("nvidia.gpu.model", "B".into())]),
        ]);
        let set = |values: [&str; 2]| known(values.map(str::to_owned).into_iter().collect::<BTreeSet<_>>());
        assert_eq!(state(&found, key), set(["10.0", "9.0"]));
        assert_eq!(state(&found, "nvidia.gpu.model"), set(["A", "B"]));
        assert_eq!(state(&found, "nvidia.gpu.count"), known(3));
        assert_eq!(state(&found, "amd.vram"), known(4));
        assert_eq!(found.get(GROUP, "amd.vram").unwrap().source, "0000:02:00.0");
    }

    /// Otherwise one device that satisfies a requirement would answer for the others.
    #[test]
    fn keys_of_devices_are_held_against_each() {
        let host = Schemas::builtin().group(GROUP).unwrap();
        for (name, key) in host.keys().filter(|(name, _)| Kind::ALL.iter().any(|kind| name.starts_with(kind.prefix())))
        {
            let one_value = matches!(key.kind, Type::String | Type::Enum | Type::Dag | Type::Version);
            assert_eq!(key.several == Several::Each, one_value, "{name}");
        }
    }

    #[test]
    fn what_one_device_does_not_tell_is_not_known_of_all() {
        let key = "nvidia.compute_capability";
        let mut blind = device("0000:02:00.0", &[]);
        blind.facts.insert(key.to_owned(), Fact::unknown("no table has it", "x"));
        let found = summary(&[device("0000:01:00.0", &[(key, "9.0".into())]), blind]);
        assert!(matches!(state(&found, key), State::Unknown { .. }));
    }

    #[test]
    fn no_device_says_nothing() {
        assert_eq!(summary(&[]), Facts::default());
    }
}
