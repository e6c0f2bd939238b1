//! Owns the shape of a schema file: JSON Graph as in Proposal D, `{"graph": {"id", "version", "nodes", "edges"}}`. Keeps
//! every mistake with its place. Says nothing about what a file may change; that is `merge`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::{
    Absent, Compare, Dimension, Finding, Level, MAX_BYTES, Role, Several, Severity, Type, did_you_mean, nearest,
};
use crate::json::{self, JsonError};
use crate::value::Wanted;

/// The most nodes, and the most edges, of one schema.
const MAX_NODES: usize = 4096;
/// The most findings about one file: enough for people, too few to fill a log.
const MAX_FINDINGS: usize = 100;
/// The longest name, in bytes.
const MAX_NAME: usize = 256;

/// What only counts within `metadata`.
const FIELDS: [&str; 17] = [
    "type",
    "compare",
    "role",
    "level",
    "weight",
    "dimension",
    "absent",
    "several",
    "specificity",
    "aliases",
    "value_aliases",
    "doc",
    "source",
    "examples",
    "fact",
    "instead",
    "override",
];

/// What may stand in `graph`: JSON Graph's own fields, and ours.
const GRAPH: [&str; 8] = ["id", "type", "label", "directed", "version", "metadata", "nodes", "edges"];
/// The group of what bestfit says about itself; no schema is about it.
const RESERVED: &str = "io.bestfit";
const RELATIONS: [&str; 5] = ["contains", "is", "satisfies", "implies", "conflicts"];

/// A schema file.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// The name of the group.
    pub id: String,
    /// The version of the schema.
    pub version: String,
    /// What it is about, in one line.
    pub label: String,
    /// Other names of the group.
    pub aliases: Vec<String>,
    /// Prefixes that keys may carry.
    pub strip: Vec<String>,
    /// What is said about each key, family (`prefix*`) or value (`key=value`).
    pub nodes: BTreeMap<String, Node>,
    /// How nodes relate.
    pub edges: Vec<Edge>,
}

/// What a file says about a node; what it does not say stays as it was.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What its values are.
    #[serde(rename = "type")]
    pub kind: Option<Type>,
    /// How they compare.
    pub compare: Option<Compare>,
    /// Which side it describes.
    pub role: Option<Role>,
    /// Whether it must hold.
    pub level: Option<Level>,
    /// How much it counts.
    pub weight: Option<u32>,
    /// Where it counts.
    pub dimension: Option<Dimension>,
    /// What it means that the host does not have it.
    pub absent: Option<Absent>,
    /// What several values of a host mean.
    pub several: Option<Several>,
    /// A fixed specificity.
    pub specificity: Option<u64>,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Other names of values.
    #[serde(default)]
    pub value_aliases: BTreeMap<String, String>,
    /// What it means, or a URL.
    #[serde(default)]
    pub doc: String,
    /// Where a host says it: a file, an instruction, another fact.
    #[serde(default)]
    pub source: String,
    /// Values as documents write them.
    #[serde(default)]
    pub examples: Vec<Wanted>,
    /// `GROUP/KEY` of the host's fact that it is held against.
    pub fact: Option<String>,
    /// `GROUP/KEY` that says better what authors mean by this one.
    pub instead: Option<String>,
    /// The site knows that it weakens a built-in requirement.
    #[serde(default, rename = "override")]
    pub overrides: bool,
}

/// How two nodes relate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// From.
    pub source: String,
    /// To.
    pub target: String,
    /// How.
    pub relation: Relation,
    /// The site knows that it weakens a built-in requirement.
    pub overrides: bool,
}

/// What an edge says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// The source is the broader topic. For readers; nothing follows from it.
    Contains,
    /// The source is another name of the target.
    Is,
    /// A host with the value `source` satisfies a requirement for `target`.
    Satisfies,
    /// A host with the source has the target as well.
    Implies,
    /// A host with the source does not have the target.
    Conflicts,
}

impl Relation {
    /// The word that files use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Contains => "contains",
            Self::Is => "is",
            Self::Satisfies => "satisfies",
            Self::Implies => "implies",
            Self::Conflicts => "conflicts",
        }
    }
}

/// A node that is a value: the key and the value of `mpi.implementation=mpich`.
pub fn value_node(id: &str) -> Option<(&str, &str)> {
    id.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty())
}

/// Reads a file as far as it can be read, and says what is wrong with it.
pub fn read(name: &str, text: &str) -> (File, Vec<Finding>) {
    let mut reader = Reader { name, text, findings: Vec::new() };
    let file = reader.file();
    reader.findings.truncate(MAX_FINDINGS);
    (file.unwrap_or_default(), reader.findings)
}

/// `MAJOR.MINOR`, where `1` is `1.0` and a third number is not looked at.
fn is_version(version: &str) -> bool {
    let mut numbers = version.splitn(4, '.');
    numbers.clone().count() <= 3
        && numbers.all(|number| number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty())
}

/// The place of a node, an edge or a field in a file; `after` is a byte offset.
pub(super) fn place(text: &str, quoted: &str, after: usize) -> Option<usize> {
    let needle = serde_json::to_string(quoted).ok()?;
    Some(after + text.get(after..)?.find(&needle)?)
}

/// Line and column of a byte offset, from 1.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn find(&mut self, severity: Severity, at: Option<usize>, message: impl Into<String>) {
        let position = at.map(|offset| position(self.text, offset));
        self.findings.push(Finding { file: self.name.to_owned(), position, severity, message: message.into() });
    }

    fn error(&mut self, at: Option<usize>, message: impl Into<String>) {
        self.find(Severity::Error, at, message);
    }

    fn file(&mut self) -> Option<File> {
        let root: Json = match json::read(self.text.as_bytes(), MAX_BYTES) {
            Ok(root) => root,
            Err(JsonError::Malformed { line, column, message }) => {
                let (file, severity) = (self.name.to_owned(), Severity::Error);
                self.findings.push(Finding { file, position: Some((line, column)), severity, message });
                return None;
            }
            Err(error) => {
                self.error(None, error.to_string());
                return None;
            }
        };
        let Some(graph) = root.get("graph").and_then(Json::as_object) else {
            self.error(Some(0), "no object \"graph\": a schema is {\"graph\": {\"id\": …, \"nodes\": {…}}}");
            return None;
        };
        let empty = Map::new();
        let metadata = graph.get("metadata").and_then(Json::as_object).unwrap_or(&empty);
        let version = graph.get("version").or_else(|| metadata.get("version")).or_else(|| root.get("version"));
        let text = |value: Option<&Json>| value.and_then(Json::as_str).unwrap_or_default().to_owned();
        let mut file = File {
            id: text(graph.get("id")),
            version: text(version),
            label: text(graph.get("label")),
            aliases: self.texts(metadata, "aliases"),
            strip: self.texts(metadata, "strip"),
            ..File::default()
        };
        let start = place(self.text, "graph", 0);
        if file.id.is_empty() || file.id.len() > MAX_NAME {
            self.error(start, "\"graph\" has no \"id\": the name of the group");
        }
        if file.id == RESERVED || file.aliases.iter().any(|alias| alias == RESERVED) {
            self.error(start, format!("the group {RESERVED:?} is bestfit's own"));
        }
        match file.version.as_str() {
            "" => self.error(start, "\"graph\" has no \"version\": schemas are versioned"),
            version if !is_version(version) => {
                let message = format!("the version {:?} is no MAJOR.MINOR", json::plain(version, 60));
                self.error(place(self.text, "version", 0).or(start), message);
            }
            _ => {}
        }
        for field in graph.keys().filter(|field| !GRAPH.contains(&field.as_str())) {
            let hint = did_you_mean(nearest(field, GRAPH.into_iter()));
            let message = format!("\"graph\" has no field {:?}: ignored{hint}", json::plain(field, 60));
            self.find(Severity::Warning, place(self.text, field, start.unwrap_or_default()), message);
        }
        self.nodes(graph, &mut file);
        self.edges(graph, &mut file);
        Some(file)
    }

    fn texts(&mut self, object: &Map<String, Json>, field: &str) -> Vec<String> {
        let Some(value) = object.get(field) else { return Vec::new() };
        serde_json::from_value(value.clone()).unwrap_or_else(|_| {
            self.error(place(self.text, field, 0), format!("{field:?} is no list of texts"));
            Vec::new()
        })
    }

    fn nodes(&mut self, graph: &Map<String, Json>, file: &mut File) {
        let start = place(self.text, "nodes", 0).unwrap_or_default();
        let Some(nodes) = graph.get("nodes").and_then(Json::as_object) else {
            return self.error(place(self.text, "graph", 0), "\"graph\" has no object \"nodes\"");
        };
        if nodes.len() > MAX_NODES {
            return self.error(Some(start), format!("more than {MAX_NODES} nodes"));
        }
        for (id, node) in nodes {
            // Only a mistake needs its place.
            let text = self.text;
            let at = || place(text, id, start);
            if id.is_empty() || id.len() > MAX_NAME || id == "*" {
                self.error(at(), "a node has no name, or one that is too long");
                continue;
            }
            let read = self.node(id, node, at);
            file.nodes.insert(id.clone(), read);
        }
    }

    /// Where something is wrong each field by itself, so that all that are wrong are found at once.
    fn node(&mut self, id: &str, node: &Json, at: impl Fn() -> Option<usize>) -> Node {
        let beside = node.as_object().into_iter().flatten().map(|(field, _)| field);
        if let Some(field) = beside.into_iter().find(|field| FIELDS.contains(&field.as_str())) {
            let text = format!("{}: {field:?} stands beside \"metadata\", not in it: ignored", json::plain(id, 100));
            self.find(Severity::Warning, at(), text);
        }
        let label = node.get("label").and_then(Json::as_str).unwrap_or_default();
        let metadata = match node.get("metadata") {
            None => return Node { doc: label.to_owned(), ..Node::default() },
            Some(metadata) => metadata,
        };
        let Some(fields) = metadata.as_object() else {
            self.error(at(), format!("{}: its \"metadata\" is no object", json::plain(id, 100)));
            return Node::default();
        };
        let mut node = Node::deserialize(metadata).unwrap_or_else(|_| self.good_fields(id, fields, at));
        if node.doc.is_empty() {
            node.doc = label.to_owned();
        }
        node
    }

    fn good_fields(&mut self, id: &str, fields: &Map<String, Json>, at: impl Fn() -> Option<usize>) -> Node {
        let mut good = Map::new();
        for (field, value) in fields {
            let one: Map<String, Json> = [(field.clone(), value.clone())].into_iter().collect();
            match serde_json::from_value::<Node>(Json::Object(one.clone())) {
                Ok(_) => good.extend(one),
                Err(error) => {
                    let at = at();
                    let place = at.and_then(|at| place(self.text, field, at)).or(at);
                    let (id, field) = (json::plain(id, 100), json::plain(field, 100));
                    self.error(place, format!("{id}, {field:?}: {}", json::plain(&error.to_string(), 300)));
                }
            }
        }
        serde_json::from_value(Json::Object(good)).unwrap_or_default()
    }

    fn edges(&mut self, graph: &Map<String, Json>, file: &mut File) {
        let mut at = place(self.text, "edges", 0).unwrap_or_default();
        let edges = match graph.get("edges") {
            None => return,
            Some(Json::Array(edges)) if edges.len() <= MAX_NODES => edges,
            Some(Json::Array(_)) => return self.error(Some(at), format!("more than {MAX_NODES} edges")),
            Some(_) => return self.error(Some(at), "\"edges\" is no list"),
        };
        for edge in edges {
            let part = |name: &str| edge.get(name).and_then(Json::as_str).map(str::to_owned);
            at = place(self.text, "source", at + 1).unwrap_or(at);
            let overrides =
                edge.get("metadata").and_then(|metadata| metadata.get("override")) == Some(&Json::Bool(true));
            let (Some(source), Some(target), Some(relation)) = (part("source"), part("target"), part("relation"))
            else {
                self.error(Some(at), "an edge needs \"source\", \"target\" and \"relation\"");
                continue;
            };
            match serde_json::from_value(Json::String(relation.clone())) {
                Ok(relation) => file.edges.push(Edge { source, target, relation, overrides }),
                Err(_) => {
                    let near = nearest(&relation, RELATIONS.into_iter());
                    let relation = json::plain(&relation, 60);
                    match near {
                        Some(near) => self.error(Some(at), format!("no edge is {relation:?}; did you mean {near:?}?")),
                        None => {
                            let known = RELATIONS.join(", ");
                            let message = format!("an edge {relation:?} is ignored; known are {known}");
                            self.find(Severity::Warning, Some(at), message);
                        }
                    }
                }
            }
        }
    }
}
