//! `bestfit config`: check, show, reference.

use bestfit_config::{ConfigErrors, Loaded, Location, Problem, load, reference};
use bestfit_hostprobe::hook::check as check_hook;
use serde_json::json;

use crate::arguments::{Config, ConfigPlace};
use crate::failure::{Exit, Failure};
use crate::output::{plain, print, print_json};

pub(crate) fn run(command: Config) -> Result<Exit, Failure> {
    match command {
        Config::Check(place) => check(&place),
        Config::Show(place) => show(&place),
        Config::Reference => print(&reference::markdown()).map(|()| Exit::Done),
    }
}

fn location(place: &ConfigPlace) -> Result<Location, Failure> {
    let Some(file) = &place.file else { return Ok(Location::from_env(place.profile.clone())) };
    // Elsewhere a missing file means the defaults; who names one wants that one.
    if let Err(error) = std::fs::symlink_metadata(file) {
        return Err(Failure::io(file.display(), &error));
    }
    Ok(Location { file: file.clone(), profile: place.profile.clone() })
}

fn check(place: &ConfigPlace) -> Result<Exit, Failure> {
    let location = location(place)?;
    let sound =
        |loaded: Loaded| ConfigErrors::unless_empty(hooks(&loaded).chain(signers(&loaded)).collect()).map(|()| loaded);
    let outcome = load(&location).and_then(sound);
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
    Ok(Exit::Done)
}

/// Programs that will not be run because others could change them.
fn hooks(loaded: &Loaded) -> impl Iterator<Item = Problem> {
    loaded.config.hooks.iter().filter_map(|(group, hook)| {
        let name = format!("hooks.{}.command", toml::Value::String(group.clone()));
        let why = check_hook(&hook.command).err()?;
        let hint = "the program and all directories above it must be root's, and writable by nobody else";
        Some(problem(loaded, &name, &why, Some(hint)))
    })
}

/// Keys and roots that nothing can be verified with.
fn signers(loaded: &Loaded) -> impl Iterator<Item = Problem> {
    let problems = bestfit_trust::problems(&loaded.config.selection.policy.trust).into_iter();
    problems.map(|(position, why)| {
        let signer = loaded.config.trust.accept.get(position).map(|accept| accept.name.as_str()).unwrap_or_default();
        problem(loaded, "trust.accept", &format!("entry {position}, {signer:?}: {why}"), None)
    })
}

fn problem(loaded: &Loaded, name: &str, why: &str, hint: Option<&str>) -> Problem {
    let origin = loaded.origins.get(name);
    Problem {
        file: origin.map(|origin| origin.file.clone()).unwrap_or_default(),
        position: origin.map(|origin| (origin.line, 1)),
        message: format!("{name}: {why}"),
        hint: hint.map(str::to_owned),
    }
}

fn report(outcome: &Result<Loaded, ConfigErrors>) -> serde_json::Value {
    match outcome {
        Ok(loaded) => json!({ "files": loaded.files, "problems": [] }),
        Err(errors) => {
            let problems = errors.problems().iter().map(|problem| {
                json!({
                    "file": problem.file,
                    "line": problem.position.map(|(line, _)| line),
                    "column": problem.position.map(|(_, column)| column),
                    "message": problem.message,
                    "hint": problem.hint,
                })
            });
            json!({ "problems": problems.collect::<Vec<_>>() })
        }
    }
}

fn show(place: &ConfigPlace) -> Result<Exit, Failure> {
    let loaded = load(&location(place)?)?;
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
