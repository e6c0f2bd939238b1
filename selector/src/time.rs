//! Owns the reading of RFC 3339 times as artifacts carry them. Reads no clock.

/// A point in time: seconds since 1970 UTC, then nanoseconds. Leap seconds count as the second before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970 UTC.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

impl Time {
    /// Parses `2024-01-02T03:04:05.678Z` or with an offset (`+02:00`); `None` where it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let mark = |at: usize, marks: &[u8]| bytes.get(at).is_some_and(|byte| marks.contains(byte));
        if !(mark(4, b"-") && mark(7, b"-") && mark(10, b"Tt ") && mark(13, b":") && mark(16, b":")) {
            return None;
        }
        let (year, month, day) = (number(text, 0, 4)?, number(text, 5, 2)?, number(text, 8, 2)?);
        let (hour, minute, second) = (number(text, 11, 2)?, number(text, 14, 2)?, number(text, 17, 2)?);
        let within = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
        if !within || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let rest = text.get(19..)?;
        let (nanos, zone) = match rest.strip_prefix('.') {
            Some(fraction) => split_fraction(fraction)?,
            None => (0, rest),
        };
        let local = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second.min(59);
        Some(Self { seconds: local - offset(zone)?, nanos })
    }
}

fn number(text: &str, at: usize, length: usize) -> Option<i64> {
    let digits = text.get(at..at + length)?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn split_fraction(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (fraction, zone) = text.split_at(digits);
    let kept = &fraction[..digits.min(9)];
    let nanos = kept.parse::<u32>().ok()? * 10_u32.pow(9 - kept.len() as u32);
    Some((nanos, zone))
}

/// Seconds that local time is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = (number(zone, 1, 2)?, number(zone, 4, 2)?);
    let valid = zone.len() == 6 && zone.as_bytes()[3] == b':' && hours < 24 && minutes < 60;
    valid.then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the Gregorian calendar, counted in years that begin in March so that leap days come last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rfc_3339() {
        let table = [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2024-01-02T03:04:05Z", 1_704_164_645, 0),
            ("2024-02-29T23:59:60.5Z", 1_709_251_199, 500_000_000),
            ("2024-01-02T05:04:05.123456789123+02:00", 1_704_164_645, 123_456_789),
            ("1969-12-31T23:00:00-01:00", 0, 0),
            ("2000-03-01t00:00:00z", 951_868_800, 0),
        ];
        for (text, seconds, nanos) in table {
            assert_eq!(Time::parse(text), Some(Time { seconds, nanos }), "{text}");
        }
        for bad in [
            "",
            "2024-01-02",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-02T03:04:05",
            "+024-01-02T03:04:05Z",
            "2024-01-02T03:04:05.Z",
            "2024-01-02T03:04:05+2:00",
            "2024-01-02T03:04:05ZZ",
            "2024-01-02T24:00:00Z",
            "é024-01-02T03:04:05Z",
        ] {
            assert_eq!(Time::parse(bad), None, "{bad}");
        }
    }
}
