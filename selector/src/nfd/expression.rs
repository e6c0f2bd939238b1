//! Owns NFD's match expressions: the operators, what each asks of its values, and what it answers for one element; to the
//! letter (NFD `pkg/apis/nfd/nodefeaturerule/expression.go`), or so that a host's value never is an error.

use std::fmt;

use super::regexp::Pattern;
use crate::decision::Answer;
use crate::value::Depth;
use crate::version::Version;

/// The longest text that Masterminds semver takes for a version, in bytes.
const MAX_VERSION: usize = 256;

/// One expression.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    pub(super) op: Op,
    pub(super) values: Vec<String>,
    /// `type`: nothing, or `version`.
    pub(super) kind: String,
    /// The values of `InRegexp`, read.
    patterns: Vec<Result<Pattern, String>>,
}

/// The operator of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    /// None is given: everything matches.
    Any,
    In,
    NotIn,
    InRegexp,
    Exists,
    DoesNotExist,
    Gt,
    Ge,
    Lt,
    Le,
    GtLt,
    GeLe,
    IsTrue,
    IsFalse,
    /// None of NFD's.
    Other(String),
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.values == other.values && self.kind == other.kind
    }
}

impl Eq for Expression {}

impl From<&str> for Op {
    fn from(text: &str) -> Self {
        match text {
            "" => Self::Any,
            "In" => Self::In,
            "NotIn" => Self::NotIn,
            "InRegexp" => Self::InRegexp,
            "Exists" => Self::Exists,
            "DoesNotExist" => Self::DoesNotExist,
            "Gt" => Self::Gt,
            "Ge" => Self::Ge,
            "Lt" => Self::Lt,
            "Le" => Self::Le,
            "GtLt" => Self::GtLt,
            "GeLe" => Self::GeLe,
            "IsTrue" => Self::IsTrue,
            "IsFalse" => Self::IsFalse,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "",
            Self::Other(text) => text,
            Self::In => "In",
            Self::NotIn => "NotIn",
            Self::InRegexp => "InRegexp",
            Self::Exists => "Exists",
            Self::DoesNotExist => "DoesNotExist",
            Self::Gt => "Gt",
            Self::Ge => "Ge",
            Self::Lt => "Lt",
            Self::Le => "Le",
            Self::GtLt => "GtLt",
            Self::GeLe => "GeLe",
            Self::IsTrue => "IsTrue",
            Self::IsFalse => "IsFalse",
        })
    }
}

impl Op {
    /// Whether it compares numbers or versions.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(self, Self::Gt | Self::Ge | Self::Lt | Self::Le | Self::GtLt | Self::GeLe)
    }

    /// How many values it takes, at least and at most.
    fn values(&self) -> (usize, usize) {
        match self {
            Self::Any | Self::Exists | Self::DoesNotExist | Self::IsTrue | Self::IsFalse => (0, 0),
            Self::In | Self::NotIn | Self::InRegexp => (1, usize::MAX),
            Self::Gt | Self::Ge | Self::Lt | Self::Le => (1, 1),
            Self::GtLt | Self::GeLe => (2, 2),
            Self::Other(_) => (0, usize::MAX),
        }
    }

    /// Whether `value` lies where it must, seen from the values of the expression.
    fn lies<T: Ord>(&self, value: &T, bounds: &[T]) -> bool {
        match (self, bounds) {
            (Self::Gt, [bound]) => value > bound,
            (Self::Ge, [bound]) => value >= bound,
            (Self::Lt, [bound]) => value < bound,
            (Self::Le, [bound]) => value <= bound,
            (Self::GtLt, [low, high]) => value > low && value < high,
            (Self::GeLe, [low, high]) => value >= low && value <= high,
            _ => false,
        }
    }
}

impl Expression {
    pub(super) fn new(op: Op, values: Vec<String>, kind: String) -> Self {
        let patterns =
            if op == Op::InRegexp { values.iter().map(|value| Pattern::new(value)).collect() } else { Vec::new() };
        Self { op, values, kind, patterns }
    }

    /// How much it costs to hold it against an element: regular expressions count each.
    pub(super) fn size(&self) -> usize {
        Self::size_of(&self.op, &self.values)
    }

    /// The size of an expression that is not read yet.
    pub(super) fn size_of(op: &Op, values: &[String]) -> usize {
        1 + if *op == Op::InRegexp { values.len() } else { 0 }
    }

    /// What is wrong with it whatever the host has.
    pub(super) fn problem(&self) -> Option<String> {
        if let Op::Other(text) = &self.op {
            return Some(format!("{text:?} is no operator of NFD's"));
        }
        if let Some(wrong) = self.wrong_count() {
            return Some(wrong);
        }
        if let Some((value, why)) =
            self.patterns.iter().zip(&self.values).find_map(|(read, value)| read.as_ref().err().map(|why| (value, why)))
        {
            return Some(format!("{value:?} is no regular expression: {why}"));
        }
        if !self.op.is_ordered() {
            return None;
        }
        match self.kind.as_str() {
            "version" => {
                let bad = self.values.iter().find(|value| loose(value).is_none());
                bad.map(|value| format!("{value:?} is no version"))
            }
            "" => match self.numbers() {
                Err(why) => Some(why),
                Ok(numbers) => matches!(numbers[..], [low, high] if low > high || (low == high && self.op == Op::GtLt))
                    .then(|| format!("the first value of {} must be less than the second", self.op)),
            },
            other => Some(format!("the type {other:?} is not known; NFD knows \"version\"")),
        }
    }

    fn wrong_count(&self) -> Option<String> {
        let (least, most) = self.op.values();
        let wanted = match (least, most) {
            (0, 0) => "no value",
            (1, 1) => "exactly one value",
            (2, 2) => "exactly two values",
            _ => "at least one value",
        };
        let name = if self.op == Op::Any { "no operator".to_owned() } else { self.op.to_string() };
        let wrong = !(least..=most).contains(&self.values.len());
        wrong.then(|| format!("{name} takes {wanted}, not {}", self.values.len()))
    }

    fn numbers(&self) -> Result<Vec<i64>, String> {
        self.values.iter().map(|text| number(text).ok_or_else(|| format!("{text:?} is no whole number"))).collect()
    }

    /// NFD's answer for one element; `value` is `None` for a flag. The error is where NFD gives up.
    pub(super) fn strict(&self, valid: bool, value: Option<&str>) -> Result<bool, String> {
        if let Op::Other(text) = &self.op {
            return Err(format!("invalid Op {text:?}"));
        }
        if matches!(self.op, Op::Any | Op::Exists | Op::DoesNotExist) {
            if let Some(wrong) = self.wrong_count() {
                return Err(wrong);
            }
            return Ok(self.op == Op::Any || (self.op == Op::Exists) == valid);
        }
        let Some(value) = value.filter(|_| valid) else { return Ok(false) };
        if let Some(wrong) = self.wrong_count() {
            return Err(wrong);
        }
        if !self.op.is_ordered() {
            if let Some(why) = self.patterns.iter().find_map(|read| read.as_ref().err()) {
                return Err(format!("no regular expression: {why}"));
            }
            return Ok(self.holds(value));
        }
        match self.kind.as_str() {
            "version" => {
                let version = |text: &str| semver(text).ok_or_else(|| format!("not a version {text:?}"));
                let found = version(value)?;
                let bounds = self.values.iter().map(|text| version(text)).collect::<Result<Vec<_>, _>>()?;
                Ok(self.op.lies(&found, &bounds))
            }
            "" => {
                let found = number(value).ok_or_else(|| format!("not a number {value:?}"))?;
                let bounds = self.numbers()?;
                match bounds[..] {
                    [low, high] if low >= high => Err(format!("value[0] must be less than value[1] for {}", self.op)),
                    _ => Ok(self.op.lies(&found, &bounds)),
                }
            }
            other => Err(format!("invalid type {other:?}")),
        }
    }

    /// The same without errors: the expression makes sense, and a host's value that cannot be compared is not known.
    pub(super) fn lenient(&self, valid: bool, value: Option<&str>) -> (Answer, Option<String>) {
        if self.op.is_ordered()
            && let Some(value) = value.filter(|_| valid)
        {
            let lies = match self.kind.as_str() {
                "version" => loose(value).and_then(|found| {
                    let bounds: Option<Vec<_>> = self.values.iter().map(|text| loose(text)).collect();
                    Some(self.op.lies(&found, &bounds?))
                }),
                _ => number(value).and_then(|found| Some(self.op.lies(&found, &self.numbers().ok()?))),
            };
            let what = if self.kind == "version" { "version" } else { "whole number" };
            return match lies {
                Some(lies) => (answer(lies), None),
                None => (Answer::Unknown, Some(format!("the host's {value:?} is no {what}"))),
            };
        }
        match self.strict(valid, value) {
            Ok(holds) => (answer(holds), None),
            Err(why) => (Answer::Unknown, Some(why)),
        }
    }

    /// The operators that compare texts.
    fn holds(&self, value: &str) -> bool {
        match self.op {
            Op::In => self.values.iter().any(|wanted| wanted == value),
            Op::NotIn => self.values.iter().all(|wanted| wanted != value),
            Op::InRegexp => self.patterns.iter().flatten().any(|pattern| pattern.is_found(value)),
            Op::IsTrue => value == "true",
            Op::IsFalse => value == "false",
            _ => false,
        }
    }

    /// How specific its values are: the lower bound of a version or number.
    pub(super) fn depth(&self) -> Depth {
        let low = match self.op {
            Op::Gt | Op::Ge | Op::GtLt | Op::GeLe => self.values.first(),
            _ => None,
        };
        match (low, self.kind.as_str()) {
            (Some(low), "version") => loose(low).map_or([0; 4], |version| version.parts()),
            (Some(low), _) => [number(low).and_then(|low| u64::try_from(low).ok()).unwrap_or(0), 0, 0, 0],
            (None, _) => [0; 4],
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = if self.op == Op::Any { "any".to_owned() } else { self.op.to_string() };
        f.write_str(&op)?;
        match &self.values[..] {
            [] => {}
            [value] => write!(f, " {value}")?,
            values => write!(f, " [{}]", values.join(", "))?,
        }
        if self.op.is_ordered() && !self.kind.is_empty() { write!(f, " ({})", self.kind) } else { Ok(()) }
    }
}

fn answer(holds: bool) -> Answer {
    if holds { Answer::True } else { Answer::False }
}

/// Go's `strconv.Atoi` on 64 bits.
fn number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| text.parse().ok()).flatten()
}

/// The numeric prefix of anything that has one.
fn loose(text: &str) -> Option<Version> {
    text.strip_prefix('v').unwrap_or(text).parse().ok()
}

/// Masterminds semver 3.5 `NewVersion`, the pre-release dropped as NFD drops it; build data never counts in an order.
fn semver(text: &str) -> Option<[u64; 3]> {
    if text.len() > MAX_VERSION {
        return None;
    }
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (text, pre) = text.split_once('-').map_or((text, None), |(text, pre)| (text, Some(pre)));
    let part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let dotted = |text: &str| text.split('.').all(part);
    let zeros = |text: &str| {
        let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        text.split('.').any(|part| numeric(part) && part.len() > 1 && part.starts_with('0'))
    };
    if !build.is_none_or(dotted) || !pre.is_none_or(|pre| dotted(pre) && !zeros(pre)) {
        return None;
    }
    let mut parts = [0; 3];
    for (at, number) in text.split('.').enumerate() {
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *parts.get_mut(at)? = number.parse().ok()?;
    }
    Some(parts)
}

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;
