//! `bestfit schema`: lint the files of a group schema, show what keys mean.

use std::path::Path;

use bestfit_config::Config;
use bestfit_selector::schema::{Finding, Group, MAX_BYTES, SchemaFile, Schemas, Severity, lint, show};
use serde_json::json;

use crate::arguments::{Schema, SchemaLint, SchemaReference, SchemaShow};
use crate::failure::{Exit, Failure};
use crate::output::{plain, print, print_json, table};
use crate::stages::{configuration, file};

pub(crate) fn run(command: &Schema) -> Result<Exit, Failure> {
    match command {
        Schema::Lint(arguments) => check(arguments),
        Schema::Show(arguments) => display(arguments),
        Schema::Reference(arguments) => reference(arguments),
    }
}

fn reference(arguments: &SchemaReference) -> Result<Exit, Failure> {
    let schemas = Schemas::builtin();
    let page = match &arguments.group {
        None => show::index(schemas),
        Some(name) => show::page(schemas.group(name).ok_or_else(|| unknown_group(schemas, name))?),
    };
    print(&page).map(|()| Exit::Done)
}

/// Exit code 0 without findings or with warnings alone, 65 where a file would be refused; of several codes the highest. A file that
/// cannot be read keeps no other from being looked at.
fn check(arguments: &SchemaLint) -> Result<Exit, Failure> {
    let (mut findings, mut text, mut unread) = (Vec::new(), String::new(), None);
    for path in &arguments.files {
        let file = match read(path) {
            Ok(file) => file,
            Err(failure) => {
                unread = Some(failure.after(unread));
                continue;
            }
        };
        let found = lint::check(&file);
        if found.is_empty() {
            text.push_str(&format!("{}: ok\n", file.name));
        }
        found.iter().for_each(|finding| text.push_str(&format!("{}\n", plain(&finding.to_string()))));
        findings.extend(found);
    }
    match arguments.json {
        true => print_json(&json!({ "findings": findings.iter().map(listed).collect::<Vec<_>>() }))?,
        false => print(&text)?,
    }
    let refused = findings.iter().any(|finding| finding.severity == Severity::Error);
    let exit = if refused { Exit::Data } else { Exit::Done };
    unread.map_or(Ok(exit), |failure| Err(failure.at_least(exit)))
}

fn listed(finding: &Finding) -> serde_json::Value {
    json!({
        "file": finding.file,
        "line": finding.position.map(|(line, _)| line),
        "column": finding.position.map(|(_, column)| column),
        "severity": finding.severity,
        "message": finding.message,
    })
}

fn read(path: &Path) -> Result<SchemaFile, Failure> {
    let name = file::name(path);
    let bytes = file::read(path, MAX_BYTES as u64)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::new(Exit::Data, format!("{name}: not UTF-8 text")))?;
    Ok(SchemaFile { name: name.to_string(), text })
}

fn display(arguments: &SchemaShow) -> Result<Exit, Failure> {
    let Config { schemas, .. } = configuration::in_force(None)?.config;
    let schemas =
        Schemas::with(&schemas.files).map_err(|errors| Failure::new(Exit::Config, plain(&errors.to_string())))?;
    let Some(asked) = &arguments.name else {
        return output(arguments, &table(&show::rows(schemas.groups())), || show::json(schemas.groups()));
    };
    let (name, key) = asked.split_once('/').map_or((asked.as_str(), None), |(group, key)| (group, Some(key)));
    let group = schemas.group(name).ok_or_else(|| unknown_group(&schemas, name))?;
    let Some(key) = key else {
        return output(arguments, &table(&show::rows([group].into_iter())), || show::json([group].into_iter()));
    };
    let family = group.keys().find(|(name, _)| *name == key);
    let (name, meaning) = family.or_else(|| group.key(key)).ok_or_else(|| unknown_key(group, key))?;
    output(arguments, &show::one(group, name, meaning), || show::json_key(meaning))
}

fn output(arguments: &SchemaShow, text: &str, json: impl FnOnce() -> serde_json::Value) -> Result<Exit, Failure> {
    match arguments.json {
        true => print_json(&json()),
        false => print(text),
    }
    .map(|()| Exit::Done)
}

fn unknown_group(schemas: &Schemas, name: &str) -> Failure {
    let known: Vec<&str> = schemas.groups().map(|group| group.id.as_str()).collect();
    let near = schemas.nearest(name).map_or_else(String::new, |near| format!("did you mean {near:?}? "));
    Failure::new(Exit::NoInput, format!("no schema knows the group {:?}", plain(name)))
        .hint(format!("{near}known here: {}", known.join(", ")))
}

fn unknown_key(group: &Group, key: &str) -> Failure {
    let failure = Failure::new(Exit::NoInput, format!("the group {} has no key {:?}", group.id, plain(key)));
    match group.nearest(key) {
        Some(near) => failure.hint(format!("did you mean {near:?}?")),
        None => failure.hint(format!("`bestfit schema show {}` lists its keys", group.id)),
    }
}
