//! Owns the walk over a text: its keys wherever they may stand, below `[table]` headers, dotted, in inline tables. A statement
//! that is not understood is stepped over, and said: the caller must not take what is missing for absent.

use super::{Reader, Value};

/// The deepest inline table, and the most parts of a key: more than any configuration has.
const MAX_DEPTH: usize = 8;

/// What a text says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its keys by their full paths, with their values, in the order of the text. What stands below a header that is not understood, or in an array
    /// of tables, has a path with an empty part.
    pub(crate) values: Vec<(Vec<String>, Value)>,
    /// Whether every statement was understood.
    pub(crate) whole: bool,
}

/// All keys of a text.
pub(crate) fn keys(text: &str) -> Found {
    let reader = Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text) };
    let mut walk = Walk { reader, found: Found { values: Vec::new(), whole: true } };
    let mut table = Vec::new();
    while let Some(line) = walk.reader.statement() {
        let understood = if line.starts_with('[') {
            let header = walk.header();
            let understood = header.is_some();
            table = header.unwrap_or_else(|| vec![String::new()]);
            understood
        } else {
            walk.assignment(&table, 0).is_some()
        };
        walk.found.whole &= understood && walk.reader.ends_statement();
        walk.reader.skip_line();
    }
    walk.found
}

struct Walk<'a> {
    reader: Reader<'a>,
    found: Found,
}

impl Walk<'_> {
    /// The table that a header opens.
    fn header(&mut self) -> Option<Vec<String>> {
        let list = self.reader.take("[[");
        if !list && !self.reader.take("[") {
            return None;
        }
        let mut table = self.reader.path()?;
        if list {
            table.push(String::new());
        }
        self.reader.take(if list { "]]" } else { "]" }).then_some(table)
    }

    fn assignment(&mut self, table: &[String], depth: usize) -> Option<()> {
        let mut path = table.to_vec();
        path.extend(self.reader.path()?);
        if !self.reader.take("=") {
            return None;
        }
        self.reader.skip_space();
        let inline = self.reader.rest.starts_with('{');
        let value = if inline { Value::Other } else { self.reader.value() };
        self.found.values.push((path.clone(), value));
        if inline { self.inline(&path, depth + 1) } else { Some(()) }
    }

    fn inline(&mut self, table: &[String], depth: usize) -> Option<()> {
        if depth > MAX_DEPTH || !self.reader.take("{") {
            return None;
        }
        loop {
            self.reader.rest = self.reader.rest.trim_start();
            if self.reader.take("}") {
                return Some(());
            }
            self.assignment(table, depth)?;
            self.reader.rest = self.reader.rest.trim_start();
            if !self.reader.take(",") {
                return self.reader.take("}").then_some(());
            }
        }
    }
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Takes a sign, and the space before it.
    fn take(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start_matches([' ', '\t']).strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A key with its dots.
    fn path(&mut self) -> Option<Vec<String>> {
        let mut path = Vec::new();
        while path.len() < MAX_DEPTH {
            self.skip_space();
            path.push(match self.rest.chars().next()? {
                '"' | '\'' => self.string()?,
                _ => self.bare()?,
            });
            if !self.take(".") {
                return Some(path);
            }
        }
        None
    }

    fn bare(&mut self) -> Option<String> {
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let end = self.rest.find(|c| !bare(c)).unwrap_or(self.rest.len());
        let (key, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!key.is_empty()).then(|| key.to_owned())
    }

    fn ends_statement(&self) -> bool {
        let rest = self.rest.trim_start_matches([' ', '\t', '\r']);
        rest.is_empty() || rest.starts_with(['\n', '#'])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    /// Each path with its text, as `a/b=text`, and `?` at the end where something was not understood.
    fn modes(text: &str) -> String {
        let mut found = keys(text);
        found.values.retain(|(path, _)| path.last().is_some_and(|last| last == "mode"));
        let value = |value: &Value| match value {
            Value::Text(text) => text.clone(),
            other => format!("{other:?}"),
        };
        let mut all: Vec<_> =
            found.values.iter().map(|(path, text)| format!("{}={}", path.join("/"), value(text))).collect();
        all.extend((!found.whole).then(|| "?".to_owned()));
        all.join(" ")
    }

    #[test]
    fn a_key_is_found_in_every_way_to_write_it() {
        for (text, expected) in [
            ("mode = \"off\"\n[trust]\r\nmode = 'require' # why\r\n", "mode=off trust/mode=require"),
            ("\u{feff}[ trust ]\nmode=\"a\"", "trust/mode=a"),
            ("trust . \"mode\" = \"a\"\n\"x\".mode = true", "trust/mode=a x/mode=Bool(true)"),
            ("trust = { a = [1, { mode = 'no' }], mode = \"a\" }\nmode = 1", "trust/mode=a mode=Integer(1)"),
            (
                "namespaces = { \"a.b\" = { mode = \"off\" },\n c.mode = 'x', }",
                "namespaces/a.b/mode=off namespaces/c/mode=x",
            ),
            ("[namespaces.\"kube-system\"]\nmode = \"off\"", "namespaces/kube-system/mode=off"),
            ("[[trust.accept]]\nmode = \"a\"\n[trust]\nmode = \"b\"", "trust/accept//mode=a trust/mode=b"),
            ("text = \"\"\"\n[trust]\nmode = \"no\"\n\"\"\"\nlist = [\n'mode = 1', # ]\n]\n", ""),
            ("[trust]\nmode = \"\\u0072equire\"", "trust/mode=require"),
            ("mode = \"\"\"require\"\"\"", "mode=Other"),
            ("mode = {}", "mode=Other"),
            ("", ""),
        ] {
            assert_eq!(modes(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (text, expected) in [
            ("nonsense\nmode = \"a\"", "mode=a ?"),
            ("[trust\nmode = \"a\"", "/mode=a ?"),
            ("[[trust]\nmode = \"a\"", "/mode=a ?"),
            ("mode = \"a\" \"b\"", "mode=Other ?"),
            ("mode = \"a\", x", "mode=a ?"),
            ("t = { mode = \"a\" \nmode = \"b\"", "t/mode=a ?"),
            ("a.b.c.d.e.f.g.h.mode = 1", "?"),
            ("a={a={a={a={a={a={a={a={a={mode=1}}}}}}}}}", "?"),
            ("= 1", "?"),
            ("\u{0}", "?"),
        ] {
            assert_eq!(modes(text), expected, "{text}");
        }
    }

    #[test]
    fn damaged_text_never_panics() {
        let whole = "mode = \"off\"\n[namespaces.\"a\"]\nmode = 'x'\n[[t]]\nt = { a = { mode = [\"\"\"x\"\"\"] } }\n";
        let mut random = Random::new(5);
        for _ in 0..20_000 {
            let _ = keys(&String::from_utf8_lossy(&random.damaged(whole.as_bytes())));
        }
    }
}
