//! Owns which host is asked about: the running one, one whose files lie below a directory, or one whose facts are in a file.

use std::borrow::Cow;
use std::path::Path;

use bestfit_config::Config;
use bestfit_hostprobe::{HostRoot, host_platform, probe_with};
use bestfit_selector::decision::HostPlatform;
use bestfit_selector::facts::{Facts, State, Value};
use bestfit_selector::json;
use bestfit_selector::microarch::Microarchitectures;
use bestfit_selector::schema::Schemas;

use super::file;
use crate::arguments::AskedHost;
use crate::failure::{Exit, Failure};

/// The most bytes of a file of facts; a large host has about 100 KB.
const MAX_FACTS: usize = 4 << 20;

/// A host as matching sees it.
pub(crate) struct Host {
    pub(crate) facts: Facts,
    pub(crate) platform: HostPlatform,
}

/// The host that the command line asks about.
pub(crate) fn asked(arguments: &AskedHost, config: &Config) -> Result<Host, Failure> {
    let targets = targets(config)?;
    let Some(file) = &arguments.facts else {
        let root = root(arguments.root.as_deref())?;
        return Ok(Host { facts: probe_with(&root, &targets), platform: host_platform(&root) });
    };
    let facts = read_facts(file)?;
    let platform = platform_of(&facts, &targets).unwrap_or_else(|| host_platform(&HostRoot::running()));
    Ok(Host { facts, platform })
}

/// The host below `dir`, or the running machine.
pub(crate) fn root(dir: Option<&Path>) -> Result<HostRoot, Failure> {
    match dir {
        None => Ok(HostRoot::running()),
        Some(dir) => HostRoot::at(dir).map_err(|error| Failure::io(&error, &error.source)),
    }
}

/// archspec's data: the site's, else the built-in data.
pub(crate) fn targets(config: &Config) -> Result<Cow<'static, Microarchitectures>, Failure> {
    Schemas::targets_of(&config.schemas.files).map_err(|error| Failure::new(Exit::Data, error.to_string()))
}

/// Facts as `bestfit host --json` prints them.
pub(crate) fn read_facts(file: &Path) -> Result<Facts, Failure> {
    let bytes = file::read(file, MAX_FACTS as u64)?;
    json::read(&bytes, MAX_FACTS).map_err(|error| {
        Failure::new(Exit::Data, format!("{}: {error}", file::name(file)))
            .hint("`bestfit host --json` prints such a file on the host that is asked about")
    })
}

/// The platform that facts speak of: the family of the detected microarchitecture. None where they do not tell; a file
/// of a few facts written by hand is then taken to be about a host like this one.
fn platform_of(facts: &Facts, graph: &Microarchitectures) -> Option<HostPlatform> {
    let State::Known { value: Value::Text(target) } = &facts.get("io.archspec", "cpu.target")?.state else {
        return None;
    };
    let architecture = match graph.family(graph.get(target)?) {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        family => family,
    };
    Some(HostPlatform { os: "linux".to_owned(), architecture: architecture.to_owned() })
}
