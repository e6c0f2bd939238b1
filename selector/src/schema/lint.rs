//! Owns the checks of one schema file: every finding at once, with its place. Errors keep a file from being used, warnings
//! do not: Proposal D's own schema, which has an edge to a node that it lacks, is usable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::file::{self, Edge, File, Node, Relation, value_node};
use super::{Compare, Finding, Group, SchemaFile, Schemas, Severity, Type, Values, merge};
use crate::json;
use crate::microarch;
use crate::value::Requirement;

/// Everything that is wrong with a file of a site, in the order of the lines.
pub fn check(file: &SchemaFile) -> Vec<Finding> {
    if microarch::is_file(&file.name) {
        return merge::targets(file).err().into_iter().collect();
    }
    let (parsed, mut findings) = file::read(&file.name, &file.text);
    let readable = findings.iter().all(|finding| finding.severity == Severity::Warning);
    findings.extend(inside(&file.name, &file.text, &parsed, Schemas::builtin().group(&parsed.id)));
    if readable && let Err(errors) = merge::all(&super::BUILTIN, std::slice::from_ref(file)) {
        findings.extend(errors.0);
    }
    findings.sort_by(|a, b| (a.position, a.severity, &a.message).cmp(&(b.position, b.severity, &b.message)));
    findings.dedup();
    findings
}

/// What is wrong inside a file; `base` is what is known about its group already.
pub(super) fn inside(name: &str, text: &str, file: &File, base: Option<&Group>) -> Vec<Finding> {
    let mut linter = Linter { name, text, file, base, findings: Vec::new() };
    linter.nodes();
    linter.edges();
    for relation in [Relation::Contains, Relation::Is, Relation::Satisfies, Relation::Implies] {
        linter.cycles(relation);
    }
    linter.findings
}

struct Linter<'a> {
    name: &'a str,
    text: &'a str,
    file: &'a File,
    base: Option<&'a Group>,
    findings: Vec<Finding>,
}

impl Linter<'_> {
    fn find(&mut self, severity: Severity, at: Option<usize>, message: String) {
        let position = at.map(|offset| file::position(self.text, offset));
        self.findings.push(Finding { file: self.name.to_owned(), position, severity, message });
    }

    fn place_of_node(&self, id: &str) -> Option<usize> {
        file::place(self.text, id, file::place(self.text, "nodes", 0)?)
    }

    fn place_of_edge(&self, edge: &Edge) -> Option<usize> {
        let mut at = file::place(self.text, "edges", 0)?;
        // The source that has this target within the same object.
        while let Some(source) = file::place(self.text, &edge.source, at) {
            let begin = self.text.get(..source)?.rfind('{')?;
            let end = source + self.text.get(source..)?.find('}')?;
            let object = self.text.get(begin..end)?;
            if [&edge.target, edge.relation.word()].iter().all(|part| object.contains(&format!("\"{part}\""))) {
                return Some(begin);
            }
            at = source + 1;
        }
        None
    }

    /// Whether a node exists, here or in what is known already.
    fn exists(&self, id: &str) -> bool {
        if self.file.nodes.contains_key(id) {
            return true;
        }
        let Some(base) = self.base else { return false };
        match value_node(id) {
            None => base.keys().any(|(key, _)| key == id),
            Some((key, value)) => base
                .key(key)
                .and_then(|(_, key)| key.values.as_ref())
                .is_some_and(|values| values.depth(value).is_some()),
        }
    }

    fn nodes(&mut self) {
        let file = self.file;
        for (id, node) in &file.nodes {
            let shown = json::plain(id, 100);
            if let Some((key, _)) = value_node(id) {
                if !self.exists(key) {
                    let message = format!("{shown}: a value of {key:?}, which is no key");
                    self.find(Severity::Error, self.place_of_node(id), message);
                }
                continue;
            }
            let known = self.base.and_then(|base| base.key(id)).is_some_and(|(_, key)| !key.doc.is_empty());
            if node.doc.is_empty() && !known {
                let message = format!("{shown}: nothing says what it means: give it a \"doc\"");
                self.find(Severity::Warning, self.place_of_node(id), message);
            }
            let taken: Vec<&String> = node.aliases.iter().filter(|alias| self.exists(alias)).collect();
            for alias in taken {
                let message = format!("{shown}: its alias {:?} is a key", json::plain(alias, 100));
                self.find(Severity::Error, self.place_of_node(id), message);
            }
            for why in self.meaning(id, node) {
                self.find(Severity::Error, self.place_of_node(id), format!("{shown}: {why}"));
            }
            for (what, name) in [("fact", &node.fact), ("instead", &node.instead)] {
                let names = |name: &String| name.split_once('/').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
                if !name.as_ref().is_none_or(names) {
                    let message = format!("{shown}: {what:?} names no GROUP/KEY");
                    self.find(Severity::Error, self.place_of_node(id), message);
                }
            }
        }
    }

    /// What is wrong with the meaning of a key, as far as this file and what is known already tell.
    fn meaning(&self, id: &str, node: &Node) -> Vec<String> {
        let base = self.base.and_then(|base| base.key(id)).map(|(_, key)| key);
        let (mut key, _) = merge::merged(base, node);
        let known = key.values.iter().flat_map(|values| values.names().map(str::to_owned));
        let here = self.file.nodes.keys().filter_map(|node| value_node(node));
        let here = here.filter(|(key, _)| *key == id).map(|(_, value)| value.to_owned());
        let values: BTreeSet<String> = known.chain(here).collect();
        if !values.is_empty() {
            key.values = Some(Arc::new(Values::new(id, &values, &self.file.edges)));
        }
        let fits = match key.compare {
            None | Some(Compare::Eq) => true,
            Some(Compare::Ge | Compare::Range) => matches!(key.kind, Type::Int | Type::Quantity | Type::Version),
            Some(Compare::SameMajor | Compare::Prefix) => key.kind == Type::Version,
            Some(Compare::Subset) => matches!(key.kind, Type::Set | Type::Flags),
            Some(Compare::Ancestor) => key.kind == Type::Dag,
        };
        let mut wrong: Vec<String> = node
            .examples
            .iter()
            .filter_map(|example| Requirement::read(&key, example).err())
            .map(|why| format!("an example cannot be read: {why}"))
            .collect();
        if !fits {
            wrong.push("its type cannot be compared that way".to_owned());
        }
        wrong
    }

    fn edges(&mut self) {
        let file = self.file;
        for edge in &file.edges {
            let relation = edge.relation.word();
            let shown = format!("{:?} {relation} {:?}", json::plain(&edge.source, 100), json::plain(&edge.target, 100));
            for end in [&edge.source, &edge.target] {
                if !self.exists(end) {
                    // Topics are for readers: an edge that leads nowhere changes nothing.
                    let severity =
                        if edge.relation == Relation::Contains { Severity::Warning } else { Severity::Error };
                    let message = format!("the edge {shown} dangles: {:?} is no node", json::plain(end, 100));
                    self.find(severity, self.place_of_edge(edge), message);
                }
            }
            let ends = (value_node(&edge.source), value_node(&edge.target));
            let wrong = match (edge.relation, ends) {
                (Relation::Satisfies | Relation::Is, (Some((a, _)), Some((b, _)))) => a != b,
                (Relation::Satisfies, _) => true,
                (Relation::Is, (a, b)) => a.is_some() != b.is_some(),
                _ => false,
            };
            if wrong {
                let message = format!("the edge {shown} must be between two values of one key");
                self.find(Severity::Error, self.place_of_edge(edge), message);
            }
        }
    }

    /// One finding per node that a chain of `relation` leads back to.
    fn cycles(&mut self, relation: Relation) {
        let edges: Vec<&Edge> = self.file.edges.iter().filter(|edge| edge.relation == relation).collect();
        let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        edges.iter().for_each(|edge| next.entry(&edge.source).or_default().push(&edge.target));
        let mut reported: BTreeSet<&str> = BTreeSet::new();
        let mut found = Vec::new();
        for edge in &edges {
            let (mut seen, mut waiting) = (BTreeSet::new(), vec![edge.target.as_str()]);
            while let Some(node) = waiting.pop() {
                if seen.insert(node) {
                    waiting.extend(next.get(node).into_iter().flatten());
                }
            }
            if seen.contains(edge.source.as_str()) && !seen.iter().any(|node| reported.contains(node)) {
                reported.insert(&edge.source);
                found.push(*edge);
            }
        }
        for edge in found {
            let node = json::plain(&edge.source, 100);
            let message =
                format!("a cycle: {node:?} {} itself, through {:?}", relation.word(), json::plain(&edge.target, 100));
            self.find(Severity::Error, self.place_of_edge(edge), message);
        }
    }
}
