//! `bestfit config`: check, show, reference.

use bestfit_config::{ConfigErrors, Loaded, Location, Problem, advice, reference};
use bestfit_hostprobe::hook::check as check_hook;
use bestfit_selector::hook::Hook;
use serde_json::json;

use crate::arguments::{Config, ConfigPlace};
use crate::failure::{Exit, Failure, warn};
use crate::output::{plain, print, print_json};
use crate::stages::configuration;

pub(crate) fn run(command: Config) -> Result<Exit, Failure> {
    match command {
        Config::Check(place) => check(&place),
        Config::Show(place) => show(&place),
        Config::Reference => print(&reference::markdown()).map(|()| Exit::Done),
    }
}

fn location(place: &ConfigPlace) -> Result<Location, Failure> {
    match &place.file {
        Some(file) => configuration::named(file, place.profile.as_deref()),
        None => Ok(Location::from_env(place.profile.clone())),
    }
}

fn check(place: &ConfigPlace) -> Result<Exit, Failure> {
    let location = location(place)?;
    let sound = |loaded: Loaded| ConfigErrors::unless_empty(hooks(&loaded)).map(|()| loaded);
    let outcome = configuration::read(&location).and_then(sound);
    if place.json {
        print_json(&report(&outcome))?;
        return Ok(if outcome.is_ok() { Exit::Done } else { Exit::Config });
    }
    let loaded = outcome?;
    let mut text: String =
        loaded.files.iter().map(|file| format!("{}: ok\n", plain(&file.to_string_lossy()))).collect();
    if loaded.files.is_empty() {
        text = format!("{} does not exist: the defaults hold\n", plain(&location.file.to_string_lossy()));
    }
    print(&text)?;
    advice(&loaded).iter().for_each(|advice| warn(advice, advice.hint.as_deref()));
    Ok(Exit::Done)
}

/// Programs that will not be run because others could change them.
fn hooks(loaded: &Loaded) -> Vec<Problem> {
    let problem = |(group, hook): (&String, &Hook)| {
        let name = format!("hooks.{}.command", toml::Value::String(group.clone()));
        let why = check_hook(&hook.command).err()?;
        let hint = "the program and all directories above it must be root's, and writable by nobody else";
        Some(Problem::of(&loaded.origins, &name, &why, Some(hint.to_owned())))
    };
    loaded.config.hooks.iter().filter_map(problem).collect()
}

fn report(outcome: &Result<Loaded, ConfigErrors>) -> serde_json::Value {
    match outcome {
        Ok(loaded) => json!({ "files": loaded.files, "problems": [], "warnings": listed(&advice(loaded)) }),
        Err(errors) => json!({ "problems": listed(errors.problems()) }),
    }
}

fn listed(problems: &[Problem]) -> Vec<serde_json::Value> {
    let problems = problems.iter().map(|problem| {
        json!({
            "file": problem.file,
            "line": problem.position.map(|(line, _)| line),
            "column": problem.position.map(|(_, column)| column),
            "message": problem.message,
            "hint": problem.hint,
        })
    });
    problems.collect()
}

fn show(place: &ConfigPlace) -> Result<Exit, Failure> {
    let loaded = configuration::read(&location(place)?)?;
    let text = reference::effective(&loaded);
    if place.json {
        let value: serde_json::Value = toml::from_str(&text)
            .map_err(|error| Failure::new(Exit::Config, format!("the values in force cannot be shown: {error}")))?;
        print_json(&value)?;
    } else {
        print(&text)?;
    }
    Ok(Exit::Done)
}
