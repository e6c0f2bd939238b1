//! Owns the question in which form a document is written (matching.md §4): the proposals share one media type, so the shape of
//! `compatibilities` tells. Reads no further than that; each form's own reader says what is wrong inside.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::document::MAX_BYTES;
use crate::json::{self, JsonError};

/// What a document may be, for its author.
const EXPECTED: &str = "groups of keys (Proposal F), a list of {name, attributes} (Proposal D), a list of sets of keys \
                        (Proposal H) or a list of {rules} (NFD)";

/// What `compatibilities` is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Groups of keys: Proposal F.
    Groups,
    /// A list of names with attributes: Proposal D, compspec.
    Attributes,
    /// A list of flat sets: Proposal H.
    Sets,
    /// A list of sets of rules: NFD's document, as JSON.
    Rules,
}

/// The shape of a document, at most [`MAX_BYTES`] long.
pub fn of(bytes: &[u8]) -> Result<Shape, JsonError> {
    #[derive(serde::Deserialize)]
    struct Top {
        compatibilities: Option<Shape>,
    }
    let missing = || JsonError::Malformed {
        line: 1,
        column: 1,
        message: format!("there is no \"compatibilities\": expected {EXPECTED}"),
    };
    json::read::<Top>(bytes, MAX_BYTES)?.compatibilities.ok_or_else(missing)
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl<'de> Visitor<'de> for Whole {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut groups: A) -> Result<Shape, A::Error> {
                while groups.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Shape::Groups)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
                let first = items.next_element::<Item>()?;
                let first =
                    first.ok_or_else(|| de::Error::custom(format_args!("an empty list, expected {EXPECTED}")))?;
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(first.0)
            }
        }
        deserializer.deserialize_any(Whole)
    }
}

/// The first element of a list.
struct Item(Shape);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Item, A::Error> {
                let (mut shape, mut flat) = (None, true);
                while let Some((name, kind)) = fields.next_entry::<String, Kind>()? {
                    flat &= kind == Kind::Scalar;
                    match (name.as_str(), kind) {
                        ("rules", Kind::List) => shape = Some(Shape::Rules),
                        ("attributes" | "annotations", Kind::Object) => shape = Some(Shape::Attributes),
                        _ => {}
                    }
                }
                let neither = || de::Error::custom(format_args!("neither form of list, expected {EXPECTED}"));
                shape.or(flat.then_some(Shape::Sets)).map(Item).ok_or_else(neither)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scalar,
    List,
    Object,
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Kind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Kind, E> {
                Ok(Kind::Scalar)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Kind, E> {
                Ok(Kind::Scalar)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Kind, E> {
                Ok(Kind::Scalar)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Kind, E> {
                Ok(Kind::Scalar)
            }

            fn visit_str<E>(self, _: &str) -> Result<Kind, E> {
                Ok(Kind::Scalar)
            }

            fn visit_unit<E>(self) -> Result<Kind, E> {
                Ok(Kind::Scalar)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Kind::List)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Kind, A::Error> {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Kind::Object)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shape_tells_the_form() {
        let table = [
            (r#"{"compatibilities": {}}"#, Shape::Groups),
            (r#"{"compatibilities": {"nfd": {"attributes": true}}}"#, Shape::Groups),
            (r#"{"compatibilities": [{"name": "a", "version": "0", "attributes": {}}]}"#, Shape::Attributes),
            (r#"{"kind": "x", "compatibilities": [{"annotations": {"a": "b"}, "name": "a"}]}"#, Shape::Attributes),
            (r#"{"compatibilities": [{"oci.os.glibc": "[2.31, 2.37]", "annotation": "x"}, {}]}"#, Shape::Sets),
            (r#"{"compatibilities": [{"name": "a"}]}"#, Shape::Sets),
            (r#"{"version": "v1alpha1", "compatibilities": [{"tag": "a", "rules": []}]}"#, Shape::Rules),
        ];
        for (text, shape) in table {
            assert_eq!(of(text.as_bytes()), Ok(shape), "{text}");
        }
    }

    #[test]
    fn what_has_no_shape_is_told_where_and_what_is_expected() {
        let table = [
            ("{}", "line 1 column 1: there is no \"compatibilities\""),
            ("{\"compatibility\": {}}", "line 1 column 1: there is no \"compatibilities\""),
            ("{\n \"compatibilities\": 5}", "line 2 column 21: invalid type: integer `5`"),
            ("{\"compatibilities\": []}", "line 1 column 22: an empty list"),
            ("{\"compatibilities\": [1]}", "line 1 column 22: invalid type: integer `1`"),
            ("{\"compatibilities\": [[]]}", "line 1 column 21: invalid type: sequence"),
            ("{\"compatibilities\": [{\"a\": {}}]}", "line 1 column 30: neither form of list"),
            ("{\"compatibilities\": [{\"a\": [1]}]}", "line 1 column 31: neither form of list"),
        ];
        for (text, start) in table {
            let error = of(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(start) && error.ends_with(EXPECTED), "{text}: {error}");
        }
        assert_eq!(of(b"{").unwrap_err().to_string(), "line 1 column 1: EOF while parsing an object");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"(\{"compatibilities":)?[\[\]{}":,a-z0-9 ]{0,80}"#) {
            let _ = of(text.as_bytes());
        }
    }
}
