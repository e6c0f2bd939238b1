//! Owns the part of loading that is about names which the site makes up: levels, rules and hooks, and the schemas that they are
//! held against.

use bestfit_selector::policy::Rule;
use bestfit_selector::schema::Schemas;
use toml::Spanned;
use toml::de::DeValue;

use super::{Entry, Origin, State};
use crate::hooks::{self, HOOK_KEYS, HOOKS};
use crate::keys::quote;
use crate::location::Source;
use crate::problem::Problem;
use crate::schemas;
use crate::site::{self, CONDITIONS, LEVEL_EXPECTS, LEVELS, RULE_KEYS, RULES, RuleKey};

impl State {
    pub(super) fn levels(&mut self, source: &Source, value: &Spanned<DeValue<'_>>) {
        let Some(levels) = value.get_ref().as_table() else { return self.expected_table(source, LEVELS, value) };
        for (pattern, value) in levels {
            let outcome = match site::is_pattern(pattern.get_ref()) {
                true => site::level(value.get_ref()).map(|level| {
                    self.config.selection.policy.levels.insert(pattern.get_ref().to_string(), level);
                }),
                false => Err(site::not_a_pattern(pattern.get_ref())),
            };
            let name = format!("{LEVELS}.{}", quote(pattern.get_ref()));
            self.outcome(source, &name, LEVEL_EXPECTS, (pattern, value), outcome);
        }
    }

    /// A later rule of the same name takes the place of the whole earlier one.
    pub(super) fn rules(&mut self, source: &Source, value: &Spanned<DeValue<'_>>) {
        let Some(rules) = value.get_ref().as_table() else { return self.expected_table(source, RULES, value) };
        for (name, value) in rules {
            let section = format!("{RULES}.{}", quote(name.get_ref()));
            let Some(keys) = value.get_ref().as_table() else {
                self.expected_table(source, &section, value);
                continue;
            };
            let (mut rule, mut refused) = (site::empty_rule(), false);
            for (key, value) in keys {
                let before = self.problems.len();
                match RULE_KEYS.iter().find(|known| known.name == key.get_ref()) {
                    Some(known) => self.rule_key(source, &mut rule, known, &section, (key, value)),
                    None => self.unknown_key(source, key, &section, RULE_KEYS.iter().map(|key| key.name)),
                }
                refused |= CONDITIONS.contains(&key.get_ref().as_ref()) && self.problems.len() > before;
            }
            let mut lacks = |what: &str, hint: String| {
                self.problem(source, name.span().start, format!("{section}: {what}"), Some(hint));
            };
            if !keys.iter().any(|(key, _)| key.get_ref() == "action") {
                lacks("it does not say what to do", "add action = \"prefer\", \"avoid\" or \"deny\"".to_owned());
            }
            // A condition that was refused is one.
            if !rule.speaks() && !refused {
                let hint = format!("add one of {}", CONDITIONS.join(", "));
                lacks("it has no condition, and so speaks about no entry", hint);
            }
            let (line, _) = source.lines.position(&source.text, name.span().start);
            self.origins.insert(section, Origin { file: source.file.clone(), line });
            self.config.selection.policy.rules.insert(name.get_ref().to_string(), rule);
        }
    }

    /// Of a table of conditions each entry has a place of its own.
    fn rule_key(
        &mut self,
        source: &Source,
        rule: &mut Rule,
        key: &RuleKey,
        section: &str,
        (name, value): Entry<'_, '_>,
    ) {
        let full = format!("{section}.{}", key.name);
        let Some((read, entries)) = key.entry.zip(value.get_ref().as_table()) else {
            return self.outcome(source, &full, key.expects, (name, value), (key.read)(rule, value.get_ref()));
        };
        for (name, value) in entries {
            let outcome = read(rule, name.get_ref(), value.get_ref());
            self.outcome(source, &format!("{full}.{}", quote(name.get_ref())), key.expects, (name, value), outcome);
        }
    }

    /// A later hook for the same group takes the place of the whole earlier one.
    pub(super) fn hooks(&mut self, source: &Source, value: &Spanned<DeValue<'_>>) {
        let Some(hooks) = value.get_ref().as_table() else { return self.expected_table(source, HOOKS, value) };
        for (group, value) in hooks {
            let section = format!("{HOOKS}.{}", quote(group.get_ref()));
            let Some(keys) = value.get_ref().as_table() else {
                self.expected_table(source, &section, value);
                continue;
            };
            let mut hook = hooks::empty();
            for (key, value) in keys {
                match hooks::read(&mut hook, key.get_ref(), value.get_ref()) {
                    Some((expects, outcome)) => {
                        self.outcome(source, &format!("{section}.{}", key.get_ref()), expects, (key, value), outcome);
                    }
                    None => self.unknown_key(source, key, &section, HOOK_KEYS.iter().map(|key| key.name)),
                }
            }
            if !keys.iter().any(|(key, _)| key.get_ref() == "command") {
                let hint = Some("add command = \"/usr/libexec/…\"".to_owned());
                self.problem(source, group.span().start, format!("{section}: it names no program"), hint);
            }
            let (line, _) = source.lines.position(&source.text, group.span().start);
            self.origins.insert(section, Origin { file: source.file.clone(), line });
            self.config.hooks.insert(group.get_ref().to_string(), hook);
        }
    }

    /// Reads the site's schemas, and holds its rules against them.
    pub(super) fn site(&mut self) {
        let schemas = schemas::read(&mut self.config.schemas, &mut self.problems);
        let Some(schemas) = schemas else { return };
        if self.config.selection.policy.rules.is_empty() && self.config.hooks.is_empty() {
            // Most sites have neither, and to read the built-in schemas takes every create a millisecond.
            return;
        }
        let schemas = schemas.as_ref().unwrap_or(Schemas::builtin());
        let mut wrong = site::check(&self.config.selection.policy, schemas);
        wrong.extend(hooks::check(&self.config.hooks, schemas));
        for (name, message) in wrong {
            let hint = "`bestfit schema show` lists the groups and keys that are known".to_owned();
            self.problems.push(Problem::of(&self.origins, &name, &message, Some(hint)));
        }
    }
}
