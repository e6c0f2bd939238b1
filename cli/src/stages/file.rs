//! Owns the reading of files that a user names, within limits; `-` is standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::failure::Failure;

/// All bytes of `file`, at most `limit`; `-` is standard input.
pub(crate) fn read(file: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let read = if file == Path::new("-") { bounded(io::stdin().lock(), limit) } else { read_plain(file, limit) };
    read.map_err(|error| Failure::io(name(file), &error))
}

/// The same without a name for standard input, and with the error as it is.
pub(crate) fn read_plain(file: &Path, limit: u64) -> io::Result<Vec<u8>> {
    bounded(File::open(file)?, limit)
}

fn bounded(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("larger than {} MiB", limit >> 20)));
    }
    Ok(bytes)
}

/// The file for people.
pub(crate) fn name(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { crate::output::plain(&file.to_string_lossy()) }
}
