//! Owns the host's facts for one create: from the cache, else probed, with what the site's own programs say about the host. A
//! remembered decision needs no more of them than their digest, so they are only looked into where a decision is made, or
//! has to be written down.

use std::path::PathBuf;

use bestfit_config::Config;
use bestfit_hostprobe::cache::{FactsCache, Held};
use bestfit_hostprobe::hook;
use bestfit_selector::digest::Digest;
use bestfit_selector::facts::Facts;
use bestfit_selector::schema::SchemaFile;
use bestfit_selector::scope::{Scope, narrow};

use crate::log::{self, Priority};

/// The facts of this host.
pub(crate) struct HostFacts {
    dir: PathBuf,
    schemas: Vec<SchemaFile>,
    held: Held,
    /// With what hooks said, where there are hooks.
    asked: Option<(Facts, Digest)>,
}

impl HostFacts {
    /// Reads them. Files are read, and hooks may run for as long as a decision may take.
    pub(crate) fn read(config: &Config) -> Result<Self, String> {
        let (dir, schemas) = (config.state.join("facts"), config.schemas.files.clone());
        let held = FactsCache::new(&dir, &schemas).held().map_err(|error| error.to_string())?;
        held.notes.iter().for_each(|note| log::say(note, Priority::Warning, None));
        let mut facts = Self { dir, schemas, held, asked: None };
        if !config.hooks.is_empty() {
            let mut all = facts.host()?;
            ask_hooks(config, &mut all);
            let json = serde_json::to_vec(&all).map_err(|error| error.to_string())?;
            facts.asked = Some((all, Digest::of(&json)));
        }
        Ok(facts)
    }

    /// What tells them from others.
    pub(crate) fn digest(&self) -> Digest {
        self.asked.as_ref().map_or(self.held.digest, |(_, digest)| *digest)
    }

    /// The facts as a container sees them that was given the devices of `scope`. Where the cache turns out to be broken they
    /// are read anew, and their digest may be another one.
    fn narrowed(&mut self, scope: &Scope) -> Result<Facts, String> {
        let mut facts = match &self.asked {
            Some((facts, _)) => facts.clone(),
            None => self.host()?,
        };
        narrow(&mut facts, scope);
        Ok(facts)
    }

    fn host(&mut self) -> Result<Facts, String> {
        match self.held.facts() {
            Ok(facts) => return Ok(facts.into_owned()),
            Err(broken) => log::say(&broken.to_string(), Priority::Warning, None),
        }
        self.held = FactsCache::new(&self.dir, &self.schemas).renewed().map_err(|error| error.to_string())?;
        self.held.facts().map(|facts| facts.into_owned()).map_err(|error| error.to_string())
    }
}

/// What a decision is made about: the host, and what of it the container was given.
pub(crate) struct Seen {
    pub(crate) facts: HostFacts,
    pub(crate) scope: Scope,
}

impl Seen {
    /// The facts as the container sees them.
    pub(crate) fn narrowed(&mut self) -> Result<Facts, String> {
        self.facts.narrowed(&self.scope)
    }
}

/// What the site's own programs say about this host, within the time of a decision.
fn ask_hooks(config: &Config, facts: &mut Facts) {
    let (hooks, schemas) = (&config.hooks, &config.schemas.files);
    let report = hook::ask(hooks, schemas, &config.hooks_dir(), config.selection.decision_deadline, facts);
    report.notes.iter().for_each(|note| log::say(note, Priority::Warning, None));
}
