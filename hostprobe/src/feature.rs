//! Owns how an answer becomes one of NFD's features: known is an element, absent is none, unknown says why. A set of which
//! a part could not be read is unknown as a whole, so that nothing half-read passes for all of it.

use bestfit_selector::facts::{Facts, Value};
use bestfit_selector::features::{Features, Instance};

use crate::NFD;
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;

/// Makes the attributes of `feature` present, as NFD does also where they have no element.
pub(crate) fn open(features: &mut Features, feature: &str) {
    features.attributes.entry(feature.to_owned()).or_default();
}

/// Records the attribute `name` of `feature`.
pub(crate) fn attribute<T: ToString>(features: &mut Features, feature: &str, name: &str, seen: &Seen<T>) {
    match seen {
        Seen::Known(value) => features.set_attribute(feature, name, value.to_string()),
        Seen::Absent => {}
        Seen::Unknown(why) => features.set_unknown(&format!("{feature}/{name}"), why),
    }
}

/// Records the attribute, and the label that NFD makes of it.
pub(crate) fn labelled<T: ToString + Into<Value>>(
    facts: &mut Facts,
    (feature, name): (&str, &str),
    label: &str,
    seen: Seen<T>,
    source: impl Into<String>,
) {
    attribute(&mut facts.features, feature, name, &seen);
    facts.set(NFD, label, seen.fact(source));
}

/// Records a whole set of flags; NFD has no set where nobody could have looked.
pub(crate) fn flags(features: &mut Features, feature: &str, seen: Seen<Vec<String>>) {
    match seen {
        Seen::Known(names) => features.set_flags(feature, names),
        Seen::Absent => {}
        Seen::Unknown(why) => features.set_unknown(feature, why),
    }
}

/// Records a whole set of instances.
pub(crate) fn instances(features: &mut Features, feature: &str, seen: Seen<Vec<Instance>>) {
    match seen {
        Seen::Known(instances) => features.set_instances(feature, instances),
        Seen::Absent => {}
        Seen::Unknown(why) => features.set_unknown(feature, why),
    }
}

/// An instance named `name` with those of `files` (below `dir`) that the device has. An attribute is called as its file.
pub(crate) fn instance(root: &HostRoot, name: &str, dir: &str, files: &[&str]) -> Result<Instance, ReadError> {
    let mut instance = Instance::default();
    instance.attributes.insert("name".to_owned(), name.to_owned());
    for file in files {
        if let Some(value) = root.attribute(&format!("{dir}/{file}"))? {
            let name = file.rsplit_once('/').map_or(*file, |(_, name)| name);
            instance.attributes.insert(name.to_owned(), value);
        }
    }
    Ok(instance)
}

/// Whether `test` holds of the attribute `name` of any instance.
pub(crate) fn any(instances: &[Instance], name: &str, test: impl Fn(&str) -> bool) -> bool {
    instances.iter().filter_map(|instance| instance.attributes.get(name)).any(|value| test(value))
}
