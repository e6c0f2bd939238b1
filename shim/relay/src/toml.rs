//! Owns the small part of TOML that is read here: keys with strings, integers and booleans as values
//! (https://toml.io/en/v1.0.0). Everything else is stepped over, never an error: whether a file is right is for `bestfit
//! config check` and the worker to say.

pub(crate) mod tables;

/// A value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Bool(bool),
    /// An array, a table, a float, a date, or something that is no TOML.
    Other,
}

/// The top-level keys in their order.
pub(crate) fn flat(text: &str) -> Vec<(String, Value)> {
    let single = |path: Vec<String>| <[String; 1]>::try_from(path).ok();
    let all = tables::keys(text).values.into_iter();
    all.filter_map(|(path, value)| single(path).map(|[key]| (key, value))).collect()
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Moves to the next statement.
    fn statement(&mut self) -> Option<&'a str> {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() {
                return None;
            }
            if !self.rest.starts_with('#') {
                return Some(self.rest);
            }
            self.skip_line();
        }
    }

    fn skip_line(&mut self) {
        self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
    }

    fn value(&mut self) -> Value {
        match self.rest.chars().next() {
            Some('"' | '\'') => {
                if self.rest.starts_with("\"\"\"") || self.rest.starts_with("'''") {
                    self.skip_long_string();
                    return Value::Other;
                }
                self.string().filter(|_| self.ends_here()).map_or(Value::Other, Value::Text)
            }
            Some('[' | '{') => {
                self.skip_brackets();
                Value::Other
            }
            _ => {
                let end = self.rest.find(['\n', '#', ',', ']', '}']).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                self.rest = rest;
                scalar(word.trim())
            }
        }
    }

    fn ends_here(&self) -> bool {
        let rest = self.rest.trim_start_matches([' ', '\t', '\r']);
        rest.is_empty() || rest.starts_with(['\n', '#', ',', ']', '}'])
    }

    /// Reads a string of one line.
    fn string(&mut self) -> Option<String> {
        let mut chars = self.rest.char_indices();
        let (_, quote) = chars.next()?;
        let mut escaped = false;
        for (at, c) in chars {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' if quote == '"' => escaped = true,
                _ if c == quote => {
                    let content = &self.rest[1..at];
                    self.rest = &self.rest[at + 1..];
                    return if quote == '"' { unescape(content) } else { Some(content.to_owned()) };
                }
                _ => {}
            }
        }
        None
    }

    fn skip_long_string(&mut self) {
        let (quotes, mut rest) = self.rest.split_at(3);
        while let Some(at) = rest.find(['\\', '"', '\'']) {
            if rest[at..].starts_with(quotes) {
                self.rest = &rest[at + 3..];
                return;
            }
            let step = if rest[at..].starts_with('\\') && quotes == "\"\"\"" { 2 } else { 1 };
            rest = rest.get(at + step..).unwrap_or_default();
        }
        self.rest = "";
    }

    fn skip_brackets(&mut self) {
        let mut depth = 0usize;
        while let Some(c) = self.rest.chars().next() {
            match c {
                '"' | '\'' => {
                    if self.rest.starts_with("\"\"\"") || self.rest.starts_with("'''") {
                        self.skip_long_string();
                        continue;
                    }
                    if self.string().is_some() {
                        continue;
                    }
                }
                '#' => {
                    self.skip_line();
                    continue;
                }
                '[' | '{' => depth += 1,
                ']' | '}' => depth -= 1,
                _ => {}
            }
            self.rest = &self.rest[c.len_utf8()..];
            if depth == 0 {
                return;
            }
        }
    }
}

fn scalar(word: &str) -> Value {
    match word {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => word.replace('_', "").parse().map_or(Value::Other, Value::Integer),
    }
}

/// Resolves the escapes of a basic string of TOML, which are those of JSON and a few more.
pub(crate) fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let c = after.chars().next()?;
        rest = &after[c.len_utf8()..];
        let plain = match c {
            'b' => '\u{8}',
            't' => '\t',
            'n' => '\n',
            'f' => '\u{c}',
            'r' => '\r',
            'e' => '\u{1b}',
            '"' | '\\' | '/' => c,
            'u' | 'U' => {
                let digits = rest.get(..if c == 'u' { 4 } else { 8 })?;
                rest = &rest[digits.len()..];
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            _ => return None,
        };
        out.push(plain);
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    const CRI: &str = "BinaryName = \"/usr/bin/crun\"\nSystemdCgroup = true\nIoUid = 1_000\n\
                       Root = 'C:\\x' # a comment\n\"quoted\" = \"a\\tb\\u00e9\"\n";
    const CONFIG: &str = "# comment\nmode = \"select\"\nlist = [ # why\n  \"delegate = 'no'\",\n  [1, 2],\n]\n\
                          long = \"\"\"\ndelegate = \"no\"\n\\\"\"\" \"\"\"\nt = { delegate = \"no\" }\nf = 1.5\n\
                          delegate = \"crun-shim\"\n[a]\ndelegate = \"no\"\n";

    fn text(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    #[test]
    fn what_cri_writes_is_read() {
        let expected = [
            ("BinaryName", text("/usr/bin/crun")),
            ("SystemdCgroup", Value::Bool(true)),
            ("IoUid", Value::Integer(1000)),
            ("Root", text("C:\\x")),
            ("quoted", text("a\tbé")),
        ];
        assert_eq!(flat(CRI), expected.map(|(key, value)| (key.to_owned(), value)));
    }

    #[test]
    fn other_values_are_stepped_over() {
        let found = flat(CONFIG);
        let expected = [
            ("mode", text("select")),
            ("list", Value::Other),
            ("long", Value::Other),
            ("t", Value::Other),
            ("f", Value::Other),
            ("delegate", text("crun-shim")),
        ];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value)));
    }

    #[test]
    fn nonsense_is_never_an_error() {
        for (input, expected) in [
            ("", vec![]),
            ("nonsense\ndelegate = \"x\"", vec![("delegate".to_owned(), text("x"))]),
            ("delegate = \"open", vec![("delegate".to_owned(), Value::Other)]),
            ("delegate = \"a\" \"b\"", vec![("delegate".to_owned(), Value::Other)]),
            ("a = [", vec![("a".to_owned(), Value::Other)]),
            ("a = \"\\q\"", vec![("a".to_owned(), Value::Other)]),
            ("= 1", vec![]),
        ] {
            assert_eq!(flat(input), expected, "{input}");
        }
    }

    #[test]
    fn damaged_text_never_panics() {
        let mut random = Random::new(3);
        for _ in 0..20_000 {
            let bytes = random.damaged(CONFIG.as_bytes());
            let _ = flat(&String::from_utf8_lossy(&bytes));
        }
    }
}
