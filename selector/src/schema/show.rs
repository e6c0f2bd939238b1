//! Owns schemas for people: a table of keys, one key in full, JSON, and the pages below docs/keys. Writes text, decides
//! nothing.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::{Absent, Dimension, Group, Key, Level, Role, Schemas, Several, Type};

const INTRODUCTION: &str = "\
# Keys

<!-- Generated from the schemas in selector/schemas; a test compares the two. -->

What an artifact can ask for: the groups that bestfit knows without a site's own schemas, and their keys. A key that ends
in `*` stands for a family. `bestfit schema show` prints the same for one host, the site's schemas included.

- **Type** says what may be written, and how it compares: `int ge` is \"at least\", `version same-major` at least and with
  the same major number; ranges are `>=4,<8`, `[1,8)` and, for versions, `4.1.x`. An array is any-of; of a `set` the host must have all.
- **Role**: `requires` is what the host must have; `provides` is a fact of the image, checked only where the site asks
  (`selection.check`); `info` is never checked.
- **Absent** is what it means that the host does not have the thing: `false`, `zero`, or that no requirement holds.
- **Source** is where a host says it; each fact in `bestfit host` names the file or instruction that it came from.
- **Weight** is how much a satisfied requirement counts among those of its dimension.

| group | keys | what |
|---|---|---|
";

/// docs/keys/README.md: how the pages are read, and which there are.
pub fn index(schemas: &Schemas) -> String {
    let mut page = INTRODUCTION.to_owned();
    for group in schemas.groups() {
        let _ = writeln!(page, "| [`{0}`]({0}.md) | {1} | {2} |", group.id, group.keys().count(), group.label);
    }
    page
}

/// docs/keys/GROUP.md: every key of one group.
pub fn page(group: &Group) -> String {
    let mut page = format!(
        "# `{}`\n\n<!-- Generated from the group's schema; a test compares the two. -->\n\n{}. Version {}.",
        group.id, group.label, group.version
    );
    if !group.aliases.is_empty() {
        let _ = write!(page, " Also called {}.", quoted(&group.aliases));
    }
    page.push_str(" [What the columns mean](README.md).\n\n");
    page.push_str("| key | type | example | role | dimension, weight | absent | source | meaning |\n");
    page.push_str("|---|---|---|---|---|---|---|---|\n");
    group.keys().for_each(|(name, key)| page.push_str(&row(name, key)));
    page
}

fn row(name: &str, key: &Key) -> String {
    let doc = key.doc.replace('|', "\\|");
    let also = if key.aliases.is_empty() { String::new() } else { format!("; also {}", quoted(&key.aliases)) };
    let example = key.examples.first().map(|example| format!("`{example}`")).unwrap_or_default();
    let doc = if key.several == Several::Each { format!("{doc}; each of several must satisfy it") } else { doc };
    let values = values_of(key);
    let values = if values.is_empty() { String::new() } else { format!("; values: {}", quoted(&values)) };
    let (role, absent, source) = (role_word(key), absent_word(key.absent), &key.source);
    let (kind, dimension, weight) = (type_of(key), dimension(key.dimension), key.weight);
    format!(
        "| `{name}` | {kind} | {example} | {role} | {dimension} {weight} | {absent} | {source} | {doc}{also}{values} |\n"
    )
}

/// All keys of some groups, one row each, below a row of headings.
pub fn rows<'a>(groups: impl Iterator<Item = &'a Group>) -> Vec<Vec<String>> {
    let mut rows = vec![["KEY", "TYPE", "ROLE", "DIMENSION", "WEIGHT", "MEANING"].map(str::to_owned).to_vec()];
    for group in groups {
        for (name, key) in group.keys() {
            let role = role_word(key);
            let name = format!("{}/{name}", group.id);
            let dimension = dimension(key.dimension).to_owned();
            rows.push(vec![name, type_of(key), role, dimension, key.weight.to_string(), key.doc.clone()]);
        }
    }
    rows
}

/// One key in full.
pub fn one(group: &Group, name: &str, key: &Key) -> String {
    let mut text = format!("{}/{name}\n  {}\n\n", group.id, key.doc);
    let mut line = |what: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {what:<11} {value}");
        }
    };
    line("type", type_of(key));
    line("role", role_word(key));
    line("dimension", format!("{}, weight {}", dimension(key.dimension), key.weight));
    line("absent", absent_word(key.absent).to_owned());
    line("several", if key.several == Several::Each { "each must satisfy it".to_owned() } else { String::new() });
    line("aliases", key.aliases.join(", "));
    line("source", key.source.clone());
    line("examples", key.examples.join(", "));
    line("instead", key.instead.as_ref().map(|(group, key)| format!("{group}/{key}")).unwrap_or_default());
    line("fact", key.fact.as_ref().map(|(group, key)| format!("{group}/{key}")).unwrap_or_default());
    let aliases = key.value_aliases.iter().map(|(from, to)| format!("{from} = {to}"));
    line("synonyms", aliases.collect::<Vec<_>>().join(", "));
    let values = key.values.iter().flat_map(|values| values.names().map(move |name| (name, values)));
    let values = values.map(|(name, values)| match values.above(name).collect::<Vec<_>>() {
        above if above.is_empty() => name.to_owned(),
        above => format!("{name} (satisfies {})", above.join(", ")),
    });
    line("values", values.collect::<Vec<_>>().join(", "));
    line("schema", format!("{} {}, from {}", group.id, group.version, group.files.join(", ")));
    text
}

/// Groups as JSON: `{GROUP: {"version", "label", "aliases", "files", "keys": {KEY: {…}}}}`.
pub fn json<'a>(groups: impl Iterator<Item = &'a Group>) -> Json {
    let groups = groups.map(|group| {
        let keys: serde_json::Map<String, Json> =
            group.keys().map(|(name, key)| (name.to_owned(), json_key(key))).collect();
        let group_json = json!({
            "version": group.version,
            "label": group.label,
            "aliases": group.aliases,
            "files": group.files,
            "keys": keys,
        });
        (group.id.clone(), group_json)
    });
    Json::Object(groups.collect())
}

/// One key as JSON, in the words of a schema file.
pub fn json_key(key: &Key) -> Json {
    let values = key.values.as_ref().map(|values| {
        let each = values.names().map(|name| (name.to_owned(), json!(values.above(name).collect::<Vec<_>>())));
        Json::Object(each.collect())
    });
    json!({
        "type": key.kind,
        "compare": key.compare.unwrap_or(key.kind.compare()),
        "role": key.role,
        "level": key.level,
        "weight": key.weight,
        "dimension": key.dimension,
        "absent": key.absent,
        "several": key.several,
        "specificity": key.specificity,
        "aliases": key.aliases,
        "value_aliases": key.value_aliases,
        "values": values,
        "fact": key.fact.as_ref().map(|(group, key)| format!("{group}/{key}")),
        "instead": key.instead.as_ref().map(|(group, key)| format!("{group}/{key}")),
        "doc": key.doc,
        "source": key.source,
        "examples": key.examples.iter().filter_map(|text| serde_json::from_str(text).ok()).collect::<Vec<Json>>(),
    })
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn values_of(key: &Key) -> Vec<String> {
    key.values.iter().flat_map(|values| values.names()).map(str::to_owned).collect()
}

/// The type, and how it compares where that could be otherwise: `version ge`, `int eq`.
fn type_of(key: &Key) -> String {
    let kind = word(&key.kind);
    match key.kind {
        Type::Int | Type::Quantity | Type::Version => {
            format!("{kind} {}", word(&key.compare.unwrap_or(key.kind.compare())))
        }
        _ => kind,
    }
}

fn role_word(key: &Key) -> String {
    match (key.role, key.level) {
        (Role::Requires, Level::Required) => "requires".to_owned(),
        (Role::Requires, level) => format!("requires, {}", word(&level)),
        (role, _) => word(&role),
    }
}

fn absent_word(absent: Absent) -> &'static str {
    match absent {
        Absent::False => "false",
        Absent::Zero => "zero",
        Absent::Mismatch => "mismatch",
    }
}

fn dimension(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Accelerator => "accelerator",
        Dimension::Cpu => "cpu",
        Dimension::Fabric => "fabric",
        Dimension::Libs => "libs",
        Dimension::Kernel => "kernel",
        Dimension::Other => "other",
    }
}

/// The word that stands for a value in JSON.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
