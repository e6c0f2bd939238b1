//! Owns how YAML nodes become typed fields: merge keys, keys that are no text, names in any case, scalars as text, as
//! go-yaml v2 and Go's `encoding/json` do it together. Knows no field by name.

use std::collections::BTreeMap;

use super::scalar::{self, Value};
use crate::json::{self, JsonError};
use crate::yaml::{Kind, Mark, Node};

use super::spec::{MAX_EXPRESSIONS, MAX_VALUES, Problem};

/// The most notes and problems that are kept of one document.
const MAX_SAID: usize = 16;

/// Reads nodes and keeps what is to be said about them.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<String>,
    /// Terms and expressions so far, and values.
    counts: (usize, usize),
}

/// What a field that NFD does not know means. NFD ignores it, so a typing error in `matchExpressions` matches always.
#[derive(Clone, Copy)]
pub(super) enum Unknown {
    /// It may be somebody's note, unless it is nearly the name of a field.
    Near,
    /// It cannot have been meant, except for these.
    Wrong(&'static [&'static str]),
}

/// Whether a node is null, which Go takes for "not given".
pub(super) fn is_null(node: &Node) -> bool {
    matches!(&node.kind, Kind::Scalar(scalar) if scalar::resolve(scalar) == Ok(Value::Null))
}

impl Reader {
    pub(super) fn problem(&mut self, mark: Mark, text: impl Into<String>) {
        if self.problems.len() < MAX_SAID {
            self.problems.push(Problem { mark, text: text.into() });
        }
    }

    pub(super) fn note(&mut self, mark: Mark, text: impl Into<String>) {
        if self.notes.len() < MAX_SAID {
            self.notes.push(format!("line {} column {}: {}", mark.line, mark.column, text.into()));
        }
    }

    /// Counts what is to be evaluated, and refuses what is too much of it before more is read.
    pub(super) fn count(&mut self, node: &Node, size: usize, values: usize) -> Result<(), JsonError> {
        self.counts.0 += size;
        self.counts.1 += values;
        if self.counts.0 > MAX_EXPRESSIONS {
            return Err(node.mark.error(format!("more than {MAX_EXPRESSIONS} terms and expressions")));
        }
        if self.counts.1 > MAX_VALUES {
            return Err(node.mark.error(format!("more than {MAX_VALUES} values")));
        }
        Ok(())
    }

    /// The known fields of an object in the order in which Go sets them: by name as written, so that of several spellings
    /// the last wins.
    pub(super) fn object<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &[&'static str],
        unknown: Unknown,
    ) -> Result<Vec<(&'static str, &'n Node)>, JsonError> {
        let mut fields = Vec::new();
        for (written, value) in self.mapping(node, what)? {
            let same = known.iter().find(|name| written.eq_ignore_ascii_case(name));
            match same {
                Some(name) if fields.iter().any(|(earlier, _)| earlier == name) => {
                    self.problem(value.mark, format!("{name} stands there twice, in different spellings"));
                    fields.push((*name, value));
                }
                Some(name) => fields.push((*name, value)),
                None => {
                    jsonable(value)?;
                    self.unknown(&written, value.mark, what, known, unknown);
                }
            }
        }
        Ok(fields)
    }

    fn unknown(&mut self, written: &str, mark: Mark, what: &str, known: &[&str], unknown: Unknown) {
        let near = known.iter().find(|name| is_near(written, name));
        let shown = json::plain(written, 60);
        match (unknown, near) {
            (Unknown::Wrong(others), _) if others.contains(&written) => {
                self.note(mark, format!("{shown} asks nothing of the host: ignored"));
            }
            (_, Some(near)) => self.problem(mark, format!("{what} has no field {shown:?}; did you mean {near:?}?")),
            (Unknown::Wrong(_), None) => self.problem(mark, format!("{what} has no field {shown:?}")),
            (Unknown::Near, None) => self.note(mark, format!("{what} has no field {shown:?}: ignored")),
        }
    }

    /// All entries of a mapping by the text of their keys.
    fn mapping<'n>(&mut self, node: &'n Node, what: &str) -> Result<BTreeMap<String, &'n Node>, JsonError> {
        let mut entries = BTreeMap::new();
        match &node.kind {
            Kind::Map(_) => self.merge(node, &mut entries, false)?,
            Kind::Scalar(_) if is_null(node) => {}
            Kind::Scalar(_) | Kind::List(_) => return Err(node.mark.error(format!("{what} must be a mapping"))),
        }
        Ok(entries)
    }

    /// Sets the entries of `node`, those that `<<` brings in included, over what is there.
    fn merge<'n>(
        &mut self,
        node: &'n Node,
        into: &mut BTreeMap<String, &'n Node>,
        merged: bool,
    ) -> Result<(), JsonError> {
        let Kind::Map(entries) = &node.kind else {
            return Err(node.mark.error("map merge requires map or sequence of maps as the value"));
        };
        let mut seen = Vec::new();
        for (key, value) in entries {
            if is_merge(key) {
                match &value.kind {
                    // Earlier ones take precedence.
                    Kind::List(items) => {
                        for item in items.iter().rev() {
                            self.merge(item, into, true)?;
                        }
                    }
                    Kind::Map(_) | Kind::Scalar(_) => self.merge(value, into, true)?,
                }
                continue;
            }
            let name = key_text(key)?;
            if !merged && seen.contains(&name) {
                self.problem(key.mark, format!("{} stands there twice", json::plain(&name, 60)));
            }
            seen.push(name.clone());
            into.insert(name, value);
        }
        Ok(())
    }

    pub(super) fn list<T>(
        &mut self,
        node: &Node,
        mut each: impl FnMut(&mut Self, &Node) -> Result<T, JsonError>,
    ) -> Result<Vec<T>, JsonError> {
        match &node.kind {
            Kind::List(items) => items.iter().map(|item| each(self, item)).collect(),
            Kind::Scalar(_) if is_null(node) => Ok(Vec::new()),
            Kind::Scalar(_) | Kind::Map(_) => Err(node.mark.error("a list is expected")),
        }
    }

    /// A mapping whose keys are free.
    pub(super) fn entries<T>(
        &mut self,
        node: &Node,
        mut each: impl FnMut(&mut Self, &Node) -> Result<T, JsonError>,
    ) -> Result<BTreeMap<String, T>, JsonError> {
        let entries = self.mapping(node, "this")?;
        entries.into_iter().map(|(key, value)| Ok((key, each(self, value)?))).collect()
    }

    pub(super) fn text(&mut self, node: &Node) -> Result<String, JsonError> {
        match &node.kind {
            Kind::Scalar(scalar) => scalar::resolve(scalar).map(scalar::text).map_err(|why| node.mark.error(why)),
            Kind::List(_) | Kind::Map(_) => Err(node.mark.error("a text is expected")),
        }
    }

    pub(super) fn whole(&mut self, node: &Node) -> Result<i64, JsonError> {
        let wrong = || node.mark.error("a whole number is expected");
        let Kind::Scalar(scalar) = &node.kind else { return Err(wrong()) };
        match scalar::resolve(scalar).map_err(|why| node.mark.error(why))? {
            Value::Null => Ok(0),
            Value::Int(value) => Ok(value),
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 9.2e18 => Ok(value as i64),
            Value::Bool(_) | Value::Big(_) | Value::Float(_) | Value::Text(_) => Err(wrong()),
        }
    }
}

fn is_merge(key: &Node) -> bool {
    matches!(&key.kind, Kind::Scalar(scalar) if scalar.text == "<<" && scalar.plain && scalar.tag.is_none())
}

/// The text of a key, as `sigs.k8s.io/yaml` makes it.
fn key_text(key: &Node) -> Result<String, JsonError> {
    let Kind::Scalar(scalar) = &key.kind else { return Err(key.mark.error("invalid map key")) };
    match scalar::resolve(scalar).map_err(|why| key.mark.error(why))? {
        Value::Null | Value::Big(_) => Err(key.mark.error("unsupported map key")),
        Value::Float(value) if value.is_nan() => Ok(".nan".to_owned()),
        Value::Float(value) if (value as f32).is_infinite() => {
            Ok(if value > 0.0 { ".inf" } else { "-.inf" }.to_owned())
        }
        value => Ok(scalar::text(value)),
    }
}

/// Fails on what has no JSON form, in parts that nobody reads too.
fn jsonable(node: &Node) -> Result<(), JsonError> {
    match &node.kind {
        Kind::Scalar(scalar) => match scalar::resolve(scalar).map_err(|why| node.mark.error(why))? {
            Value::Float(value) if !value.is_finite() => Err(node.mark.error("unsupported value")),
            _ => Ok(()),
        },
        Kind::List(items) => items.iter().try_for_each(jsonable),
        Kind::Map(entries) => entries.iter().try_for_each(|(key, value)| {
            if !is_merge(key) {
                key_text(key)?;
            }
            jsonable(value)
        }),
    }
}

/// Whether one is probably the other, mistyped: at most two letters inserted, deleted or replaced.
fn is_near(written: &str, name: &str) -> bool {
    let (a, b) = (written.to_ascii_lowercase(), name.to_ascii_lowercase());
    b.len() > 3 && crate::schema::distance(&a, &b, 2).is_some()
}
