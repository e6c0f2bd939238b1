//! Owns Proposal F documents: `{"compatibilities": {group: {key: scalar or array of scalars}}}`, with the reserved group
//! `io.bestfit` taken apart (matching.md §4).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::json::{self, JsonError};
use crate::policy::covers;
use crate::schema::{Level, Schemas};
use crate::value::{Scalar, Wanted};

/// The longest document that is read, in bytes (trust.md, "Attacks").
pub const MAX_BYTES: usize = 256 << 10;
/// The most keys of one document.
pub const MAX_KEYS: usize = 1024;
/// The longest name of a group or key, in bytes.
pub const MAX_NAME: usize = 256;
/// The most notes about one document.
const MAX_NOTES: usize = 16;
/// The group that speaks to bestfit and asks nothing of the host.
pub const RESERVED: &str = "io.bestfit";
/// An author's weight lies within ± this.
pub const MAX_WEIGHT: i64 = 100;

/// One parsed document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// What it asks for, by group and key as written; the reserved group is not among them.
    pub groups: BTreeMap<String, BTreeMap<String, Wanted>>,
    /// The author's weight.
    pub weight: i32,
    /// What its author should know.
    pub notes: Vec<String>,
    /// Names of groups may end in the beginning of their keys, as compspec-go writes some: `org.supercontainers.mpi` with the
    /// key `implementation`.
    pub nested_names: bool,
    /// Whether it speaks to bestfit.
    instructs: bool,
    levels: Vec<(String, Level)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDocument {
    compatibilities: BTreeMap<String, BTreeMap<String, Wanted>>,
}

/// Reads one document, at most [`MAX_BYTES`] long.
pub fn read(bytes: &[u8]) -> Result<Document, JsonError> {
    of_groups(json::read::<RawDocument>(bytes, MAX_BYTES)?.compatibilities)
}

/// A document of these groups, as foreign text names them; the reserved group is taken apart.
pub(crate) fn of_groups(mut groups: BTreeMap<String, BTreeMap<String, Wanted>>) -> Result<Document, JsonError> {
    let keys: usize = groups.values().map(BTreeMap::len).sum();
    if groups.len() + keys > MAX_KEYS {
        return Err(wrong(format!("more than {MAX_KEYS} groups and keys")));
    }
    if groups.keys().chain(groups.values().flat_map(BTreeMap::keys)).any(|name| name.len() > MAX_NAME) {
        return Err(wrong(format!("a name is longer than {MAX_NAME} bytes")));
    }
    let reserved = groups.remove(RESERVED);
    let mut document = Document { groups, instructs: reserved.is_some(), ..Document::default() };
    let reserved = reserved.unwrap_or_default();
    reserved.iter().for_each(|(key, wanted)| document.instruct(key, wanted));
    Ok(document)
}

/// What is wrong with a document as a whole, at its beginning.
pub(crate) fn wrong(message: String) -> JsonError {
    JsonError::Malformed { line: 1, column: 1, message }
}

impl Document {
    /// A document that asks for these keys, by group, and says nothing about levels or weight.
    pub fn asking(groups: BTreeMap<String, BTreeMap<String, Wanted>>) -> Self {
        Self { groups, ..Self::default() }
    }

    /// How many groups and keys it has: what is evaluated is bounded by it.
    pub fn size(&self) -> usize {
        self.groups.values().map(|keys| keys.len() + 1).sum()
    }

    /// Whether it says that the image runs anywhere: nothing at all stands in it. A weight alone says no such thing.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && !self.instructs
    }

    /// The level of a key: the longest pattern of the document that covers it, under the name as written or under its
    /// canonical name.
    pub fn level(&self, names: [&str; 2]) -> Option<Level> {
        let covering = self.levels.iter().filter(|(pattern, _)| names.iter().any(|name| covers(pattern, name)));
        covering.max_by_key(|(pattern, _)| pattern.len()).map(|(_, level)| *level)
    }

    /// Patterns of levels that cover none of `names`.
    pub fn idle_levels<'d>(&'d self, names: &'d BTreeSet<String>) -> impl Iterator<Item = &'d str> {
        let idle = |pattern: &&str| !names.iter().any(|name| covers(pattern, name));
        self.levels.iter().map(|(pattern, _)| pattern.as_str()).filter(idle)
    }

    /// What it asks about, under canonical names: `group/key`.
    pub fn names(&self, schemas: &Schemas) -> Vec<String> {
        let name = |group: &String, key: &String| {
            let schema = schemas.group(group);
            let canonical = schema.and_then(|schema| schema.key(key)).map_or(key.as_str(), |(key, _)| key);
            json::plain(&format!("{}/{canonical}", schema.map_or(group, |schema| &schema.id)), 200)
        };
        self.groups
            .iter()
            .flat_map(|(group, keys)| keys.keys().map(|key| name(group, key)).collect::<Vec<_>>())
            .collect()
    }

    /// The groups that it names, under their canonical names.
    pub fn group_names(&self, schemas: &Schemas) -> impl Iterator<Item = String> {
        self.groups.keys().map(|name| schemas.canonical(name).to_owned())
    }

    /// Takes one key of the reserved group.
    fn instruct(&mut self, key: &str, wanted: &Wanted) {
        let value = match wanted.values.as_slice() {
            [value] if !wanted.array => value,
            _ => return self.note(key, wanted, "one value is expected"),
        };
        match (key, key.strip_prefix("level:"), value) {
            ("weight", _, Scalar::Int(weight)) => self.weigh(&format!("{RESERVED}/weight"), *weight),
            (_, Some(pattern), Scalar::Text(level)) => match level.as_str() {
                "required" => self.levels.push((pattern.to_owned(), Level::Required)),
                "preferred" => self.levels.push((pattern.to_owned(), Level::Preferred)),
                "info" => self.levels.push((pattern.to_owned(), Level::Info)),
                _ => self.note(key, wanted, "expected required, preferred or info"),
            },
            ("weight", _, _) => self.note(key, wanted, "expected a whole number"),
            _ => self.note(key, wanted, "not known"),
        }
    }

    /// Takes the author's weight, which stands in the field `name`.
    pub(crate) fn weigh(&mut self, name: &str, weight: i64) {
        let within = weight.clamp(-MAX_WEIGHT, MAX_WEIGHT);
        self.weight = within as i32;
        if within != weight {
            self.notes.push(format!("{name} = {weight}: counts as {within}"));
        }
    }

    fn note(&mut self, key: &str, wanted: &Wanted, why: &str) {
        if self.notes.len() == MAX_NOTES {
            return;
        }
        let wanted = json::plain(&wanted.to_string(), 200);
        self.notes.push(format!("{RESERVED}/{} = {wanted}: {why}: ignored", json::plain(key, 100)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserved_group_sets_levels_and_weight() {
        let text = r#"{"compatibilities": {"nfd": {"memory-numa": true}, "io.bestfit": {"weight": 5000,
            "level:nfd/*": "info", "level:nfd/memory-*": "preferred", "level:host/a": "nice", "colour": "red"}}}"#;
        let document = read(text.as_bytes()).unwrap();
        assert_eq!((document.weight, document.groups.len()), (100, 1));
        assert_eq!(document.level(["io.kubernetes.nfd/memory-numa", "nfd/memory-numa"]), Some(Level::Preferred));
        assert_eq!(document.level(["nfd/x", "nfd/x"]), Some(Level::Info));
        assert_eq!(document.level(["host/a", "host/a"]), None);
        assert_eq!(
            document.notes,
            [
                "io.bestfit/colour = red: not known: ignored",
                "io.bestfit/level:host/a = nice: expected required, preferred or info: ignored",
                "io.bestfit/weight = 5000: counts as 100"
            ]
        );
        assert!(!read(br#"{"compatibilities": {"io.bestfit": {"weight": 1}}}"#).unwrap().is_empty());
        assert!(read(br#"{"compatibilities": {}}"#).unwrap().is_empty());
    }

    /// The two samples of the proposal as they stand there: neither is JSON.
    #[test]
    fn the_samples_of_the_proposal_fail_with_line_and_column() {
        let nfd = "{\n  \"compatibilities\": {\n    \"nfd\": {\n      \"cpu-pstate.turbo\": false\n      \"kernel-selinux.enabled\": true\n    }\n}\n";
        assert_eq!(read(nfd.as_bytes()).unwrap_err().to_string(), "line 5 column 7: expected `,` or `}`");
        let hpc = "{\n  \"compatibilities\": {\n    \"io.archspec\": {\n      \"target\": \"arm64\",\n    }\n}\n";
        assert_eq!(read(hpc.as_bytes()).unwrap_err().to_string(), "line 5 column 5: trailing comma");
    }

    #[test]
    fn shape_and_size_are_checked() {
        let error = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        assert!(error(r#"{"compatibility": {}}"#).contains("unknown field `compatibility`"));
        assert!(
            error(r#"{"compatibilities": {"nfd": {"a": null}}}"#).starts_with("line 1 column 38: invalid type: null")
        );
        assert!(error(r#"{"compatibilities": {"nfd": {"a": {"b": 1}}}}"#).contains("expected true, false, a number"));
        assert!(error(r#"{"compatibilities": {"nfd": {"a": 1, "a": 2}}}"#).contains("twice"));
        let many: Vec<String> = (0..1024).map(|at| format!("\"{at}\":1")).collect();
        assert!(error(&format!(r#"{{"compatibilities":{{"x":{{{}}}}}}}"#, many.join(","))).contains("1024"));
        assert!(error(&format!(r#"{{"compatibilities":{{"{}":{{}}}}}}"#, "x".repeat(300))).contains("256 bytes"));
        assert!(error(&format!("{}1", " ".repeat(300 << 10))).contains("accepted"));
    }
}
