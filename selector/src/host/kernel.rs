//! Owns the keys `kernel.config.*`, `kernel.configurations` and `kernel.module.*` of the group `host`: facts that stand among
//! the host's features already, made only where an artifact asks for one. As facts they would be as long as all others
//! together.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::Fact;
use crate::features::Features;

/// The group that has these keys.
pub(super) const GROUP: &str = "host";

const CONFIG: &str = "kernel.config";
const LOADED: &str = "kernel.loadedmodule";
const ENABLED: &str = "kernel.enabledmodule";

/// The key whose value is the set of all options that are on.
const CONFIGURATIONS: &str = "kernel.configurations";

/// How each family begins, and as which of the features it is answered.
const FAMILIES: [(&str, Family); 4] = [
    ("kernel.config.", Family::Config),
    // As Proposal B writes them.
    ("kernel.configuration.CONFIG_", Family::Config),
    ("kernel.module.", Family::Module),
    ("kernel.modules.", Family::Module),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Config,
    Module,
}

/// The answers, by key as they may be written.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    options: Answers,
    modules: Answers,
    configurations: Option<Fact>,
}

/// Known ones, and one for all others.
#[derive(Debug, Default)]
struct Answers {
    known: BTreeMap<String, Fact>,
    others: Option<Fact>,
}

/// Whether `key` is one of these.
pub(super) fn is_key(key: &str) -> bool {
    key == CONFIGURATIONS || split(key).is_some()
}

fn split(key: &str) -> Option<(Family, &str)> {
    FAMILIES.iter().find_map(|(prefix, family)| Some((*family, key.strip_prefix(prefix)?)))
}

impl Kernel {
    /// The answers of a host with these features.
    pub(super) fn new(features: &Features) -> Self {
        let mut kernel = Self::default();
        if let Some(options) = features.attributes.get(CONFIG) {
            let known = options.elements.iter().map(|(name, value)| (name.to_owned(), Fact::known(value, CONFIG)));
            let on = options.elements.iter().filter(|(_, value)| matches!(*value, "y" | "m" | "true"));
            let on: BTreeSet<String> = on.map(|(name, _)| name.to_owned()).collect();
            kernel.configurations = Some(Fact::known(on, CONFIG));
            kernel.options = Answers { known: known.collect(), others: Some(Fact::absent(CONFIG)) };
        }
        for feature in [LOADED, ENABLED] {
            let names = features.flags.get(feature).into_iter().flat_map(|flags| flags.elements.names());
            kernel.modules.known.extend(names.map(|name| (name.to_owned(), Fact::known(true, feature))));
        }
        if features.flags.contains_key(ENABLED) {
            kernel.modules.others = Some(Fact::absent(ENABLED));
        }
        for (feature, answers) in [(CONFIG, &mut kernel.options), (ENABLED, &mut kernel.modules)] {
            if let Some(why) = features.unknown.get(feature) {
                answers.others = Some(Fact::unknown(why, feature));
            }
        }
        // Single modules that could not be told, such as the drivers of devices that the container may have.
        for (name, why) in &features.unknown {
            let one = name.split_once('/').filter(|(feature, _)| [LOADED, ENABLED].contains(feature));
            if let Some((feature, module)) = one {
                kernel.modules.known.entry(module.to_owned()).or_insert_with(|| Fact::unknown(why, feature));
            }
        }
        if let Some(why) = features.unknown.get(CONFIG) {
            kernel.configurations = Some(Fact::unknown(why, CONFIG));
        }
        kernel
    }

    /// The answer to `key`; none where the features do not speak of it.
    pub(super) fn get(&self, key: &str) -> Option<&Fact> {
        if key == CONFIGURATIONS {
            return self.configurations.as_ref();
        }
        let (family, name) = split(key)?;
        let answers = if family == Family::Config { &self.options } else { &self.modules };
        // The kernel's own lists have underscores wherever a file's name has hyphens.
        let spelt = || answers.known.get(&name.replace('-', "_")).filter(|_| family == Family::Module);
        answers.known.get(name).or_else(spelt).or(answers.others.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features() -> Features {
        let mut features = Features::default();
        features.set_attribute(CONFIG, "IO_URING", "y");
        features.set_flags(LOADED, ["nf_tables".to_owned()]);
        features
    }

    #[test]
    fn features_answer() {
        let mut features = features();
        features.set_flags(ENABLED, ["nf_tables".to_owned(), "ext4".to_owned()]);
        let kernel = Kernel::new(&features);
        let yes = Fact::known("y", CONFIG);
        assert_eq!(kernel.get("kernel.config.IO_URING"), Some(&yes));
        assert_eq!(kernel.get("kernel.configuration.CONFIG_IO_URING"), Some(&yes));
        assert_eq!(kernel.get("kernel.config.X"), Some(&Fact::absent(CONFIG)));
        assert_eq!(kernel.get("kernel.module.ext4"), Some(&Fact::known(true, ENABLED)));
        assert_eq!(kernel.get("kernel.modules.nf-tables"), Some(&Fact::known(true, ENABLED)));
        assert_eq!(kernel.get("kernel.module.xfs"), Some(&Fact::absent(ENABLED)));
        assert_eq!(kernel.get("kernel.version"), None);
        let on: BTreeSet<String> = ["IO_URING".to_owned()].into();
        assert_eq!(kernel.get("kernel.configurations"), Some(&Fact::known(on, CONFIG)));
    }

    #[test]
    fn what_could_not_be_seen_is_open() {
        let mut features = features();
        features.set_unknown(ENABLED, "EACCES");
        let kernel = Kernel::new(&features);
        assert_eq!(kernel.get("kernel.module.nf_tables"), Some(&Fact::known(true, LOADED)));
        assert_eq!(kernel.get("kernel.module.ext4"), Some(&Fact::unknown("EACCES", ENABLED)));
        assert_eq!(Kernel::new(&Features::default()).get("kernel.config.X"), None, "such facts do not say");
        let mut narrowed = self::features();
        narrowed.set_flags(ENABLED, ["nf_tables".to_owned()]);
        narrowed.set_unknown("kernel.loadedmodule/nvidia", "whose");
        narrowed.set_unknown("kernel.enabledmodule/nf_tables", "whose");
        let kernel = Kernel::new(&narrowed);
        assert_eq!(kernel.get("kernel.module.nvidia"), Some(&Fact::unknown("whose", LOADED)));
        assert_eq!(kernel.get("kernel.module.nf_tables"), Some(&Fact::known(true, ENABLED)));
    }
}
