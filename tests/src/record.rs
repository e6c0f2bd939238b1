//! Owns reading the log of decisions: one JSON line per create.

use std::path::Path;

use bestfit_selector::time::Time;
use serde_json::Value;

/// All records of a log, the oldest first; none where there is no log yet.
pub fn read(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("bad record ({error}): {line}")))
        .collect()
}

/// What was applied: `swapped`, `default`, `denied` or `observed`.
pub fn applied(record: &Value) -> &str {
    record["applied"].as_str().unwrap_or_else(|| panic!("a record without \"applied\": {record:#}"))
}

/// When the worker began, in milliseconds since 1970.
pub fn began(record: &Value) -> i64 {
    let time = record["time"].as_str().and_then(Time::parse);
    let time = time.unwrap_or_else(|| panic!("a record without a time: {record:#}"));
    time.seconds * 1000 + i64::from(time.nanos / 1_000_000)
}
