//! Owns the configuration that commands ask with: read as a create reads it, with keys that something can be verified with.

use std::fs::{self, File};
use std::path::Path;

use bestfit_config::trust::accept_name;
use bestfit_config::{ConfigErrors, Loaded, Location, Problem, load};

use crate::failure::Failure;

/// Reads a configuration. Every mistake that would keep a create from a decision is one here, too.
pub(crate) fn read(location: &Location) -> Result<Loaded, ConfigErrors> {
    let loaded = load(location)?;
    ConfigErrors::unless_empty(signers(&loaded)).map(|()| loaded)
}

/// The configuration in force, and the mistakes in it as a failure.
pub(crate) fn in_force(profile: Option<&str>) -> Result<Loaded, Failure> {
    read(&Location::from_env(profile.map(str::to_owned))).map_err(Failure::from)
}

/// The files that belong to a main file which a user names. Elsewhere a missing file means the defaults; who names one wants that
/// one.
pub(crate) fn named(file: &Path, profile: Option<&str>) -> Result<Location, Failure> {
    let kind = fs::symlink_metadata(file).map_err(|error| Failure::io(file.display(), &error))?;
    if kind.is_file() {
        File::open(file).map_err(|error| Failure::io(file.display(), &error))?;
    }
    Ok(Location { file: file.to_owned(), profile: profile.map(str::to_owned) })
}

/// Keys and roots that nothing can be verified with.
fn signers(loaded: &Loaded) -> Vec<Problem> {
    let problems = bestfit_trust::problems(&loaded.config.selection.policy.trust).into_iter();
    let problem = |(position, why): (usize, String)| {
        let signer = loaded.config.trust.accept.get(position).map(|accept| accept.name.as_str()).unwrap_or_default();
        Problem::of(&loaded.origins, &accept_name(position), &format!("{signer:?}: {why}"), None)
    };
    problems.map(problem).collect()
}
