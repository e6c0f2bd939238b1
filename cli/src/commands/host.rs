//! `bestfit host`: the facts, as a table, as JSON, or in NFD's forms.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use bestfit_config::Config;
use bestfit_hostprobe::{HostRoot, host_platform, nfd_labels, probe_with};
use bestfit_selector::devices::Device;
use bestfit_selector::facts::{Fact, Facts, State, Value};
use bestfit_selector::microarch::Microarchitectures;

use crate::arguments::{Host, HostFormat};
use crate::failure::{Exit, Failure};
use crate::output::{print, print_json, table};
use crate::stages::{configuration, file, host};

/// Longer values are cut in the table; JSON has all of them.
const MAX_VALUE: usize = 60;

pub(crate) fn run(arguments: &Host) -> Result<Exit, Failure> {
    let root = host::root(arguments.root.as_deref())?;
    let (targets, config) = configured();
    if let Some(file) = &arguments.save {
        return save(root.recording(), &targets, file);
    }
    let mut facts = probe_with(&root, &targets);
    if let Some(config) = config {
        host::ask_hooks(&root, &config, &mut facts);
    }
    match arguments.format {
        _ if arguments.json => print_json(&facts)?,
        HostFormat::Json => print_json(&facts)?,
        HostFormat::Table => print(&table(&rows(&facts)))?,
        HostFormat::NfdFeatures => {
            let unknown = std::mem::take(&mut facts.features.unknown);
            print_json(&facts.features)?;
            note(&unknown);
        }
        HostFormat::NfdLabels => {
            print_json(&nfd_labels(&facts.features))?;
            note(&facts.features.unknown);
        }
    }
    Ok(Exit::Done)
}

/// Asks all that any command asks, and writes down what was answered.
fn save(root: HostRoot, targets: &Microarchitectures, file: &Path) -> Result<Exit, Failure> {
    probe_with(&root, targets);
    host_platform(&root);
    let Some(snapshot) = root.into_snapshot() else { return Ok(Exit::Done) };
    if file == Path::new("-") {
        print_json(&snapshot)?;
        return Ok(Exit::Done);
    }
    let bytes = serde_json::to_vec_pretty(&snapshot).map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
    std::fs::write(file, &bytes).map_err(|error| Failure::output(file::name(file), &error))?;
    eprintln!("{}: {} KiB", file::name(file), bytes.len().div_ceil(1024));
    Ok(Exit::Done)
}

/// The site's archspec data, and its hooks. Where the configuration is broken, the built-in data and none: the facts are what
/// one looks at then.
fn configured() -> (Cow<'static, Microarchitectures>, Option<Config>) {
    let loaded = configuration::in_force(None).and_then(|loaded| Ok((host::targets(&loaded.config)?, loaded.config)));
    match loaded {
        Ok((targets, config)) => (targets, Some(config)),
        Err(failure) => {
            eprintln!("warning: {}: built-in archspec data is used, and no hook is asked", failure.first());
            (Cow::Borrowed(Microarchitectures::builtin()), None)
        }
    }
}

/// What could not be read has no place in NFD's forms, and its absence from them means nothing.
fn note(unknown: &BTreeMap<String, String>) {
    for (name, why) in unknown {
        eprintln!("note: {name} is not known: {why}");
    }
}

fn rows(facts: &Facts) -> Vec<Vec<String>> {
    let mut rows = vec![["GROUP", "KEY", "VALUE", "SOURCE"].map(str::to_owned).to_vec()];
    for (group, keys) in &facts.facts {
        for (key, fact) in keys {
            rows.push(vec![group.clone(), key.clone(), value(fact), fact.source.clone()]);
        }
    }
    rows.extend(
        facts
            .devices
            .iter()
            .map(|device| vec!["device".to_owned(), kind(device), names(device), device.address.clone()]),
    );
    rows
}

/// The kind and its number: `nvidia 0`.
fn kind(device: &Device) -> String {
    let kind = device.kind.prefix().trim_end_matches('.');
    device.index.map_or_else(|| kind.to_owned(), |index| format!("{kind} {index}"))
}

/// All names by which a container can be given it, as `--devices` takes them.
fn names(device: &Device) -> String {
    let names = device.uuid.iter().chain(device.nodes.keys()).chain(&device.cdi);
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() { "(no name)".to_owned() } else { names.join(" ") }
}

fn value(fact: &Fact) -> String {
    let (text, count) = match &fact.state {
        State::Known { value: Value::Set(values) } if values.is_empty() => return "(none)".to_owned(),
        State::Known { value: value @ Value::Set(values) } => (value.to_string(), Some(values.len())),
        State::Known { value } => (value.to_string(), None),
        State::Absent => return "absent".to_owned(),
        State::Unknown { why } => (format!("unknown: {why}"), None),
    };
    let Some((end, _)) = text.char_indices().nth(MAX_VALUE) else { return text };
    match count {
        Some(count) => format!("{}… ({count} in all)", &text[..end]),
        None if matches!(fact.state, State::Unknown { .. }) => text,
        None => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_words() {
        let mut facts = Facts::default();
        let flags = (0..40).map(|number| format!("F{number:02}")).collect::<std::collections::BTreeSet<_>>();
        facts.set("host", "flags", Fact::known(flags, "cpuid"));
        facts.set("host", "none", Fact::known(std::collections::BTreeSet::new(), "/n"));
        facts.set("nfd", "a", Fact::known(true, "/a"));
        facts.set("nfd", "b", Fact::absent("/b"));
        facts.set("nfd", "c", Fact::unknown("EACCES", "/c"));
        assert_eq!(
            table(&rows(&facts)),
            "\
GROUP  KEY    VALUE                                                                      SOURCE
host   flags  F00 F01 F02 F03 F04 F05 F06 F07 F08 F09 F10 F11 F12 F13 F14 … (40 in all)  cpuid
host   none   (none)                                                                     /n
nfd    a      true                                                                       /a
nfd    b      absent                                                                     /b
nfd    c      unknown: EACCES                                                            /c
"
        );
    }
}
