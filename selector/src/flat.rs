//! Owns Proposal H documents: a list of flat sets of `oci.*` keys, of which one is enough. Each set becomes a Proposal F
//! document about the group `oci`, whose schema says what the keys mean (opencontainers/wg-image-compatibility,
//! docs/proposals/PROPOSAL_H.md).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::document::{self, Document, MAX_BYTES};
use crate::json::{self, JsonError};
use crate::value::{Scalar, Wanted};

/// The most sets of one document.
pub const MAX_SETS: usize = 64;
/// The group that the keys stand in.
const GROUP: &str = "oci";
/// What the names of keys begin with.
const PREFIX: &str = "oci.";
/// The author's weight of a set; the proposal spells it in two ways.
const SCORE: [&str; 2] = ["compatibility-score", "oci.compatibility-score"];
/// For people.
const ANNOTATION: &str = "annotation";
/// Ids of PCI devices: the proposal writes `15B3.020D`, hosts say `15b3:020d`.
const PCI: &str = "pci.devices";

/// One set: all of it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// What its author says about it.
    pub annotation: String,
    /// What it asks for.
    pub document: Document,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSets {
    compatibilities: Vec<BTreeMap<String, Wanted>>,
}

/// Reads one document, at most [`MAX_BYTES`] long: its sets, of which one is enough.
pub fn read(bytes: &[u8]) -> Result<Vec<Set>, JsonError> {
    let sets = json::read::<RawSets>(bytes, MAX_BYTES)?.compatibilities;
    if sets.is_empty() || sets.len() > MAX_SETS {
        return Err(document::wrong(format!("{} sets, 1 to {MAX_SETS} are expected", sets.len())));
    }
    let numbered = sets.into_iter().enumerate();
    let set = |(at, raw)| set(raw).map_err(|why| document::wrong(format!("set {}: {why}", at + 1)));
    let sets: Vec<Set> = numbered.map(set).collect::<Result<_, _>>()?;
    let keys: usize = sets.iter().map(|set| set.document.size()).sum();
    if keys > document::MAX_KEYS {
        return Err(document::wrong(format!("more than {} keys", document::MAX_KEYS)));
    }
    Ok(sets)
}

fn set(raw: BTreeMap<String, Wanted>) -> Result<Set, String> {
    let (mut annotation, mut score, mut keys) = (String::new(), None, BTreeMap::new());
    for (name, wanted) in raw {
        if name.len() > document::MAX_NAME {
            return Err(format!("a name is longer than {} bytes", document::MAX_NAME));
        }
        if SCORE.contains(&name.as_str()) {
            let [Scalar::Int(given)] = wanted.values[..] else { return Err(format!("{name} is no whole number")) };
            if wanted.array {
                return Err(format!("{name} is no whole number"));
            }
            twice(score.replace(given).is_some(), &name)?;
        } else if name == ANNOTATION {
            annotation = json::plain(&wanted.to_string(), 200);
        } else {
            let key = name.strip_prefix(PREFIX).unwrap_or(&name).to_owned();
            let wanted = values(wanted);
            let wanted = if key == PCI { pci(wanted) } else { wanted };
            twice(keys.insert(key, wanted).is_some(), &name)?;
        }
    }
    if keys.is_empty() {
        return Err("it asks for nothing".to_owned());
    }
    let mut document = Document::asking([(GROUP.to_owned(), keys)].into());
    if let Some(score) = score {
        document.weigh("compatibility-score", score);
    }
    Ok(Set { annotation, document })
}

/// Of two spellings of one key neither goes before the other.
fn twice(is: bool, name: &str) -> Result<(), String> {
    if is { Err(format!("{:?} stands there in another spelling as well", json::plain(name, 100))) } else { Ok(()) }
}

/// Texts are lists whose elements end in commas: `"FPHP,"`. The commas of ranges part nothing: `"[4.19, 5.16)"`.
fn values(wanted: Wanted) -> Wanted {
    let [Scalar::Text(text)] = wanted.values.as_slice() else { return wanted };
    if wanted.array || !text.contains(',') || text.trim_start().starts_with(['<', '>', '=']) {
        return wanted;
    }
    let mut open = false;
    let mut parts = vec![String::new()];
    for character in text.chars() {
        open = (open || "[(".contains(character)) && !"])".contains(character);
        match parts.last_mut() {
            Some(last) if character != ',' || open => last.push(character),
            _ => parts.push(String::new()),
        }
    }
    let parts: Vec<&str> = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
    let array = parts.len() != 1 || text.trim_end().ends_with(',');
    Wanted { values: parts.into_iter().map(|part| Scalar::Text(part.to_owned())).collect(), array }
}

fn pci(wanted: Wanted) -> Wanted {
    let id = |value: Scalar| Scalar::Text(value.to_string().to_ascii_lowercase().replace('.', ":"));
    Wanted { values: wanted.values.into_iter().map(id).collect(), ..wanted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sets_are_documents_about_oci() {
        // The proposal's example with its commas put right; its two spellings of the score.
        let text = r#"{"compatibilities": [
            {"oci.cpu.vendor": "GenuineIntel", "oci.cpu.features": "AVX512FP16,", "oci.kernel.selinux": "false",
             "oci.kernel.versions": "[4.19, 5.16)", "oci.pci.devices": "15B3.020D,", "compatibility-score": 50},
            {"oci.cpu.vendor": "AuthenticAMD", "oci.compatibility-score": 800, "annotation": "only with AMD"}]}"#;
        let sets = read(text.as_bytes()).unwrap();
        let keys = |at: usize| {
            let keys = sets[at].document.groups["oci"].iter();
            keys.map(|(key, wanted)| format!("{key} = {}", wanted.json())).collect::<Vec<_>>()
        };
        assert_eq!(
            keys(0),
            [
                "cpu.features = [\"AVX512FP16\"]",
                "cpu.vendor = \"GenuineIntel\"",
                "kernel.selinux = \"false\"",
                "kernel.versions = \"[4.19, 5.16)\"",
                "pci.devices = [\"15b3:020d\"]",
            ]
        );
        assert_eq!(keys(1), ["cpu.vendor = \"AuthenticAMD\""]);
        assert_eq!((sets[0].document.weight, sets[1].document.weight), (50, 100));
        assert!(sets[0].document.notes.is_empty());
        assert_eq!(sets[1].document.notes, ["compatibility-score = 800: counts as 100"]);
        assert_eq!(sets[1].annotation, "only with AMD");
    }

    #[test]
    fn devices_are_written_as_hosts_say_them_with_and_without_the_prefix() {
        for name in ["oci.pci.devices", "pci.devices"] {
            let text = format!(r#"{{"compatibilities": [{{"{name}": "15B3.020D,"}}]}}"#);
            let document = &read(text.as_bytes()).unwrap()[0].document;
            assert_eq!(document.groups["oci"]["pci.devices"].json(), r#"["15b3:020d"]"#, "{name}");
        }
    }

    #[test]
    fn commas_part_values_but_not_ranges() {
        let table = [
            ("a", "\"a\""),
            ("a,", "[\"a\"]"),
            ("a, b,c", "[\"a\", \"b\", \"c\"]"),
            ("[1, 2)", "\"[1, 2)\""),
            ("[1, 2),(3,4]", "[\"[1, 2)\", \"(3,4]\"]"),
            ("[1,2],", "[\"[1,2]\"]"),
            (">=1,<2", "\">=1,<2\""),
            (",", "[]"),
            ("", "\"\""),
        ];
        for (text, expected) in table {
            let wanted = Wanted { values: vec![Scalar::Text(text.to_owned())], array: false };
            assert_eq!(values(wanted).json(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_such_document_is_told() {
        let table = [
            ("[]", "line 1 column 1: 0 sets, 1 to 64 are expected"),
            ("[{}]", "line 1 column 1: set 1: it asks for nothing"),
            (r#"[{"oci.os.glibc": "1"}, {"annotation": "x"}]"#, "line 1 column 1: set 2: it asks for nothing"),
            (r#"[{"compatibility-score": "high", "a": 1}]"#, "line 1 column 1: set 1: compatibility-score is no whole"),
            (
                r#"[{"kernel.versions": "[6,7)", "oci.kernel.versions": "[5,6)"}]"#,
                "line 1 column 1: set 1: \"oci.kernel.versions\" stands there in another spelling",
            ),
            (
                r#"[{"compatibility-score": 1, "oci.compatibility-score": 2, "a": 1}]"#,
                "line 1 column 1: set 1: \"oci.compatibility-score\" stands there in another",
            ),
            (r#"[{"compatibility-score": [1], "a": 1}]"#, "line 1 column 1: set 1: compatibility-score is no whole"),
            (r#"[{"a": {}}]"#, "line 1 column 29: invalid type: map, expected true, false"),
            (r#"[{"a": 1}], "more": 1"#, "line 1 column 38: unknown field `more`"),
        ];
        for (list, start) in table {
            let error = read(format!("{{\"compatibilities\": {list}}}").as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(start), "{list}: {error}");
        }
        let many = vec![r#"{"a": 1}"#; MAX_SETS + 1].join(",");
        assert!(read(format!("{{\"compatibilities\": [{many}]}}").as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(list in r#"[\[\]{}":,a-z0-9 ]{0,80}"#, value in ".{0,40}") {
            let _ = read(format!("{{\"compatibilities\": [{list}]}}").as_bytes());
            let _ = pci(values(Wanted { values: vec![Scalar::Text(value)], array: false }));
        }
    }
}
