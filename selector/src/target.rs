//! Owns the question whether a host runs code that was compiled for a microarchitecture (reference/archspec.md §3): yes
//! where the host is that target or a descendant, and where it has all its features under the same vendor; where the site
//! says so, under another vendor, too.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::decision::Answer;
use crate::facts::{Facts, State, Value};
use crate::json;
use crate::microarch::{GENERIC, Microarchitectures, Target};
use crate::value::{Comparison, Scalar};

/// The group of archspec's facts and keys.
pub const GROUP: &str = "io.archspec";
/// The host's target.
pub const TARGET: &str = "cpu.target";
/// The names of all targets whose features the host has, of its vendor or generic.
pub const CANDIDATES: &str = "cpu.candidates";
/// The host's flags as /proc/cpuinfo spells them, and archspec's other names of them (`sse4.1`, `avx512`, `neon`).
pub const FEATURES: &str = "cpu.features";

/// Whether a host runs what was compiled for another vendor's target, where it has all its features.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vendor {
    /// It does not: code for `skylake_avx512` may be tuned for what a `zen5` does badly.
    #[default]
    Strict,
    /// It does.
    Features,
}

impl Vendor {
    /// Whether it is the one that holds where the site says nothing.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    pub(crate) fn is_strict(&self) -> bool {
        *self == Self::Strict
    }
}

/// Holds any of `wanted` against the target or level in `host`.
pub fn compare(
    graph: &Microarchitectures,
    facts: &Facts,
    wanted: &[Scalar],
    host: Option<&State>,
    vendor: Vendor,
) -> Comparison {
    let answers = wanted.iter().map(|name| one(graph, facts, &name.to_string(), host, vendor));
    let order = |comparison: &Comparison| match comparison.answer {
        Answer::True => 2,
        Answer::Unknown => 1,
        Answer::False | Answer::Note => 0,
    };
    let best = answers.max_by_key(|comparison| (order(comparison), comparison.depth));
    best.unwrap_or_else(|| Comparison::new(Answer::Unknown, "an empty array asks for nothing"))
}

fn one(graph: &Microarchitectures, facts: &Facts, name: &str, host: Option<&State>, vendor: Vendor) -> Comparison {
    let Some(wanted) = graph.get(name) else {
        let (name, version) = (json::plain(name, 60), graph.version());
        let text = format!("{name} is not in the archspec data {version}: update the archspec data");
        return Comparison::new(Answer::Unknown, text);
    };
    let host = match host {
        Some(State::Known { value: Value::Text(host) }) => host,
        Some(State::Known { value }) => {
            return Comparison::new(Answer::Unknown, format!("this host says {value}, which is no target"));
        }
        Some(State::Absent) => return Comparison::new(Answer::False, "absent on this host"),
        Some(State::Unknown { why }) => return Comparison::new(Answer::Unknown, format!("cannot be seen: {why}")),
        None => return Comparison::new(Answer::Unknown, "this host's facts do not say"),
    };
    let Some(target) = graph.get(host) else {
        let (host, version) = (json::plain(host, 60), graph.version());
        let text =
            format!("this host is {host}, which is not in the archspec data {version}: update the archspec data");
        return Comparison::new(Answer::Unknown, text);
    };
    if graph.runs(target, wanted) {
        return Comparison::satisfied(format!("this host is {host}"), [wanted.depth, 0, 0, 0]);
    }
    // A match by features ranks by the generic target that it rests on.
    let by_features = |text: String| {
        let depth = graph.generic(wanted).map_or(0, |generic| generic.depth);
        Comparison::satisfied(text, [depth, 0, 0, 0])
    };
    if set(facts, CANDIDATES).is_some_and(|candidates| candidates.contains(&wanted.name)) {
        return by_features(format!("this host is {host} and has all its features"));
    }
    if vendor == Vendor::Features && has_anothers_features(graph, facts, target, wanted) {
        return by_features(format!(
            "this host is {host}, has all its features, and selection.vendor asks for no more"
        ));
    }
    if graph.family(target) == "x86_64" && graph.family(wanted) == "x86" {
        return of_32_bits(graph, facts, target, wanted, by_features);
    }
    // Whether it has all the features was not seen: that is no "no".
    if let Some(State::Unknown { why }) = facts.get(GROUP, CANDIDATES).map(|fact| &fact.state)
        && graph.family(target) == graph.family(wanted)
    {
        let text = format!("this host is {host}; whether it has all its features cannot be seen: {why}");
        return Comparison::new(Answer::Unknown, text);
    }
    // No flag tells levels such as armv8.2a: a processor that the data does not know may have any of them.
    let levels = target.vendor == GENERIC && wanted.vendor == GENERIC && wanted.features.is_empty();
    if levels && graph.family(target) == graph.family(wanted) {
        let text = format!("this host is {host}; the archspec data {} has no closer name for it", graph.version());
        return Comparison::new(Answer::Unknown, text);
    }
    Comparison::new(Answer::False, format!("this host is {host}{}", why_not(graph, facts, target, wanted)))
}

/// A 64-bit processor runs code for each 32-bit one whose features it has; archspec counts these as another family.
fn of_32_bits(
    graph: &Microarchitectures,
    facts: &Facts,
    host: &Target,
    wanted: &Target,
    by_features: impl Fn(String) -> Comparison,
) -> Comparison {
    let host = &host.name;
    let seen = set(facts, FEATURES);
    let missing = graph.missing(wanted, seen.unwrap_or(&BTreeSet::new()));
    match (missing.is_empty(), seen) {
        (true, _) => by_features(format!("this host is {host} and has all its features")),
        (false, Some(_)) => {
            Comparison::new(Answer::False, format!("this host is {host}, missing: {}", missing.join(", ")))
        }
        (false, None) => {
            let text = format!("this host is {host}; whether it has {} was not seen", missing.join(", "));
            Comparison::new(Answer::Unknown, text)
        }
    }
}

/// Whether `wanted` is another vendor's target all of whose features were seen. Those of the host's own vendor and generic ones are
/// candidates already where they fit; one that lists no features is told apart by something else.
fn has_anothers_features(graph: &Microarchitectures, facts: &Facts, host: &Target, wanted: &Target) -> bool {
    let of_another = wanted.vendor != GENERIC && wanted.vendor != maker(facts, host);
    let seen = set(facts, FEATURES).is_some_and(|features| graph.missing(wanted, features).is_empty());
    of_another && seen && !wanted.features.is_empty() && graph.family(host) == graph.family(wanted)
}

/// Who made the host's processor.
fn maker<'a>(facts: &'a Facts, host: &'a Target) -> &'a str {
    match facts.get(GROUP, "cpu.vendor").map(|fact| &fact.state) {
        Some(State::Known { value: Value::Text(vendor) }) => vendor,
        _ => &host.vendor,
    }
}

/// What keeps this host from running `wanted`, as far as the facts tell.
fn why_not(graph: &Microarchitectures, facts: &Facts, host: &Target, wanted: &Target) -> String {
    if graph.family(host) != graph.family(wanted) {
        return format!(", {} is for {}", wanted.name, graph.family(wanted));
    }
    let missing = set(facts, FEATURES).map(|features| graph.missing(wanted, features)).unwrap_or_default();
    if !missing.is_empty() {
        let more = if missing.len() > 8 { ", …" } else { "" };
        return format!(", missing: {}{more}", missing[..missing.len().min(8)].join(", "));
    }
    let vendor = maker(facts, host);
    if wanted.vendor != GENERIC && wanted.vendor != vendor {
        return format!(", made by {}, not {}", json::plain(vendor, 60), wanted.vendor);
    }
    String::new()
}

fn set<'a>(facts: &'a Facts, key: &str) -> Option<&'a BTreeSet<String>> {
    match facts.get(GROUP, key).map(|fact| &fact.state) {
        Some(State::Known { value: Value::Set(values) }) => Some(values),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Fact;

    const NEWER: &str = r#"{"microarchitectures":{
        "x86_64":{"from":[],"vendor":"generic","features":[]},
        "zen5":{"from":["x86_64"],"vendor":"AuthenticAMD","features":["five"]},
        "zen7":{"from":["zen5"],"vendor":"AuthenticAMD","features":["five","seven"]}}}"#;

    fn answer(graph: &Microarchitectures, host: &str, wanted: &str) -> (Answer, String) {
        let mut facts = Facts::default();
        facts.set(GROUP, TARGET, Fact::known(host.to_owned(), "/proc/cpuinfo"));
        let state = facts.get(GROUP, TARGET).map(|fact| fact.state.clone());
        let found = compare(graph, &facts, &[Scalar::Text(wanted.to_owned())], state.as_ref(), Vendor::Strict);
        (found.answer, found.detail)
    }

    #[test]
    fn a_target_that_the_data_lacks_is_unknown_until_the_data_has_it() {
        let (old, new) = (Microarchitectures::builtin(), Microarchitectures::parse(NEWER.as_bytes()).unwrap());
        for (host, wanted) in [("zen5", "zen7"), ("zen7", "zen5")] {
            let (found, text) = answer(old, host, wanted);
            assert_eq!(found, Answer::Unknown);
            assert!(
                text.ends_with("zen7, which is not in the archspec data 0.2.7: update the archspec data")
                    || text == "zen7 is not in the archspec data 0.2.7: update the archspec data",
                "{text}"
            );
        }
        assert_eq!(answer(&new, "zen7", "zen5").0, Answer::True);
        assert_eq!(answer(&new, "zen5", "zen7"), (Answer::False, "this host is zen5".to_owned()));
    }

    #[test]
    fn features_that_could_not_be_seen_are_no_no() {
        let graph = Microarchitectures::builtin();
        let mut facts = Facts::default();
        facts.set(GROUP, TARGET, Fact::known("zen3", "/proc/cpuinfo"));
        facts.set(GROUP, CANDIDATES, Fact::unknown("EACCES", "/proc/cpuinfo"));
        let ask = |name: &str| {
            let state = facts.get(GROUP, TARGET).map(|fact| &fact.state);
            compare(graph, &facts, &[Scalar::Text(name.to_owned())], state, Vendor::Features).answer
        };
        assert_eq!([ask("zen2"), ask("zen4"), ask("neoverse_v2")], [Answer::True, Answer::Unknown, Answer::False]);
    }

    #[test]
    fn no_flag_tells_the_levels_of_arm() {
        let graph = Microarchitectures::builtin();
        for (host, wanted, expected) in [
            ("aarch64", "armv8.2a", Answer::Unknown),
            ("aarch64", "armv9.0a", Answer::Unknown),
            ("aarch64", "arm64", Answer::True),
            ("aarch64", "neoverse_n2", Answer::False),
            ("aarch64", "x86_64", Answer::False),
            ("neoverse_n1", "armv9.0a", Answer::False),
            ("x86_64_v2", "x86_64_v3", Answer::False),
        ] {
            assert_eq!(answer(graph, host, wanted).0, expected, "{host} {wanted}");
        }
    }

    #[test]
    fn a_64_bit_processor_runs_32_bit_code() {
        let graph = Microarchitectures::builtin();
        let mut facts = Facts::default();
        facts.set(GROUP, TARGET, Fact::known("zen3", "/proc/cpuinfo"));
        let ask = |facts: &Facts, name: &str| {
            let state = facts.get(GROUP, TARGET).map(|fact| &fact.state);
            compare(graph, facts, &[Scalar::Text(name.to_owned())], state, Vendor::Strict).answer
        };
        let names = ["x86", "i686", "pentium4", "prescott"];
        assert_eq!(
            names.map(|name| ask(&facts, name)),
            [Answer::True, Answer::True, Answer::Unknown, Answer::Unknown],
            "its features were not seen"
        );
        let features = ["mmx", "sse", "sse2"].map(str::to_owned);
        facts.set(GROUP, FEATURES, Fact::known(BTreeSet::from(features), "/proc/cpuinfo"));
        assert_eq!(names.map(|name| ask(&facts, name)), [Answer::True, Answer::True, Answer::True, Answer::False]);
    }
}
