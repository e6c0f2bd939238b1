//! Owns what a site asks of a decision. The file format is in `bestfit-config`; this is its meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::nfd;
use crate::schema::Level;
use crate::target::Vendor;
use crate::trust::Trust;

/// What a site asks for. The defaults change nothing but what artifacts clearly say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// What happens when no entry fits.
    pub on_no_fit: Otherwise,
    /// What happens when something could not be read.
    pub on_error: Otherwise,
    /// Whether an entry that says nothing may stand in for a default that does not fit.
    pub undeclared: Undeclared,
    /// Whether the platform variants of entries decide where an index has no artifact at all.
    #[serde(skip_serializing_if = "is_false")]
    pub platform_variants: bool,
    /// Whose artifacts count, and what must be signed.
    #[serde(skip_serializing_if = "Trust::is_default")]
    pub trust: Trust,
    /// Whose answer to NFD's rules counts: NFD's own, or ours where NFD stops.
    #[serde(skip_serializing_if = "nfd::Mode::is_lenient")]
    pub nfd: nfd::Mode,
    /// Whether code for another vendor's microarchitecture runs where all its features are there.
    #[serde(skip_serializing_if = "Vendor::is_strict")]
    pub vendor: Vendor,
    /// The site's word on levels, by pattern (`GROUP/KEY`, `GROUP/prefix*`, `GROUP/*`): it goes before the document's and
    /// the schema's. The longest pattern wins.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub levels: BTreeMap<String, Level>,
    /// Keys that describe the image and are checked all the same, by pattern: the site binds its own MPI, say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<String>,
    /// The site's rules, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, Rule>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// One rule of a site. It speaks about a candidate when all of its conditions hold; a list holds when one of it does, and
/// a rule without conditions speaks about none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// What follows.
    pub action: Action,
    /// By how much `prefer` raises and `avoid` lowers the site's score.
    pub score: u32,
    /// The host: `GROUP/KEY` and the values that a document could ask for, any of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub host: BTreeMap<String, Vec<String>>,
    /// The candidate's artifacts ask for a key, by pattern: `GROUP/KEY`, `GROUP/*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<String>,
    /// The annotations of the candidate's descriptor in the index; `*` in a value stands for any text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The candidate itself, the index, or one of the candidate's artifacts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<Digest>,
}

/// What a rule does with a candidate that it speaks about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It goes before others.
    #[default]
    Prefer,
    /// It goes after others.
    Avoid,
    /// It never runs here.
    Deny,
}

impl Rule {
    /// Whether it has a condition at all.
    pub fn speaks(&self) -> bool {
        !(self.host.is_empty() && self.asks.is_empty() && self.annotations.is_empty() && self.digests.is_empty())
    }
}

/// Whether `pattern` covers `name`; `*` stands for any text, anywhere and any number of times.
pub fn covers(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

/// What happens when there is no answer to act on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    /// The entry that containerd chose runs.
    #[default]
    RunDefault,
    /// The container is refused.
    Deny,
}

/// Whether undeclared entries may be chosen (matching.md, "The choice", rule 3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undeclared {
    /// Where nothing is Compatible and the default is Incompatible.
    #[default]
    Fallback,
    /// Never.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let table = [
            ("nfd/*", "nfd/memory-numa", true),
            ("nfd/*", "host/x", false),
            ("*-nightly", "v1-nightly", true),
            ("v*-rc*", "v1.2-rc3", true),
            ("v*-rc*", "v1.2", false),
            ("a*a", "a", false),
            ("a", "a", true),
            ("*", "", true),
        ];
        table.iter().for_each(|(pattern, name, holds)| assert_eq!(covers(pattern, name), *holds, "{pattern} {name}"));
    }

    #[test]
    fn the_default_has_the_json_that_older_records_were_hashed_with() {
        let json = serde_json::to_string(&Policy::default()).unwrap();
        assert_eq!(json, r#"{"on_no_fit":"run-default","on_error":"run-default","undeclared":"fallback"}"#);
    }
}
