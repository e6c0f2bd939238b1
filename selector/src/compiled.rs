//! Owns what documents ask for once schemas and the site have had their word: every key becomes an [`Atom`] that needs
//! nothing but a host (matching.md §2 to §4). Done once per document; `crate::matching` holds the result against any
//! number of hosts.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::Document;
use crate::json;
use crate::policy::{Policy, covers};
use crate::schema::{Assertion, Dimension, Group, Key, Level, Role, Schemas, Type};
use crate::value::{Requirement, Scalar, Wanted};

/// The most levels of one document that are reported to hold for nothing.
const MAX_IDLE: usize = 16;

/// What documents are compiled with.
#[derive(Clone, Copy)]
pub struct Meaning<'a> {
    /// What keys mean.
    pub schemas: &'a Schemas,
    /// The site's levels, and what it checks.
    pub policy: &'a Policy,
}

/// A document that needs nothing but a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiled {
    /// The author's weight.
    pub weight: i32,
    /// Whether it says that the image runs anywhere.
    pub empty: bool,
    /// What its author should know.
    pub notes: Vec<String>,
    /// What it asks for, by group.
    pub groups: Vec<Section>,
}

/// What a document asks of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The canonical name of the group.
    pub group: String,
    /// Its name as written.
    pub written: String,
    /// Whether a schema makes it known; otherwise the host's facts decide.
    pub known: bool,
    /// What is asked.
    pub atoms: Vec<Atom>,
}

/// One key of a document with its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Atom {
    /// The key that the host's facts know.
    pub key: String,
    /// Another group and key that it is held against.
    pub fact: Option<(String, String)>,
    /// `group/key`, for people.
    pub name: String,
    /// What is asked for, for people.
    pub wanted: String,
    /// Whether it must hold.
    pub level: Level,
    /// Where it counts.
    pub dimension: Dimension,
    /// How much it counts.
    pub weight: u32,
    /// What is held against the host.
    pub test: Test,
}

/// What is held against the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// Nothing; the words say why.
    Unchecked(&'static str),
    /// It cannot be told, whatever the host is.
    Unclear(String),
    /// A typed value.
    Value(Requirement),
    /// A key of a group without a schema: equality, with whatever the host says.
    Untyped(Requirement),
    /// A key that the schema of this group does not list: equality, where it can be read and the host has a fact of exactly that
    /// name; else it cannot be told.
    Unlisted(String, Option<Requirement>),
    /// A microarchitecture.
    Target(Vec<Scalar>),
    /// Features of the processor, by name.
    Flags(Vec<String>),
}

impl Meaning<'_> {
    /// Compiles a document.
    pub fn document(&self, document: &Document) -> Compiled {
        let groups = document.groups.iter().map(|(group, keys)| match self.nested(document, group) {
            Some((known, rest)) => {
                let whole = keys.iter().map(|(key, wanted)| (format!("{rest}.{key}"), wanted.clone()));
                self.section(document, known, &whole.collect())
            }
            None => self.section(document, group, keys),
        });
        let groups = groups.collect();
        let mut compiled =
            Compiled { weight: document.weight, empty: document.is_empty(), notes: document.notes.clone(), groups };
        let conflicts = compiled.groups.iter().flat_map(|section| self.conflicts(section));
        let advice = compiled.groups.iter().flat_map(|section| self.advice(section));
        let said: Vec<String> = conflicts.chain(advice).chain(self.idle_levels(document, &compiled)).collect();
        compiled.notes.extend(said);
        compiled
    }

    /// Levels of a document that hold for none of its keys: a slip of the pen, most of the time.
    fn idle_levels(&self, document: &Document, compiled: &Compiled) -> Vec<String> {
        let written =
            document.groups.iter().flat_map(|(group, keys)| keys.keys().map(move |key| format!("{group}/{key}")));
        let names: BTreeSet<String> = written.chain(compiled.names().map(str::to_owned)).collect();
        let idle = document.idle_levels(&names).take(MAX_IDLE);
        idle.map(|pattern| format!("level:{}: none of the keys is called so", json::plain(pattern, 100))).collect()
    }

    /// The longest known group that the name of an unknown one begins with, and the rest of it.
    fn nested<'d>(&self, document: &Document, group: &'d str) -> Option<(&'d str, &'d str)> {
        if !document.nested_names || self.schemas.group(group).is_some() {
            return None;
        }
        let mut cuts = group.rmatch_indices('.').map(|(at, _)| (&group[..at], &group[at + 1..]));
        cuts.find(|(known, _)| self.schemas.group(known).is_some())
    }

    fn section(&self, document: &Document, group: &str, keys: &BTreeMap<String, Wanted>) -> Section {
        let schema = self.schemas.group(group);
        let canonical = schema.map_or(group, |schema| &schema.id);
        let atoms = keys.iter().map(|(key, wanted)| self.atom(document, (group, canonical), schema, key, wanted));
        Section {
            group: canonical.to_owned(),
            written: group.to_owned(),
            known: schema.is_some(),
            atoms: atoms.collect(),
        }
    }

    /// One key of a document that says nothing else.
    pub fn key(&self, group: &str, key: &str, wanted: &Wanted) -> Atom {
        let schema = self.schemas.group(group);
        let canonical = schema.map_or(group, |schema| &schema.id);
        self.atom(&Document::default(), (group, canonical), schema, key, wanted)
    }

    fn atom(
        &self,
        document: &Document,
        (group, canonical): (&str, &str),
        schema: Option<&Group>,
        written: &str,
        wanted: &Wanted,
    ) -> Atom {
        let known = schema.and_then(|schema| schema.key(written));
        let key = known.map_or(written, |(key, _)| key);
        let name = format!("{canonical}/{key}");
        let names = [format!("{group}/{written}"), name.clone()];
        let stated = self.site_level(&names).or_else(|| document.level([&names[0], &names[1]]));
        let untyped = Key { kind: Type::Untyped, ..Key::default() };
        let meaning = match (known, schema) {
            (Some((_, meaning)), _) => Some(meaning),
            (None, None) => Some(&untyped),
            (None, Some(_)) => None,
        };
        let mut atom = Atom {
            key: key.to_owned(),
            fact: None,
            name: json::plain(&name, 200),
            wanted: json::plain(&wanted.to_string(), 200),
            level: stated.or(meaning.map(|meaning| meaning.level)).unwrap_or_default(),
            dimension: meaning.map(|meaning| meaning.dimension).unwrap_or_default(),
            weight: meaning.map_or(0, |meaning| meaning.weight),
            test: Test::Unchecked("information, not checked"),
        };
        let Some(meaning) = meaning else {
            atom.test = Test::Unlisted(canonical.to_owned(), Requirement::read(&untyped, wanted).ok());
            return atom;
        };
        let asked = meaning.role == Role::Provides && self.checks(&names);
        match meaning.role {
            Role::Provides if !asked => atom.test = Test::Unchecked("a fact of the image, not checked"),
            Role::Info => {}
            _ if atom.level == Level::Info => {}
            _ => {
                atom.fact.clone_from(&meaning.fact);
                atom.test = match test(meaning, wanted) {
                    Test::Value(equality) if schema.is_none() => Test::Untyped(equality),
                    test => test,
                };
            }
        }
        atom
    }

    /// The site's word on the level of a key.
    fn site_level(&self, names: &[String; 2]) -> Option<Level> {
        let levels = self.policy.levels.iter();
        let covering = levels.filter(|(pattern, _)| names.iter().any(|name| covers(pattern, name)));
        covering.max_by_key(|(pattern, _)| pattern.len()).map(|(_, level)| *level)
    }

    /// Whether the site asks about this fact of an image.
    fn checks(&self, names: &[String; 2]) -> bool {
        self.policy.check.iter().any(|pattern| names.iter().any(|name| covers(pattern, name)))
    }

    /// Keys that seldom say what their author means: the schema names a better one (matching.md §9, example 5).
    fn advice(&self, section: &Section) -> Vec<String> {
        let Some(schema) = self.schemas.group(&section.group) else { return Vec::new() };
        let asked = section.atoms.iter().filter(|atom| matches!(atom.test, Test::Value(_)));
        let advice = asked.filter_map(|atom| {
            let (group, name) = schema.key(&atom.key)?.1.instead.as_ref()?;
            let (_, better) = self.schemas.group(group)?.key(name)?;
            let example = better.examples.first().map_or("…", String::as_str);
            let ask = format!("\"{group}\": {{\"{name}\": {example}}}");
            Some(format!("{} = {} holds for nothing newer: better ask for {ask}", atom.name, atom.wanted))
        });
        advice.collect()
    }

    /// Pairs that no host can satisfy, as the schema sees it.
    fn conflicts(&self, section: &Section) -> Vec<String> {
        let Some(schema) = self.schemas.group(&section.group) else { return Vec::new() };
        let asks = |assertion: &Assertion| {
            let wanted = assertion.value.as_deref().unwrap_or("true");
            section
                .atoms
                .iter()
                .any(|atom| atom.level == Level::Required && atom.key == assertion.key && atom.wanted == wanted)
        };
        let both = schema.implications.iter().filter(|edge| edge.conflict && asks(&edge.when) && asks(&edge.then));
        let name = |assertion: &Assertion| match &assertion.value {
            Some(value) => format!("{} = {value}", assertion.key),
            None => assertion.key.clone(),
        };
        both.map(|edge| format!("{}: {} and {} exclude each other", section.group, name(&edge.when), name(&edge.then)))
            .collect()
    }
}

/// What is held against the host for a key.
pub fn test(key: &Key, wanted: &Wanted) -> Test {
    if key.kind == Type::Dag && key.values.is_none() {
        return Test::Target(wanted.values.clone());
    }
    match Requirement::read(key, wanted) {
        Ok(_) if key.kind == Type::Flags => Test::Flags(wanted.values.iter().map(Scalar::to_string).collect()),
        Ok(requirement) => Test::Value(requirement),
        Err(why) => Test::Unclear(why),
    }
}

impl Compiled {
    /// The canonical names of what it asks for: `group/key`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(|section| &section.atoms).map(|atom| atom.name.as_str())
    }
}
