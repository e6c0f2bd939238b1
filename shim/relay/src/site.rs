//! Owns which files make up the site's configuration, and reads them within limits, as the worker does (`bestfit-config`,
//! `location.rs`): a main file, `conf.d/*.toml` beside it in the order of their names, the profile's file. Only a file that
//! does not exist is absent.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::flags::Flags;

const VARIABLE: &str = "BESTFIT_CONFIG";
const DEFAULT: &str = "/etc/bestfit/config.toml";
/// The most bytes of one file.
const MAX_BYTES: u64 = 1 << 20;
/// The most drop-ins.
const MAX_DROP_INS: usize = 256;

/// Where the configuration lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    /// The main file.
    pub(crate) file: PathBuf,
    /// Empty where no profile is named.
    pub(crate) profile: String,
}

impl Site {
    /// `BESTFIT_CONFIG`, or the usual file, with the profile of our own name.
    pub(crate) fn of(flags: &Flags) -> Self {
        let file = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT.into());
        Self::at(file, &flags.profile())
    }

    /// A file of the caller's choice.
    pub(crate) fn at(file: impl Into<PathBuf>, profile: &str) -> Self {
        Self { file: file.into(), profile: profile.to_owned() }
    }

    fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    /// The main file, and the drop-ins in their order; an error where nobody can tell which there are.
    pub(crate) fn files(&self) -> io::Result<Vec<PathBuf>> {
        let folder = self.folder().join("conf.d");
        let mut files = Vec::new();
        for entry in absent_as_none(&folder, fs::read_dir(&folder))?.into_iter().flatten() {
            let file = entry?.path();
            let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden && file.extension().is_some_and(|extension| extension == "toml") {
                files.push(file);
            }
            if files.len() > MAX_DROP_INS {
                return Err(io::Error::other("too many drop-ins"));
            }
        }
        files.sort();
        files.insert(0, self.file.clone());
        Ok(files)
    }

    /// The profile's file, which may be missing.
    pub(crate) fn profile_file(&self) -> Option<PathBuf> {
        let name = Some(&self.profile).filter(|profile| !profile.is_empty())?;
        Some(self.folder().join("profiles").join(format!("{name}.toml")))
    }
}

/// The text of a file; none where there is no such file.
pub(crate) fn text(file: &Path) -> io::Result<Option<String>> {
    let Some(meta) = absent_as_none(file, fs::metadata(file))? else { return Ok(None) };
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(io::Error::other("not a regular file, or too large"));
    }
    let mut text = String::new();
    File::open(file)?.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// A link to nothing is something, and an error.
fn absent_as_none<T>(path: &Path, result: io::Result<T>) -> io::Result<Option<T>> {
    let absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if absent(&error) && fs::symlink_metadata(path).is_err_and(|error| absent(&error)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn files_come_in_their_order_and_only_absence_is_absence() {
        let folder = Folder::new();
        let site = Site::at(folder.path().join("config.toml"), "p");
        let names = || -> Vec<String> {
            let files = site.files().unwrap();
            files.iter().map(|file| file.strip_prefix(folder.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(names(), ["config.toml"]);
        assert_eq!(site.profile_file(), Some(folder.path().join("profiles/p.toml")));
        assert_eq!(text(&site.files().unwrap()[0]).unwrap(), None);
        for name in ["20.toml", "10.toml", ".30.toml", "40.toml.bak"] {
            folder.write(&format!("conf.d/{name}"), "x");
        }
        assert_eq!(names(), ["config.toml", "conf.d/10.toml", "conf.d/20.toml"]);
        assert_eq!(text(&site.files().unwrap()[1]).unwrap().as_deref(), Some("x"));
        std::os::unix::fs::symlink("/nowhere/at/all", folder.path().join("link")).unwrap();
        folder.write("long", &"x".repeat(1 + MAX_BYTES as usize));
        for name in ["link", "long", "conf.d"] {
            assert!(text(&folder.path().join(name)).is_err(), "{name}");
        }
        std::fs::write(folder.path().join("latin"), b"\xe4").unwrap();
        assert!(text(&folder.path().join("latin")).is_err());
        (0..=MAX_DROP_INS).for_each(|number| drop(folder.write(&format!("conf.d/n{number}.toml"), "")));
        assert!(site.files().is_err());
        assert!(Site::at(folder.path().join("long/config.toml"), "").files().is_err());
    }
}
