//! Owns `/etc/os-release` (os-release(5)): the system's name and version.

use std::collections::BTreeMap;

use bestfit_selector::facts::Facts;
use bestfit_selector::features::{Attributes, Elements, Features};

use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;
use crate::{HOST, NFD};

const FILE: &str = "/etc/os-release";
/// Where it lies when the administrator has not replaced it.
const FALLBACK: &str = "/usr/lib/os-release";

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) {
    let (text, source) = match root.text(FILE) {
        Err(ReadError::Missing(path)) => match root.text(FALLBACK) {
            Err(ReadError::Missing(_)) => (Err(ReadError::Missing(path)), FILE),
            other => (other, FALLBACK),
        },
        other => (other, FILE),
    };
    let read = root.seen(text, "/etc");
    let values = read.as_ref().map(|text| parse(text));
    set_feature(&read, &mut facts.features);
    let value = |key: &str| {
        values.as_ref().and_then(|values| values.get(key).map_or(Seen::Absent, |value| Seen::Known(value.clone())))
    };
    for (name, key) in [("os.id", "ID"), ("os.version_id", "VERSION_ID"), ("os.id_like", "ID_LIKE")] {
        facts.set(HOST, name, value(key).fact(source));
    }
    for key in ["ID", "VERSION_ID"] {
        facts.set(NFD, format!("system-os_release.{key}"), value(key).fact(source));
    }
    let version = value("VERSION_ID").map(|version| components(&version));
    let part = |index: usize| {
        version.as_ref().and_then(|parts| parts[index].clone().map_or(Seen::Absent, Seen::Known)).fact(source)
    };
    facts.set(NFD, "system-os_release.VERSION_ID.major", part(0));
    facts.set(NFD, "system-os_release.VERSION_ID.minor", part(1));
}

/// NFD's `system.osrelease`: its reading of the lines, which takes off quotes but no escapes, and the parts of the version.
fn set_feature(read: &Seen<String>, features: &mut Features) {
    const FEATURE: &str = "system.osrelease";
    let elements = match read {
        Seen::Known(text) => nfd_parse(text),
        Seen::Absent => return,
        Seen::Unknown(why) => return features.set_unknown(FEATURE, why),
    };
    let version = elements.get("VERSION_ID").map(components);
    features.attributes.insert(FEATURE.to_owned(), Elements { elements });
    for (name, part) in ["VERSION_ID.major", "VERSION_ID.minor"].iter().zip(version.into_iter().flatten()) {
        if let Some(part) = part {
            features.set_attribute(FEATURE, name, part);
        }
    }
}

/// NFD's `^(\w+)=(.+)` of each line, without any quotes at either end.
fn nfd_parse(text: &str) -> Attributes {
    let assignments = text.lines().filter_map(|line| line.split_once('='));
    let assignments = assignments.filter(|(key, value)| is_key(key) && !value.is_empty());
    assignments.map(|(key, value)| (key, value.trim_matches(['"', '\'']))).collect()
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

/// The assignments of the file. Quotes and their escapes are taken off; a later line replaces an earlier one, as in the
/// shell that the format comes from.
fn parse(text: &str) -> BTreeMap<String, String> {
    let assignments = text.lines().filter_map(|line| line.trim().split_once('='));
    let assignments = assignments.filter(|(key, value)| is_key(key) && !value.is_empty());
    assignments.map(|(key, value)| (key.to_owned(), unquote(value))).filter(|(_, value)| !value.is_empty()).collect()
}

fn unquote(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return inner.to_owned();
    }
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => plain.extend(chars.next()),
            _ => plain.push(char),
        }
    }
    plain
}

/// NFD's `^\d+(\.\d+)?(\..*)?$`: major and minor of a version, where it has that shape.
fn components(version: &str) -> [Option<String>; 2] {
    let numeric = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = version.splitn(3, '.');
    match parts.next().filter(numeric) {
        Some(major) => [Some(major.to_owned()), parts.next().filter(numeric).map(str::to_owned)],
        None => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes_are_taken_off() {
        let cases = [
            ("debian", "debian"),
            ("\"22.04\"", "22.04"),
            ("'a\\b'", "a\\b"),
            ("\"say \\\"hi\\\" for \\$5\"", "say \"hi\" for $5"),
            ("\"", "\""),
            ("", ""),
            ("a\\", "a"),
        ];
        for (value, plain) in cases {
            assert_eq!(unquote(value), plain, "{value}");
        }
    }

    // /etc/os-release of Rocky Linux 9, shortened.
    #[test]
    fn assignments_are_read_and_the_rest_is_left() {
        let text = "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n# VERSION_ID=1\n\
                    VERSION_ID=\"9.4\"\nBUILD_ID=\nbad key=1\nVARIANT\n";
        let values = parse(text);
        assert_eq!(values["ID_LIKE"], "rhel centos fedora");
        assert_eq!(values["VERSION_ID"], "9.4");
        assert_eq!(values.keys().collect::<Vec<_>>(), ["ID", "ID_LIKE", "NAME", "VERSION_ID"]);
    }

    #[test]
    fn versions_are_split_as_nfd_does() {
        let cases = [
            ("12", Some("12"), None),
            ("22.04", Some("22"), Some("04")),
            ("9.4.1", Some("9"), Some("4")),
            ("3.20.0_alpha", Some("3"), Some("20")),
            ("9.rc", Some("9"), None),
            ("rolling", None, None),
        ];
        for (version, major, minor) in cases {
            assert_eq!(components(version), [major, minor].map(|part| part.map(str::to_owned)), "{version}");
        }
    }
}
