//! Owns the reading of RFC 3339 times as artifacts carry them. Reads no clock.

use std::fmt;

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

impl fmt::Display for Time {
    /// `2024-01-02T03:04:05Z`, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.seconds.div_euclid(86_400), self.seconds.rem_euclid(86_400));
        let (year, month, day) = date_of(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
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

/// The Gregorian date of a day since 1970: [`days_since_1970`] the other way.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_is_shown_as_it_is_read() {
        for days in (-800_000..800_000).step_by(37) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_since_1970(year, month, day), days);
            assert!((1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day), "{year}-{month}-{day}");
        }
        assert_eq!(Time { seconds: 1_709_251_199, nanos: 5 }.to_string(), "2024-02-29T23:59:59Z");
    }

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
            let shown = Time { seconds, nanos: 0 }.to_string();
            assert_eq!(Time::parse(&shown), Some(Time { seconds, nanos: 0 }), "{shown}");
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
