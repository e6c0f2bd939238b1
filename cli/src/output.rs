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

/// Blanks between two columns, and the narrowest that a column becomes.
const GAP: usize = 2;
const LEAST: usize = 8;

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

/// Rows with aligned columns. On a terminal no line is longer than it is wide; elsewhere the last column is as long as it is.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    lines(rows, terminal_width()).concat()
}

/// The same, row by row.
pub(crate) fn table_rows(rows: &[Vec<String>]) -> Vec<String> {
    lines(rows, terminal_width())
}

fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size_of(io::stdout()).map(|(terminal_size::Width(width), _)| usize::from(width))
}

/// Control characters never reach the terminal.
fn lines(rows: &[Vec<String>], terminal: Option<usize>) -> Vec<String> {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let mut widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    if let Some(terminal) = terminal {
        narrow(&mut widths, terminal.saturating_sub(GAP * columns.saturating_sub(1)));
    }
    let line = |row: &Vec<String>| {
        let cells: Vec<Vec<String>> = row.iter().zip(&widths).map(|(cell, width)| wrapped(cell, *width)).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        let part = |number: usize| {
            let cells = cells.iter().zip(&widths);
            let cells = cells.map(|(cell, width)| format!("{:<width$}", cell.get(number).map_or("", String::as_str)));
            cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned() + "\n"
        };
        (0..height).map(part).collect()
    };
    rows.iter().map(line).collect()
}

/// Takes from the widest columns until all of them fit.
fn narrow(widths: &mut [usize], room: usize) {
    let mut most = widths.iter().copied().max().unwrap_or(0);
    while most > LEAST && widths.iter().map(|width| (*width).min(most)).sum::<usize>() > room {
        most -= 1;
    }
    widths.iter_mut().for_each(|width| *width = (*width).min(most));
}

/// The lines of one cell, broken between words where that is possible.
fn wrapped(cell: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut room = width;
    for word in cell.split_inclusive(' ') {
        let letters: Vec<char> = word.trim_end().chars().collect();
        if letters.len() > room && letters.len() <= width {
            lines.push(String::new());
            room = width;
        }
        for letter in word.chars() {
            if room == 0 && letter != ' ' {
                lines.push(String::new());
                room = width;
            }
            if let Some(line) = lines.last_mut().filter(|_| room > 0) {
                line.push(letter);
            }
            room = room.saturating_sub(1);
        }
    }
    lines
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
    fn no_line_is_longer_than_the_terminal_is_wide() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows =
            [row(["KEY", "VALUE", "SOURCE"]), row(["a.long.key", "one two three four", "/sys/devices/system/cpu"])];
        assert_eq!(
            lines(&rows, Some(34)).concat(),
            "\
KEY         VALUE       SOURCE
a.long.key  one two     /sys/devic
            three four  es/system/
                        cpu
"
        );
        let whole = "KEY         VALUE               SOURCE\na.long.key  one two three four  /sys/devices/system/cpu\n";
        for terminal in [None, Some(80)] {
            assert_eq!(lines(&rows, terminal).concat(), whole, "{terminal:?}");
        }
        let narrowest = lines(&rows, Some(1)).concat();
        assert!(narrowest.lines().all(|line| line.len() <= 3 * LEAST + 2 * GAP), "{narrowest}");
        assert_eq!(wrapped("", 0), [""]);
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        assert_eq!(Paint(false).with(RED, "x"), "x");
        assert_eq!(Paint(true).with(RED, "x"), "\x1b[31mx\x1b[0m");
    }
}
