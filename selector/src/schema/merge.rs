//! Owns how schema files become the schemas of a node: built-in ones first, then the site's. A site may add and tighten;
//! what weakens a built-in requirement needs `"override": true` beside it (matching.md §8).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::file::{self, Edge, File, Node, Relation, value_node};
use super::values::Values;
use super::{
    Assertion, Finding, Group, Implication, Key, Level, MAX_FILES, Role, SchemaErrors, SchemaFile, Schemas, Several,
    Severity, Type, lint,
};
use crate::digest::Digest;
use crate::json::{self, JsonError};
use crate::microarch::{self, MicroarchError, Microarchitectures};
use crate::value::Wanted;

/// All schemas, or every error of every file.
pub(super) fn all(builtin: &[(&str, &str)], site: &[SchemaFile]) -> Result<Schemas, SchemaErrors> {
    let mut merge = Merge::default();
    let (mut data, mut site): (Vec<&SchemaFile>, Vec<&SchemaFile>) =
        site.iter().partition(|file| microarch::is_file(&file.name));
    // Of two files that say the same the last one by name holds, in whatever order they were handed over.
    [&mut data, &mut site].into_iter().for_each(|files| files.sort_by_key(|file| &file.name));
    // What a `dag` key means depends on them.
    let targets = merge.targets(&data);
    let mut hashed = targets.digest().to_string();
    let files = builtin.iter().map(|(name, text)| (*name, *text, false));
    let files = files.chain(site.iter().map(|file| (file.name.as_str(), file.text.as_str(), true)));
    for (name, text, site) in files {
        hashed.push('\n');
        hashed.push_str(&Digest::of(text.as_bytes()).to_string());
        merge.file(name, text, site);
    }
    if site.len() > MAX_FILES {
        merge.error("schemas", None, format!("more than {MAX_FILES} files"));
    }
    merge.finish(targets, Digest::of(hashed.as_bytes()))
}

/// The graph of microarchitectures in a file of a site.
pub(super) fn targets(file: &SchemaFile) -> Result<Microarchitectures, Finding> {
    Microarchitectures::parse(file.text.as_bytes()).map_err(|error| {
        let (position, message) = match error {
            MicroarchError::Json(JsonError::Malformed { line, column, message }) => (Some((line, column)), message),
            error => (None, error.to_string()),
        };
        Finding { file: file.name.clone(), position, severity: Severity::Error, message }
    })
}

/// Groups while files are still being added.
#[derive(Default)]
struct Merge {
    groups: BTreeMap<String, Draft>,
    aliases: BTreeMap<String, String>,
    errors: Vec<Finding>,
}

/// One group before its graphs are built.
struct Draft {
    group: Group,
    /// The keys that are built in.
    protected: BTreeSet<String>,
    values: BTreeMap<String, BTreeSet<String>>,
    edges: Vec<Edge>,
}

impl Merge {
    fn error(&mut self, file: &str, position: Option<(usize, usize)>, message: String) {
        self.errors.push(Finding { file: file.to_owned(), position, severity: Severity::Error, message });
    }

    /// The site's graph of microarchitectures, else the built-in one.
    fn targets(&mut self, files: &[&SchemaFile]) -> Cow<'static, Microarchitectures> {
        if let [_, second, ..] = files {
            self.error(&second.name, None, "there is archspec data already".to_owned());
        }
        match files.first().map(|file| targets(file)) {
            Some(Ok(targets)) => return Cow::Owned(targets),
            Some(Err(finding)) => self.errors.push(finding),
            None => {}
        }
        Cow::Borrowed(Microarchitectures::builtin())
    }

    fn file(&mut self, name: &str, text: &str, site: bool) {
        let (mut file, mut findings) = file::read(name, text);
        file.id = self.aliases.get(&file.id).cloned().unwrap_or(file.id);
        // Lint sees what earlier files said, so that a site may draw edges to built-in nodes.
        let base = self.groups.get(&file.id).map(Draft::seen);
        findings.extend(lint::inside(name, text, &file, base.as_ref()));
        findings.retain(|finding| finding.severity == Severity::Error);
        let broken = !findings.is_empty();
        self.errors.extend(findings);
        if broken {
            return;
        }
        for alias in &file.aliases {
            if self.groups.contains_key(alias) || self.aliases.get(alias).is_some_and(|group| *group != file.id) {
                let message = format!("the alias {:?} is another group's name", json::plain(alias, 100));
                return self.error(name, None, message);
            }
            self.aliases.insert(alias.clone(), file.id.clone());
        }
        let mut draft = self.groups.remove(&file.id).unwrap_or_else(|| Draft::new(&file));
        let id = file.id.clone();
        let position = |at: Option<usize>| at.map(|at| file::position(text, at));
        let at = |id: &str| position(file::place(text, id, file::place(text, "nodes", 0)?));
        let places = Places { node: &at, strip: position(file::place(text, "strip", 0)) };
        for (at, message) in draft.add(name, file, site.then_some(base).flatten().as_ref(), &places) {
            self.error(name, at, message);
        }
        self.groups.insert(id, draft);
    }

    fn finish(self, targets: Cow<'static, Microarchitectures>, digest: Digest) -> Result<Schemas, SchemaErrors> {
        if !self.errors.is_empty() {
            return Err(SchemaErrors(self.errors));
        }
        let groups = self.groups.into_iter().map(|(id, draft)| (id, draft.seen())).collect();
        Ok(Schemas { groups, aliases: self.aliases, targets, digest })
    }
}

type Place = Option<(usize, usize)>;
type Problem = (Place, String);

/// Where things stand in a file.
struct Places<'a> {
    node: &'a dyn Fn(&str) -> Place,
    strip: Place,
}

impl Draft {
    fn new(file: &File) -> Self {
        let group = Group {
            id: file.id.clone(),
            version: file.version.clone(),
            label: file.label.clone(),
            aliases: Vec::new(),
            files: Vec::new(),
            implications: Vec::new(),
            keys: BTreeMap::new(),
            key_aliases: BTreeMap::new(),
            strip: Vec::new(),
        };
        Self { group, protected: BTreeSet::new(), values: BTreeMap::new(), edges: Vec::new() }
    }

    /// Adds a file; what it may not do comes back, with its place.
    /// `before` is what a file of a site adds to.
    fn add(&mut self, name: &str, file: File, before: Option<&Group>, places: &Places<'_>) -> Vec<Problem> {
        let (mut problems, at) = (Vec::new(), places.node);
        let overridden = before.map(|_| overridden(&file)).unwrap_or_default();
        self.group.files.push(name.to_owned());
        self.group.aliases.extend(file.aliases);
        if let Some(before) = before {
            problems.extend(self.strips(&file.strip, before).map(|problem| (places.strip, problem)));
        }
        self.group.strip.extend(file.strip);
        for (id, node) in &file.nodes {
            if let Some((key, value)) = value_node(id) {
                self.values.entry(key.to_owned()).or_default().insert(value.to_owned());
                continue;
            }
            let shown = json::plain(id, 100);
            let mut base = self.group.key(id).map(|(_, key)| key.clone());
            if let Some(family) = base.as_mut().filter(|_| !self.group.keys.contains_key(id)) {
                family.aliases.clear();
            }
            let (key, weakened) = merged(base.as_ref(), node);
            if before.is_some() && !node.overrides && self.protects(id) && !weakened.is_empty() {
                let message =
                    format!("{shown}: weakens a built-in requirement: {}: say \"override\": true", weakened.join(", "));
                problems.push((at(id), message));
            }
            key.aliases.iter().for_each(|alias| drop(self.group.key_aliases.insert(alias.clone(), id.clone())));
            self.group.keys.insert(id.clone(), key);
        }
        for edge in file.edges {
            self.edge(edge);
        }
        match before {
            Some(before) => {
                let after = self.seen();
                let weaker = self.protected.iter().filter(|key| !overridden.contains(*key));
                let weaker =
                    weaker.flat_map(|key| loosened(key, before, &after).into_iter().map(move |what| (key, what)));
                problems.extend(weaker.map(|(key, what)| {
                    let shown = json::plain(key, 100);
                    (at(key), format!("{shown}: weakens a built-in requirement: {what}: say \"override\": true"))
                }));
            }
            None => self.protected.extend(file.nodes.keys().filter(|id| value_node(id).is_none()).cloned()),
        }
        problems
    }

    /// Prefixes by which names that the built-in schemas speak of would come to mean something else.
    fn strips<'f>(&'f self, strip: &'f [String], before: &'f Group) -> impl Iterator<Item = String> {
        let aliases =
            before.key_aliases.iter().filter(|(_, key)| self.protected.contains(*key)).map(|(alias, _)| alias);
        let names: Vec<&str> = self.protected.iter().chain(aliases).map(|name| name.trim_end_matches('*')).collect();
        strip.iter().filter_map(move |prefix| {
            let taken = names.iter().find(|name| name.starts_with(prefix.as_str()) || prefix.starts_with(**name))?;
            let (prefix, taken) = (json::plain(prefix, 100), json::plain(taken, 100));
            Some(format!("\"strip\": {prefix:?} takes names away from the built-in {taken:?}"))
        })
    }

    /// Whether a built-in key, or a family that covers it, says what `id` means.
    fn protects(&self, id: &str) -> bool {
        let covered = |name: &String| name.strip_suffix('*').is_some_and(|prefix| id.starts_with(prefix));
        self.protected.contains(id) || self.protected.iter().any(covered)
    }

    fn edge(&mut self, edge: Edge) {
        if edge.relation == Relation::Is {
            match (value_node(&edge.source), value_node(&edge.target)) {
                (Some((key, from)), Some((_, to))) => {
                    if let Some(key) = self.group.keys.get_mut(key) {
                        key.value_aliases.insert(from.to_owned(), to.to_owned());
                    }
                }
                _ => {
                    self.group.keys.remove(&edge.source);
                    self.group.key_aliases.insert(edge.source.clone(), edge.target.clone());
                    if let Some(key) = self.group.keys.get_mut(&edge.target) {
                        key.aliases.push(edge.source.clone());
                    }
                }
            }
        }
        self.edges.push(edge);
    }

    /// The group as far as it is known: for the checks of the next file.
    fn seen(&self) -> Group {
        let mut group = self.group.clone();
        self.build(&mut group);
        group
    }

    fn build(&self, group: &mut Group) {
        for (key, values) in &self.values {
            if let Some(meaning) = group.keys.get_mut(key) {
                let aliases = &meaning.value_aliases;
                let values = values.iter().filter(|value| !aliases.contains_key(*value)).cloned().collect();
                meaning.values = Some(Arc::new(Values::new(key, &values, &self.edges)));
            }
        }
        let implied = self.edges.iter().filter(|edge| matches!(edge.relation, Relation::Implies | Relation::Conflicts));
        group.implications = implied
            .map(|edge| {
                let conflict = edge.relation == Relation::Conflicts;
                Implication { when: assertion(&edge.source), then: assertion(&edge.target), conflict }
            })
            .collect();
    }
}

/// The keys about which a file says that it may weaken them, at the key itself or at an edge between its values.
fn overridden(file: &File) -> BTreeSet<String> {
    let key = |id: &str| value_node(id).map_or(id, |(key, _)| key).to_owned();
    let nodes = file.nodes.iter().filter(|(_, node)| node.overrides).map(|(id, _)| key(id));
    let edges = file.edges.iter().filter(|edge| edge.overrides);
    nodes.chain(edges.flat_map(|edge| [key(&edge.source), key(&edge.target)])).collect()
}

/// In what a built-in key means less than before: names of it that lead elsewhere, values that are read as others, built-in
/// values that satisfy more of each other, by whatever way. What a node itself says is [`merged`]'s.
fn loosened(name: &str, before: &Group, after: &Group) -> Vec<String> {
    let Some((_, was)) = before.key(name) else { return Vec::new() };
    let names = before.key_aliases.iter().filter(|(_, key)| *key == name).map(|(alias, _)| alias.as_str());
    let mut found: Vec<String> = names
        .chain([name])
        .filter(|alias| after.key(alias).is_none_or(|(key, _)| key != name))
        .map(|alias| format!("{} means another key", json::plain(alias, 100)))
        .collect();
    if let Some(prefix) = name.strip_suffix('*') {
        let taken = after.key_aliases.iter().filter(|(alias, _)| alias.starts_with(prefix));
        let taken = taken.filter(|(alias, _)| before.key(alias).is_some_and(|(key, _)| key == alias.as_str()));
        found.extend(taken.map(|(alias, _)| format!("{} means another key", json::plain(alias, 100))));
    }
    let Some(is) = after.keys.get(name) else { return found };
    // A value that the schema does not list has no meaning yet.
    let had_meaning = |value: &str| was.values.as_ref().is_none_or(|values| values.depth(value).is_some());
    let read =
        is.value_aliases.iter().filter(|(value, _)| !was.value_aliases.contains_key(*value) && had_meaning(value));
    found.extend(read.map(|(from, to)| format!("{} is read as {}", json::plain(from, 100), json::plain(to, 100))));
    if was.values.is_none() && is.values.is_some() && matches!(is.kind, Type::Dag | Type::Enum) {
        found.push("its values are those of the site".to_owned());
    }
    if let (Some(was), Some(is)) = (&was.values, &is.values) {
        let pairs = was.names().flat_map(|value| is.above(value).map(move |above| (value, above)));
        let more = pairs.filter(|(value, above)| was.depth(above).is_some() && !was.satisfies(value, above));
        found.extend(
            more.map(|(value, above)| format!("{} satisfies {}", json::plain(value, 100), json::plain(above, 100))),
        );
    }
    found
}

fn assertion(id: &str) -> Assertion {
    match value_node(id) {
        Some((key, value)) => Assertion { key: key.to_owned(), value: Some(value.to_owned()) },
        None => Assertion { key: id.to_owned(), value: None },
    }
}

/// What a key means after `node`, and what about that is weaker than `base`.
pub(super) fn merged(base: Option<&Key>, node: &Node) -> (Key, Vec<&'static str>) {
    let mut weakened = Vec::new();
    let mut key = base.cloned().unwrap_or_default();
    let before = key.clone();
    let mut weaker = |is: bool, what: &'static str| {
        if is && base.is_some() {
            weakened.push(what);
        }
    };
    if let Some(kind) = node.kind {
        weaker(before.kind != Type::Untyped && kind != before.kind, "another type");
        key.kind = kind;
    }
    if let Some(compare) = node.compare {
        weaker(before.compare.unwrap_or(before.kind.compare()) != compare, "another way to compare");
        key.compare = Some(compare);
    }
    if let Some(role) = node.role {
        weaker(before.role == Role::Requires && role != Role::Requires, "no requirement any more");
        key.role = role;
    }
    if let Some(level) = node.level {
        weaker(strictness(level) < strictness(before.level), "a lower level");
        key.level = level;
    }
    if let Some(absent) = node.absent {
        weaker(absent != before.absent, "another meaning of absent");
        key.absent = absent;
    }
    if let Some(several) = node.several {
        weaker(before.several == Several::Each && several == Several::Any, "any of several is enough");
        key.several = several;
    }
    if let Some(fact) = node.fact.as_deref().and_then(|fact| fact.split_once('/')) {
        let fact = Some((fact.0.to_owned(), fact.1.to_owned()));
        weaker(fact != before.fact, "another fact");
        key.fact = fact;
    }
    if let Some(better) = node.instead.as_deref().and_then(|better| better.split_once('/')) {
        key.instead = Some((better.0.to_owned(), better.1.to_owned()));
    }
    for (from, to) in &node.value_aliases {
        weaker(key.value_aliases.get(from).is_some_and(|known| known != to), "another meaning of a value");
        key.value_aliases.insert(from.clone(), to.clone());
    }
    key.weight = node.weight.unwrap_or(key.weight);
    key.dimension = node.dimension.unwrap_or(key.dimension);
    key.specificity = node.specificity.unwrap_or(key.specificity);
    key.aliases.extend(node.aliases.iter().cloned());
    if !node.doc.is_empty() {
        key.doc.clone_from(&node.doc);
    }
    if !node.source.is_empty() {
        key.source.clone_from(&node.source);
    }
    if !node.examples.is_empty() {
        key.examples = node.examples.iter().map(Wanted::json).collect();
    }
    (key, weakened)
}

fn strictness(level: Level) -> u8 {
    match level {
        Level::Required => 2,
        Level::Preferred => 1,
        Level::Info => 0,
    }
}
