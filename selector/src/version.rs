//! Owns versions and ranges (matching.md §3): up to four numeric components, leading zeros allowed, the rest is a suffix
//! and ignored. `>=5.10,<6.9`, `[4.19,5.16)`, `4.1.x`.

use std::fmt;
use std::str::FromStr;

/// Up to four numeric components; missing ones are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    parts: [u64; 4],
}

/// What a requirement on an ordered value accepts. `T` is a version or a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range<T> {
    low: Option<(T, Edge)>,
    high: Option<(T, Edge)>,
}

/// Whether a bound itself is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    Inside,
    Outside,
}

impl Version {
    /// The components.
    pub fn parts(&self) -> [u64; 4] {
        self.parts
    }

    /// Parses the leading numeric components of `text`, and how many there are.
    fn leading(text: &str) -> Option<(Self, usize)> {
        let mut parts = [0; 4];
        let mut rest = text.trim();
        for (at, part) in parts.iter_mut().enumerate() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return (at > 0).then_some((Self { parts }, at));
            }
            *part = rest[..digits].parse().ok()?;
            match rest[digits..].strip_prefix('.') {
                Some(more) => rest = more,
                None => return Some((Self { parts }, at + 1)),
            }
        }
        Some((Self { parts }, 4))
    }

    /// The first version after all that begin with the first `count` components of this one.
    fn next(mut self, count: usize) -> Option<Self> {
        let last = self.parts.get_mut(count.checked_sub(1)?)?;
        *last = last.checked_add(1)?;
        self.parts[count..].fill(0);
        Some(self)
    }
}

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::leading(text).map(|(version, _)| version).ok_or(())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.parts;
        write!(f, "{a}.{b}.{c}")?;
        if d == 0 { Ok(()) } else { write!(f, ".{d}") }
    }
}

impl<T: Copy + Ord> Range<T> {
    /// Accepts `value` and what is above it.
    pub fn at_least(value: T) -> Self {
        Self { low: Some((value, Edge::Inside)), high: None }
    }

    /// Accepts `value` alone.
    pub fn exactly(value: T) -> Self {
        Self { low: Some((value, Edge::Inside)), high: Some((value, Edge::Inside)) }
    }

    /// Whether `value` is accepted.
    pub fn contains(&self, value: T) -> bool {
        let above = self.low.is_none_or(|(low, edge)| value > low || (value == low && edge == Edge::Inside));
        let below = self.high.is_none_or(|(high, edge)| value < high || (value == high && edge == Edge::Inside));
        above && below
    }

    /// Whether each value from `value` on is accepted, or none; `None` where some are.
    pub fn contains_from(&self, value: T) -> Option<bool> {
        if self.high.is_some_and(|(high, edge)| high < value || (high == value && edge == Edge::Outside)) {
            return Some(false);
        }
        (self.high.is_none() && self.contains(value)).then_some(true)
    }

    /// The lower bound: the higher, the more specific.
    pub fn low(&self) -> Option<T> {
        self.low.map(|(low, _)| low)
    }

    /// Parses a range: comparators joined by commas (all hold), or an interval. `None` where `text` is neither; a bare
    /// value is left to the caller, who knows how it compares.
    pub fn parse(text: &str, value: impl Fn(&str) -> Option<T>) -> Option<Self> {
        let text = text.trim();
        if text.starts_with(['[', '(']) {
            return Self::interval(text, value);
        }
        let mut range = Self { low: None, high: None };
        for part in text.split(',') {
            let next = Self::comparator(part.trim(), &value)?;
            range = range.and(next);
        }
        Some(range)
    }

    fn comparator(text: &str, value: &impl Fn(&str) -> Option<T>) -> Option<Self> {
        let operand = |text: &str| value(text.trim());
        let low = |bound, edge| Self { low: Some((bound, edge)), high: None };
        let high = |bound, edge| Self { low: None, high: Some((bound, edge)) };
        if let Some(rest) = text.strip_prefix(">=") {
            return operand(rest).map(|bound| low(bound, Edge::Inside));
        }
        if let Some(rest) = text.strip_prefix("<=") {
            return operand(rest).map(|bound| high(bound, Edge::Inside));
        }
        if let Some(rest) = text.strip_prefix('>') {
            return operand(rest).map(|bound| low(bound, Edge::Outside));
        }
        if let Some(rest) = text.strip_prefix('<') {
            return operand(rest).map(|bound| high(bound, Edge::Outside));
        }
        let rest = text.strip_prefix("==").or_else(|| text.strip_prefix('='))?;
        operand(rest).map(Self::exactly)
    }

    fn interval(text: &str, value: impl Fn(&str) -> Option<T>) -> Option<Self> {
        let edge = |inside: bool| if inside { Edge::Inside } else { Edge::Outside };
        let inner = text.get(1..text.len().checked_sub(1)?)?;
        let low_edge = edge(text.starts_with('['));
        let high_edge = match text.chars().next_back()? {
            ']' => Edge::Inside,
            ')' => Edge::Outside,
            _ => return None,
        };
        let (low, high) =
            inner.split_once(',').filter(|(low, high)| !(low.trim().is_empty() && high.trim().is_empty()))?;
        let bound = |text: &str, edge| match text.trim() {
            "" => Some(None),
            text => value(text).map(|bound| Some((bound, edge))),
        };
        Some(Self { low: bound(low, low_edge)?, high: bound(high, high_edge)? })
    }

    /// What both accept.
    fn and(self, other: Self) -> Self {
        let tighter = |edge: Edge| edge == Edge::Outside;
        let low = [self.low, other.low].into_iter().flatten().max_by_key(|(bound, edge)| (*bound, tighter(*edge)));
        let high = [self.high, other.high].into_iter().flatten().min_by_key(|(bound, edge)| (*bound, !tighter(*edge)));
        Self { low, high }
    }
}

impl Range<Version> {
    /// A range, a prefix (`4.1.x`, `4.1.*`), or `None`.
    pub fn of_versions(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut prefix = text;
        while let Some(rest) = [".x", ".X", ".*"].iter().find_map(|open| prefix.strip_suffix(open)) {
            prefix = rest;
        }
        if prefix.len() < text.len() { Self::prefix(prefix) } else { Self::parse(text, exact) }
    }

    /// All versions that begin with the components of `text`.
    pub fn prefix(text: &str) -> Option<Self> {
        let version = exact(text)?;
        let (_, count) = Version::leading(text)?;
        Some(Self { low: Some((version, Edge::Inside)), high: version.next(count).map(|next| (next, Edge::Outside)) })
    }

    /// All versions with the major number of `text`, from `text` on.
    pub fn same_major(text: &str) -> Option<Self> {
        let version = exact(text)?;
        Some(Self { low: Some((version, Edge::Inside)), high: version.next(1).map(|next| (next, Edge::Outside)) })
    }
}

/// A version as an author writes it: one that ends in a dot, holds spaces, or leaves a component open before its end is a slip
/// of the pen.
pub fn exact(text: &str) -> Option<Version> {
    let text = text.trim();
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+_~".contains(&byte));
    let whole = text.split('.').all(|part| !["", "x", "X"].contains(&part));
    if plain && whole { text.parse().ok() } else { None }
}

/// Whether a version, or one within a range, ends in a letter: `9.0a`.
pub fn has_suffix(text: &str) -> bool {
    text.split('.').any(|part| !["x", "X"].contains(&part) && part.bytes().any(|byte| byte.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn order_is_numeric_and_ignores_the_suffix() {
        assert!(version("5.10") > version("5.9.99"));
        assert_eq!(version("535.183.01"), version("535.183.1"));
        assert_eq!(version("5.14.0-427.13.1.el9_4.x86_64"), version("5.14"));
        assert_eq!(version("1.2.3.4.5"), version("1.2.3.4"));
        assert_eq!(version("6."), version("6"));
        for bad in ["", "x", "-1", "99999999999999999999999", ".5"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges() {
        let table = [
            (">=5.10,<6.9", &["5.10", "6.8.12"][..], &["5.9", "6.9", "7"][..]),
            ("[4.19,5.16)", &["4.19", "5.15.99"], &["4.18", "5.16"]),
            ("(4.19, ]", &["4.19.1", "9"], &["4.19"]),
            ("4.1.x", &["4.1", "4.1.6"], &["4.0.9", "4.2"]),
            ("4.*", &["4", "4.9"], &["5", "3"]),
            ("=5.10", &["5.10.0"], &["5.10.1"]),
            (">1,>=1", &["1.1"], &["1"]),
            (">= 12.0", &["12.4"], &["11.8"]),
            ("4.x.x", &["4", "4.9"], &["5", "3"]),
            ("4.1.X", &["4.1.6"], &["4.2"]),
            ("[,5)", &["4"], &["5"]),
        ];
        for (text, inside, outside) in table {
            let range = Range::of_versions(text).unwrap();
            inside.iter().for_each(|value| assert!(range.contains(version(value)), "{value} in {text}"));
            outside.iter().for_each(|value| assert!(!range.contains(version(value)), "{value} not in {text}"));
        }
        for bad in [
            "5.10", "", "[1,2", "[1]", ">=", ">=x", "1,2", "=>5", "[", "5..x", ">=5.", "[a,b]", "é", "[,]", "(, )",
            "4.1.x.2", "4.*.2", ">=5.x", "x",
        ] {
            assert!(Range::of_versions(bad).is_none(), "{bad}");
        }
        assert_eq!(Range::of_versions(">=5.10,<6").unwrap().low(), Some(version("5.10")));
    }
}
