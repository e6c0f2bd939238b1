//! Owns the few lines that the relay says: into the bundle's `log` fifo, which containerd reads, in logfmt as shims do.
//! Nothing is ever lost or late because a line could not be written.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

/// The fifo stays open after the first line: closing it could be the end of the log for its reader.
static FIFO: Mutex<Option<File>> = Mutex::new(None);
/// The longest message as it is written, in bytes: a line must fit what a pipe takes in one piece.
const MAX_MESSAGE: usize = 2048;

pub(crate) fn warn(message: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let text = format!("time=\"{}\" level=warning msg={} runtime=bestfit\n", rfc3339(now), quoted(message));
    let mut fifo = FIFO.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if fifo.is_none() {
        let options = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open("log");
        *fifo = options.ok();
    }
    if let Some(file) = fifo.as_mut() {
        let _ = file.write_all(text.as_bytes());
    }
}

fn quoted(message: &str) -> String {
    let mut out = String::with_capacity(message.len() + 2);
    out.push('"');
    for c in message.chars() {
        // What is counted is what is written; an escaped character takes two bytes.
        if out.len() + c.len_utf8().max(2) > MAX_MESSAGE {
            break;
        }
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Seconds since 1970 as a date (Howard Hinnant, chrono-compatible low-level date algorithms, `civil_from_days`).
fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86400 + 719_468, seconds % 86400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let day = day - (153 * shifted + 2) / 5 + 1;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), date);
        }
    }

    #[test]
    fn a_message_stays_on_its_line() {
        assert_eq!(quoted("a \"b\"\n\\\t"), "\"a \\\"b\\\"\\n\\\\ \"");
        for c in ["é", "\"", "\n", "x", "\u{1F600}"] {
            let length = quoted(&c.repeat(4000)).len();
            assert!((MAX_MESSAGE - 3..=MAX_MESSAGE + 1).contains(&length), "{c:?} {length}");
        }
    }
}
