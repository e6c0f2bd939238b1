//! Owns the vocabulary of facts: what is known about a host, what is known to be absent, and what could not be seen.
//! Knows no file system; `bestfit-hostprobe` fills it, matching reads it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::devices::Device;
use crate::features::Features;

/// All facts of one host: group, then key. Sorted, so that the same facts give the same bytes and the same hash.
///
/// A key that ends in `*` speaks for every key with that prefix that is not listed: the probe looked at the whole
/// family, so `"pci-*": absent` says that an unlisted `pci-0302_10de.present` is absent, and `unknown` that nobody could
/// look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Facts by group and key.
    pub facts: BTreeMap<String, BTreeMap<String, Fact>>,
    /// What NFD's rules are held against, in NFD's own shape.
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    pub features: Features,
    /// Devices that a container is given one by one; facts about them are what [`crate::devices::summarize`] makes of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
}

/// One fact with the place it was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What is known.
    #[serde(flatten)]
    pub state: State,
    /// The path or instruction it came from, for example `/proc/sys/kernel/osrelease` or `cpuid 7.0 ebx`.
    pub source: String,
}

/// Known, absent (looked, not there) or unknown (could not look): matching.md, "Verdicts".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// The probe ran and found this value.
    Known {
        /// The value.
        value: Value,
    },
    /// The probe ran, and the thing is not there.
    Absent,
    /// The probe could not look.
    Unknown {
        /// Why: the failed call and its path.
        why: String,
    },
}

/// A host value. Sets are sorted; order never carries meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A whole number: a count, or a quantity in its base unit (bytes).
    Int(i64),
    /// Text; versions stay text as the host writes them.
    Text(String),
    /// Several values at once: CPU features, candidates of a DAG, modules.
    Set(BTreeSet<String>),
}

impl Facts {
    /// The fact of `key` in `group`: the exact key, else the longest family (`prefix*`) that covers it.
    pub fn get(&self, group: &str, key: &str) -> Option<&Fact> {
        let keys = self.facts.get(group)?;
        keys.get(key).or_else(|| {
            keys.iter()
                .filter_map(|(name, fact)| name.strip_suffix('*').map(|prefix| (prefix, fact)))
                .filter(|(prefix, _)| key.starts_with(prefix))
                .max_by_key(|(prefix, _)| prefix.len())
                .map(|(_, fact)| fact)
        })
    }

    /// Whether the host has facts in `group`.
    pub fn has_group(&self, group: &str) -> bool {
        self.facts.contains_key(group)
    }

    /// Records a fact; a later one for the same key replaces the earlier.
    pub fn set(&mut self, group: &str, key: impl Into<String>, fact: Fact) {
        self.facts.entry(group.to_owned()).or_default().insert(key.into(), fact);
    }
}

impl Fact {
    /// A value that was read at `source`.
    pub fn known(value: impl Into<Value>, source: impl Into<String>) -> Self {
        Self { state: State::Known { value: value.into() }, source: source.into() }
    }

    /// Looked at `source`, not there.
    pub fn absent(source: impl Into<String>) -> Self {
        Self { state: State::Absent, source: source.into() }
    }

    /// Could not look at `source`.
    pub fn unknown(why: impl Into<String>, source: impl Into<String>) -> Self {
        Self { state: State::Unknown { why: why.into() }, source: source.into() }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<BTreeSet<String>> for Value {
    fn from(value: BTreeSet<String>) -> Self {
        Self::Set(value)
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
            Self::Set(values) => f.write_str(&values.iter().map(String::as_str).collect::<Vec<_>>().join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_key_goes_before_its_family() {
        let mut facts = Facts::default();
        facts.set("nfd", "pci-*", Fact::absent("/sys/bus/pci/devices"));
        facts.set("nfd", "pci-0302_10de.present", Fact::known(true, "/sys/bus/pci/devices/0000:01:00.0"));
        assert_eq!(facts.get("nfd", "pci-0302_10de.present").unwrap().state, State::Known { value: true.into() });
        assert_eq!(facts.get("nfd", "pci-0300_8086.present").unwrap().state, State::Absent);
        assert!(facts.get("nfd", "usb-x").is_none());
    }

    #[test]
    fn the_json_form_is_the_documented_one() {
        let mut facts = Facts::default();
        facts.set("host", "a", Fact::known(4096, "auxv"));
        facts.set("host", "b", Fact::absent("/x"));
        facts.set("host", "c", Fact::unknown("EACCES", "/y"));
        let json = serde_json::to_string(&facts).unwrap();
        assert_eq!(
            json,
            r#"{"facts":{"host":{"a":{"state":"known","value":4096,"source":"auxv"},"b":{"state":"absent","source":"/x"},"c":{"state":"unknown","why":"EACCES","source":"/y"}}}}"#
        );
        assert_eq!(serde_json::from_str::<Facts>(&json).unwrap(), facts);
    }
}
