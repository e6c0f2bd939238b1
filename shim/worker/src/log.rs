//! Owns where decisions are written: one JSON line per create in a bounded file, and a copy in the journal where there is
//! one. A log that cannot be written never stops a container; the journal says so instead.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use bestfit_config::Log;
use bestfit_selector::json::plain;
use bestfit_selector::record::Record;

/// systemd's native socket (systemd, "Native Journal Protocol").
const JOURNAL: &str = "/run/systemd/journal/socket";
/// The part of the log's size that one record may have.
const PART: u64 = 4;
/// The longest reason in a record that is too long without its decision, in characters.
const MAX_TEXT: usize = 300;
/// How loud a line is (syslog(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    Warning = 4,
    Info = 6,
}

/// Appends a record.
pub(crate) fn append(log: &Log, record: &Record, summary: &str, priority: Priority) {
    let Ok(mut line) = line(record, log.max_bytes / PART) else { return };
    line.push(b'\n');
    let written = rotate_and_append(&log.file, log.max_bytes, &line);
    if let Err(error) = &written {
        say(&format!("{}: {error}", log.file.display()), Priority::Warning, None);
    }
    if log.journal {
        say(summary, priority, Some(&line[..line.len() - 1]));
    }
}

/// The record as one line of at most about `most` bytes: one that is longer would push out what others wrote, and whoever writes
/// artifacts has a say in its length.
fn line(record: &Record, most: u64) -> serde_json::Result<Vec<u8>> {
    let line = serde_json::to_vec(record)?;
    if line.len() as u64 <= most {
        return Ok(line);
    }
    let why = format!("the decision is left out: with it the record has {} bytes, of at most {most}", line.len());
    let error = record.error.as_ref().map_or_else(|| why.clone(), |error| format!("{error}; {why}"));
    let short = Record { decision: None, error: Some(error), ..record.clone() };
    let line = serde_json::to_vec(&short)?;
    if line.len() as u64 <= most {
        return Ok(line);
    }
    let cut = |text: Option<String>| text.map(|text| plain(&text, MAX_TEXT));
    let (error, untouched) = (cut(short.error), cut(short.untouched));
    serde_json::to_vec(&Record { error, untouched, refused: Vec::new(), unenforced: Vec::new(), ..short })
}

/// The file holds at most `max_bytes`; what was there before is kept once, as `<file>.1`.
fn rotate_and_append(file: &Path, max_bytes: u64, line: &[u8]) -> io::Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    let open = || OpenOptions::new().append(true).create(true).mode(0o640).open(file);
    let mut to = open()?;
    if to.metadata()?.len() + line.len() as u64 > max_bytes {
        // One of several workers renames; the others find the new file, or write on behind the end of the old one. Nobody waits: who
        // could open the file could keep its lock.
        let lock = sibling(file, ".lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(lock)?;
        if lock.try_lock().is_ok() && fs::metadata(file).is_ok_and(|meta| meta.len() + line.len() as u64 > max_bytes) {
            fs::rename(file, sibling(file, ".1"))?;
        }
        to = open()?;
    }
    // One write: lines of several workers do not mix (O_APPEND).
    to.write_all(line)
}

fn sibling(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Writes to the journal, if there is one.
pub(crate) fn say(message: &str, priority: Priority, record: Option<&[u8]>) {
    let Ok(socket) = UnixDatagram::unbound() else { return };
    // A journal that does not read holds up nobody.
    if socket.set_nonblocking(true).is_err() {
        return;
    }
    let mut packet =
        format!("SYSLOG_IDENTIFIER=bestfit\nPRIORITY={}\nMESSAGE={}\n", priority as u8, message.replace('\n', " "));
    // A datagram has a size; a longer record is in the file.
    if let Some(record) = record.filter(|record| record.len() < 60_000) {
        packet.push_str("BESTFIT_RECORD=");
        packet.push_str(&String::from_utf8_lossy(record));
        packet.push('\n');
    }
    let _ = socket.send_to(packet.as_bytes(), JOURNAL);
}

/// Removes the oldest files of a directory that holds more than `keep`.
pub(crate) fn prune(dir: &Path, keep: usize) -> io::Result<()> {
    let mut files: Vec<_> = fs::read_dir(dir)?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    if files.len() > keep {
        files.sort();
        // A quarter at once, so that not every create sorts.
        for (_, path) in &files[..files.len() - keep * 3 / 4] {
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_record_that_is_too_long_keeps_all_but_its_decision() {
        let mut record = Record::new("2026-01-01T00:00:00Z".to_owned(), "localhost/a:1");
        record.decision = Some(crate::remember::tests::answer(None).decision);
        record.container = Some("c".to_owned());
        let read = |most: u64| serde_json::from_slice::<Record>(&line(&record, most).unwrap()).unwrap();
        assert_eq!(read(1 << 20), record);
        let short = read(200);
        assert_eq!((short.decision, short.container), (None, record.container.clone()));
        let why = short.error.unwrap();
        assert!(
            why.starts_with("the decision is left out: with it the record has ") && why.ends_with("of at most 200")
        );
        let long = "x".repeat(1 << 20);
        record.unenforced = vec![long.clone(); 8];
        (record.error, record.untouched) = (Some(long.clone()), Some(long));
        assert!(line(&record, 4000).unwrap().len() < 4000, "whatever else is in it");
    }

    #[test]
    fn nobody_waits_for_the_lock_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("decisions.jsonl");
        let write = |line: &[u8]| rotate_and_append(&file, 10, line).unwrap();
        write(b"line 1\n");
        write(b"line 2\n");
        let lock = sibling(&file, ".lock");
        assert_eq!(fs::metadata(&lock).unwrap().permissions().mode() & 0o777, 0o600);
        let held = fs::File::open(lock).unwrap();
        held.lock().unwrap();
        write(b"line 3\n");
        assert_eq!(fs::read_to_string(&file).unwrap(), "line 2\nline 3\n");
        drop(held);
        write(b"line 4\n");
        assert_eq!(fs::read_to_string(&file).unwrap(), "line 4\n");
    }

    #[test]
    fn the_file_is_bounded_and_no_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log/decisions.jsonl");
        for number in 0..10 {
            rotate_and_append(&file, 25, format!("line {number}\n").as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "line 9\n");
        assert_eq!(fs::read_to_string(sibling(&file, ".1")).unwrap(), "line 6\nline 7\nline 8\n");
    }
}
