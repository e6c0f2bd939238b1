//! Owns values: what a document may ask for, and how that is held against a host's value (matching.md §3). A host value
//! never raises an error; a requirement that cannot be read is Unknown, never true.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::decision::Answer;
use crate::facts::{State, Value};
use crate::json;
use crate::schema::{self, Absent, Compare, Key, Several, Type, Values};
use crate::version::{self, Range, Version};

mod wanted;

pub use wanted::{Scalar, Wanted};

/// How specific a satisfied value is; compared only within one schema weight. Versions use all four numbers.
pub type Depth = [u64; 4];

/// How a host's version ends that is not known but to be at least what stands before: `13.4 or newer`. In a set it leaves open
/// what is above it.
pub const OR_NEWER: &str = " or newer";

static FALSE: Value = Value::Bool(false);
static ZERO: Value = Value::Int(0);

/// How the host answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// True, false or unknown.
    pub answer: Answer,
    /// Why, for people.
    pub detail: String,
    /// The specificity of a satisfied value.
    pub depth: Depth,
}

impl Comparison {
    /// An answer that is not "true".
    pub fn new(answer: Answer, detail: impl Into<String>) -> Self {
        Self { answer, detail: detail.into(), depth: [0; 4] }
    }

    /// A satisfied requirement.
    pub fn satisfied(detail: impl Into<String>, depth: Depth) -> Self {
        Self { answer: Answer::True, detail: detail.into(), depth }
    }
}

/// What a document asks of one key, read as the key's type. Reading is done once; holding it against a host allocates
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    accepts: Accepts,
    absent: Absent,
    several: Several,
    specificity: u64,
    aliases: BTreeMap<String, String>,
}

/// Any of these.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Accepts {
    Bool(Vec<bool>),
    Int(Vec<Range<i64>>),
    Quantity(Vec<Range<i64>>),
    Version(Vec<Range<Version>>),
    Text(Vec<String>),
    /// All of these.
    Subset(BTreeSet<String>),
    /// Each with its depth.
    Values(Arc<Values>, Vec<(String, u64)>),
    /// Equality with a value whose type only the host knows.
    Same(Wanted),
}

/// How a host answers a requirement.
#[derive(Debug)]
pub struct Held<'h> {
    /// True, false or unknown.
    pub answer: Answer,
    /// The specificity of a satisfied value.
    pub depth: Depth,
    /// Why; written out only where somebody reads it.
    pub why: Why<'h>,
}

/// Why a host answers as it does.
#[derive(Debug)]
pub enum Why<'h> {
    /// It has this value.
    Has(&'h Value),
    /// Its value is of another kind.
    NotComparable(&'h Value),
    /// It does not have the thing.
    Absent,
    /// Nobody could look.
    Unseen(&'h str),
    /// Its facts do not speak of the key.
    NotTold,
    /// Another reason.
    Text(Cow<'h, str>),
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Has(value) => write!(f, "this host has {}", json::plain(&value.to_string(), 200)),
            Self::NotComparable(value) => {
                write!(f, "this host has {}: not comparable", json::plain(&value.to_string(), 200))
            }
            Self::Absent => f.write_str("absent on this host"),
            Self::Unseen(why) => write!(f, "cannot be seen: {why}"),
            Self::NotTold => f.write_str("this host's facts do not say"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Requirement {
    /// Reads a requirement as its key's type; an error is its author's.
    pub fn read(key: &Key, wanted: &Wanted) -> Result<Self, String> {
        if wanted.values.is_empty() {
            return Err("an empty array asks for nothing".to_owned());
        }
        let (absent, several, specificity) = (key.absent, key.several, key.specificity);
        let accepts = Accepts::read(key, wanted)?;
        Ok(Self { accepts, absent, several, specificity, aliases: key.value_aliases.clone() })
    }

    /// Holds it against a host; `None` where its facts do not speak of the key.
    pub fn hold<'h>(&self, host: Option<&'h State>) -> Held<'h> {
        let unknown = |why| Held { answer: Answer::Unknown, depth: [0; 4], why };
        let value = match (host, self.absent) {
            (Some(State::Known { value }), _) => value,
            (Some(State::Unknown { why }), _) => return unknown(Why::Unseen(why)),
            (None, _) => return unknown(Why::NotTold),
            (Some(State::Absent), Absent::Mismatch) => {
                return Held { answer: Answer::False, depth: [0; 4], why: Why::Absent };
            }
            (Some(State::Absent), Absent::False) => &FALSE,
            (Some(State::Absent), Absent::Zero) => &ZERO,
        };
        let known = matches!(host, Some(State::Known { .. }));
        match self.depth(value) {
            None => unknown(if known { Why::NotComparable(value) } else { Why::Absent }),
            Some(found) => {
                let mut depth = found.unwrap_or_default();
                if found.is_some() {
                    depth[0] = depth[0].max(self.specificity);
                }
                let answer = if found.is_some() { Answer::True } else { Answer::False };
                Held { answer, depth, why: if known { Why::Has(value) } else { Why::Absent } }
            }
        }
    }

    /// Whether a host value would satisfy it.
    pub fn accepts(&self, value: &Value) -> bool {
        matches!(self.depth(value), Some(Some(_)))
    }

    /// `Some(Some(depth))` where it holds, `Some(None)` where it does not, `None` where the host's value is of another
    /// kind. Of several values that hold the deepest counts.
    fn depth(&self, host: &Value) -> Option<Option<Depth>> {
        let shallow = |holds: bool| holds.then_some([0; 4]);
        match &self.accepts {
            Accepts::Bool(wanted) => match host {
                Value::Bool(host) => Some(shallow(wanted.contains(host))),
                _ => self.of_several(host, |text| Some(shallow(wanted.contains(&boolean(text)?)))),
            },
            Accepts::Int(ranges) => self.number(host, ranges, integer),
            Accepts::Quantity(ranges) => self.number(host, ranges, quantity),
            Accepts::Version(ranges) => self.of_several(host, |text| deepest(ranges, text)),
            Accepts::Text(wanted) => {
                let is_wanted = |text: &str| wanted.iter().any(|wanted| wanted == self.canonical(text));
                self.of_several(host, |text| Some(shallow(is_wanted(text))))
            }
            Accepts::Subset(wanted) => match host {
                Value::Set(values) => has_all(values, wanted).map(|all| all.then_some([wanted.len() as u64, 0, 0, 0])),
                _ => None,
            },
            Accepts::Values(graph, wanted) => self.of_several(host, |host| {
                let host = self.canonical(host);
                // Newer than the schema: what it satisfies is not known.
                graph.depth(host)?;
                let holding = wanted.iter().filter(|(wanted, _)| graph.satisfies(host, wanted));
                Some(holding.map(|(_, depth)| [*depth, 0, 0, 0]).max())
            }),
            Accepts::Same(wanted) => same(wanted, host).map(shallow),
        }
    }

    fn number(&self, host: &Value, ranges: &[Range<i64>], read: fn(&str) -> Option<i64>) -> Option<Option<Depth>> {
        let within = |number: i64| ranges.iter().any(|range| range.contains(number)).then_some([0; 4]);
        match host {
            Value::Int(number) => Some(within(*number)),
            Value::Bool(_) => None,
            Value::Text(_) | Value::Set(_) => self.of_several(host, |text| read(text).map(within)),
        }
    }

    /// What holds of one value of the host, or of several of them: of those that any is enough of the deepest counts, of
    /// those that each must satisfy it the least. One that fails is enough to fail; a value that cannot be read leaves open
    /// what the others do not decide.
    fn of_several(&self, host: &Value, one: impl Fn(&str) -> Option<Option<Depth>>) -> Option<Option<Depth>> {
        match (host, self.several) {
            (Value::Set(values), Several::Any) => {
                let (mut best, mut unread) = (None, false);
                for value in values {
                    match one(value) {
                        Some(found) => best = best.max(found),
                        None => unread = true,
                    }
                }
                if best.is_none() && unread { None } else { Some(best) }
            }
            (Value::Set(values), Several::Each) => {
                let mut least = Some(Some([u64::MAX; 4]));
                for value in values {
                    match (one(value), least) {
                        (Some(None), _) => return Some(None),
                        (None, _) | (_, None) => least = None,
                        (found, before) => least = found.min(before),
                    }
                }
                if values.is_empty() { Some(None) } else { least }
            }
            (value, _) => one(&text_of(value)),
        }
    }

    fn canonical<'a>(&'a self, text: &'a str) -> &'a str {
        self.aliases.get(text).map_or(text, String::as_str)
    }
}

impl Accepts {
    fn read(key: &Key, wanted: &Wanted) -> Result<Self, String> {
        let texts = || wanted.values.iter().map(|value| text(key, value));
        let is_number = matches!(key.kind, Type::Bool | Type::Int | Type::Quantity);
        let mut floats = wanted.values.iter().filter(|value| matches!(value, Scalar::Float(_)));
        if let (false, Some(float)) = (is_number, floats.next()) {
            return Err(format!("{float} is read as a number, in which 5.10 is 5.1: put it in quotes"));
        }
        match key.kind {
            Type::Untyped => return Ok(Self::Same(wanted.clone())),
            Type::Set | Type::Flags => return Ok(Self::Subset(texts().collect())),
            _ => {}
        }
        match (key.kind, &key.values) {
            (Type::Bool, _) => each(key, wanted, "true or false", boolean).map(Self::Bool),
            (Type::Int, _) => {
                each(key, wanted, "number or range", |text| number_range(key, text, integer)).map(Self::Int)
            }
            (Type::Quantity, _) => {
                each(key, wanted, "amount or range", |text| number_range(key, text, quantity)).map(Self::Quantity)
            }
            (Type::Version, _) => {
                let what = match key.compare {
                    Some(Compare::SameMajor) => "version or range; what runs on one version alone is \"=9.0\"",
                    _ => "version or range",
                };
                each(key, wanted, what, |text| version_range(key, text)).map(Self::Version)
            }
            (Type::Dag | Type::Enum, Some(graph)) => {
                let known = texts().map(|value| match graph.depth(&value) {
                    Some(depth) => Ok((value, depth)),
                    None => Err(unlisted(graph, &value)),
                });
                Ok(Self::Values(graph.clone(), known.collect::<Result<_, _>>()?))
            }
            _ => Ok(Self::Text(texts().collect())),
        }
    }
}

/// Whether a host's set has all that is wanted; None where it may have what is above its last version.
fn has_all(values: &BTreeSet<String>, wanted: &BTreeSet<String>) -> Option<bool> {
    let open = |value: &String| value.strip_suffix(OR_NEWER)?.parse::<Version>().ok();
    let mut all = Some(true);
    for missing in wanted.difference(values) {
        let (Some(least), Ok(version)) = (values.iter().find_map(open), missing.parse::<Version>()) else {
            return Some(false);
        };
        match version.cmp(&least) {
            Ordering::Less => return Some(false),
            Ordering::Equal => {}
            Ordering::Greater => all = None,
        }
    }
    all
}

/// The depth of the deepest range that accepts a host's version. One that is only known to be at least this is not accepted
/// by what it may exceed, and not refused by what it may reach.
fn deepest(ranges: &[Range<Version>], text: &str) -> Option<Option<Depth>> {
    let version: Version = text.parse().ok()?;
    let accepts = |range: &Range<Version>| match text.ends_with(OR_NEWER) {
        true => range.contains_from(version),
        false => Some(range.contains(version)),
    };
    let depth = |range: &Range<Version>| range.low().map_or([0; 4], |low| low.parts());
    let holding = ranges.iter().filter(|range| accepts(range) == Some(true)).map(depth).max();
    if holding.is_none() && ranges.iter().any(|range| accepts(range).is_none()) { None } else { Some(holding) }
}

fn each<T>(key: &Key, wanted: &Wanted, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let one = |value: &Scalar| {
        let refused = || format!("{} is no {what}", json::plain(&value.to_string(), 100));
        read(&text(key, value)).ok_or_else(refused)
    };
    wanted.values.iter().map(one).collect()
}

fn unlisted(graph: &Values, value: &str) -> String {
    let hint = schema::did_you_mean(schema::nearest(value, graph.names()));
    format!("{} is no value that the schema lists{hint}", json::plain(value, 60))
}

/// Equality with a value of whatever kind; a set must contain what is asked for.
fn same(wanted: &Wanted, host: &Value) -> Option<bool> {
    let is = |scalar: &Scalar| match (host, scalar) {
        (Value::Bool(host), scalar) => boolean(&scalar.to_string()).map(|wanted| wanted == *host),
        (Value::Int(host), scalar) => integer(&scalar.to_string()).map(|wanted| wanted == *host),
        (Value::Text(host), Scalar::Text(wanted)) => Some(wanted == host),
        (Value::Text(host), scalar) => Some(scalar.to_string() == *host),
        (Value::Set(host), scalar) => Some(host.contains(&scalar.to_string())),
    };
    let mut answers = wanted.values.iter().map(is);
    match host {
        Value::Set(_) => answers.try_fold(true, |all, one| Some(all & one?)),
        _ => answers.try_fold(false, |any, one| Some(any | one?)),
    }
}

/// Holds `wanted` against what the host says about `key`, all at once.
#[cfg(test)]
fn compare(key: &Key, wanted: &Wanted, host: &State) -> Comparison {
    match Requirement::read(key, wanted) {
        Err(why) => Comparison::new(Answer::Unknown, why),
        Ok(requirement) => {
            let held = requirement.hold(Some(host));
            Comparison { answer: held.answer, detail: held.why.to_string(), depth: held.depth }
        }
    }
}

fn text(key: &Key, value: &Scalar) -> String {
    let written = value.to_string();
    key.value_aliases.get(&written).cloned().unwrap_or(written)
}

fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Text(text) => Cow::Borrowed(text),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        other => Cow::Owned(other.to_string()),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "yes" => Some(true),
        "false" | "no" => Some(false),
        _ => None,
    }
}

fn integer(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

/// `64Gi`, `512M`, `4096`: bytes.
fn quantity(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let factor: i64 = match &text[digits..] {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "k" | "K" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        _ => return None,
    };
    text[..digits].parse::<i64>().ok()?.checked_mul(factor)
}

fn number_range(key: &Key, text: &str, value: fn(&str) -> Option<i64>) -> Option<Range<i64>> {
    match (value(text), key.compare) {
        (Some(value), Some(Compare::Eq | Compare::Range)) => Some(Range::exactly(value)),
        (Some(value), _) => Some(Range::at_least(value)),
        (None, _) => Range::parse(text, value),
    }
}

fn version_range(key: &Key, text: &str) -> Option<Range<Version>> {
    // `9.0a` is code for 9.0 and nothing else, `10.0f` for some of those with the same major number.
    if key.compare == Some(Compare::SameMajor) && version::has_suffix(text) && !text.trim_start().starts_with('=') {
        return None;
    }
    if let Some(range) = Range::of_versions(text) {
        return Some(range);
    }
    let version = version::exact(text)?;
    match key.compare {
        Some(Compare::Eq | Compare::Range) => Some(Range::exactly(version)),
        Some(Compare::SameMajor) => Range::same_major(text),
        Some(Compare::Prefix) => Range::prefix(text),
        _ => Some(Range::at_least(version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{SchemaFile, Schemas};
    use Answer::{False, True, Unknown};

    /// A key as a schema gives it.
    fn key(metadata: &str) -> Key {
        let text = format!(r#"{{"graph":{{"id":"t","version":"1","nodes":{{"k":{{"metadata":{metadata}}}}}}}}}"#);
        let schemas = Schemas::with(&[SchemaFile { name: "t".into(), text }]).unwrap();
        schemas.group("t").unwrap().key("k").unwrap().1.clone()
    }

    fn ask(metadata: &str, wanted: &str, host: impl Into<Value>) -> Answer {
        let wanted: Wanted = serde_json::from_str(wanted).unwrap();
        compare(&key(metadata), &wanted, &State::Known { value: host.into() }).answer
    }

    #[test]
    fn each_type_compares_as_documented() {
        assert_eq!(ask(r#"{"type":"bool"}"#, r#""yes""#, true), True);
        assert_eq!(ask(r#"{"type":"bool"}"#, "false", "true"), False);
        assert_eq!(ask(r#"{"type":"int"}"#, "4", 8), True);
        assert_eq!(ask(r#"{"type":"int","compare":"eq"}"#, "[4096,65536]", 65536), True);
        assert_eq!(ask(r#"{"type":"int","compare":"eq"}"#, r#"["4096"]"#, 65536), False);
        assert_eq!(ask(r#"{"type":"int"}"#, r#""[1,8)""#, 8), False);
        assert_eq!(ask(r#"{"type":"quantity"}"#, r#"">=64Gi""#, 64 << 30), True);
        assert_eq!(ask(r#"{"type":"quantity"}"#, r#""64Gi""#, "32Gi"), False);
        assert_eq!(ask(r#"{"type":"version"}"#, r#""4.18""#, "5.14.0-427"), True);
        assert_eq!(ask(r#"{"type":"version","compare":"eq"}"#, r#""4.18""#, "5.14"), False);
        assert_eq!(ask(r#"{"type":"version","compare":"same-major"}"#, r#""12.4""#, "13.0"), False);
        assert_eq!(ask(r#"{"type":"version","compare":"prefix"}"#, r#""4.1""#, "4.1.6"), True);
        let installed: BTreeSet<String> = ["4.1.6".to_owned(), "5.0.2".to_owned()].into();
        assert_eq!(ask(r#"{"type":"version"}"#, r#""[4.1,4.2)""#, installed.clone()), True, "any of several");
        assert_eq!(ask(r#"{"type":"version"}"#, r#"">=5.1""#, installed), False);
        let unreadable: BTreeSet<String> = ["4.1.6".to_owned(), "main".to_owned()].into();
        assert_eq!(ask(r#"{"type":"version"}"#, r#"">=5""#, unreadable.clone()), Unknown, "main may be it");
        assert_eq!(ask(r#"{"type":"version"}"#, r#"">=4""#, unreadable), True);
        let gfx = |wanted: &str, host: &str| {
            let (_, key) = Schemas::builtin().group("host").unwrap().key("amd.gfx").unwrap();
            compare(key, &serde_json::from_str(wanted).unwrap(), &State::Known { value: host.into() }).answer
        };
        assert_eq!((gfx(r#""gfx942""#, "gfx942"), gfx(r#""gfx942""#, "gfx90a")), (True, False));
        assert_eq!(gfx(r#""gfx12-generic""#, "gfx1299"), Unknown, "newer than the schema");
        let alias = r#"{"type":"string","value_aliases":{"OpenMPI":"openmpi"}}"#;
        assert_eq!(ask(alias, r#"["mpich","openmpi"]"#, "OpenMPI"), True);
        let flags: BTreeSet<String> = ["AVX2".to_owned(), "FMA3".to_owned()].into();
        assert_eq!(ask(r#"{"type":"set"}"#, r#"["AVX2","FMA3"]"#, flags.clone()), True);
        assert_eq!(ask(r#"{"type":"set"}"#, r#"["AVX2","X"]"#, flags), False);
    }

    /// JSON reads 5.10 as 5.1: nobody knows which of them was meant.
    #[test]
    fn a_version_that_is_no_text_is_not_understood() {
        for kind in ["version", "string", "enum", "set", "untyped"] {
            assert_eq!(ask(&format!(r#"{{"type":"{kind}"}}"#), "5.10", "5.1"), Unknown, "{kind}");
            assert_eq!(ask(&format!(r#"{{"type":"{kind}"}}"#), r#"["x", 5.10]"#, "5.4"), Unknown, "{kind}");
        }
        let (key, wanted) = (key(r#"{"type":"version"}"#), serde_json::from_str("5.10").unwrap());
        let why = Requirement::read(&key, &wanted).unwrap_err();
        assert_eq!(why, "5.1 is read as a number, in which 5.10 is 5.1: put it in quotes");
        assert_eq!(ask(r#"{"type":"version"}"#, "5", "5.4"), True, "a whole number is no other");
        assert_eq!(ask(r#"{"type":"int"}"#, "4.0", 4), True);
    }

    /// Code for a GPU runs on those with the same major number; with a letter, on that one or some others alone.
    #[test]
    fn code_for_one_compute_capability_is_not_for_the_next() {
        let (_, key) = Schemas::builtin().group("host").unwrap().key("nvidia.compute_capability").unwrap();
        for (wanted, host, expected) in [
            (r#""9.0""#, "9.0", True),
            (r#""8.0""#, "8.6", True),
            (r#""8.6""#, "8.0", False),
            (r#""9.0""#, "10.0", False),
            (r#"["8.0","9.0"]"#, "9.0", True),
            (r#"">=9.0""#, "10.0", True),
            (r#""9.x""#, "9.0", True),
            (r#""9.0a""#, "9.0", Unknown),
            (r#""9.0a""#, "10.0", Unknown),
            (r#"">=9.0a""#, "10.0", Unknown),
            (r#""=9.0a""#, "9.0", True),
            (r#""=9.0a""#, "10.0", False),
            (r#""10.0f""#, "10.3", Unknown),
        ] {
            let found = compare(key, &serde_json::from_str(wanted).unwrap(), &State::Known { value: host.into() });
            assert_eq!(found.answer, expected, "{wanted} on {host}");
        }
    }

    /// What a driver supports that is newer than the table.
    #[test]
    fn of_an_open_version_only_what_is_certain_is_told() {
        for (wanted, expected) in [
            (r#"">=12.4""#, True),
            (r#"">=13.4""#, True),
            (r#"">=13.6""#, Unknown),
            (r#""[12,13)""#, False),
            (r#""[13.4,14)""#, Unknown),
            (r#""<13.4""#, False),
            (r#""<=13.4""#, Unknown),
            (r#"["[12,13)",">=13.0"]"#, True),
        ] {
            assert_eq!(ask(r#"{"type":"version"}"#, wanted, "13.4 or newer"), expected, "{wanted}");
        }
    }

    #[test]
    fn a_set_that_is_open_above_refuses_nothing_there() {
        let host: BTreeSet<String> = ["11", "13 or newer"].map(str::to_owned).into();
        for (wanted, expected) in [
            (r#"["11"]"#, True),
            (r#"["11","13"]"#, True),
            (r#"["14"]"#, Unknown),
            (r#"["11","14"]"#, Unknown),
            (r#"["12"]"#, False),
            (r#"["12","14"]"#, False),
            (r#"["new"]"#, False),
        ] {
            assert_eq!(ask(r#"{"type":"set"}"#, wanted, host.clone()), expected, "{wanted}");
        }
    }

    /// A container with two different GPUs: a program may use either.
    #[test]
    fn of_devices_each_must_satisfy_a_requirement() {
        let two = |values: [&str; 2]| values.map(str::to_owned).into_iter().collect::<BTreeSet<String>>();
        let version = r#"{"type":"version","several":"each"}"#;
        assert_eq!(ask(version, r#"">=9.0""#, two(["10.0", "9.0"])), True);
        assert_eq!(ask(version, r#"">=10.0""#, two(["10.0", "9.0"])), False);
        assert_eq!(ask(version, r#""[8.0,9.0)""#, two(["8.0", "9.0"])), False, "the least alone would do");
        assert_eq!(ask(version, r#"["[8.0,9.0)","[9.0,10)"]"#, two(["8.0", "9.0"])), True);
        assert_eq!(ask(version, r#"">=9.0""#, two(["weird", "9.0"])), Unknown);
        assert_eq!(ask(version, r#"">=10""#, two(["weird", "9.0"])), False, "one of them fails for certain");
        let text = r#"{"type":"string","several":"each"}"#;
        assert_eq!(ask(text, r#""A""#, two(["A", "B"])), False);
        assert_eq!(ask(text, r#"["A","B"]"#, two(["A", "B"])), True);
        assert_eq!(ask(text, r#""A""#, BTreeSet::new()), False);
        let (_, gfx) = Schemas::builtin().group("host").unwrap().key("amd.gfx").unwrap();
        let ask = |wanted: &str, host: BTreeSet<String>| {
            let host = State::Known { value: host.into() };
            compare(gfx, &serde_json::from_str(wanted).unwrap(), &host).answer
        };
        assert_eq!(ask(r#""gfx942""#, two(["gfx90a", "gfx942"])), False);
        assert_eq!(ask(r#"["gfx942","gfx90a"]"#, two(["gfx90a", "gfx942"])), True);
        assert_eq!(ask(r#""gfx9-4-generic""#, two(["gfx942", "gfx950"])), True);
        assert_eq!(ask(r#""gfx9-4-generic""#, two(["gfx942", "gfx90a"])), False);
    }

    #[test]
    fn a_malformed_requirement_never_passes_and_a_host_value_never_fails() {
        for (kind, wanted) in
            [("bool", r#""maybe""#), ("int", r#""x""#), ("version", r#"">=""#), ("quantity", r#""4Q""#)]
        {
            assert_eq!(ask(&format!(r#"{{"type":"{kind}"}}"#), wanted, "1"), Unknown, "{kind}");
        }
        assert_eq!(ask(r#"{"type":"string"}"#, "[]", "x"), Unknown);
        assert_eq!(ask(r#"{"type":"version"}"#, r#""1""#, "weird"), Unknown);
        assert_eq!(ask(r#"{"type":"set"}"#, r#""x""#, true), Unknown);
        let malformed: Wanted = serde_json::from_str(r#""x""#).unwrap();
        assert_eq!(compare(&key(r#"{"type":"int"}"#), &malformed, &State::Absent).answer, Unknown);
    }

    #[test]
    fn absent_follows_the_schema() {
        let absent = |metadata: &str, wanted: &str| {
            compare(&key(metadata), &serde_json::from_str(wanted).unwrap(), &State::Absent).answer
        };
        assert_eq!(absent(r#"{"type":"bool","absent":"false"}"#, "false"), True);
        assert_eq!(absent(r#"{"type":"bool"}"#, "false"), False);
        assert_eq!(absent(r#"{"type":"int","absent":"zero"}"#, r#""<1""#), True);
        assert_eq!(absent(r#"{"type":"string","absent":"false"}"#, "true"), False);
    }

    #[test]
    fn only_scalars_and_arrays_of_them_are_values() {
        for bad in ["null", "{}", "[[1]]", "[null]"] {
            assert!(serde_json::from_str::<Wanted>(bad).is_err(), "{bad}");
        }
    }
}
