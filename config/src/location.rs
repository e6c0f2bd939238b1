//! Owns where the configuration lies, and reads its files within limits. Only a file that does not exist is "nothing".

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::problem::{Lines, Problem};

/// The file that is read where the environment names none.
pub const DEFAULT_FILE: &str = "/etc/bestfit/config.toml";
/// The variable that names another file.
pub const VARIABLE: &str = "BESTFIT_CONFIG";
/// The most bytes of one file.
pub const MAX_BYTES: u64 = 1 << 20;
/// The most drop-ins.
pub const MAX_DROP_INS: usize = 256;

/// Which files make up the configuration: `file`, `conf.d/*.toml` beside it, `profiles/<profile>.toml` beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The main file.
    pub file: PathBuf,
    /// The profile whose file is read over the others.
    pub profile: Option<String>,
}

/// The text of one file.
pub(crate) struct Source {
    pub(crate) file: PathBuf,
    pub(crate) text: String,
    pub(crate) lines: Lines,
    /// Whether it is the profile's file, which may only tighten.
    pub(crate) profile: bool,
}

impl Location {
    /// `BESTFIT_CONFIG`, or `/etc/bestfit/config.toml` where it is not set or empty.
    pub fn from_env(profile: Option<String>) -> Self {
        let file = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).unwrap_or_else(|| DEFAULT_FILE.into());
        Self { file: file.into(), profile }
    }

    /// A file of the caller's choice.
    pub fn at(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), profile: None }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.file.with_file_name(name)
    }

    /// All files that exist, in the order in which they are read; what cannot be read is added to `problems`.
    pub(crate) fn read(&self, problems: &mut Vec<Problem>) -> Vec<Source> {
        let mut sources = Vec::new();
        let mut take = |file: PathBuf, profile: bool, problems: &mut Vec<Problem>| match read_text(&file) {
            Ok(Some(text)) => sources.push(Source { lines: Lines::of(&text), file, text, profile }),
            Ok(None) if profile => problems.push(Problem {
                message: "the profile has no file".to_owned(),
                hint: Some("create it (it may be empty), or remove the handler that names this profile".to_owned()),
                position: None,
                file,
            }),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        };
        take(self.file.clone(), false, problems);
        match drop_ins(&self.beside("conf.d"), "toml") {
            Ok(files) => files.into_iter().for_each(|file| take(file, false, problems)),
            Err(problem) => problems.push(problem),
        }
        match self.profile.as_deref() {
            Some(profile) if is_profile_name(profile) => {
                take(self.beside("profiles").join(format!("{profile}.toml")), true, problems);
            }
            Some(profile) => problems.push(Problem {
                file: self.beside("profiles"),
                position: None,
                message: format!("{profile:?} is no name of a profile"),
                hint: Some(
                    "use at most 64 letters, digits, \"-\", \"_\" or \".\", the first a letter or digit".to_owned(),
                ),
            }),
            None => {}
        }
        sources
    }
}

/// A profile's name becomes part of a path, so it must not be able to leave the directory.
fn is_profile_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// `*.<suffix>` in name order; hidden files, such as an editor's, are not among them.
pub(crate) fn drop_ins(dir: &Path, suffix: &str) -> Result<Vec<PathBuf>, Problem> {
    let failed = |error: io::Error| unreadable(dir, &error);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_missing(dir, &error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(failed)?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && file.extension().is_some_and(|extension| extension == suffix) {
            files.push(file);
        }
        if files.len() > MAX_DROP_INS {
            let message = format!("more than {MAX_DROP_INS} drop-ins");
            return Err(Problem { file: dir.to_owned(), position: None, message, hint: None });
        }
    }
    files.sort();
    Ok(files)
}

/// The text of `file`, or nothing where there is no such file.
pub(crate) fn read_text(file: &Path) -> Result<Option<String>, Problem> {
    let problem =
        |message: String, hint: Option<String>| Problem { file: file.to_owned(), position: None, message, hint };
    let bytes = match read_bytes(file) {
        Ok(bytes) => bytes,
        Err(error) if is_missing(file, &error) => return Ok(None),
        Err(error) => return Err(unreadable(file, &error)),
    };
    if bytes.len() as u64 > MAX_BYTES {
        let hint = Some("is this a configuration file?".to_owned());
        return Err(problem(format!("larger than {} KiB", MAX_BYTES >> 10), hint));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
        Problem { position: Some(Lines::of(&text).position(&text, good)), ..problem("not UTF-8 text".to_owned(), None) }
    })
}

/// At most one byte more than allowed, of a regular file only: a pipe could keep a create waiting.
fn read_bytes(file: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether nothing at all is there; a link to nothing is something, and an error.
fn is_missing(path: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        && fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => Some("run as root, or let the file be read by this user".to_owned()),
        io::ErrorKind::NotFound => {
            Some("it is a link to a file that does not exist: remove or mend the link".to_owned())
        }
        _ => None,
    };
    Problem { file: path.to_owned(), position: None, message: format!("cannot be read: {error}"), hint }
}
