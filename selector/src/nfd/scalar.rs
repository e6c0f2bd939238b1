//! Owns what a YAML scalar means to NFD: go-yaml v2's reading of YAML 1.1 (`resolve.go`), and the text that
//! `sigs.k8s.io/yaml` makes of it where a text is expected: `0200` is `"128"`, `5.10` is `"5.1"`, `yes` is `"true"`.

use crate::yaml::Scalar;

/// A scalar, resolved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Above what `Int` holds.
    Big(u64),
    Float(f64),
    Text(&'a str),
}

/// What the scalar means, or why its tag does not allow its text.
pub(super) fn resolve(scalar: &Scalar) -> Result<Value<'_>, String> {
    let text = scalar.text.as_str();
    let tag = match scalar.tag.as_deref() {
        None if !scalar.plain => return Ok(Value::Text(text)),
        None => return Ok(untagged(text)),
        Some(tag) => tag,
    };
    let wrong = || Err(format!("cannot decode {text:?} as a {tag}"));
    match (tag, untagged(text)) {
        ("!!str" | "!!timestamp" | "!", _) => Ok(Value::Text(text)),
        ("!!binary", _) => Err("!!binary is not supported".to_owned()),
        ("!!bool", value @ Value::Bool(_)) => Ok(value),
        ("!!int", value @ (Value::Int(_) | Value::Big(_))) => Ok(value),
        ("!!float", Value::Int(value)) => Ok(Value::Float(value as f64)),
        ("!!float", value @ Value::Float(_)) => Ok(value),
        ("!!null", Value::Null) => Ok(Value::Null),
        ("!!bool" | "!!int" | "!!float" | "!!null", _) => wrong(),
        _ => Ok(Value::Text(text)),
    }
}

fn untagged(text: &str) -> Value<'_> {
    match text.as_bytes().first() {
        None => Value::Null,
        Some(b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~') => {
            word(text).unwrap_or(Value::Text(text))
        }
        Some(b'.') => word(text).or_else(|| float(text)).unwrap_or(Value::Text(text)),
        Some(b'+' | b'-' | b'0'..=b'9') => word(text).or_else(|| number(text)).unwrap_or(Value::Text(text)),
        Some(_) => Value::Text(text),
    }
}

fn word(text: &str) -> Option<Value<'static>> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        "~" | "null" | "Null" | "NULL" => Value::Null,
        ".nan" | ".NaN" | ".NAN" => Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Value::Float(f64::NEG_INFINITY),
        _ => return None,
    })
}

fn number(text: &str) -> Option<Value<'static>> {
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.as_bytes().first() {
        Some(b'-') => ("-", &plain[1..]),
        Some(b'+') => ("+", &plain[1..]),
        _ => ("", plain.as_str()),
    };
    let (radix, digits) = base(digits);
    let whole = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !digits.is_empty();
    if whole(digits) {
        let signed = if sign == "-" { format!("-{digits}") } else { digits.to_owned() };
        if let Ok(value) = i64::from_str_radix(&signed, radix) {
            return Some(Value::Int(value));
        }
        if let (Ok(value), "") = (u64::from_str_radix(digits, radix), sign) {
            return Some(Value::Big(value));
        }
    }
    float(&plain)
}

/// The base that Go's `ParseInt(…, 0, …)` takes from the prefix.
fn base(digits: &str) -> (u32, &str) {
    let lower = digits.as_bytes().get(..2).map(<[u8]>::to_ascii_lowercase);
    match lower.as_deref() {
        Some(b"0x") => (16, &digits[2..]),
        Some(b"0o") => (8, &digits[2..]),
        Some(b"0b") => (2, &digits[2..]),
        Some([b'0', _]) => (8, &digits[1..]),
        _ => (10, digits),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, within the range of a 64-bit float.
fn float(text: &str) -> Option<Value<'static>> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let some = if whole.is_empty() { !part.is_empty() } else { true };
    let exponent_is = |text: &str| {
        let text = text.strip_prefix(['-', '+']).unwrap_or(text);
        !text.is_empty() && digits(text)
    };
    if !(some && digits(whole) && digits(part) && exponent.is_none_or(exponent_is)) {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite()).map(Value::Float)
}

/// The text of a value where a text is expected.
pub(super) fn text(value: Value<'_>) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Big(value) => value.to_string(),
        Value::Float(value) => go_float(value as f32),
        Value::Text(value) => value.to_owned(),
    }
}

/// Go's `FormatFloat(value, 'g', -1, 32)`.
fn go_float(value: f32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let shortest = format!("{value:e}");
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) || value == 0.0 {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        let scalar = Scalar { text: text.to_owned(), plain: true, tag: None };
        super::text(resolve(&scalar).unwrap())
    }

    /// The first rows are `nfd-edge-output.txt`; the others were run through `sigs.k8s.io/yaml` 1.6.
    #[test]
    fn plain_scalars_become_the_text_that_nfd_sees() {
        let rows = [
            ("0200", "128"),
            ("0300", "192"),
            ("5.10", "5.1"),
            ("1e3", "1000"),
            ("0x10", "16"),
            ("yes", "true"),
            ("10de", "10de"),
            ("15e3", "15000"),
            ("1_000", "1000"),
            ("null", ""),
            ("07", "7"),
            ("08", "8"),
            ("12:30", "12:30"),
            ("0b11", "3"),
            ("0o17", "15"),
            ("-0x1F", "-31"),
            ("+5", "5"),
            ("1e6", "1e+06"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("123456.7", "123456.7"),
            ("1234567.8", "1.2345678e+06"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "1.8446744e+19"),
            (".5", "0.5"),
            ("1.", "1"),
            ("1e400", "1e400"),
            ("1e39", "+Inf"),
            (".inf", "+Inf"),
            ("-.INF", "-Inf"),
            (".nan", "NaN"),
            ("off", "false"),
            ("y", "true"),
            ("nO", "nO"),
            ("2001-01-01", "2001-01-01"),
            ("<<", "<<"),
            ("0x", "0x"),
            ("-", "-"),
            (".", "."),
            ("1__0", "10"),
            ("0_7", "7"),
            ("-0", "0"),
            ("-0.0", "-0"),
            ("1.2.3", "1.2.3"),
            ("0x1p3", "0x1p3"),
        ];
        for (written, seen) in rows {
            assert_eq!(plain(written), seen, "{written}");
        }
    }

    #[test]
    fn tags_and_quotes_decide() {
        let with = |text: &str, plain, tag: Option<&str>| {
            let scalar = Scalar { text: text.to_owned(), plain, tag: tag.map(str::to_owned) };
            resolve(&scalar).map(super::text)
        };
        assert_eq!(with("0200", false, None).unwrap(), "0200");
        assert_eq!(with("0200", true, Some("!!str")).unwrap(), "0200");
        assert_eq!(with("5", false, Some("!!int")).unwrap(), "5");
        assert_eq!(with("5", true, Some("!mine")).unwrap(), "5");
        assert!(with("x", true, Some("!!int")).unwrap_err().contains("as a !!int"));
        assert!(with("eA==", true, Some("!!binary")).is_err());
    }
}
