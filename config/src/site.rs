//! Owns the parts of the file whose keys the site makes up: `[levels]` and `[rules."NAME"]`, and the check of both against
//! the schemas in force.

use bestfit_selector::policy::{Action, Policy, Rule};
use bestfit_selector::rules;
use bestfit_selector::schema::{Level, Schemas};
use toml::de::DeValue;

use crate::keys::{quote, show_list};
use crate::values::{self, MAX_ENTRIES, Refused, put, quoted, texts};

/// The table of levels by pattern.
pub const LEVELS: &str = "levels";
/// The table of the site's rules.
pub const RULES: &str = "rules";
/// What may be written for a level.
pub const LEVEL_EXPECTS: &str = "\"required\", \"preferred\" or \"info\"";

const LEVEL_WORDS: [(&str, Level); 3] =
    [("required", Level::Required), ("preferred", Level::Preferred), ("info", Level::Info)];
const ACTIONS: [(&str, Action); 3] = [("prefer", Action::Prefer), ("avoid", Action::Avoid), ("deny", Action::Deny)];
/// What a rule counts for where it does not say.
const SCORE: u32 = 10;
const MAX_SCORE: u64 = 1000;

/// One key of a rule: its name, what may be written, and what it does.
pub struct RuleKey {
    /// The name.
    pub name: &'static str,
    /// What may be written, for people.
    pub expects: &'static str,
    /// What it does.
    pub doc: &'static str,
    pub(crate) read: fn(&mut Rule, &DeValue<'_>) -> Result<(), Refused>,
    /// Reads one entry, where it is a table.
    pub(crate) entry: Option<ReadEntry>,
}

type ReadEntry = fn(&mut Rule, &str, &DeValue<'_>) -> Result<(), Refused>;

/// The keys of a rule that say which entries it speaks about.
pub(crate) const CONDITIONS: [&str; 4] = ["host", "asks", "annotations", "digests"];

/// The keys of a rule, in the order of the reference.
pub const RULE_KEYS: &[RuleKey] = &[
    RuleKey {
        name: "action",
        expects: "\"prefer\", \"avoid\" or \"deny\"",
        doc: "What happens to an entry that the rule speaks about. A denied entry never runs; where nobody can tell \
              whether the condition on the host holds, it counts as undetermined.",
        read: |rule, value| put(&mut rule.action, values::word(value, &ACTIONS)),
        entry: None,
    },
    RuleKey {
        name: "score",
        expects: "a number from 1 to 1000; 10 where it is not given",
        doc: "By how much `prefer` raises and `avoid` lowers the site's score of the entry.",
        read: |rule, value| put(&mut rule.score, score(value)),
        entry: None,
    },
    RuleKey {
        name: "host",
        expects: "a table of \"GROUP/KEY\" and values as in artifacts, such as { \"host/kernel.version\" = \"<5.10\" }",
        doc: "What the host must be like, all of it; a list of values is any-of.",
        read: |_, value| a_table(value),
        entry: Some(|rule, name, value| {
            if !is_pattern(name) {
                return Err(format!("{} is no GROUP/KEY", quoted(name)).into());
            }
            rule.host.insert(name.to_owned(), scalars(value)?);
            Ok(())
        }),
    },
    RuleKey {
        name: "asks",
        expects: "a list of patterns, such as [\"nfd/*\"]",
        doc: "The entry's artifacts ask for one of these keys.",
        read: |rule, value| put(&mut rule.asks, patterns(value)),
        entry: None,
    },
    RuleKey {
        name: "annotations",
        expects: "a table of names and values, such as { \"org.opencontainers.image.version\" = \"*-nightly\" }",
        doc: "The annotations of the entry in the index, all of them; `*` in a value stands for any text.",
        read: |_, value| a_table(value),
        entry: Some(|rule, name, value| {
            rule.annotations.insert(name.to_owned(), values::text(value)?.to_owned());
            Ok(())
        }),
    },
    RuleKey {
        name: "digests",
        expects: "a list of digests, such as [\"sha256:…\"]",
        doc: "The entry itself, its index, or one of its artifacts.",
        read: |rule, value| {
            let digests = texts(value)?.into_iter();
            let parse =
                |text: String| text.parse().map_err(|_| Refused::from(format!("{} is no digest", quoted(&text))));
            put(&mut rule.digests, digests.map(parse).collect())
        },
        entry: None,
    },
];

/// A level.
pub(crate) fn level(value: &DeValue<'_>) -> Result<Level, Refused> {
    values::word(value, &LEVEL_WORDS)
}

/// A list of patterns of keys.
pub(crate) fn patterns(value: &DeValue<'_>) -> Result<Vec<String>, Refused> {
    let patterns = texts(value)?;
    match patterns.iter().find(|pattern| !is_pattern(pattern)) {
        Some(pattern) => Err(not_a_pattern(pattern)),
        None => Ok(patterns),
    }
}

/// Whether text can cover keys: `GROUP/KEY`, `GROUP/prefix*`, `GROUP/*`.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.split_once('/').is_some_and(|(group, key)| !group.is_empty() && !key.is_empty())
}

pub(crate) fn not_a_pattern(text: &str) -> Refused {
    let hint = Some("write GROUP/KEY, such as \"nfd/memory-numa\" or \"nfd/*\"".to_owned());
    Refused { message: format!("{} is no pattern of keys", quoted(text)), hint }
}

/// A rule without its keys; the caller reads each and keeps every mistake.
pub(crate) fn empty_rule() -> Rule {
    Rule { score: SCORE, ..Rule::default() }
}

/// A table, whose entries are read one by one.
fn a_table(value: &DeValue<'_>) -> Result<(), Refused> {
    value.as_table().map(|_| ()).ok_or_else(|| "expected a table".to_owned().into())
}

/// What the schemas in force say against the policy: the full name of the key, and the mistake.
pub(crate) fn check(policy: &Policy, schemas: &Schemas) -> Vec<(String, String)> {
    let mut wrong: Vec<(String, String)> = rules::problems(policy, schemas)
        .into_iter()
        .map(|(rule, condition, message)| (format!("{RULES}.{}.host.{}", quote(&rule), quote(&condition)), message))
        .collect();
    if policy.rules.len() > MAX_ENTRIES {
        wrong.push((RULES.to_owned(), format!("more than {MAX_ENTRIES} rules")));
    }
    wrong
}

/// A level as it is written.
pub(crate) fn show_level(level: Level) -> String {
    LEVEL_WORDS.iter().find(|(_, meaning)| *meaning == level).map(|(word, _)| quote(word)).unwrap_or_default()
}

/// A rule as it is written, one key per line.
pub(crate) fn show_rule(rule: &Rule) -> Vec<(&'static str, String)> {
    let action = ACTIONS.iter().find(|(_, action)| *action == rule.action).map(|(word, _)| quote(word));
    let mut keys = vec![("action", action.unwrap_or_default()), ("score", rule.score.to_string())];
    let table = |entries: Vec<String>| format!("{{ {} }}", entries.join(", "));
    if !rule.host.is_empty() {
        let entries = rule.host.iter().map(|(name, values)| format!("{} = {}", quote(name), show_list(values)));
        keys.push(("host", table(entries.collect())));
    }
    if !rule.asks.is_empty() {
        keys.push(("asks", show_list(&rule.asks)));
    }
    if !rule.annotations.is_empty() {
        let entries = rule.annotations.iter().map(|(name, value)| format!("{} = {}", quote(name), quote(value)));
        keys.push(("annotations", table(entries.collect())));
    }
    if !rule.digests.is_empty() {
        keys.push(("digests", show_list(&rule.digests.iter().map(ToString::to_string).collect::<Vec<_>>())));
    }
    keys
}

fn score(value: &DeValue<'_>) -> Result<u32, Refused> {
    let number = match value {
        DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
        _ => None,
    };
    let number = number.filter(|number| (1..=MAX_SCORE).contains(number));
    number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| Refused::from("out of range".to_owned()))
}

/// Text, a whole number, true or false, or a list of these, each as text.
fn scalars(value: &DeValue<'_>) -> Result<Vec<String>, Refused> {
    match value {
        DeValue::String(text) => Ok(vec![text.to_string()]),
        DeValue::Integer(integer) => Ok(vec![integer.as_str().to_owned()]),
        DeValue::Boolean(value) => Ok(vec![value.to_string()]),
        DeValue::Array(list) if !list.is_empty() && list.len() <= MAX_ENTRIES => {
            list.iter().try_fold(Vec::new(), |mut all, value| match value.get_ref() {
                DeValue::Array(_) => Err(Refused::from("a list within a list".to_owned())),
                value => {
                    all.extend(scalars(value)?);
                    Ok(all)
                }
            })
        }
        _ => Err("expected text, a whole number, true, false, or a list of these".to_owned().into()),
    }
}
