//! Owns Go's regular expressions (`regexp/syntax`, flags Perl): reads a pattern as Go reads it and writes the same language
//! in the syntax of the `regex` crate. What Go refuses is refused; what neither of us can say alike is an error too, never
//! another meaning. Both engines run in linear time; ours is bounded in size besides.

use regex::{Regex, RegexBuilder};

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 1 << 10;
/// The most memory that one compiled pattern may take, in bytes.
const MAX_COMPILED: usize = 1 << 18;
/// Go refuses to repeat more often, nested repetitions multiplied.
const MAX_REPEAT: u64 = 1000;
/// How deep groups may be nested.
const MAX_GROUPS: u32 = 50;

/// A pattern, ready to search.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Reads a pattern of Go's.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        if pattern.len() > MAX_PATTERN {
            return Err(format!("longer than {MAX_PATTERN} bytes"));
        }
        let translated = Reader { rest: pattern, out: String::new(), groups: 0 }.whole()?;
        let mut builder = RegexBuilder::new(&translated);
        builder.size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED).nest_limit(4 * MAX_GROUPS);
        builder.build().map(Self).map_err(|error| error.to_string().lines().last().unwrap_or("").to_owned())
    }

    /// Whether it is found anywhere in `text`.
    pub(super) fn is_found(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// A pattern that is being read.
struct Reader<'a> {
    rest: &'a str,
    out: String,
    groups: u32,
}

impl Reader<'_> {
    fn whole(mut self) -> Result<String, String> {
        self.alternation()?;
        if self.rest.is_empty() { Ok(self.out) } else { Err("unexpected )".to_owned()) }
    }

    /// Reads up to the end or a closing parenthesis; gives how often its longest repetition repeats.
    fn alternation(&mut self) -> Result<u64, String> {
        self.groups += 1;
        if self.groups > MAX_GROUPS {
            return Err(format!("groups are nested deeper than {MAX_GROUPS}"));
        }
        let mut most = 1;
        while let Some(c) = self.rest.chars().next() {
            match c {
                ')' => break,
                '|' => self.keep(c),
                '*' | '+' | '?' => return Err(format!("missing argument to repetition operator: {c}")),
                _ => most = most.max(self.repeated()?),
            }
        }
        self.groups -= 1;
        Ok(most)
    }

    fn take(&mut self, c: char) -> char {
        self.rest = &self.rest[c.len_utf8()..];
        c
    }

    /// Writes what Go and the crate spell alike.
    fn keep(&mut self, c: char) {
        self.take(c);
        self.out.push(c);
    }

    /// One atom and the repetition after it.
    fn repeated(&mut self) -> Result<u64, String> {
        if self.repetition().is_some() {
            return Err("missing argument to repetition operator".to_owned());
        }
        let start = self.out.len();
        let inner = self.atom()?;
        let flags_only = self.out.len() == start || (self.out[start..].starts_with("(?") && inner == 0);
        let Some((text, count, length)) = self.repetition() else { return Ok(inner.max(1)) };
        if flags_only {
            return Err("missing argument to repetition operator".to_owned());
        }
        let count = count.ok_or_else(|| format!("invalid repeat count: {text}"))?;
        let times = inner.max(1).saturating_mul(count.max(1));
        if times > MAX_REPEAT {
            return Err(format!("invalid repeat count: {text}"));
        }
        let atom = self.out.split_off(start);
        self.out.push_str(&format!("(?:{atom}){text}"));
        self.rest = &self.rest[length..];
        if self.rest.starts_with('?') {
            self.keep('?');
        }
        if self.rest.starts_with(['*', '+', '?']) || self.repetition().is_some() {
            return Err("invalid nested repetition operator".to_owned());
        }
        Ok(times)
    }

    /// The repetition that stands here: its text, how often at most (`None`: Go refuses it), its length. `{` that begins none
    /// is a letter to Go.
    fn repetition(&self) -> Option<(String, Option<u64>, usize)> {
        if let Some(c) = self.rest.chars().next().filter(|c| "*+?".contains(*c)) {
            return Some((c.to_string(), Some(1), 1));
        }
        let inner = self.rest.strip_prefix('{')?;
        let inner = &inner[..inner.find('}')?];
        let digits = |text: &str| {
            !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'))
        };
        let number = |text: &str| text.parse::<u64>().ok().filter(|count| *count <= MAX_REPEAT);
        let (low, high) = inner.split_once(',').map_or((inner, None), |(low, high)| (low, Some(high)));
        if !digits(low) || !high.is_none_or(|high| high.is_empty() || digits(high)) {
            return None;
        }
        let count = match (number(low), high) {
            (Some(low), None | Some("")) => Some(low),
            (Some(low), Some(high)) => number(high).filter(|high| low <= *high),
            (None, _) => None,
        };
        Some((format!("{{{inner}}}"), count, inner.len() + 2))
    }

    /// One atom; 0 for a group that only sets flags.
    fn atom(&mut self) -> Result<u64, String> {
        let Some(c) = self.rest.chars().next() else { return Ok(1) };
        match c {
            '(' => return self.group(),
            '[' => self.class()?,
            '\\' => self.escape()?,
            '.' | '^' | '$' => self.keep(c),
            _ => {
                self.take(c);
                literal(&mut self.out, c);
            }
        }
        Ok(1)
    }

    fn group(&mut self) -> Result<u64, String> {
        self.take('(');
        self.out.push('(');
        if let Some(rest) = self.rest.strip_prefix('?') {
            let named = rest.strip_prefix("P<").or_else(|| rest.strip_prefix('<'));
            if let Some(named) = named {
                let name = named.split_once('>').map(|(name, _)| name).ok_or("invalid named capture")?;
                if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
                    return Err("invalid named capture".to_owned());
                }
                // The name is not needed, and the crate's rules for names are others.
                self.rest = &named[name.len() + 1..];
                self.out.push_str("?:");
            } else {
                let end = rest.find([':', ')']).ok_or("missing argument to group")?;
                let flags = &rest[..end];
                let valid = flags.bytes().all(|c| b"imsU-".contains(&c)) && flags.matches('-').count() <= 1;
                let closes = rest[end..].starts_with(')');
                if !valid || flags.ends_with('-') || (flags.is_empty() && closes) {
                    return Err("invalid or unsupported Perl syntax".to_owned());
                }
                self.out.push('?');
                self.out.push_str(flags);
                self.rest = &rest[end + 1..];
                if closes {
                    self.out.push(')');
                    return Ok(0);
                }
                self.out.push(':');
            }
        }
        let most = self.alternation()?;
        if !self.rest.starts_with(')') {
            return Err("missing closing )".to_owned());
        }
        self.keep(')');
        Ok(most)
    }

    fn escape(&mut self) -> Result<(), String> {
        if let Some(quoted) = self.rest.strip_prefix("\\Q") {
            let (text, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            // A repetition binds to the last letter only; the rest of the text is written before it.
            let last = text.chars().next_back();
            let head = &text[..text.len() - last.map_or(0, char::len_utf8)];
            head.chars().for_each(|c| literal(&mut self.out, c));
            self.rest = rest;
            if !head.is_empty() && self.repetition().is_some() {
                return Err("a repetition after \\Q…\\E is not supported".to_owned());
            }
            last.into_iter().for_each(|c| literal(&mut self.out, c));
            return Ok(());
        }
        for (go, ours) in [("\\A", "\\A"), ("\\z", "\\z"), ("\\b", "(?-u:\\b)"), ("\\B", "(?-u:\\B)")] {
            if let Some(rest) = self.rest.strip_prefix(go) {
                if go == "\\B" {
                    return Err("\\B is not supported".to_owned());
                }
                self.rest = rest;
                self.out.push_str(ours);
                return Ok(());
            }
        }
        if let Some(set) = self.perl() {
            self.out.push_str(&format!("[{set}]"));
            return Ok(());
        }
        if let Some(set) = self.unicode()? {
            self.out.push_str(&set);
            return Ok(());
        }
        let c = self.escaped()?;
        literal(&mut self.out, c);
        Ok(())
    }

    /// `\d \s \w` and their opposites, as members of a class: ASCII, as in Go.
    fn perl(&mut self) -> Option<&'static str> {
        let set = match self.rest.get(..2)? {
            "\\d" => "0-9",
            "\\D" => "[^0-9]",
            "\\s" => "\\t\\n\\x{c}\\r ",
            "\\S" => "[^\\t\\n\\x{c}\\r ]",
            "\\w" => "0-9A-Za-z_",
            "\\W" => "[^0-9A-Za-z_]",
            _ => return None,
        };
        self.rest = &self.rest[2..];
        Some(set)
    }

    /// `\pN`, `\p{Greek}`, `\P{^Lu}`.
    fn unicode(&mut self) -> Result<Option<String>, String> {
        let negated = match self.rest.get(..2) {
            Some("\\p") => false,
            Some("\\P") => true,
            _ => return Ok(None),
        };
        let rest = &self.rest[2..];
        let (name, length) = match rest.strip_prefix('{') {
            Some(inner) => {
                let name = inner.split_once('}').ok_or("invalid character class range")?.0;
                (name, name.len() + 2)
            }
            None => {
                let c = rest.chars().next().ok_or("invalid character class range")?;
                (&rest[..c.len_utf8()], c.len_utf8())
            }
        };
        let (name, negated) = name.strip_prefix('^').map_or((name, negated), |name| (name, !negated));
        if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphabetic() || c == b'_') {
            return Err(format!("invalid character class range: {name}"));
        }
        let set = if name == "Any" { "\\x{0}-\\x{10FFFF}".to_owned() } else { format!("\\p{{{name}}}") };
        self.rest = &rest[length..];
        Ok(Some(if negated { format!("[^{set}]") } else { format!("[{set}]") }))
    }

    /// One escaped letter.
    fn escaped(&mut self) -> Result<char, String> {
        self.take('\\');
        let c = self.rest.chars().next().ok_or("trailing backslash at end of expression")?;
        let invalid = || format!("invalid escape sequence: \\{c}");
        self.take(c);
        Ok(match c {
            'a' => '\u{7}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '0' => self.octal(0),
            '1'..='7' if self.rest.starts_with(['0', '1', '2', '3', '4', '5', '6', '7']) => {
                self.octal(u32::from(c) - u32::from('0'))
            }
            'x' => self.hex().ok_or_else(invalid)?,
            _ if c.is_ascii_punctuation() => c,
            _ => return Err(invalid()),
        })
    }

    /// Up to two more octal digits.
    fn octal(&mut self, mut value: u32) -> char {
        for _ in 0..2 {
            let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else { break };
            value = value * 8 + digit;
            self.rest = &self.rest[1..];
        }
        char::from_u32(value).unwrap_or('\u{fffd}')
    }

    fn hex(&mut self) -> Option<char> {
        let (digits, length) = match self.rest.strip_prefix('{') {
            Some(inner) => {
                let digits = inner.split_once('}')?.0;
                (digits, digits.len() + 2)
            }
            None => (self.rest.get(..2)?, 2),
        };
        if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?;
        self.rest = &self.rest[length..];
        Some(c)
    }

    fn class(&mut self) -> Result<(), String> {
        self.take('[');
        self.out.push('[');
        if self.rest.starts_with('^') {
            self.keep('^');
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            // POSIX: a hyphen is only meant by itself at either end.
            if self.rest.starts_with('-') && !first && !self.rest.starts_with("-]") {
                let after = self.rest[1..].chars().next();
                return Err(format!("invalid character class range: -{}", after.map_or(String::new(), String::from)));
            }
            first = false;
            if self.named_class()? {
                continue;
            }
            if let Some(set) = self.perl() {
                self.out.push_str(set);
                continue;
            }
            if let Some(set) = self.unicode()? {
                self.out.push_str(&set);
                continue;
            }
            let low = self.class_letter()?;
            let ranged = self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1;
            literal(&mut self.out, low);
            if ranged {
                self.take('-');
                let high = self.class_letter()?;
                if high < low {
                    return Err(format!("invalid character class range: {low}-{high}"));
                }
                self.out.push('-');
                literal(&mut self.out, high);
            }
        }
        self.keep(']');
        Ok(())
    }

    /// `[:alpha:]` inside a class.
    fn named_class(&mut self) -> Result<bool, String> {
        const NAMES: &str = " alnum alpha ascii blank cntrl digit graph lower print punct space upper word xdigit ";
        let Some((name, _)) = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
            return Ok(false);
        };
        let bare = name.strip_prefix('^').unwrap_or(name);
        if bare.is_empty() || bare.contains(' ') || !NAMES.contains(&format!(" {bare} ")) {
            return Err(format!("invalid character class range: [:{name}:]"));
        }
        self.out.push_str(&format!("[:{name}:]"));
        self.rest = &self.rest[name.len() + 4..];
        Ok(true)
    }

    fn class_letter(&mut self) -> Result<char, String> {
        match self.rest.chars().next() {
            None => Err("missing closing ]".to_owned()),
            Some('\\') => self.escaped(),
            Some(c) => Ok(self.take(c)),
        }
    }
}

/// Writes one letter so that it stands for itself, inside a class and outside.
fn literal(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        out.push(c);
    } else {
        out.push_str(&format!("\\x{{{:x}}}", u32::from(c)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_what_go_finds() {
        let rows = [
            ("^AVX", "AVX512F", true),
            ("^AVX$", "AVX512F", false),
            ("val-[0-9]$", "val-12", false),
            ("a{,3}", "a{,3}", true),
            ("a{2}", "aa", true),
            ("x{", "x{", true),
            (r"\d", "\u{663}", false),
            (r"^\w+$", "é", false),
            (r"\Qa.b\E", "a.b", true),
            (r"\Qa.b\E", "axb", false),
            (r"\x41\101\x{42}", "AAB", true),
            ("[]a]", "]", true),
            ("[^]a]", "]", false),
            ("[a&&b]", "&", true),
            ("[[a]", "[", true),
            ("[a-c-]", "-", true),
            ("[[:alpha:]]", "x", true),
            (r"[\d-]", "-", true),
            (r"\p{Greek}", "α", true),
            (r"\pL", "1", false),
            ("(?i)amd", "AMD", true),
            ("(?P<x>a)(b)", "ab", true),
            ("a|", "zzz", true),
            ("", "", true),
            ("a#b c", "a#b c", true),
            (r"\-\_\/", "-_/", true),
            ("~a", "~a", true),
            (r"\bx\b", "a x b", true),
            ("(?s).", "\n", true),
            (".", "\n", false),
        ];
        for (pattern, text, found) in rows {
            assert_eq!(Pattern::new(pattern).unwrap().is_found(text), found, "{pattern} in {text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for pattern in [
            "a**",
            "*",
            "a|*",
            "(",
            ")",
            "[",
            "[]",
            "[b-a]",
            "a{1001}",
            "(a{100}){100}",
            r"\",
            r"\y",
            r"\u{41}",
            "(?x)a",
            "(?u)a",
            r"\Z",
            "[[:nope:]]",
            r"\p{Nope}",
            "a{2,1}",
            "(?P<>a)",
            r"\1",
            "(?=a)",
            "(?",
            "[a-b-c]",
            "a{2}{2}",
            "{2}",
        ] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
        assert!(Pattern::new(&"a".repeat(2000)).unwrap_err().contains("longer"));
        assert!(Pattern::new(&"(".repeat(900)).is_err());
        assert!(Pattern::new(r"(\pL{30}){30}").is_err(), "too large when compiled");
    }

    proptest! {
        #[test]
        fn never_panics(pattern in r"[-a-c\\dwspPQEx{}()\[\]^$.|*+?,:<>=!0-9é&~ ]{0,30}", text in ".{0,10}") {
            if let Ok(pattern) = Pattern::new(&pattern) {
                pattern.is_found(&text);
            }
        }
    }
}
