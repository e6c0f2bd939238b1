//! Owns the kinds of values: each function turns one TOML value into a typed one, or says what is wrong with it.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use crate::nearest::nearest;

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong with it.
    pub message: String,
    /// What to write instead, where that is not what the key expects anyway.
    pub hint: Option<String>,
}

impl From<String> for Refused {
    fn from(message: String) -> Self {
        Self { message, hint: None }
    }
}

/// The most entries of one list.
pub const MAX_ENTRIES: usize = 256;

/// Units of time, in milliseconds; the longest name first where one begins with the other.
const TIME: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// Units of size, in bytes.
const SIZE: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Text.
pub fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Refused> {
    value.as_str().ok_or_else(|| wrong_type("text in quotes", value))
}

/// A list of texts.
pub fn texts(value: &DeValue<'_>) -> Result<Vec<String>, Refused> {
    let list = value.as_array().filter(|list| list.len() <= MAX_ENTRIES);
    let list = list.ok_or_else(|| Refused::from("expected a list of texts".to_owned()))?;
    list.iter().map(|value| text(value.get_ref()).map(str::to_owned)).collect()
}

/// True or false.
pub fn boolean(value: &DeValue<'_>) -> Result<bool, Refused> {
    value.as_bool().ok_or_else(|| wrong_type("true or false", value))
}

/// One of some words.
pub fn word<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Result<T, Refused> {
    let given = text(value)?;
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == given) {
        return Ok(*meaning);
    }
    let hint = nearest(given, words.iter().map(|(word, _)| *word)).map(|word| format!("did you mean {word:?}?"));
    Err(Refused { message: format!("{} is none of the known values", quoted(given)), hint })
}

/// A number with a unit, or several (`1m30s`), within `range` milliseconds.
pub fn duration(value: &DeValue<'_>, range: std::ops::RangeInclusive<u64>) -> Result<Duration, Refused> {
    let given = value.as_str().ok_or_else(|| wrong_type("a duration in quotes", value))?;
    let millis = time_of(given).ok_or_else(|| format!("{} is no duration", quoted(given)))?;
    if !range.contains(&millis) {
        let (low, high) = (show_duration(*range.start()), show_duration(*range.end()));
        return Err(format!("{} is out of range, which is {low} to {high}", quoted(given)).into());
    }
    Ok(Duration::from_millis(millis))
}

fn time_of(given: &str) -> Option<u64> {
    let mut rest = given;
    let mut total: u64 = 0;
    loop {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().ok()?;
        let (unit, factor) = TIME.iter().find(|(unit, _)| rest[digits..].starts_with(unit))?;
        total = total.checked_add(number.checked_mul(*factor)?)?;
        rest = &rest[digits + unit.len()..];
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// Puts a value in its place, unless it was refused.
pub(crate) fn put<T>(place: &mut T, value: Result<T, Refused>) -> Result<(), Refused> {
    *place = value?;
    Ok(())
}

/// A duration as it would be written in a file, in the largest unit that needs no fraction.
pub fn show_duration(millis: u64) -> String {
    let (unit, factor) = TIME.iter().rev().find(|(_, factor)| millis.is_multiple_of(*factor)).unwrap_or(&TIME[0]);
    let (unit, factor) = if millis == 0 { ("s", 1000) } else { (*unit, *factor) };
    format!("\"{}{unit}\"", millis / factor)
}

/// A number of bytes, or text with a unit, within `range` bytes.
pub fn size(value: &DeValue<'_>, range: std::ops::RangeInclusive<u64>) -> Result<u64, Refused> {
    let (given, bytes) = match value {
        DeValue::Integer(integer) => (integer.to_string(), u64::from_str_radix(integer.as_str(), integer.radix()).ok()),
        DeValue::String(given) => (quoted(given), size_of(given)),
        other => return Err(wrong_type("a size", other)),
    };
    let bytes = bytes.ok_or_else(|| format!("{given} is no size"))?;
    if !range.contains(&bytes) {
        let (low, high) = (show_size(*range.start()), show_size(*range.end()));
        return Err(format!("{given} is out of range, which is {low} to {high}").into());
    }
    Ok(bytes)
}

fn size_of(given: &str) -> Option<u64> {
    let (unit, factor) = SIZE.iter().find(|(unit, _)| given.ends_with(unit))?;
    let number = given[..given.len() - unit.len()].trim_end();
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A size as it would be written in a file.
pub fn show_size(bytes: u64) -> String {
    let unit = SIZE[..3].iter().rev().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| bytes.to_string(), |(unit, factor)| format!("\"{}{unit}\"", bytes / factor))
}

/// An absolute path without `..`.
pub fn path(value: &DeValue<'_>) -> Result<PathBuf, Refused> {
    let given = text(value)?;
    let climbs = given.split('/').any(|part| part == "..");
    if !given.starts_with('/') || climbs || given.contains('\0') {
        return Err(format!("{} is no absolute path", quoted(given)).into());
    }
    Ok(given.into())
}

/// The name of a shim, or its absolute path; never bestfit's own, which would call itself without end.
pub fn delegate(value: &DeValue<'_>) -> Result<String, Refused> {
    let given = text(value)?;
    let name = given.rsplit('/').next().unwrap_or_default();
    let plain = !given.is_empty() && !given.contains(|c: char| c.is_whitespace() || c.is_control());
    if !plain || name.is_empty() || (given.contains('/') && path(value).is_err()) {
        return Err(format!("{} is neither the name of a shim nor an absolute path", quoted(given)).into());
    }
    if name.starts_with("containerd-shim-bestfit") {
        return Err(Refused {
            message: format!("{} is bestfit itself", quoted(given)),
            hint: Some("name the shim that really runs the container, such as \"containerd-shim-runc-v2\"".to_owned()),
        });
    }
    Ok(given.to_owned())
}

/// `name` or `name:port` of registries.
pub fn hosts(value: &DeValue<'_>) -> Result<Vec<String>, Refused> {
    let array = value.as_array().ok_or_else(|| wrong_type("a list of hosts", value))?;
    array.iter().map(|host| one_host(host.get_ref())).collect()
}

fn one_host(value: &DeValue<'_>) -> Result<String, Refused> {
    let given = text(value)?;
    if let Some((_, host)) = given.split_once("://") {
        let host = host.split('/').next().unwrap_or_default();
        let hint = Some(format!("write the host alone: {}", quoted(host)));
        return Err(Refused { message: format!("{} is a URL, not a host", quoted(given)), hint });
    }
    let (name, port) = match given.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (given, None),
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let named = !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
    if !named || (bare == name && name.contains(':')) || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(format!("{} is no host", quoted(given)).into());
    }
    Ok(given.to_ascii_lowercase())
}

/// TCP ports.
pub fn ports(value: &DeValue<'_>) -> Result<Vec<u16>, Refused> {
    let array = value.as_array().ok_or_else(|| wrong_type("a list of numbers", value))?;
    array.iter().map(|port| one_port(port.get_ref())).collect()
}

fn one_port(value: &DeValue<'_>) -> Result<u16, Refused> {
    let DeValue::Integer(integer) = value else { return Err(wrong_type("a number", value)) };
    let port = u16::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("{integer} is no TCP port").into())
}

/// A user or group id that is not root's.
pub fn unprivileged_id(value: &DeValue<'_>) -> Result<u32, Refused> {
    let DeValue::Integer(integer) = value else { return Err(wrong_type("a number", value)) };
    let id = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
    match id {
        Some(0) => Err("0 is root, which reads nothing from outside".to_owned().into()),
        // 65535 and u32::MAX are the 16 and 32 bit "no id" of setuid(2).
        Some(id) if id != 65535 && id != u32::MAX => Ok(id),
        _ => Err(format!("{integer} is no user or group id").into()),
    }
}

fn wrong_type(expected: &str, value: &DeValue<'_>) -> Refused {
    let found = match value {
        DeValue::String(given) => format!("the text {}", quoted(given)),
        DeValue::Integer(given) => format!("the number {given}"),
        DeValue::Float(given) => format!("the number {given}"),
        DeValue::Boolean(given) => given.to_string(),
        DeValue::Datetime(given) => format!("the date {given}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    format!("expected {expected}, found {found}").into()
}

/// In quotes, without control characters, and not longer than a line of a terminal.
pub fn quoted(given: &str) -> String {
    match given.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", &given[..end]),
        None => format!("{given:?}"),
    }
}
