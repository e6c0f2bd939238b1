//! Owns the reading of files that a user names, within limits; `-` is standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::failure::Failure;

/// All bytes of `file`, at most `limit`; `-` is standard input.
pub(crate) fn read(file: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    read_any(file, limit).map_err(|error| Failure::io(name(file), &error))
}

/// The same; says what to do next where there are more.
pub(crate) fn read_or(file: &Path, limit: u64, too_large: &str) -> Result<Vec<u8>, Failure> {
    read_any(file, limit).map_err(|error| {
        let failure = Failure::io(name(file), &error);
        if error.kind() == io::ErrorKind::FileTooLarge { failure.hint(too_large) } else { failure }
    })
}

fn read_any(file: &Path, limit: u64) -> io::Result<Vec<u8>> {
    if file == Path::new("-") { bounded(io::stdin().lock(), limit) } else { read_plain(file, limit) }
}

/// The same without a name for standard input, and with the error as it is.
pub(crate) fn read_plain(file: &Path, limit: u64) -> io::Result<Vec<u8>> {
    bounded(File::open(file)?, limit)
}

fn bounded(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {} MiB", limit >> 20)));
    }
    Ok(bytes)
}

/// The file for people.
pub(crate) fn name(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { crate::output::plain(&file.to_string_lossy()) }
}
