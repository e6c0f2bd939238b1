//! Owns NFD's feature files: `local.feature` and `local.label`, which a site's own programs and device vendors' discovery
//! tools leave in one directory. The format is nfd-features.md §5. What may be half-written is unknown, never a value.

use std::collections::BTreeMap;

use bestfit_selector::facts::{Fact, Facts, Value};
use bestfit_selector::features::Elements;
use bestfit_selector::time::Time;

use crate::root::HostRoot;
use crate::seen::Seen;
use crate::{LABEL_NAMESPACE, NFD};

const FILES: &str = "/etc/kubernetes/node-feature-discovery/features.d";

/// The longest file that NFD reads, in bytes.
const FILE_LIMIT: usize = 65_536;

/// NFD has no such limit; a directory of more files is no directory of features.
const FILES_LIMIT: usize = 256;

/// What one or all files say: a value, or why there is none, by key.
type Entries = BTreeMap<String, Entry>;

/// What was read for one key, and the file it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    value: Result<String, String>,
    file: String,
}

/// The two sets.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    features: Entries,
    labels: Entries,
    /// Why a whole file gave nothing.
    failed: Option<String>,
    /// When the first of what is said now expires, in seconds since 1970.
    until: Option<i64>,
}

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) {
    let names = match root.seen(root.names(FILES), "/etc") {
        Seen::Known(names) => names,
        Seen::Absent => Vec::new(),
        Seen::Unknown(why) => {
            for feature in ["local.feature", "local.label"] {
                facts.features.set_unknown(feature, &why);
            }
            return;
        }
    };
    let found = read_all(root, &names, Time { seconds: root.now(), nanos: 0 });
    if let Some(until) = found.until {
        root.changes_at(until);
    }
    for (key, entry) in &found.labels {
        let label = key.strip_prefix(LABEL_NAMESPACE).unwrap_or(key);
        // A file that gave nothing may say otherwise.
        let fact = match (&entry.value, &found.failed) {
            (Ok(value), None) => Fact::known(value_of(value), &entry.file),
            (Ok(_), Some(why)) | (Err(why), _) => Fact::unknown(why, &entry.file),
        };
        facts.set(NFD, label, fact);
    }
    for (feature, entries) in [("local.feature", found.features), ("local.label", found.labels)] {
        record(facts, feature, entries, found.failed.as_deref());
    }
}

/// A set of which one file could not be read is unknown as a whole: the file may say otherwise.
fn record(facts: &mut Facts, feature: &str, entries: Entries, failed: Option<&str>) {
    if let Some(why) = failed {
        return facts.features.set_unknown(feature, why);
    }
    let mut elements = BTreeMap::new();
    for (key, entry) in entries {
        match entry.value {
            Ok(value) => {
                elements.insert(key, value);
            }
            Err(why) => facts.features.set_unknown(&format!("{feature}/{key}"), why),
        }
    }
    facts.features.attributes.insert(feature.to_owned(), Elements { elements: elements.into_iter().collect() });
}

fn value_of(text: &str) -> Value {
    match text {
        "true" => true.into(),
        "false" => false.into(),
        text => text.into(),
    }
}

/// All files in the order of their names; what a later one says replaces what an earlier one said.
fn read_all(root: &HostRoot, names: &[String], now: Time) -> Found {
    let mut all = Found::default();
    let visible: Vec<&String> = names.iter().filter(|name| !name.starts_with('.')).collect();
    if visible.len() > FILES_LIMIT {
        all.failed = Some(format!("{FILES}: more than {FILES_LIMIT} files"));
        return all;
    }
    for name in visible {
        let path = format!("{FILES}/{name}");
        // Neither a directory nor a pipe is a feature file.
        match root.is_regular(&path) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                all.failed.get_or_insert(error.to_string());
                continue;
            }
        }
        match root.bytes(&path) {
            Ok(bytes) if bytes.len() > FILE_LIMIT => {
                all.failed.get_or_insert(format!("{path}: longer than {FILE_LIMIT} bytes"));
            }
            Ok(bytes) => {
                let found = parse(&bytes, &path, now);
                all.features.extend(found.features);
                all.labels.extend(found.labels);
                all.until = [all.until, found.until].into_iter().flatten().min();
            }
            Err(error) => {
                all.failed.get_or_insert(error.to_string());
            }
        }
    }
    all
}

/// What the `# +` lines before an entry say about it.
struct Directives {
    expires: Option<Result<Time, String>>,
    skip_feature: bool,
    skip_label: bool,
}

/// The entries of one file.
fn parse(bytes: &[u8], path: &str, now: Time) -> Found {
    let mut found = Found::default();
    let mut directives = Directives { expires: None, skip_feature: false, skip_label: false };
    let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
    while let Some(raw) = lines.next() {
        let ended = lines.peek().is_some();
        let text = String::from_utf8_lossy(raw);
        let line = text.trim();
        if let Some(comment) = line.strip_prefix('#') {
            direct(comment, &mut directives);
            if let Some(Ok(expires)) = &directives.expires
                && *expires >= now
            {
                found.until = Some(found.until.map_or(expires.seconds, |until| until.min(expires.seconds)));
            }
            continue;
        }
        if line.is_empty() || matches!(directives.expires, Some(Ok(expires)) if expires < now) {
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, "true"));
        let value = match &directives.expires {
            Some(Err(why)) => Err(format!("{path}: {why}")),
            _ => doubt(raw, ended).map_or_else(|| Ok(value.to_owned()), |why| Err(format!("{path}: {why}"))),
        };
        let entry = Entry { value, file: path.to_owned() };
        let skips = [directives.skip_feature, directives.skip_label];
        for (skip, entries) in skips.into_iter().zip([&mut found.features, &mut found.labels]) {
            if skip {
                entries.remove(key);
            } else {
                entries.insert(key.to_owned(), entry.clone());
            }
        }
        (directives.skip_feature, directives.skip_label) = (false, false);
    }
    found
}

/// Why a line is not to be taken at its word.
fn doubt(line: &[u8], ended: bool) -> Option<&'static str> {
    if !ended {
        return Some("the last line has no end, so the file may be half-written");
    }
    if std::str::from_utf8(line).is_err() {
        return Some("not UTF-8");
    }
    line.iter().any(|byte| *byte < b' ' && !b"\t\r".contains(byte)).then_some("control characters in a line")
}

/// `comment` is a line without its `#`; a directive that is not known is a comment, as in NFD.
fn direct(comment: &str, directives: &mut Directives) {
    let Some(directive) = comment.strip_prefix(" +") else { return };
    let (name, value) = directive.split_once('=').map_or((directive, None), |(name, value)| (name, Some(value.trim())));
    match (name, value) {
        ("no-feature", _) => directives.skip_feature = true,
        ("no-label", _) => directives.skip_label = true,
        // NFD goes on as if the line were not there; whether the entries below still hold cannot be told.
        ("expiry-time", value) => {
            let text = value.unwrap_or_default();
            let time = Time::parse(text).ok_or_else(|| format!("expiry-time {text:?} is no RFC 3339 time"));
            directives.expires = Some(time);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bestfit_selector::facts::State;

    use super::*;

    const NOW: Time = Time { seconds: 1_750_000_000, nanos: 0 };

    fn entries(entries: &Entries) -> Vec<(&str, Option<&str>)> {
        entries.iter().map(|(key, entry)| (key.as_str(), entry.value.as_deref().ok())).collect()
    }

    #[test]
    fn keys_and_values_are_read() {
        let found = parse(b"\n a.b/key \nx=1=2\n# note=1\n#+no-label\nx = y\nempty=\n", "f", NOW);
        let expected = [("a.b/key", Some("true")), ("empty", Some("")), ("x", Some("1=2")), ("x ", Some(" y"))];
        assert_eq!(entries(&found.labels), expected);
        assert_eq!(entries(&found.features), expected);
    }

    #[test]
    fn directives_hold_for_the_next_entry_and_an_expiry_for_all_that_follow() {
        let text = "one=1\ntwo=2\n# +no-feature\none=1\n# +no-label\n\n# +unknown\ntwo=3\nthree=3\n\
                    # +expiry-time=2020-01-01T00:00:00Z\nold=1\nolder=1\n# +expiry-time=2099-01-01T00:00:00+02:00\nnew=1\n";
        let found = parse(text.as_bytes(), "f", NOW);
        let expected = [("new", Some("1")), ("three", Some("3")), ("two", Some("3"))];
        assert_eq!(entries(&found.features), expected, "one was taken back");
        assert_eq!(entries(&found.labels), [("new", Some("1")), ("one", Some("1")), ("three", Some("3"))]);
        let new = Time::parse("2098-12-31T22:00:00Z").map(|time| time.seconds);
        assert_eq!(found.until, new, "what has expired stays so");
    }

    #[test]
    fn what_cannot_be_trusted_is_unknown_and_the_rest_stands() {
        let cases: [(&[u8], &str); 4] = [
            (b"good=1\nbad=NVIDIA-H1", "half-written"),
            (b"good=1\nbad=\xff\n", "not UTF-8"),
            (b"good=1\nbad=\0\0\n", "control characters"),
            (b"good=1\n# +expiry-time=soon\nbad=1\n", "no RFC 3339 time"),
        ];
        for (bytes, why) in cases {
            let found = parse(bytes, "/f", NOW);
            assert_eq!(entries(&found.labels), [("bad", None), ("good", Some("1"))], "{why}");
            let reason = found.labels["bad"].value.clone().unwrap_err();
            assert!(reason.starts_with("/f: ") && reason.contains(why), "{reason}");
        }
    }

    /// The file that gave nothing may have said otherwise.
    #[test]
    fn labels_beside_a_file_that_gave_nothing_are_unknown() {
        let label = |broken: bool| {
            let dir = tempfile::tempdir().unwrap();
            let files = dir.path().join(FILES.trim_start_matches('/'));
            std::fs::create_dir_all(&files).unwrap();
            std::fs::write(files.join("a"), "vendor.io/x=1\n").unwrap();
            if broken {
                std::fs::write(files.join("b"), vec![b'x'; FILE_LIMIT + 1]).unwrap();
            }
            let mut facts = Facts::default();
            probe(&HostRoot::at(dir.path()).unwrap(), &mut facts);
            facts.get(NFD, "vendor.io/x").unwrap().state.clone()
        };
        assert!(matches!(label(false), State::Known { .. }));
        assert!(matches!(label(true), State::Unknown { .. }));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = parse(&bytes, "f", NOW);
        }
    }
}
