//! Owns values: what a document may ask for, and how that is held against a host's value (matching.md §3). A host value
//! never raises an error; a requirement that cannot be read is Unknown, never true.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use crate::decision::Answer;
use crate::facts::{State, Value};
use crate::json;
use crate::schema::{Absent, Compare, Key, Type};
use crate::version::{self, Range, Version};

/// How specific a satisfied value is; compared only within one schema weight. Versions use all four numbers.
pub type Depth = [u64; 4];

/// The most values in one array.
const MAX_VALUES: usize = 256;

/// One value of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// `true`.
    Bool(bool),
    /// `4`.
    Int(i64),
    /// `"text"`, or a number that is no whole one, as written by serde.
    Text(String),
}

/// What a document asks for: one value, or an array of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The values.
    pub values: Vec<Scalar>,
    /// Whether they stood in an array.
    pub array: bool,
}

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

/// What one value of a requirement accepts.
enum Accept {
    Bool(bool),
    Number(Range<i64>),
    Version(Range<Version>),
    Text(String),
    Subset(BTreeSet<String>),
}

/// Holds `wanted` against what the host says about `key`; `Type::Dag` is `crate::matching`'s, which has the other facts
/// that it needs.
pub fn compare(key: &Key, wanted: &Wanted, host: &State) -> Comparison {
    let accepted = match accepts(key, wanted) {
        Ok(accepted) => accepted,
        Err(why) => return Comparison::new(Answer::Unknown, why),
    };
    let value = match (host, key.absent) {
        (State::Known { value }, _) => value.clone(),
        (State::Unknown { why }, _) => return Comparison::new(Answer::Unknown, format!("cannot be seen: {why}")),
        (State::Absent, Absent::Mismatch) => return Comparison::new(Answer::False, "absent on this host"),
        (State::Absent, Absent::False) => Value::Bool(false),
        (State::Absent, Absent::Zero) => Value::Int(0),
    };
    let shown = match host {
        State::Absent => "absent on this host".to_owned(),
        _ => format!("this host has {}", json::plain(&value.to_string(), 200)),
    };
    let mut best: Option<Depth> = None;
    for accept in &accepted {
        match accept.holds(key, &value) {
            Some(Some(depth)) => best = best.max(Some(depth)),
            Some(None) => {}
            None => return Comparison::new(Answer::Unknown, format!("{shown}: not comparable")),
        }
    }
    match best {
        Some(mut depth) => {
            depth[0] = depth[0].max(key.specificity);
            Comparison::satisfied(shown, depth)
        }
        None => Comparison::new(Answer::False, shown),
    }
}

/// Reads a requirement as its key's type; an error is its author's.
fn accepts(key: &Key, wanted: &Wanted) -> Result<Vec<Accept>, String> {
    if wanted.values.is_empty() {
        return Err("an empty array asks for nothing".to_owned());
    }
    if key.kind == Type::Set {
        return Ok(vec![Accept::Subset(wanted.values.iter().map(|value| text(key, value)).collect())]);
    }
    wanted.values.iter().map(|value| accept(key, value)).collect()
}

fn accept(key: &Key, value: &Scalar) -> Result<Accept, String> {
    let no = |kind: &str| format!("{} is no {kind}", json::plain(&value.to_string(), 100));
    let written = text(key, value);
    match key.kind {
        Type::Bool => boolean(&written).map(Accept::Bool).ok_or_else(|| no("true or false")),
        Type::Int => number_range(key, &written, integer).map(Accept::Number).ok_or_else(|| no("number or range")),
        Type::Quantity => {
            number_range(key, &written, quantity).map(Accept::Number).ok_or_else(|| no("amount or range"))
        }
        Type::Version => version_range(key, &written).map(Accept::Version).ok_or_else(|| no("version or range")),
        Type::String | Type::Enum | Type::Set | Type::Dag => Ok(Accept::Text(written)),
    }
}

impl Accept {
    /// `Some(Some(depth))` where it holds, `Some(None)` where it does not, `None` where the host's value is of another
    /// kind.
    fn holds(&self, key: &Key, host: &Value) -> Option<Option<Depth>> {
        let shallow = |holds: bool| holds.then_some([0; 4]);
        match self {
            Self::Bool(wanted) => host_boolean(host).map(|host| shallow(host == *wanted)),
            Self::Number(range) => host_number(key, host).map(|host| shallow(range.contains(host))),
            Self::Version(range) => {
                let version: Version = host.to_string().parse().ok()?;
                Some(range.contains(version).then(|| range.low().map_or([0; 4], |low| low.parts())))
            }
            Self::Text(wanted) => Some(shallow(match host {
                Value::Set(values) => values.iter().any(|value| canonical(key, value) == *wanted),
                one => canonical(key, &one.to_string()) == *wanted,
            })),
            Self::Subset(wanted) => match host {
                Value::Set(values) => Some(wanted.is_subset(values).then_some([wanted.len() as u64, 0, 0, 0])),
                _ => None,
            },
        }
    }
}

fn text(key: &Key, value: &Scalar) -> String {
    canonical(key, &value.to_string())
}

fn canonical(key: &Key, text: &str) -> String {
    key.value_aliases.get(text).map_or(text, String::as_str).to_owned()
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "yes" => Some(true),
        "false" | "no" => Some(false),
        _ => None,
    }
}

fn host_boolean(host: &Value) -> Option<bool> {
    match host {
        Value::Bool(value) => Some(*value),
        other => boolean(&other.to_string()),
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

fn host_number(key: &Key, host: &Value) -> Option<i64> {
    match host {
        Value::Int(value) => Some(*value),
        Value::Text(text) if key.kind == Type::Quantity => quantity(text),
        Value::Text(text) => integer(text),
        Value::Bool(_) | Value::Set(_) => None,
    }
}

fn number_range(key: &Key, text: &str, value: fn(&str) -> Option<i64>) -> Option<Range<i64>> {
    match (value(text), key.compare) {
        (Some(value), Some(Compare::Eq)) => Some(Range::exactly(value)),
        (Some(value), _) => Some(Range::at_least(value)),
        (None, _) => Range::parse(text, value),
    }
}

fn version_range(key: &Key, text: &str) -> Option<Range<Version>> {
    if let Some(range) = Range::of_versions(text) {
        return Some(range);
    }
    let version = version::exact(text)?;
    match key.compare {
        Some(Compare::Eq) => Some(Range::exactly(version)),
        Some(Compare::SameMajor) => Range::same_major(text),
        Some(Compare::Prefix) => Range::prefix(text),
        Some(Compare::Ge) | None => Some(Range::at_least(version)),
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> = self.values.iter().map(|value| json::plain(&value.to_string(), 100)).collect();
        if self.array { write!(f, "[{}]", values.join(", ")) } else { f.write_str(&values.join(", ")) }
    }
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Wanted;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, a number, text, or an array of these")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Wanted, E> {
                Ok(one(Scalar::Bool(value)))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Wanted, E> {
                Ok(one(Scalar::Int(value)))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Wanted, E> {
                Ok(one(i64::try_from(value).map_or_else(|_| Scalar::Text(value.to_string()), Scalar::Int)))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Wanted, E> {
                Ok(one(Scalar::Text(value.to_string())))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Wanted, E> {
                Ok(one(Scalar::Text(value.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Wanted, A::Error> {
                let mut values = Vec::new();
                while let Some(item) = items.next_element::<Wanted>()? {
                    if item.array {
                        return Err(de::Error::custom("an array within an array"));
                    }
                    if values.len() == MAX_VALUES {
                        return Err(de::Error::custom(format_args!("more than {MAX_VALUES} values")));
                    }
                    values.extend(item.values);
                }
                Ok(Wanted { values, array: true })
            }
        }
        deserializer.deserialize_any(Values)
    }
}

fn one(value: Scalar) -> Wanted {
    Wanted { values: vec![value], array: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Answer::{False, True, Unknown};

    fn key(metadata: &str) -> Key {
        serde_json::from_str(metadata).unwrap()
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
        assert_eq!(ask(r#"{"type":"version","compare":"prefix"}"#, "4.1", "4.1.6"), True);
        let alias = r#"{"type":"string","value_aliases":{"OpenMPI":"openmpi"}}"#;
        assert_eq!(ask(alias, r#"["mpich","openmpi"]"#, "OpenMPI"), True);
        let flags: BTreeSet<String> = ["AVX2".to_owned(), "FMA3".to_owned()].into();
        assert_eq!(ask(r#"{"type":"set"}"#, r#"["AVX2","FMA3"]"#, flags.clone()), True);
        assert_eq!(ask(r#"{"type":"set"}"#, r#"["AVX2","X"]"#, flags), False);
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
