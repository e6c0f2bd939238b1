//! Owns Proposal D documents, as compspec-go writes them: `{"version", "kind", "metadata", "compatibilities": [{"name",
//! "version", "schema", "attributes"}]}`, in older ones `annotations` for `attributes`. They become Proposal F documents: a
//! name is a group, an attribute a key (opencontainers/wg-image-compatibility, docs/proposals/PROPOSAL_D.md).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::document::{self, Document, MAX_BYTES};
use crate::json::{self, JsonError};
use crate::value::Wanted;

/// The most elements of the list.
pub const MAX_ITEMS: usize = 64;
/// What `kind` says in a document about an image; compspec's other kind names where values are to be read.
const KIND: &str = "CompatibilitySpec";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpec {
    #[serde(rename = "version")]
    _version: Option<IgnoredAny>,
    kind: Option<String>,
    #[serde(rename = "metadata")]
    _metadata: Option<IgnoredAny>,
    compatibilities: Vec<RawItem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawItem {
    name: String,
    #[serde(rename = "version")]
    _version: Option<IgnoredAny>,
    #[serde(rename = "schema")]
    _schema: Option<IgnoredAny>,
    #[serde(default)]
    attributes: BTreeMap<String, Wanted>,
    #[serde(default)]
    annotations: BTreeMap<String, Wanted>,
}

/// Reads one document, at most [`MAX_BYTES`] long. Nothing is fetched: what keys mean is said by the schemas that are
/// installed, not by the ones that it names.
pub fn read(bytes: &[u8]) -> Result<Document, JsonError> {
    let raw: RawSpec = json::read(bytes, MAX_BYTES)?;
    if let Some(kind) = raw.kind.filter(|kind| kind != KIND) {
        return Err(document::wrong(format!("\"kind\" is {:?}, not {KIND:?}", json::plain(&kind, 60))));
    }
    if raw.compatibilities.len() > MAX_ITEMS {
        return Err(document::wrong(format!("more than {MAX_ITEMS} elements")));
    }
    let mut groups: BTreeMap<String, BTreeMap<String, Wanted>> = BTreeMap::new();
    for RawItem { name, attributes, annotations, .. } in raw.compatibilities {
        let group = groups.entry(name.clone()).or_default();
        for (key, wanted) in attributes.into_iter().chain(annotations) {
            if group.contains_key(&key) {
                let (name, key) = (json::plain(&name, 100), json::plain(&key, 100));
                return Err(document::wrong(format!("{name:?} has the attribute {key:?} twice")));
            }
            group.insert(key, wanted);
        }
    }
    let mut document = document::of_groups(groups)?;
    document.nested_names = true;
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// compspec-go, examples/check-lammps/specs.
    const LAMMPS: &str = r#"{"version": "0.0.0", "kind": "CompatibilitySpec",
        "metadata": {"name": "lammps-prototype", "schemas": {"io.archspec": "https://example.org/compspec.json"}},
        "compatibilities": [
            {"name": "org.supercontainers", "version": "0.0.0", "attributes": {"hardware.gpu.available": "yes",
                "mpi.implementation": "OpenMPI", "mpi.version": "4.1.2", "os.vendor": "ubuntu"}},
            {"name": "io.archspec", "version": "0.0.0", "schema": "https://example.org/compspec.json",
                "annotations": {"cpu.model": "13th Gen Intel(R) Core(TM) i5-1335U", "cpu.target": "amd64"}}]}"#;

    #[test]
    fn names_are_groups_and_attributes_are_keys() {
        let document = read(LAMMPS.as_bytes()).unwrap();
        assert_eq!(document.groups.keys().collect::<Vec<_>>(), ["io.archspec", "org.supercontainers"]);
        assert_eq!(document.groups["org.supercontainers"]["mpi.implementation"].to_string(), "OpenMPI");
        assert_eq!(document.groups["io.archspec"]["cpu.target"].to_string(), "amd64");
    }

    #[test]
    fn what_is_no_such_document_is_told() {
        let error =
            |items: &str| read(format!("{{\"compatibilities\": [{items}]}}").as_bytes()).unwrap_err().to_string();
        let many = vec![r#"{"name": "a"}"#; MAX_ITEMS + 1].join(",");
        let table = [
            (r#"{"attributes": {}}"#, "missing field `name`"),
            (r#"{"name": "a", "attribute": {}}"#, "unknown field `attribute`"),
            (r#"{"name": "a", "attributes": {"b": {}}}"#, "expected true, false, a number, text"),
            (
                r#"{"name": "a", "attributes": {"b": 1}, "annotations": {"b": 1}}"#,
                "\"a\" has the attribute \"b\" twice",
            ),
            (r#"{"name": "a", "attributes": {"b": 1}}, {"name": "a", "attributes": {"b": 2}}"#, "\"b\" twice"),
            (&many, "more than 64 elements"),
        ];
        for (items, part) in table {
            let error = error(items);
            assert!(error.starts_with("line 1 column ") && error.contains(part), "{items}: {error}");
        }
        let request = LAMMPS.replace("CompatibilitySpec", "CompatibilityRequest");
        let error = read(request.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "line 1 column 1: \"kind\" is \"CompatibilityRequest\", not \"CompatibilitySpec\"");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"\{"compatibilities":\[(\{"name":"[a.]{0,3}",)?["attributes:{}\[\],0-9]{0,60}"#) {
            let _ = read(text.as_bytes());
        }
    }
}
