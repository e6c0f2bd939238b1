//! Owns the words between bestfit and a hook, a site's own program that says what no file can: the question on its standard
//! input, the answer on its standard output. Runs nothing; `bestfit-hostprobe` does.
//!
//! The question: `{"version": 1, "group": "org.lab", "facts": {GROUP: {KEY: {"state": …, "source": …}}}}`, the facts as
//! `bestfit host --json` prints them. The answer: `{"version": 1, "facts": {"org.lab": {KEY: VALUE}}}` with keys of that
//! group only; a value is true, false, a whole number, text or a list of texts, and `null` says "looked, not there".

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::facts::{Fact, Facts, State, Value};
use crate::json::{self, plain};
use crate::schema::{Group, Key, Type};

/// The version of question and answer.
pub const VERSION: u32 = 1;
/// The longest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 256 << 10;
/// The most keys of an answer.
const MAX_KEYS: usize = 1024;
/// The longest text, in bytes, and the most texts of a list.
const MAX_TEXT: usize = 4096;

/// A program that the site's configuration lists for one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The program: an absolute path without links.
    pub command: PathBuf,
    /// How long it may take.
    pub timeout: Duration,
    /// The user it runs as, never 0.
    pub uid: u32,
    /// The group it runs as, never 0.
    pub gid: u32,
}

#[derive(Serialize)]
struct Question<'a> {
    version: u32,
    group: &'a str,
    facts: &'a BTreeMap<String, BTreeMap<String, Fact>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    version: u32,
    facts: BTreeMap<String, BTreeMap<String, Option<Value>>>,
}

/// What became of a hook, as it is kept on disk between creates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The digest of everything that the answer depends on.
    pub input: Digest,
    /// What it said, or why it said nothing.
    pub outcome: Result<BTreeMap<String, State>, String>,
}

impl Kept {
    /// Reads it back; None where it is not whole.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Writes it.
    pub fn bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

/// What a hook for `group` is asked on a host with these facts.
pub fn question(group: &str, facts: &Facts) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Question { version: VERSION, group, facts: &facts.facts })
}

/// Reads an answer about `group`. One mistake refuses all of it: a program that errs once is not believed elsewhere.
pub fn answer(bytes: &[u8], group: &str, schema: Option<&Group>) -> Result<BTreeMap<String, State>, String> {
    let mut answer: Answer = json::read(bytes, MAX_ANSWER).map_err(|error| format!("its answer: {error}"))?;
    if answer.version != VERSION {
        return Err(format!("its answer has version {}, not {VERSION}", answer.version));
    }
    let keys = answer.facts.remove(group).unwrap_or_default();
    if let Some(other) = answer.facts.keys().next() {
        return Err(format!("it speaks about the group {:?}, not only about {group:?}", plain(other, 100)));
    }
    if keys.len() > MAX_KEYS {
        return Err(format!("its answer has more than {MAX_KEYS} keys"));
    }
    keys.into_iter().map(|(key, value)| checked(&key, value, group, schema).map(|state| (key, state))).collect()
}

fn checked(key: &str, value: Option<Value>, group: &str, schema: Option<&Group>) -> Result<State, String> {
    let shown = plain(key, 100);
    if key.is_empty() || key.len() > 256 || key.contains('*') {
        return Err(format!("{shown:?} is no key"));
    }
    let meaning = match schema.map(|schema| schema.key(key)) {
        None => None,
        // Under an alias nothing that artifacts ask for would find it.
        Some(Some((name, meaning))) if name == key => Some(meaning),
        Some(Some((name, _))) => return Err(format!("its key {shown:?} is another name of {name:?}")),
        Some(None) => return Err(format!("the schema of {group} has no key {shown:?}")),
    };
    let Some(value) = value else { return Ok(State::Absent) };
    let long = match &value {
        Value::Text(text) => text.len() > MAX_TEXT,
        Value::Set(texts) => texts.len() > MAX_TEXT || texts.iter().any(|text| text.len() > MAX_TEXT),
        Value::Bool(_) | Value::Int(_) => false,
    };
    if long {
        return Err(format!("the value of {shown:?} is longer than {MAX_TEXT}"));
    }
    match meaning.and_then(|meaning| mismatch(meaning, &value)) {
        Some(expected) => {
            Err(format!("the value of {shown:?} is {}, expected {expected}", plain(&value.to_string(), 60)))
        }
        None => Ok(State::Known { value }),
    }
}

/// What the schema expects instead of a value of the wrong type.
fn mismatch(key: &Key, value: &Value) -> Option<String> {
    let listed = |text: &str| {
        key.values.as_ref().is_none_or(|values| values.depth(text).is_some() || key.value_aliases.contains_key(text))
    };
    let (fits, expected) = match (key.kind, value) {
        (Type::Untyped, _) => (true, ""),
        (Type::Bool, value) => (matches!(value, Value::Bool(_)), "true or false"),
        (Type::Int | Type::Quantity, value) => (matches!(value, Value::Int(_)), "a whole number"),
        (Type::Version, Value::Text(text)) => (text.parse::<crate::version::Version>().is_ok(), "a version"),
        (Type::Version, _) => (false, "a version in quotes"),
        (Type::Set | Type::Flags, value) => (matches!(value, Value::Set(_)), "a list of texts"),
        (Type::String | Type::Enum | Type::Dag, Value::Text(text)) => (listed(text), "a value that the schema lists"),
        (Type::String | Type::Enum | Type::Dag, Value::Set(texts)) => {
            (texts.iter().all(|text| listed(text)), "values that the schema lists")
        }
        (Type::String | Type::Enum | Type::Dag, _) => (false, "text"),
    };
    (!fits).then(|| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::decide;
    use crate::decision::{Outcome, Verdict};
    use crate::schema::{SchemaFile, Schemas};
    use crate::testing::inputs;

    const LAB: &str = r#"{"graph": {"id": "org.lab", "version": "1", "nodes": {
        "queue": {"metadata": {"type": "enum", "doc": "x", "aliases": ["line"]}}, "queue=gpu": {},
        "license": {"metadata": {"type": "bool", "doc": "x"}}, "seats": {"metadata": {"type": "int", "doc": "x"}},
        "solver": {"metadata": {"type": "version", "doc": "x"}}, "modules": {"metadata": {"type": "set", "doc": "x"}}}}}"#;

    fn says(facts: &str) -> Result<BTreeMap<String, State>, String> {
        let schemas = Schemas::with(&[SchemaFile { name: "lab".into(), text: LAB.into() }]).unwrap();
        answer(format!(r#"{{"version":1,"facts":{facts}}}"#).as_bytes(), "org.lab", schemas.group("org.lab"))
    }

    #[test]
    fn an_answer_becomes_facts() {
        let facts = r#"{"org.lab":{"queue":"gpu","license":true,"seats":4,"solver":"4.2","modules":["a","b"]}}"#;
        let found = says(facts).unwrap();
        assert_eq!(found.len(), 5);
        assert_eq!(found["queue"], State::Known { value: "gpu".into() });
        assert_eq!(says(r#"{"org.lab":{"license":null}}"#).unwrap()["license"], State::Absent);
        assert_eq!(says("{}").unwrap(), BTreeMap::new());
    }

    /// What the probe leaves of a hook that failed.
    #[test]
    fn the_default_runs_where_a_hook_says_nothing() {
        let asks = r#""org.lab":{"queue":"gpu"}"#;
        let mut inputs = inputs(&[("default", None), ("special", Some(asks))], Facts::default());
        inputs.schemas = vec![SchemaFile { name: "lab".into(), text: LAB.into() }];
        inputs.facts.set("org.lab", "*", Fact::unknown("hook /x: it took longer than 2s", "/x"));
        let decision = decide(&inputs).unwrap();
        assert_eq!((decision.outcome, decision.entries[1].verdict), (Outcome::Default, Verdict::Undetermined));
        let text = "org.lab/queue = gpu: cannot be seen: hook /x: it took longer than 2s (/x)";
        assert_eq!(decision.entries[1].reasons[0].text, text);
    }

    #[test]
    fn what_is_kept_comes_back() {
        let known = says(r#"{"org.lab":{"seats":4,"license":null,"modules":["a"]}}"#);
        for outcome in [known, Err("it took longer than 2s".to_owned())] {
            let kept = Kept { input: Digest::of(b"x"), outcome };
            assert_eq!(Kept::read(&kept.bytes().unwrap()), Some(kept));
        }
        assert_eq!(Kept::read(b"{"), None);
    }

    #[test]
    fn a_lie_refuses_all_of_it() {
        for (facts, expected) in [
            (
                r#"{"org.lab":{"license":true},"nfd":{"memory-numa":true}}"#,
                "it speaks about the group \"nfd\", not only",
            ),
            (r#"{"org.lab":{"license":"yes"}}"#, "the value of \"license\" is yes, expected true or false"),
            (r#"{"org.lab":{"seats":"4"}}"#, "the value of \"seats\" is 4, expected a whole number"),
            (
                r#"{"org.lab":{"queue":"fast"}}"#,
                "the value of \"queue\" is fast, expected a value that the schema lists",
            ),
            (r#"{"org.lab":{"line":"gpu"}}"#, "its key \"line\" is another name of \"queue\""),
            (r#"{"org.lab":{"colour":"red"}}"#, "the schema of org.lab has no key \"colour\""),
            (r#"{"org.lab":{"modules*":["a"]}}"#, "\"modules*\" is no key"),
            (r#"{"org.lab":{"solver":4.2}}"#, "its answer: line "),
            (r#"{"org.lab":{"license":true,"license":false}}"#, "its answer: line "),
            (r#"{"org.lab":{"license":{}}}"#, "its answer: line "),
        ] {
            let error = says(facts).unwrap_err();
            assert!(error.starts_with(expected), "{facts}: {error}");
        }
        assert!(answer(b"{\"version\":2,\"facts\":{}}", "g", None).unwrap_err().contains("version 2"));
        assert!(answer(b"hello", "g", None).is_err() && answer(b"", "g", None).is_err());
    }
}
