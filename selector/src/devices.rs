//! Owns devices that a container can be given one by one, and how the facts of several become facts of the host: the
//! least of them, so that what is promised holds on each. `bestfit-hostprobe` fills them, the container's scope narrows
//! them; this module reads nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::facts::{Fact, Facts, State, Value};
use crate::schema::{Schemas, Type};
use crate::version::Version;

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
    fn count(self) -> Option<&'static str> {
        match self {
            Self::Nvidia => Some("nvidia.gpu.count"),
            Self::Amd => Some("amd.gpu.count"),
            Self::Intel => Some("intel.gpu.count"),
            Self::Accelerator => Some("accelerator.count"),
            Self::Fabric => None,
        }
    }
}

/// Records what `facts.devices` say together: the count of each kind that is there, and for each key that any of them
/// speaks about what holds on each that does. Numbers and versions become the least, truths hold where all do, sets
/// become what is common, and texts that differ become a set. What one could not see is unknown; what one lacks is absent.
pub fn summarize(facts: &mut Facts) {
    let mut said: BTreeMap<String, Fact> = BTreeMap::new();
    for kind in Kind::ALL {
        let devices: Vec<&Device> = facts.devices.iter().filter(|device| device.kind == kind).collect();
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
        (Value::Text(a), Value::Text(b)) if is_version(key) => {
            let (first, second): (Version, Version) = (a.parse().ok()?, b.parse().ok()?);
            Some(if first <= second { left.clone() } else { right.clone() })
        }
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

fn is_version(key: &str) -> bool {
    kind_of(key) == Some(Type::Version)
}

fn is_set(key: &str) -> bool {
    kind_of(key) == Some(Type::Set)
}

fn kind_of(key: &str) -> Option<Type> {
    Schemas::builtin().group(GROUP)?.key(key).map(|(_, key)| key.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(address: &str, facts: &[(&str, Value)]) -> Device {
        let facts = facts.iter().map(|(key, value)| ((*key).to_owned(), Fact::known(value.clone(), address)));
        Device {
            kind: Kind::Nvidia,
            address: address.to_owned(),
            index: None,
            uuid: None,
            nodes: BTreeMap::new(),
            cdi: BTreeSet::new(),
            facts: facts.collect(),
        }
    }

    fn summary(devices: &[Device]) -> Facts {
        let mut facts = Facts { devices: devices.to_vec(), ..Facts::default() };
        summarize(&mut facts);
        facts
    }

    fn state(facts: &Facts, key: &str) -> State {
        facts.get(GROUP, key).unwrap().state.clone()
    }

    fn known(value: impl Into<Value>) -> State {
        State::Known { value: value.into() }
    }

    #[test]
    fn several_devices_count_as_the_least() {
        let key = "nvidia.compute_capability";
        let found = summary(&[
            device("0000:01:00.0", &[(key, "10.0".into()), ("nvidia.gpu.model", "B".into())]),
            device("0000:02:00.0", &[(key, "9.0".into()), ("nvidia.gpu.model", "A".into())]),
            device("0000:03:00.0", &[("nvidia.gpu.model", "B".into())]),
        ]);
        assert_eq!(state(&found, key), known("9.0"), "10.0 is more than 9.0");
        assert_eq!(found.get(GROUP, key).unwrap().source, "0000:02:00.0");
        assert_eq!(state(&found, "nvidia.gpu.count"), known(3));
        let models: BTreeSet<String> = ["A".to_owned(), "B".to_owned()].into();
        assert_eq!(state(&found, "nvidia.gpu.model"), known(models));
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
