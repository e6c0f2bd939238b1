//! Owns what a document says about one key: scalars, or an array of them. What that means is read with the key's type.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use crate::json;

/// The most values in one array.
const MAX_VALUES: usize = 256;

/// One value of a document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// `true`.
    Bool(bool),
    /// `4`.
    Int(i64),
    /// `5.10`: a number that is no whole one, which JSON reads as `5.1`.
    Float(String),
    /// `"text"`, or a whole number that is too great for `Int`.
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

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) | Self::Text(value) => f.write_str(value),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> = self.values.iter().map(|value| json::plain(&value.to_string(), 100)).collect();
        if self.array { write!(f, "[{}]", values.join(", ")) } else { f.write_str(&values.join(", ")) }
    }
}

impl Wanted {
    /// As a document writes it.
    pub fn json(&self) -> String {
        let one = |value: &Scalar| match value {
            Scalar::Text(text) => serde_json::Value::String(text.clone()).to_string(),
            other => other.to_string(),
        };
        let values: Vec<String> = self.values.iter().map(one).collect();
        if self.array { format!("[{}]", values.join(", ")) } else { values.join(", ") }
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
                Ok(one(Scalar::Float(value.to_string())))
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
