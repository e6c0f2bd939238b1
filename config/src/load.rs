//! Owns the way from files to a [`Config`]: each file over the ones before it, the profile last, every mistake kept.

mod site;
mod trust;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bestfit_selector::nfd;
use bestfit_selector::policy::{Otherwise, Policy, Undeclared};
use bestfit_selector::schema::Level;
use bestfit_selector::target::Vendor;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::hooks::HOOKS;
use crate::keys::{KEYS, MODE_EXPECTS, NAMESPACES, quote, read_mode, sections};
use crate::location::{Location, Source};
use crate::model::{Config, Mode};
use crate::nearest::nearest;
use crate::problem::{ConfigErrors, Problem};
use crate::site::{LEVELS, RULES};
use crate::trust::{ACCEPT, TRUST, loosened as loosened_trust};
use crate::values::{Refused, quoted};

/// The most problems that are kept: enough for people, too few to fill a log.
const MAX_PROBLEMS: usize = 100;
/// The most problems of one file that is not TOML: after the first few, the rest is the same mistake again.
const MAX_SYNTAX_ERRORS: usize = 5;

/// A configuration without mistakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The values in force.
    pub config: Config,
    /// The files that were read, in that order; empty where all values are defaults.
    pub files: Vec<PathBuf>,
    /// Where each value that is no default comes from, by `section.key`.
    pub origins: BTreeMap<String, Origin>,
}

/// The place of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: usize,
}

/// Reads and checks the configuration. All mistakes of all files come back at once.
pub fn load(location: &Location) -> Result<Loaded, ConfigErrors> {
    let mut problems = Vec::new();
    let sources = location.read(&mut problems);
    let mut state =
        State { config: Config::default(), origins: BTreeMap::new(), problems, required: false, accepted: Vec::new() };
    for source in &sources {
        let base = source.profile.then(|| state.config.clone());
        state.apply(source);
        state.note_require();
        if let Some(base) = base {
            state.keep_tight(&base, source);
        }
    }
    state.site();
    state.trust();
    state.problems.truncate(MAX_PROBLEMS);
    if let Err(errors) = ConfigErrors::unless_empty(state.problems) {
        return Err(errors.with(state.config, state.required));
    }
    let files = sources.into_iter().map(|source| source.file).collect();
    Ok(Loaded { config: state.config, files, origins: state.origins })
}

struct State {
    config: Config,
    origins: BTreeMap<String, Origin>,
    problems: Vec<Problem>,
    /// One of the files says `trust.mode = "require"`.
    required: bool,
    /// Where each entry of `trust.accept` stands in its list: those that were refused are left out.
    accepted: Vec<usize>,
}

type Entry<'a, 'i> = (&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>);

impl State {
    fn apply(&mut self, source: &Source) {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        for error in errors.iter().take(MAX_SYNTAX_ERRORS) {
            let place = error.span().map(|span| source.lines.position(&source.text, span.start));
            let message = format!("not valid TOML: {}", error.message().replace('\n', ", "));
            self.problems.push(Problem { file: source.file.clone(), position: place, message, hint: None });
        }
        let known = self.problems.len();
        self.table(source, "", table.get_ref());
        if !errors.is_empty() {
            // What could be parsed says whether containers have to be refused, and where things lie; what could not would only
            // show up a second time, as wrong keys.
            self.problems.truncate(known);
        }
    }

    fn table(&mut self, source: &Source, section: &str, table: &DeTable<'_>) {
        let mut entries: Vec<Entry<'_, '_>> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let top = section.is_empty();
        for (name, value) in entries {
            if let Some(key) = KEYS.iter().find(|key| key.section == section && key.name == name.get_ref().as_ref()) {
                let outcome = (key.read)(&mut self.config, value.get_ref());
                self.outcome(source, &full_name(section, key.name), key.expects, (name, value), outcome);
            } else if section == TRUST && name.get_ref() == ACCEPT {
                self.accept(source, value);
            } else if top && name.get_ref() == NAMESPACES {
                self.namespaces(source, (name, value));
            } else if top && name.get_ref() == LEVELS {
                self.levels(source, value);
            } else if top && name.get_ref() == RULES {
                self.rules(source, value);
            } else if top && name.get_ref() == HOOKS {
                self.hooks(source, value);
            } else if top && sections().contains(&name.get_ref().as_ref()) {
                match value.get_ref().as_table() {
                    Some(inner) => self.table(source, name.get_ref(), inner),
                    None => self.expected_table(source, name.get_ref(), value),
                }
            } else if self.problems.len() < MAX_PROBLEMS {
                let hint = hint_for(section, name.get_ref());
                let place = if top { String::new() } else { format!(" in [{section}]") };
                let message = format!("unknown key {}{place}", quoted(name.get_ref()));
                self.problem(source, name.span().start, message, Some(hint));
            }
        }
    }

    fn namespaces(&mut self, source: &Source, (_, value): Entry<'_, '_>) {
        let Some(namespaces) = value.get_ref().as_table() else {
            return self.expected_table(source, NAMESPACES, value);
        };
        for (namespace, settings) in namespaces {
            let section = format!("{NAMESPACES}.{}", crate::keys::quote(namespace.get_ref()));
            let Some(settings) = settings.get_ref().as_table() else {
                self.expected_table(source, &section, settings);
                continue;
            };
            for (name, value) in settings {
                if name.get_ref() != "mode" {
                    let message = format!("unknown key {} in [{section}]", quoted(name.get_ref()));
                    self.problem(source, name.span().start, message, Some("the only key here is \"mode\"".to_owned()));
                    continue;
                }
                let outcome = read_mode(value.get_ref()).map(|mode| {
                    self.config.namespaces.insert(namespace.get_ref().to_string(), mode);
                });
                self.outcome(source, &format!("{section}.mode"), MODE_EXPECTS, (name, value), outcome);
            }
        }
    }

    fn unknown_key<'n>(
        &mut self,
        source: &Source,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        section: &str,
        names: impl Iterator<Item = &'n str> + Clone,
    ) {
        let hint = match nearest(key.get_ref(), names.clone()) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => format!("known here: {}", names.collect::<Vec<_>>().join(", ")),
        };
        let message = format!("unknown key {} in [{section}]", quoted(key.get_ref()));
        self.problem(source, key.span().start, message, Some(hint));
    }

    fn outcome(
        &mut self,
        source: &Source,
        key: &str,
        expects: &str,
        (name, value): Entry<'_, '_>,
        outcome: Result<(), Refused>,
    ) {
        match outcome {
            Ok(()) => {
                let (line, _) = source.lines.position(&source.text, name.span().start);
                self.origins.insert(key.to_owned(), Origin { file: source.file.clone(), line });
            }
            Err(Refused { message, hint }) => {
                let hint = hint.unwrap_or_else(|| format!("expected {expects}"));
                self.problem(source, value.span().start, format!("{key}: {message}"), Some(hint));
            }
        }
    }

    fn expected_table(&mut self, source: &Source, section: &str, value: &Spanned<DeValue<'_>>) {
        let message = format!("{section}: expected a table, found a value");
        let hint = format!("write [{section}] on a line of its own, and its keys below it");
        self.problem(source, value.span().start, message, Some(hint));
    }

    /// What is said is bounded, what is read is not: who switches bestfit off, or says `require`, may come after many mistakes.
    fn problem(&mut self, source: &Source, offset: usize, message: String, hint: Option<String>) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let place = Some(source.lines.position(&source.text, offset));
        self.problems.push(Problem { file: source.file.clone(), position: place, message, hint });
    }

    /// A profile may only tighten: of modes the stricter one holds, so that `off` stays a kill switch for every profile,
    /// and a policy that would loosen is an error.
    fn keep_tight(&mut self, base: &Config, source: &Source) {
        self.config.mode = self.config.mode.max(base.mode);
        for (namespace, mode) in &base.namespaces {
            let merged = self.config.namespaces.entry(namespace.clone()).or_insert(Mode::Select);
            *merged = (*merged).max(*mode);
        }
        self.keep_revoked(base);
        let (before, after) = (&base.selection.policy, &self.config.selection.policy);
        let loosened: Vec<String> = [
            ("on_no_fit", before.on_no_fit == Otherwise::Deny && after.on_no_fit != Otherwise::Deny),
            ("on_error", before.on_error == Otherwise::Deny && after.on_error != Otherwise::Deny),
            ("nfd", before.nfd == nfd::Mode::Strict && after.nfd != nfd::Mode::Strict),
            ("vendor", before.vendor != after.vendor && after.vendor == Vendor::Features),
            ("undeclared", before.undeclared == Undeclared::Never && after.undeclared != Undeclared::Never),
        ]
        .into_iter()
        .filter(|(_, loosened)| *loosened)
        .map(|(name, _)| full_name("selection", name))
        .chain(loosened_names(before, after))
        .chain(changed_hooks(base, &self.config))
        .chain(loosened_trust((&before.trust, &base.trust), (&after.trust, &self.config.trust)))
        .chain((base.schemas.dir != self.config.schemas.dir).then(|| "schemas.dir".to_owned()))
        .collect();
        for name in loosened {
            let line = self.origins.get(&name).map(|origin| (origin.line, 1));
            self.problems.push(Problem {
                file: source.file.clone(),
                position: line,
                message: format!("{name}: a profile may only tighten what the other files say"),
                hint: Some("remove the key here, or loosen it in the main file".to_owned()),
            });
        }
    }
}

/// Hooks that a profile changed although it may only add.
fn changed_hooks(before: &Config, after: &Config) -> Vec<String> {
    let changed = before.hooks.iter().filter(|(group, hook)| after.hooks.get(*group) != Some(hook));
    changed.map(|(group, _)| format!("{HOOKS}.{}", quote(group))).collect()
}

/// Names that a profile changed although it may only add: rules of others, checks, levels other than `required`.
fn loosened_names(before: &Policy, after: &Policy) -> Vec<String> {
    let rules = before.rules.iter().filter(|(name, rule)| after.rules.get(*name) != Some(rule));
    let levels = after.levels.iter();
    let levels = levels.filter(|(name, level)| **level != Level::Required && before.levels.get(*name) != Some(level));
    let checks = before.check.iter().any(|pattern| !after.check.contains(pattern));
    rules
        .map(|(name, _)| format!("{RULES}.{}", quote(name)))
        .chain(levels.map(|(name, _)| format!("{LEVELS}.{}", quote(name))))
        .chain(checks.then(|| "selection.check".to_owned()))
        .collect()
}

/// `section.key`, or the key alone at the top of the file.
pub(crate) fn full_name(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// The right key: nearly the same name in the same table, the same name in another table, else all names.
fn hint_for(section: &str, given: &str) -> String {
    let list = (section == TRUST).then_some(ACCEPT);
    let here = KEYS.iter().filter(|key| key.section == section).map(|key| key.name).chain(list);
    let tables = sections()
        .into_iter()
        .chain([NAMESPACES, LEVELS, RULES, HOOKS])
        .filter(|name| section.is_empty() && !name.is_empty());
    if let Some(name) = nearest(given, here.clone().chain(tables.clone())) {
        return format!("did you mean \"{name}\"?");
    }
    let elsewhere = nearest(given, KEYS.iter().map(|key| key.name));
    if let Some(key) = elsewhere.and_then(|name| KEYS.iter().find(|key| key.name == name)) {
        return match key.section {
            "" => format!("\"{}\" belongs at the top of the file", key.name),
            section => format!("\"{}\" belongs in [{section}]", key.name),
        };
    }
    let names: Vec<&str> = here.chain(tables).collect();
    format!("known here: {}; what this version does not know it refuses rather than ignores", names.join(", "))
}
