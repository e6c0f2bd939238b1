//! Owns which host is asked about: the running one, one whose files lie below a directory, or one whose facts are in a file.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use bestfit_config::{Config, Loaded, unknown_pattern};
use bestfit_hostprobe::{HostRoot, MAX_SNAPSHOT, Snapshot, hook, host_platform, probe_with};
use bestfit_selector::decision::HostPlatform;
use bestfit_selector::devices::Kind;
use bestfit_selector::facts::{Fact, Facts, State, Value};
use bestfit_selector::json;
use bestfit_selector::microarch::Microarchitectures;
use bestfit_selector::schema::Schemas;
use bestfit_selector::scope::{Scope, narrow};
use bestfit_selector::volatile;
use serde_json::json;

use super::{configuration, file};
use crate::arguments::{AskedHost, Devices};
use crate::failure::{Exit, Failure, warn};
use crate::output::plain;

/// The most bytes of a file of facts; a large host has about 100 KB.
const MAX_FACTS: usize = 4 << 20;

/// How long all hooks together may take; a person can wait longer than a create.
const HOOKS_WITHIN: Duration = Duration::from_secs(60);

const NAMES: &str = "`bestfit host` lists the devices with their names; all and none are words of their own";

/// A host as matching sees it.
pub(crate) struct Host {
    pub(crate) facts: Facts,
    pub(crate) platform: HostPlatform,
    /// Whether the container that is asked about is given NVIDIA GPUs, so that what images require of their driver counts.
    pub(crate) nvidia: bool,
}

/// The configuration that the command line asks with.
pub(crate) fn configuration(arguments: &AskedHost) -> Result<Loaded, Failure> {
    let mut loaded = configuration::in_force(arguments.profile.as_deref())?;
    if let Ok(schemas) = Schemas::with(&loaded.config.schemas.files) {
        let unknown = arguments.check.iter().filter_map(|pattern| unknown_pattern(pattern, &schemas));
        unknown.for_each(|(why, hint)| warn(format!("--check: {why}"), hint.as_deref()));
    }
    loaded.config.selection.policy.check.extend(arguments.check.iter().cloned());
    Ok(loaded)
}

/// The host that the command line asks about, as the container that it asks for sees it.
pub(crate) fn asked(arguments: &AskedHost, config: &Config) -> Result<Host, Failure> {
    let mut host = whole(arguments, config)?;
    volatile::set_aside(&mut host.facts.features);
    let scope = match &arguments.devices {
        Devices::All => {
            host.nvidia = has_nvidia(&host.facts);
            return Ok(host);
        }
        Devices::None => Scope::default(),
        Devices::Named(names) => {
            let of = |names: &[String]| Scope::of(&spec_with(names), &[]);
            let nothing = names.iter().filter(|name| !of(std::slice::from_ref(*name)).meets(&host.facts));
            nothing.for_each(|name| warn(format!("--devices: no device of this host is called {name:?}"), Some(NAMES)));
            of(names)
        }
    };
    narrow(&mut host.facts, &scope);
    host.nvidia = scope.required().is_some();
    Ok(host)
}

/// The part of a runtime spec that gives a container these devices.
fn spec_with(names: &[String]) -> serde_json::Value {
    let nodes = names.iter().filter(|name| name.starts_with("/dev/")).map(|path| json!({"path": path}));
    let named = || names.iter().filter(|name| !name.starts_with("/dev/")).map(String::as_str);
    let cdi: Vec<&str> = named().filter(|name| name.contains('=')).collect();
    let visible: Vec<&str> = named().filter(|name| !name.contains('=')).collect();
    json!({
        "linux": {"devices": nodes.collect::<Vec<_>>()},
        "annotations": {"cdi.k8s.io/asked": cdi.join(",")},
        "process": {"env": [format!("NVIDIA_VISIBLE_DEVICES={}", visible.join(","))]},
    })
}

fn whole(arguments: &AskedHost, config: &Config) -> Result<Host, Failure> {
    let targets = targets(config)?;
    let Some(file) = &arguments.facts else {
        let root = root(arguments.root.as_deref())?;
        let mut facts = probe_with(&root, &targets);
        ask_hooks(&root, config, &mut facts);
        return Ok(Host { facts, platform: host_platform(&root), nvidia: false });
    };
    let facts = read_facts(file)?;
    let platform = platform_of(&facts, &targets).unwrap_or_else(|| host_platform(&HostRoot::running()));
    Ok(Host { facts, platform, nvidia: false })
}

/// Whether a host says anything about GPUs of NVIDIA's or their driver.
fn has_nvidia(facts: &Facts) -> bool {
    let known = |fact: &Fact| matches!(fact.state, State::Known { .. });
    let said = facts.facts.get("host").into_iter().flatten();
    said.into_iter().any(|(key, fact)| key.starts_with(Kind::Nvidia.prefix()) && known(fact))
}

/// What the site's own programs say, where this very host is asked about; what came of it goes to standard error.
pub(crate) fn ask_hooks(root: &HostRoot, config: &Config, facts: &mut Facts) {
    if root.is_running() {
        let (hooks, schemas) = (&config.hooks, &config.schemas.files);
        let report = hook::ask(hooks, schemas, &config.hooks_dir(), HOOKS_WITHIN, facts);
        report.notes.iter().for_each(|note| eprintln!("note: {}", plain(note)));
    }
}

/// The host below a directory, or of a snapshot; without either the running machine.
pub(crate) fn root(place: Option<&Path>) -> Result<HostRoot, Failure> {
    match place {
        None => Ok(HostRoot::running()),
        Some(file) if file == Path::new("-") || file.is_file() => Ok(HostRoot::recorded(read_snapshot(file)?)),
        Some(dir) => HostRoot::at(dir).map_err(|error| {
            let failure = Failure::io(&error, &error.source);
            match error.source.kind() {
                ErrorKind::PermissionDenied => failure,
                _ => failure.hint("--root takes a host's root directory, or a file of `bestfit host --save FILE`"),
            }
        }),
    }
}

fn read_snapshot(file: &Path) -> Result<Snapshot, Failure> {
    let bytes = file::read(file, MAX_SNAPSHOT as u64)?;
    Snapshot::parse(&bytes).map_err(|error| {
        Failure::new(Exit::Data, format!("{}: {error}", file::name(file)))
            .hint("`bestfit host --save FILE` writes a snapshot; facts (`bestfit host --json`) are taken by --facts")
    })
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
