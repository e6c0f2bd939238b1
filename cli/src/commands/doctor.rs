//! `bestfit doctor`: is this node set up as it should be? Each check says what was found and, where that is not right, what to do.
//!
//! - [`programs`]: containerd, the shim as containerd finds it, worker, decider, delegate, and their versions
//! - [`places`]: configuration, directories, the decider's ids, registries, credentials, hooks
//! - [`kernel`]: what this kernel offers, and what of the decider's confinement it can hold

mod kernel;
mod places;
mod programs;

use bestfit_config::{Config, Location};
use serde::Serialize;

use crate::arguments::Doctor;
use crate::failure::{Exit, Failure};
use crate::output::{GREEN, Paint, RED, YELLOW, plain, print, print_json, table_rows};
use crate::stages::{block_on, configuration};

/// How it stands; the order is from good to bad, so that the worst is the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Works, and could be better.
    Warning,
    /// Could not be looked at.
    Unknown,
    /// Something does not work, or is open to others.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Check {
    fn new(name: &'static str, state: State, found: impl Into<String>) -> Self {
        Self { name, state, found: plain(&found.into()), hint: None }
    }

    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Ok, found)
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(plain(&hint.into()));
        self
    }
}

pub(crate) fn run(arguments: &Doctor) -> Result<Exit, Failure> {
    let loaded = configuration::read(&Location::from_env(arguments.profile.clone()));
    let mut checks = vec![places::configuration(&loaded)];
    // With a broken configuration nothing is swapped; the rest is looked at with the defaults.
    let config = loaded.map_or_else(|_| Config::default(), |loaded| loaded.config);
    let programs = block_on("asking containerd".to_owned(), async {
        Ok(programs::checks(&config, arguments.address.as_deref()).await)
    })?;
    checks.extend(programs);
    checks.extend(places::checks(&config));
    checks.extend(block_on("asking the kernel".to_owned(), async { Ok(kernel::checks(&config).await) })?);
    let state = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
    match arguments.json {
        true => print_json(&serde_json::json!({ "state": state, "checks": checks }))?,
        false => print(&text(&checks, Paint::stdout()))?,
    }
    Ok(match state {
        State::Ok | State::Warning => Exit::Done,
        State::Unknown => Exit::Undetermined,
        State::Wrong => Exit::No,
    })
}

fn text(checks: &[Check], paint: Paint) -> String {
    let row = |check: &Check| vec![check.name.to_owned(), word(check.state).to_owned(), check.found.clone()];
    let rows: Vec<Vec<String>> = checks.iter().map(row).collect();
    let mut text = String::new();
    for (line, check) in table_rows(&rows).iter().zip(checks) {
        let colour = match check.state {
            State::Ok => GREEN,
            State::Warning | State::Unknown => YELLOW,
            State::Wrong => RED,
        };
        // The table is made without colours, which have no width.
        text += &line.replacen(word(check.state), &paint.with(colour, word(check.state)), 1);
        if let Some(hint) = &check.hint {
            text += &format!("  {} {hint}\n", paint.with(YELLOW, "hint:"));
        }
    }
    text
}

fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Warning => "warning",
        State::Unknown => "unknown",
        State::Wrong => "wrong",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts_and_hints_stand_below() {
        let checks = [
            Check::ok("configuration", "/etc/bestfit/config.toml"),
            Check::new("shim", State::Wrong, "not found\x1b").hint("install it"),
        ];
        assert_eq!(
            text(&checks, Paint::stdout()),
            "configuration  ok     /etc/bestfit/config.toml\nshim           wrong  not found\u{fffd}\n  hint: install it\n"
        );
        assert!(State::Wrong > State::Unknown && State::Unknown > State::Warning && State::Warning > State::Ok);
    }
}
