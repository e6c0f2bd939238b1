//! Owns NFD's features in NFD's own JSON shape: what NFD's rules and labels are made of (reference: NFD
//! `api/nfd/v1alpha1`, type `Features`). Knows no file system; `bestfit-hostprobe` fills it, NFD rules read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod packed;

pub use packed::{Attributes, Flags, Packed};

/// NFD's features of one host, by the name of the feature (`cpu.cpuid`, `kernel.version`, `pci.device`).
///
/// A feature that was looked for and has no elements stands there empty. One that could not be looked at is not among the
/// three families but in `unknown`, so that nothing half-read passes for the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Features {
    /// Names that are there or not.
    pub flags: BTreeMap<String, Elements<Flags>>,
    /// Names with a value.
    pub attributes: BTreeMap<String, Elements<Attributes>>,
    /// Devices and the like, each with attributes.
    pub instances: BTreeMap<String, Elements<Vec<Instance>>>,
    /// Why a feature (`kernel.config`) or one element of it (`cpu.rdt/RDTMON`) could not be seen. Not part of NFD's shape.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown: BTreeMap<String, String>,
}

/// The elements of one feature.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Elements<T: Default> {
    /// The elements.
    pub elements: T,
}

/// One instance of a feature: a PCI device, a network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Instance {
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}

impl Features {
    /// Whether nothing at all was recorded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Records the flags that are there.
    pub fn set_flags(&mut self, feature: &str, names: impl IntoIterator<Item = String>) {
        self.flags.insert(feature.to_owned(), Elements { elements: names.into_iter().collect() });
    }

    /// Records one attribute.
    pub fn set_attribute(&mut self, feature: &str, name: &str, value: impl Into<String>) {
        let family = self.attributes.entry(feature.to_owned()).or_default();
        family.elements.insert(name, &value.into());
    }

    /// Records all instances, in an order of their own. Two of a kind stay two.
    pub fn set_instances(&mut self, feature: &str, instances: impl IntoIterator<Item = Instance>) {
        let mut elements: Vec<Instance> = instances.into_iter().collect();
        elements.sort_unstable();
        self.instances.insert(feature.to_owned(), Elements { elements });
    }

    /// Records that a feature, or one element of it (`feature/element`), could not be seen.
    pub fn set_unknown(&mut self, name: &str, why: impl Into<String>) {
        self.unknown.insert(name.to_owned(), why.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_form_is_nfds() {
        let mut features = Features::default();
        features.set_flags("cpu.cpuid", ["AVX2".to_owned()]);
        features.set_attribute("cpu.model", "vendor_id", "AMD");
        let device = Instance { attributes: [("class".to_owned(), "0302".to_owned())].into() };
        features.set_instances("pci.device", [device]);
        let json = serde_json::to_string(&features).unwrap();
        assert_eq!(
            json,
            r#"{"flags":{"cpu.cpuid":{"elements":{"AVX2":{}}}},"attributes":{"cpu.model":{"elements":{"vendor_id":"AMD"}}},"instances":{"pci.device":{"elements":[{"attributes":{"class":"0302"}}]}}}"#
        );
        assert_eq!(serde_json::from_str::<Features>(&json).unwrap(), features);
    }
}
