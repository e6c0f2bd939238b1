//! Owns what is printed: tables, colours where a terminal wants them, progress on standard error.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;

use crate::failure::{Exit, Failure};

pub(crate) const RED: u8 = 31;
pub(crate) const GREEN: u8 = 32;
pub(crate) const YELLOW: u8 = 33;

/// Work that takes longer says that it goes on.
const PATIENCE: Duration = Duration::from_secs(1);

/// Colours, or none: only on a terminal, and not where NO_COLOR (no-color.org) is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    pub(crate) fn stdout() -> Self {
        Self::wanted(io::stdout().is_terminal())
    }

    pub(crate) fn stderr() -> Self {
        Self::wanted(io::stderr().is_terminal())
    }

    fn wanted(terminal: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(terminal && !dumb && !set("NO_COLOR"))
    }

    pub(crate) fn with(self, colour: u8, text: &str) -> String {
        if self.0 { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Writes to standard output. A reader that went away (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Output, format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a value as indented JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(Exit::Output, format!("cannot be written as JSON: {error}")))?;
    print(&format!("{text}\n"))
}

/// Rows with aligned columns; the last column is as long as it is. Control characters never reach the terminal.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Text from outside without control characters.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Runs `work`; if that takes longer than a second, a terminal shows what goes on.
pub(crate) async fn with_progress<T>(what: String, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    // indicatif draws nothing where standard error is no terminal.
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    let done = work.await;
    bar.finish_and_clear();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_control_characters_are_not_printed() {
        let rows = [vec!["a".into(), "bb".into(), String::new()], vec!["ccc".into(), "d\x1b[31m".into(), "e".into()]];
        assert_eq!(table(&rows), "a    bb\nccc  d\u{fffd}[31m  e\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        assert_eq!(Paint(false).with(RED, "x"), "x");
        assert_eq!(Paint(true).with(RED, "x"), "\x1b[31mx\x1b[0m");
    }
}
