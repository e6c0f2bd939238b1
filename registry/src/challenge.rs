//! Parses `WWW-Authenticate` (RFC 9110, section 11.6.1): several challenges, quoted strings, nothing trusted.

/// Longest header that is looked at, in bytes.
const TEXT_LIMIT: usize = 8 << 10;
const PARAMETERS_LIMIT: usize = 32;
const CHALLENGES_LIMIT: usize = 8;

/// One way to log in that a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// In lower case.
    pub(crate) scheme: String,
    /// Names in lower case, in the server's order.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The first value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Reads what can be read; a broken rest ends the list.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    if header.len() > TEXT_LIMIT {
        return challenges;
    }
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            return challenges;
        }
        match after.trim_start().strip_prefix('=') {
            Some(value) if !challenges.is_empty() => {
                let Some((value, after)) = value_of(value.trim_start()) else { return challenges };
                let Some(last) = challenges.last_mut() else { return challenges };
                if last.parameters.len() >= PARAMETERS_LIMIT {
                    return challenges;
                }
                last.parameters.push((word.to_ascii_lowercase(), value));
                rest = after;
            }
            Some(_) => return challenges,
            None => {
                if challenges.len() >= CHALLENGES_LIMIT {
                    return challenges;
                }
                challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
                rest = after;
            }
        }
    }
}

/// A word, which may be empty, and what follows.
pub(crate) fn token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))).unwrap_or(text.len());
    text.split_at(end)
}

/// A word or a quoted string, and what follows; `None` where the quotes do not end.
pub(crate) fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = token(text);
        return Some((word.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn challenges_of_real_registries() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let [bearer] = parse(hub).try_into().unwrap();
        assert_eq!(bearer.scheme, "bearer");
        assert_eq!(bearer.parameter("realm"), Some("https://auth.docker.io/token"));
        assert_eq!(bearer.parameter("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(bearer.parameter("error"), None);

        let two = parse(r#"Basic realm="a \"b\"", BEARER Realm = "x" , service=y"#);
        assert_eq!(two.len(), 2);
        assert_eq!(two[0].parameter("realm"), Some("a \"b\""));
        assert_eq!((two[1].scheme.as_str(), two[1].parameter("service")), ("bearer", Some("y")));
    }

    #[test]
    fn broken_ones_end_the_list() {
        assert_eq!(parse(""), []);
        assert_eq!(parse("="), []);
        assert_eq!(parse(r#"realm="x""#), []);
        assert_eq!(parse(r#"Bearer realm="open"#)[0].parameter("realm"), None);
        assert_eq!(parse(&"x ".repeat(5000)), []);
        assert_eq!(parse(&"x ".repeat(50)).len(), CHALLENGES_LIMIT);
    }

    proptest! {
        #[test]
        fn never_panics(text in r#"([A-Za-z]{1,6}|[ ,="\\]|ä|realm="|\PC){0,40}"#) {
            parse(&text);
        }
    }
}
