//! Owns what is no mistake, and yet hardly what was meant: patterns that cover no key, trust in nobody. It is for people who ask:
//! a create does not look.

use std::fs;

use bestfit_selector::schema::Schemas;
use bestfit_selector::trust::{ImageSigned, TrustMode};

use crate::keys::quote;
use crate::load::Loaded;
use crate::nearest::{nearest, slip};
use crate::problem::Problem;
use crate::site::{LEVELS, RULES};
use crate::trust::TRUST;
use crate::values::quoted;

/// What is wrong, and what to do about it.
pub type Advice = (String, Option<String>);

/// Everything in a configuration that was hardly meant so, each with its place.
pub fn advice(loaded: &Loaded) -> Vec<Problem> {
    let schemas = Schemas::with(&loaded.config.schemas.files);
    let schemas = schemas.as_ref().unwrap_or(Schemas::builtin());
    let policy = &loaded.config.selection.policy;
    let levels = policy.levels.keys().map(|pattern| (format!("{LEVELS}.{}", quote(pattern)), pattern));
    let checks = policy.check.iter().map(|pattern| ("selection.check".to_owned(), pattern));
    let asks = policy.rules.iter().flat_map(|(name, rule)| {
        let full = format!("{RULES}.{}.asks", quote(name));
        rule.asks.iter().map(move |pattern| (full.clone(), pattern))
    });
    // What a program of the site says needs no schema.
    let hooked =
        |pattern: &str| pattern.split_once('/').is_some_and(|(group, _)| loaded.config.hooks.contains_key(group));
    let patterns = levels.chain(checks).chain(asks).filter(|(_, pattern)| !hooked(pattern));
    let unknown = patterns.filter_map(|(name, pattern)| Some((name, unknown_pattern(pattern, schemas)?)));
    let problem = |(name, (why, hint)): (String, Advice)| Problem::of(&loaded.origins, &name, &why, hint);
    unknown.chain(trust(loaded)).map(problem).collect()
}

/// Why a pattern of keys covers nothing that the schemas know; of one with `*` only the group is looked at.
pub fn unknown_pattern(pattern: &str, schemas: &Schemas) -> Option<Advice> {
    let (group, key) = pattern.split_once('/').filter(|(group, _)| !group.contains('*'))?;
    let did_you_mean = |near: String| format!("did you mean {}?", quoted(&near));
    let Some(known) = schemas.group(group) else {
        let near = nearest(group, schemas.groups().map(|group| group.id.as_str()));
        let hint = near.map(|near| did_you_mean(format!("{near}/{key}")));
        return Some((format!("no schema knows the group {}", quoted(group)), hint));
    };
    if key.contains('*') {
        return None;
    }
    let near = known.nearest(key);
    let hint = |near: &str| did_you_mean(format!("{group}/{near}"));
    match known.key(key) {
        None => Some((format!("no schema knows the key {}", quoted(pattern)), near.map(hint))),
        Some((name, _)) if known.keys().any(|(listed, _)| listed == name) => None,
        // A family such as `mpi.*` covers slips of the pen as well.
        Some(_) => {
            let near = near.filter(|near| slip(key, near))?;
            Some((format!("no schema lists the key {}", quoted(pattern)), Some(hint(near))))
        }
    }
}

fn trust(loaded: &Loaded) -> Vec<(String, Advice)> {
    let trust = &loaded.config.selection.policy.trust;
    let mut found = Vec::new();
    if trust.accept.is_empty() {
        let mut nobody = |name: &str, what: &str| {
            let hint = "add a [[trust.accept]]: docs/signed-artifacts-only.md shows how".to_owned();
            found.push((format!("{TRUST}.{name}"), (format!("nobody is trusted: {what}"), Some(hint))));
        };
        match trust.mode {
            TrustMode::Require => nobody("mode", "every container with an index is refused"),
            TrustMode::Enforce => nobody("mode", "every artifact is ignored, and nothing is swapped for one"),
            TrustMode::Warn | TrustMode::Off => {}
        }
        if trust.image != ImageSigned::Off {
            nobody("image", "no image counts as signed, and nothing is swapped");
        }
    }
    if let Some(dir) = &loaded.config.trust.image_verifiers {
        let why = match fs::metadata(dir) {
            Ok(data) if data.is_dir() => return found,
            Ok(_) => "not a directory".to_owned(),
            Err(error) => error.to_string(),
        };
        let hint = "name the directory that containerd's image verifiers lie in".to_owned();
        found.push((format!("{TRUST}.image_verifiers"), (format!("{}: {why}", dir.display()), Some(hint))));
    }
    found
}
