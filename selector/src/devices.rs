//! Owns devices that a container can be given one by one, and how the facts of several become facts of the host: what is
//! promised must hold on each. `bestfit-hostprobe` fills them, the container's scope narrows
//! them; this module reads nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::facts::{Fact, Facts, State, Value};
use crate::schema::{Absent, Key, Schemas, Type};

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
/// speaks about what holds on each that does. Sets become what is common; numbers, texts, versions and truths that differ
/// become a set, each of which a requirement is held against (`"several": "each"`): the least alone would satisfy `<1` for
/// a device that has more. What one could not see is unknown; what one lacks is what the schema says that absence means. A
/// fabric is there where any interface has it: a job goes over that one, whatever is linked by the others.
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
            Some(before) if kind == Kind::Fabric && is_of(key, Type::Bool) => either(before, fact.clone()),
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
    let (left, right) = match (&a.state, &b.state) {
        (State::Unknown { .. }, _) => return a,
        (_, State::Unknown { .. }) => return b,
        (State::Absent, State::Absent) => return a,
        (left, right) => (value(key, left), value(key, right)),
    };
    match (left, right) {
        (None, _) => a,
        (_, None) => b,
        (Some(left), Some(right)) if left == right => a,
        (Some(left), Some(right)) => Fact::known(all(key, left, right), a.source),
    }
}

/// What a device says where it has the thing or the schema says what not to have it means; `None` where no requirement holds.
fn value(key: &str, state: &State) -> Option<Value> {
    match (state, meaning(key).map_or(Absent::Mismatch, |key| key.absent)) {
        (State::Known { value }, _) => Some(value.clone()),
        (_, Absent::False) => Some(Value::Bool(false)),
        (_, Absent::Zero) => Some(Value::Int(0)),
        (_, Absent::Mismatch) => None,
    }
}

/// Two values that differ, as one.
fn all(key: &str, left: Value, right: Value) -> Value {
    match (left, right) {
        (Value::Set(a), Value::Set(b)) if is_of(key, Type::Set) => Value::Set(&a & &b),
        // Values that differ were gathered into a set before.
        (left, right) => Value::Set(&texts(left) | &texts(right)),
    }
}

fn texts(value: Value) -> BTreeSet<String> {
    match value {
        Value::Set(texts) => texts,
        one => [one.to_string()].into(),
    }
}

/// A truth that one of them has is one of both, whatever is not known of the other.
fn either(a: Fact, b: Fact) -> Fact {
    let rank = |fact: &Fact| match &fact.state {
        State::Known { value: Value::Bool(true) } => 2,
        State::Unknown { .. } => 1,
        _ => 0,
    };
    if rank(&b) > rank(&a) { b } else { a }
}

fn meaning(key: &str) -> Option<&Key> {
    Some(Schemas::builtin().group(GROUP)?.key(key)?.1)
}

fn is_of(key: &str, kind: Type) -> bool {
    meaning(key).is_some_and(|key| key.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Several;
    use crate::value::Requirement;

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
        assert_eq!(state(&found, "amd.vram"), set(["4", "8"]));
    }

    /// What is asked of several devices holds where it holds on each of them alone, and only there.
    #[test]
    fn several_devices_never_give_more_than_each_of_them() {
        let host = Schemas::builtin().group(GROUP).unwrap();
        let facts = |values: &[Value]| values.iter().map(|value| Fact::known(value.clone(), "x")).collect::<Vec<_>>();
        let mut parts = facts(&[7.into(), 0.into(), 7.into()]);
        parts.push(Fact::absent("no MIG"));
        let table = [
            ("nvidia.mig.instances", parts, ["\"<1\"", "7", "\">=0\"", "\"[0,7)\""].as_slice()),
            ("amd.vram", facts(&[(16_i64 << 30).into(), (192_i64 << 30).into()]), &[r#""[16Gi,32Gi]""#, r#"">=16Gi""#]),
            ("nvidia.compute_capability", facts(&["8.0".into(), "9.0".into()]), &[r#""[8.0,9.0)""#, r#"">=8.0""#]),
            ("fabric.efa.generation", vec![Fact::known(2, "x"), Fact::absent("y")], &["0", "2", "\">=0\""]),
        ];
        for (name, facts, wanted) in table {
            let (_, key) = host.key(name).unwrap();
            for wanted in wanted {
                let asked = Requirement::read(key, &serde_json::from_str(wanted).unwrap()).unwrap();
                for first in &facts {
                    for second in &facts {
                        let both = join(name, first.clone(), second.clone());
                        let alone = |fact: &Fact| asked.hold(Some(&fact.state)).answer;
                        assert_eq!(
                            alone(&both),
                            alone(first).and(alone(second)),
                            "{name} {wanted}: {first:?} {second:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_fabric_is_there_where_any_interface_has_it() {
        let roce = |fact: Fact| Device {
            kind: Kind::Fabric,
            facts: [("fabric.roce".to_owned(), fact)].into(),
            ..device("x", &[])
        };
        let (up, down) = (Fact::known(true, "a"), Fact::unknown("no identifier is set", "b"));
        for devices in [[&up, &down], [&down, &up]] {
            let devices = devices.map(|fact| roce(fact.clone())).to_vec();
            let mut facts = Facts { devices, ..Facts::default() };
            summarize(&mut facts, Kind::Fabric);
            assert_eq!(state(&facts, "fabric.roce"), known(true));
        }
    }

    /// Otherwise one device that satisfies a requirement would answer for the others.
    #[test]
    fn keys_of_devices_are_held_against_each() {
        let host = Schemas::builtin().group(GROUP).unwrap();
        for (name, key) in host.keys().filter(|(name, _)| Kind::ALL.iter().any(|kind| name.starts_with(kind.prefix())))
        {
            let one_value = !matches!(key.kind, Type::Set | Type::Bool);
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
