//! `bestfit explain`: the candidates, the verdicts, the failed requirements; or a record, decided again.

use std::path::Path;
use std::time::SystemTime;

use bestfit_registry::Reference;
use bestfit_selector::record::{Record, render_table};
use serde_json::json;

use crate::arguments::Explain;
use crate::failure::{Exit, Failure};
use crate::output::{plain, print, print_json};
use crate::stages::decision::Decided;
use crate::stages::image::{self, Image, Single};
use crate::stages::replay::{self, Sources};
use crate::stages::{block_on, decision, file, host};

/// The most bytes of a file of records: more than two logs of the default size.
const MAX_RECORDS: u64 = 64 << 20;

pub(crate) fn run(arguments: &Explain) -> Result<Exit, Failure> {
    match (&arguments.record, &arguments.reference) {
        (Some(record), _) => again(arguments, record),
        (None, Some(reference)) => anew(arguments, reference),
        // clap asks for one of them.
        (None, None) => Err(Failure::new(Exit::Usage, "neither REF nor --record is given")),
    }
}

fn anew(arguments: &Explain, reference: &str) -> Result<Exit, Failure> {
    let reference = image::reference(reference)?;
    let loaded = host::configuration(&arguments.host)?;
    let host = host::asked(&arguments.host, &loaded.config)?;
    let repository = image::client(&loaded)?.repository(&reference);
    let decided = block_on(format!("reading {reference}"), async {
        match image::resolve(&repository, &reference).await? {
            Image::Single(single) => Ok(Err(single)),
            Image::Index(index) => {
                decision::decide_on(&repository, &reference, index, host, &loaded.config).await.map(Ok)
            }
        }
    })?;
    match decided {
        Err(single) => only_one(arguments, &reference, &single)?,
        Ok(decided) if arguments.json => print_json(&record(&reference, decided))?,
        Ok(decided) => print(&render_table(&decided.decision))?,
    }
    Ok(Exit::Done)
}

/// Without an index there is nothing to choose from, and no decision that could be recorded.
fn only_one(arguments: &Explain, reference: &Reference, single: &Single) -> Result<(), Failure> {
    let why = "one image, nothing to choose";
    if arguments.json {
        return print_json(&json!({ "reference": reference.to_string(), "image": single.digest, "why": why }));
    }
    print(&format!("{reference} is {}: {why}\n", single.digest))
}

/// The record that the shim would write, without what only a create has.
fn record(reference: &Reference, decided: Decided) -> Record {
    let now = humantime::format_rfc3339_millis(SystemTime::now());
    let mut record = Record::new(now.to_string(), reference.to_string());
    record.chosen = decided.decision.preferred.first().copied().or(decided.decision.default);
    record.timings.insert("gather".to_owned(), decided.gather_us);
    record.timings.insert("match".to_owned(), decided.decide_us);
    record.decision = Some(decided.decision);
    record
}

fn again(arguments: &Explain, records: &Path) -> Result<Exit, Failure> {
    let record = last(records)?;
    let Some(recorded) = record.decision else {
        let why = record.error.unwrap_or_default();
        return Err(Failure::new(Exit::Data, format!("{}: the record has no decision: {why}", file::name(records))));
    };
    let text = arguments.reference.clone().unwrap_or(record.reference);
    let reference = image::reference(&text)?;
    let loaded = host::configuration(&arguments.host)?;
    let repository = image::client(&loaded)?.repository(&reference);
    let facts = host::asked(&arguments.host, &loaded.config)?.facts;
    let facts_file = arguments.host.facts.as_deref();
    let sources = Sources { config: &loaded.config, facts, facts_file, reference: &reference, repository: &repository };
    let now = block_on(format!("reading {reference}"), replay::again(&recorded, &sources))?;
    let differences = replay::differences(&recorded, &now);
    if arguments.json {
        print_json(&json!({ "same": differences.is_empty(), "differences": differences }))?;
    } else if differences.is_empty() {
        print(&format!("the same decision: {}\n", plain(&now.why)))?;
    } else {
        let lines: String = differences.iter().map(|line| format!("  {}\n", plain(line))).collect();
        print(&format!("not the same decision:\n{lines}"))?;
    }
    Ok(if differences.is_empty() { Exit::Done } else { Exit::No })
}

/// The only record of a file, or the last line of a log.
fn last(records: &Path) -> Result<Record, Failure> {
    let one = "one record is enough: `tail -n 1 FILE | bestfit explain --record -`";
    let bytes = file::read_or(records, MAX_RECORDS, one)?;
    let whole = serde_json::from_slice::<Record>(&bytes);
    let line = || bytes.split(|byte| *byte == b'\n').rev().find(|line| !line.trim_ascii().is_empty());
    let last = || serde_json::from_slice::<Record>(line()?).ok();
    whole.or_else(|error| last().ok_or(error)).map_err(|error| {
        Failure::new(Exit::Data, format!("{}: no decision record: {error}", file::name(records)))
            .hint("`bestfit explain REF --json` prints one; the log that [log] names has one per create")
    })
}
