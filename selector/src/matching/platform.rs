//! Owns what an entry's own `platform` asks for beyond os and architecture (OCI image-spec, image-index.md). It may rule its
//! entry out; alone it never makes one Compatible, since only artifacts do. It speaks about that entry and no other.

use super::{Assessment, Host, Summary, Trace, Words};
use crate::compiled::{Atom, Test};
use crate::index::Platform;
use crate::json;
use crate::platform::VariantRequirement;
use crate::schema::{Dimension, Level};
use crate::target;
use crate::value::Scalar;

impl Host<'_> {
    /// What the entry's own platform asks for, added to `into`.
    pub fn judge_platform<T: Trace>(&self, platform: &Platform, into: &mut Summary, trace: &mut T) {
        if platform.is_plain() {
            return;
        }
        let found = self.platform(platform);
        into.add(found.summary);
        found.reasons.into_iter().for_each(|reason| trace.reason(reason));
        found.notes.into_iter().for_each(|note| trace.note(note));
    }

    /// What the entry's own platform asks for beyond os and architecture.
    pub fn platform(&self, platform: &Platform) -> Assessment {
        self.variant(platform).and(self.features(platform)).and(operating_system(platform))
    }

    fn variant(&self, platform: &Platform) -> Assessment {
        let mut assessment = Assessment::default();
        let (group, key, wanted) = match platform.requirement() {
            None => return assessment,
            Some(VariantRequirement::Level(level)) => ("host", "cpu.level", level),
            Some(VariantRequirement::Target(name)) => (target::GROUP, target::TARGET, name),
            Some(VariantRequirement::Unknown(variant)) => {
                let text = format!("platform.variant = {}: not known", json::plain(&variant, 60));
                assessment.unknown(text, None);
                return assessment;
            }
        };
        let instead = (target::GROUP, target::TARGET);
        let test = Test::Target(vec![Scalar::Text(wanted.clone())]);
        self.of_processor("platform.variant", &wanted, [(group, key), instead], test)
    }

    /// Names of processor features, as /proc/cpuinfo, archspec or NFD spell them: the host must have all of them. The
    /// specification leaves the names open; Proposal E's examples are such.
    fn features(&self, platform: &Platform) -> Assessment {
        let names = platform.features.iter();
        let asked = names.map(|name| {
            let key = (target::GROUP, target::FEATURES);
            self.of_processor("platform.features", &json::plain(name, 60), [key, key], Test::Flags(vec![name.clone()]))
        });
        asked.fold(Assessment::default(), Assessment::and)
    }

    /// One requirement on the first of two keys that the host speaks of.
    fn of_processor(&self, name: &str, wanted: &str, keys: [(&str, &str); 2], test: Test) -> Assessment {
        let fact = keys.iter().find_map(|(group, key)| self.fact(group, key));
        let [(group, key), _] = keys;
        let meaning = self.schemas.group(group).and_then(|schema| schema.key(key)).map(|(_, key)| key);
        let atom = Atom {
            key: key.to_owned(),
            fact: None,
            name: name.to_owned(),
            wanted: wanted.to_owned(),
            level: Level::Required,
            dimension: Dimension::Cpu,
            weight: meaning.map_or(0, |key| key.weight),
            test,
        };
        let (mut summary, mut words) = (Summary::default(), Words::default());
        self.atom(&atom, fact, None, &mut summary, &mut words);
        summary.declared = false;
        Assessment { summary, reasons: words.reasons, notes: words.notes }
    }
}

/// On Linux no specification says what a version or features of the operating system are, and the image brings its own user
/// space: whoever asks for them means something that nobody here can check.
fn operating_system(platform: &Platform) -> Assessment {
    let mut assessment = Assessment::default();
    let version = platform.os_version.iter().filter(|version| !version.is_empty()).map(|asked| ("os.version", asked));
    let features = platform.os_features.iter().map(|asked| ("os.features", asked));
    for (name, asked) in version.chain(features) {
        let asked = json::plain(asked, 60);
        assessment.unknown(format!("platform.{name} = {asked}: what it means on this system is not known"), None);
    }
    assessment
}

#[cfg(test)]
#[path = "platform_tests.rs"]
mod tests;
