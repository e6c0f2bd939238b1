//! Owns the part of loading that is about `[trust]`: its list of signers, their files, and whether a broken configuration has
//! to refuse containers.

use std::collections::BTreeSet;

use bestfit_selector::trust::TrustMode;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Origin, State};
use crate::location::Source;
use crate::material;
use crate::model::Config;
use crate::problem::Problem;
use crate::trust::{self, ACCEPT, ACCEPT_KEYS, Draft, MAX_ACCEPT, TRUST, accept_name};

impl State {
    /// A later list takes the place of the whole earlier one.
    pub(super) fn accept(&mut self, source: &Source, value: &Spanned<DeValue<'_>>) {
        let list = format!("{TRUST}.{ACCEPT}");
        let Some(entries) = value.get_ref().as_array().filter(|entries| entries.len() <= MAX_ACCEPT) else {
            let message = format!("{list}: expected at most {MAX_ACCEPT} tables");
            let hint = format!("write [[{list}]] on a line of its own, and the keys of one entry below it");
            return self.problem(source, value.span().start, message, Some(hint));
        };
        self.config.trust.accept.clear();
        self.accepted.clear();
        self.origins.retain(|name, _| !name.starts_with(&list));
        let (line, _) = source.lines.position(&source.text, value.span().start);
        self.origins.insert(list.clone(), Origin { file: source.file.clone(), line });
        for (position, entry) in entries.iter().enumerate() {
            let section = accept_name(position);
            let (line, _) = source.lines.position(&source.text, entry.span().start);
            self.origins.insert(section.clone(), Origin { file: source.file.clone(), line });
            let Some(table) = entry.get_ref().as_table() else {
                self.expected_table(source, &section, entry);
                continue;
            };
            let (mut draft, before) = (Draft::default(), self.problems.len());
            self.accept_table(source, &mut draft, &section, "", table);
            match trust::finish(draft) {
                Ok(accept) => {
                    self.config.trust.accept.push(accept);
                    self.accepted.push(position);
                }
                // What is missing may be the key that was just refused.
                Err(_) if self.problems.len() > before => {}
                Err(wrong) => wrong.into_iter().for_each(|why| {
                    let hint = Some(format!("known here: {}", names("").join(", ")));
                    self.problem(source, entry.span().start, format!("{section}: {why}"), hint);
                }),
            }
        }
    }

    /// The keys of an entry, and those of the tables in it, whose names begin with `within`.
    fn accept_table(&mut self, source: &Source, draft: &mut Draft, section: &str, within: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let full = format!("{within}{}", name.get_ref());
            let inner = format!("{full}.");
            if let Some(key) = ACCEPT_KEYS.iter().find(|key| key.name == full) {
                let outcome = (key.read)(draft, value.get_ref());
                self.outcome(source, &format!("{section}.{full}"), key.expects, (name, value), outcome);
            } else if names(&inner).is_empty() {
                let place = format!("{section}.{within}");
                self.unknown_key(source, name, place.trim_end_matches('.'), names(within).into_iter());
            } else if let Some(table) = value.get_ref().as_table() {
                self.accept_table(source, draft, section, &inner, table);
            } else {
                let hint = names(&inner).iter().map(|name| format!("{name} = …")).collect::<Vec<_>>().join(", ");
                let message = format!("{section}.{full}: expected a table, found a value");
                self.problem(source, value.span().start, message, Some(format!("write {full} = {{ {hint} }}")));
            }
        }
    }

    /// Reads the files of keys and roots, and of what was revoked.
    pub(super) fn trust(&mut self) {
        let Config { trust: files, selection, .. } = &mut self.config;
        let mut seen = BTreeSet::new();
        let entries = self.accepted.iter().zip(&files.accept);
        for (position, entry) in entries.filter(|(_, entry)| !seen.insert(&entry.name)) {
            let why = format!("another signer is called {:?}, too", entry.name);
            let hint = Some("give each entry a name of its own".to_owned());
            self.problems.push(Problem::of(&self.origins, &accept_name(*position), &why, hint));
        }
        let trust = &mut selection.policy.trust;
        material::read((files, &self.accepted), trust, &self.origins, &mut self.problems);
    }

    /// Notes what a file asks for: where the rest is wrong, it is still known that somebody asked for `require`.
    pub(super) fn note_require(&mut self) {
        self.required |= self.config.selection.policy.trust.mode == TrustMode::Require;
    }

    /// Revocations add up: a profile that lists its own keeps those of the other files.
    pub(super) fn keep_revoked(&mut self, base: &Config) {
        let revoked = &mut self.config.trust.revoked;
        revoked.digests.extend(&base.trust.revoked.digests);
        revoked.files.extend(base.trust.revoked.files.iter().cloned());
        revoked.digests.sort();
        revoked.digests.dedup();
        revoked.files.sort();
        revoked.files.dedup();
    }
}

/// What may follow `within` in the name of a key: keys and tables, each once.
fn names(within: &str) -> Vec<&'static str> {
    let rests = ACCEPT_KEYS.iter().filter_map(|key| key.name.strip_prefix(within));
    let mut names: Vec<&str> = rests.map(|rest| rest.split('.').next().unwrap_or(rest)).collect();
    names.dedup();
    names
}
