//! Owns the reading of foreign JSON: bounded in bytes and depth, no duplicate keys, every error with line and column.
//! Knows nothing of what the JSON means.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

mod objects;

use objects::Objects;

/// How deep objects and arrays may be nested in anything that bestfit reads.
pub const MAX_DEPTH: usize = 32;

/// Why foreign JSON was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is longer than its kind may be.
    #[error("{size} bytes are more than the {limit} that are accepted")]
    TooBig {
        /// Bytes given.
        size: usize,
        /// Bytes accepted.
        limit: usize,
    },
    /// It is no JSON, nested too deep, has a key twice, or is not of the expected shape.
    #[error("line {line} column {column}: {message}")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1; 0 at the start of a line.
        column: usize,
        /// What is wrong there.
        message: String,
    },
}

/// Reads `bytes`, at most `limit` of them, as a `T`. What `T` has as a struct must be an object there.
pub fn read<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, JsonError> {
    check(bytes, limit)?;
    T::deserialize(Objects(&mut serde_json::Deserializer::from_slice(bytes))).map_err(located)
}

/// Checks size, syntax, depth and duplicate keys without keeping anything.
fn check(bytes: &[u8], limit: usize) -> Result<(), JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooBig { size: bytes.len(), limit });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: 0 }.deserialize(&mut deserializer).map_err(located)?;
    deserializer.end().map_err(located)
}

fn located(error: serde_json::Error) -> JsonError {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let suffix = format!(" at line {line} column {column}");
    let message = plain(text.strip_suffix(&suffix).unwrap_or(&text), 200);
    JsonError::Malformed { line, column, message }
}

/// Foreign text for people: at most `limit` characters; what drives a terminal, ends a line (also U+2028 and U+2029) or turns
/// the direction of what follows (UAX #9) is replaced.
pub fn plain(text: &str, limit: usize) -> String {
    let drives = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut shown: String = text.chars().take(limit).map(|c| if drives(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(limit).is_some() {
        shown.push('…');
    }
    shown
}

/// Walks any JSON value and keeps only the keys of the objects that are open.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut seen = BTreeSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(de::Error::custom(format_args!("the key {:?} stands there twice", plain(&key, 100))));
            }
            seen.insert(key);
            entries.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        read::<serde_json::Value>(text.as_bytes(), 1 << 20).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_line_and_column() {
        assert_eq!(error("{\n  \"a\": 1\n  \"b\": 2\n}"), "line 3 column 3: expected `,` or `}`");
        assert_eq!(error("{\"a\": 1, \"a\": 2}"), "line 1 column 12: the key \"a\" stands there twice");
        assert_eq!(error(""), "line 1 column 0: EOF while parsing a value");
        assert_eq!(error("{} x"), "line 1 column 4: trailing characters");
        assert!(error("{\"\\u001b[2J\":1,\"\\u001b[2J\":1}").contains("\u{fffd}[2J"));
    }

    /// serde takes a list of values for a struct with as many fields.
    #[test]
    fn a_list_is_no_object_however_deep_it_stands() {
        #[derive(Debug, serde::Deserialize)]
        struct Outer {
            #[serde(rename = "inner")]
            _inner: Option<Inner>,
            #[serde(rename = "all", default)]
            _all: Vec<std::collections::BTreeMap<String, Inner>>,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Inner {
            #[serde(rename = "number")]
            _number: u64,
        }
        let read = |text: &str| read::<Outer>(text.as_bytes(), 1 << 10).map(|_| ()).map_err(|error| error.to_string());
        for good in [r#"{"inner": null}"#, r#"{"inner": {"number": 1}, "all": [{"a": {"number": 2}}]}"#] {
            assert_eq!(read(good), Ok(()));
        }
        for (bad, column) in [
            (r#"[{"number": 1}, []]"#, 1),
            (r#"{"inner": [1]}"#, 11),
            (r#"{"all": [{"a": [1]}]}"#, 16),
            (r#"{"all": [[1]]}"#, 9),
        ] {
            let error = read(bad).unwrap_err();
            let place = format!("line 1 column {column}: invalid type: sequence, expected ");
            assert!(error.starts_with(&place), "{bad}: {error}");
        }
        assert!(read(r#"{"inner": 1}"#).unwrap_err().ends_with("invalid type: integer `1`, expected an object"));
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(read::<serde_json::Value>(deep.as_bytes(), 1 << 20).is_ok());
        assert_eq!(error(&"[".repeat(200_000)), "line 1 column 33: nested deeper than 32 levels");
        assert_eq!(error(&"{\"a\":".repeat(200_000)), "line 1 column 161: nested deeper than 32 levels");
        let big = read::<serde_json::Value>(b"[1,2]", 4).unwrap_err();
        assert_eq!(big, JsonError::TooBig { size: 5, limit: 4 });
    }
}
