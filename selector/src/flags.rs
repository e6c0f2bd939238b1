//! Owns the question whether a host's processor has features, by any name in use: as /proc/cpuinfo spells them (`avx2`),
//! archspec's other names of them (`sse4.1`), NFD's (`AVX512FP16`). A name that nobody knows is Unknown: a slip of the pen is
//! not a missing feature.

use std::collections::BTreeSet;

use crate::decision::Answer;
use crate::facts::{Facts, State, Value};
use crate::json;
use crate::microarch::Microarchitectures;
use crate::value::Comparison;

/// NFD's feature that holds the names of CPUID flags.
const NFD: &str = "cpu.cpuid";
/// How NFD's labels of the same begin, in the group `nfd`: they say which names NFD has.
const LABEL: &str = "cpu-cpuid.";

/// Holds all of `wanted` against the flags in `host`, a set of names as [`crate::target::FEATURES`], and NFD's.
pub fn compare(graph: &Microarchitectures, facts: &Facts, wanted: &[String], host: Option<&State>) -> Comparison {
    let (mut missing, mut unknown) = (Vec::new(), Vec::new());
    for name in wanted {
        match one(graph, facts, name, host) {
            (Answer::False, _) => missing.push(json::plain(name, 60)),
            (Answer::Unknown, why) => unknown.push(format!("{}: {why}", json::plain(name, 60))),
            _ => {}
        }
    }
    if !missing.is_empty() {
        let what = if matches!(host, Some(State::Absent)) { "absent on this host" } else { "this host lacks" };
        return Comparison::new(Answer::False, format!("{what}: {}", missing.join(", ")));
    }
    if !unknown.is_empty() {
        return Comparison::new(Answer::Unknown, unknown.join("; "));
    }
    // To say a name twice, or in another spelling, asks for no more.
    let count = wanted.iter().map(|name| name.to_ascii_lowercase()).collect::<BTreeSet<_>>().len() as u64;
    Comparison::satisfied(if count == 1 { "this host has it" } else { "this host has all of them" }, [count, 0, 0, 0])
}

fn one(graph: &Microarchitectures, facts: &Facts, name: &str, host: Option<&State>) -> (Answer, String) {
    let flags = facts.features.flags.get(NFD).map(|flags| &flags.elements);
    if flags.is_some_and(|flags| flags.contains(name)) {
        return (Answer::True, String::new());
    }
    if is_nfd(name) && flags.is_some() {
        let label = facts.get("nfd", &format!("{LABEL}{name}")).map(|fact| &fact.state);
        let untold = facts.features.unknown.get(&format!("{NFD}/{name}"));
        return match (untold, label) {
            (Some(why), _) | (None, Some(State::Unknown { why })) => (Answer::Unknown, json::plain(why, 200)),
            (None, Some(State::Absent)) => (Answer::False, String::new()),
            (None, _) => (Answer::Unknown, "NFD's labels of this host do not say".to_owned()),
        };
    }
    let set = match host {
        Some(State::Known { value: Value::Set(set) }) => set,
        Some(State::Known { value }) => {
            let value = json::plain(&value.to_string(), 60);
            return (Answer::Unknown, format!("this host has {value}: not comparable"));
        }
        Some(State::Absent) => return (Answer::False, String::new()),
        Some(State::Unknown { why }) => return (Answer::Unknown, format!("cannot be seen: {why}")),
        None => return (Answer::Unknown, "this host's facts do not say".to_owned()),
    };
    match (set.contains(name), is_nfd(name)) {
        (true, _) => (Answer::True, String::new()),
        (false, false) if graph.knows_feature(name) => (Answer::False, String::new()),
        (false, true) => {
            let why = facts.features.unknown.get(NFD).map_or("NFD's features of this host do not say", String::as_str);
            (Answer::Unknown, json::plain(why, 200))
        }
        (false, false) => (Answer::Unknown, "no processor feature that is known here".to_owned()),
    }
}

/// NFD writes names in capitals, nobody else does.
fn is_nfd(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase()) && !name.contains(|c: char| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Fact;
    use crate::testing::{facts, set};

    fn ask(facts: &Facts, names: &str) -> (Answer, String) {
        let wanted: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        let state = facts.get("io.archspec", "cpu.features").map(|fact| &fact.state);
        let found = compare(Microarchitectures::builtin(), facts, &wanted, state);
        (found.answer, found.detail)
    }

    #[test]
    fn features_go_by_all_their_names() {
        let mut host = facts(&[("io.archspec", "cpu.features", set("avx avx2 sse4_1 sse4.1 hypervisor"))]);
        host.features.set_flags(NFD, ["AVX2".to_owned()]);
        host.features.set_unknown("cpu.cpuid/VMX", "/proc/cpuinfo does not tell");
        host.set("nfd", "cpu-cpuid.AVX512F", Fact::absent("cpuid 7.0 ebx"));
        host.set("nfd", "cpu-cpuid.*", Fact::unknown("no flag of NFD's", "cpuid"));
        let table = [
            ("avx2", Answer::True, "this host has it"),
            ("avx2 sse4.1 AVX2 hypervisor", Answer::True, "this host has all of them"),
            ("avx512f avx2 avx512bw", Answer::False, "this host lacks: avx512f, avx512bw"),
            ("AVX512F", Answer::False, "this host lacks: AVX512F"),
            ("AVX512_VNNI", Answer::Unknown, "AVX512_VNNI: no flag of NFD's"),
            ("VMX", Answer::Unknown, "VMX: /proc/cpuinfo does not tell"),
            ("sve", Answer::False, "this host lacks: sve"),
            ("axv2", Answer::Unknown, "axv2: no processor feature that is known here"),
            ("axv2 avx512f", Answer::False, "this host lacks: avx512f"),
            ("", Answer::True, "this host has all of them"),
        ];
        for (names, answer, detail) in table {
            assert_eq!(ask(&host, names), (answer, detail.to_owned()), "{names}");
        }
    }

    #[test]
    fn repetition_is_no_specificity() {
        let mut host = facts(&[("io.archspec", "cpu.features", set("avx2 fma"))]);
        host.features.set_flags(NFD, ["AVX2".to_owned()]);
        let depth = |names: &[&str]| {
            let wanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let state = host.get("io.archspec", "cpu.features").map(|fact| &fact.state);
            compare(Microarchitectures::builtin(), &host, &wanted, state).depth[0]
        };
        assert_eq!((depth(&["avx2", "avx2", "AVX2"]), depth(&["avx2", "fma"])), (1, 2));
    }

    #[test]
    fn what_was_not_seen_is_unknown() {
        let mut host = facts(&[("io.archspec", "cpu.features", set("avx"))]);
        host.features.set_unknown(NFD, "EACCES");
        assert_eq!(ask(&host, "AVX2"), (Answer::Unknown, "AVX2: EACCES".to_owned()));
        assert_eq!(ask(&Facts::default(), "avx").1, "avx: this host's facts do not say");
        host.set("io.archspec", "cpu.features", crate::facts::Fact::unknown("EIO", "/proc/cpuinfo"));
        assert_eq!(ask(&host, "avx"), (Answer::Unknown, "avx: cannot be seen: EIO".to_owned()));
        host.set("io.archspec", "cpu.features", crate::facts::Fact::absent("/proc/cpuinfo"));
        assert_eq!(ask(&host, "avx"), (Answer::False, "absent on this host: avx".to_owned()));
    }
}
