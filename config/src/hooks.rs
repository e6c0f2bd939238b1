//! Owns `[hooks."GROUP"]`: the only list of programs that bestfit runs to learn about a host. Runs and opens nothing:
//! whether a program may be run at all is asked where it is run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bestfit_selector::hook::Hook;
use bestfit_selector::schema::Schemas;
use toml::de::DeValue;

use crate::keys::{quote, quote_path};
use crate::model::HOOK_ID;
use crate::values::{self, Refused, put, show_duration};

/// The table of hooks.
pub const HOOKS: &str = "hooks";
/// What bestfit finds out itself, and nobody else: a program that could say these could say what the processor is.
const OURS: [&str; 4] = ["host", "io.archspec", "io.bestfit", "nfd"];
/// The most hooks: each may hold up a create.
const MAX_HOOKS: usize = 16;
const MAX_TIMEOUT: u64 = 30_000;

/// One key of a hook: its name, what may be written, and what it does.
pub struct HookKey {
    /// The name.
    pub name: &'static str,
    /// What may be written, for people.
    pub expects: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Its value where it is not given, as TOML.
    pub default: &'static str,
    read: fn(&mut Hook, &DeValue<'_>) -> Result<(), Refused>,
    show: fn(&Hook) -> String,
}

/// The keys of a hook, in the order of the reference.
pub const HOOK_KEYS: &[HookKey] = &[
    HookKey {
        name: "command",
        expects: "an absolute path without links",
        doc: "The program. It and every directory on its way must belong to root and be writable by nobody else, and the \
              hook's user must be able to reach it. It gets no arguments, and an environment with `PATH` alone.",
        default: "none",
        read: |hook, value| put(&mut hook.command, values::path(value)),
        show: |hook| quote_path(&hook.command),
    },
    HookKey {
        name: "timeout",
        expects: "a duration from \"10ms\" to \"30s\"",
        doc: "How long it may take; then it is ended with everything that it started. A failure is kept for a minute, so that \
              not every create waits for it.",
        default: "\"2s\"",
        read: |hook, value| put(&mut hook.timeout, values::duration(value, 10..=MAX_TIMEOUT)),
        show: |hook| show_duration(u64::try_from(hook.timeout.as_millis()).unwrap_or(u64::MAX)),
    },
    HookKey {
        name: "uid",
        expects: "a user id other than 0 that nothing else on this node uses",
        doc: "The user that it runs as, without capabilities and without a way to get any.",
        default: "61182",
        read: |hook, value| put(&mut hook.uid, values::unprivileged_id(value)),
        show: |hook| hook.uid.to_string(),
    },
    HookKey {
        name: "gid",
        expects: "a group id other than 0 that nothing else on this node uses",
        doc: "The group that it runs as.",
        default: "61182",
        read: |hook, value| put(&mut hook.gid, values::unprivileged_id(value)),
        show: |hook| hook.gid.to_string(),
    },
];

/// A hook without its keys; the caller reads each and keeps every mistake.
pub(crate) fn empty() -> Hook {
    Hook { command: PathBuf::new(), timeout: Duration::from_secs(2), uid: HOOK_ID, gid: HOOK_ID }
}

/// Takes one key over into a hook; `None` where there is no such key.
pub(crate) fn read(hook: &mut Hook, name: &str, value: &DeValue<'_>) -> Option<(&'static str, Result<(), Refused>)> {
    let key = HOOK_KEYS.iter().find(|key| key.name == name)?;
    Some((key.expects, (key.read)(hook, value)))
}

/// What is wrong with the groups that hooks speak about: the full name of the table, and the mistake.
pub(crate) fn check(hooks: &BTreeMap<String, Hook>, schemas: &Schemas) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    for group in hooks.keys() {
        let canonical = schemas.canonical(group);
        let why = if group.is_empty() || group.len() > 256 || group.contains('*') {
            "no name of a group".to_owned()
        } else if OURS.contains(&canonical) {
            format!("what {canonical} says bestfit finds out itself")
        } else if canonical != group {
            format!("another name of the group {}", quote(canonical))
        } else {
            continue;
        };
        wrong.push((format!("{HOOKS}.{}", quote(group)), why));
    }
    if hooks.len() > MAX_HOOKS {
        wrong.push((HOOKS.to_owned(), format!("more than {MAX_HOOKS} hooks")));
    }
    wrong
}

/// A hook as it is written, one key per line.
pub(crate) fn show(hook: &Hook) -> impl Iterator<Item = (&'static str, String)> {
    HOOK_KEYS.iter().map(|key| (key.name, (key.show)(hook)))
}
