//! Owns group schemas: what the keys of a group mean, how they compare, how much they count (matching.md §2, §8). A
//! schema is a JSON file shaped as JSON Graph; the built-in ones lie in `schemas/`, and a site adds its own. Compares
//! nothing itself; that is `crate::value`.
//!
//! ```text
//! file ─▶ file (parsed, every finding) ─▶ lint (edges, cycles, docs) ─▶ merge (what a site may change) ─▶ Schemas ─▶ show
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::microarch::{self, MicroarchError, Microarchitectures};

pub mod file;
pub mod lint;
mod merge;
pub mod show;
mod values;

pub use values::Values;

const BUILTIN: [(&str, &str); 5] = [
    ("nfd.json", include_str!("../schemas/nfd.json")),
    ("io.archspec.json", include_str!("../schemas/io.archspec.json")),
    ("host.json", include_str!("../schemas/host.json")),
    ("oci.json", include_str!("../schemas/oci.json")),
    ("org.supercontainers.json", include_str!("../schemas/org.supercontainers.json")),
];
/// The longest schema that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// The most schemas that a site may add.
pub const MAX_FILES: usize = 64;

/// A schema as it was read from a file of the site; parsing comes later. One that is named `microarchitectures.json`
/// ([`crate::microarch::FILE`]) is archspec's data, which then stands for the built-in data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaFile {
    /// The name of the file, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// All schemas that hold on a node.
#[derive(Debug)]
pub struct Schemas {
    groups: BTreeMap<String, Group>,
    aliases: BTreeMap<String, String>,
    targets: Cow<'static, Microarchitectures>,
    digest: Digest,
}

/// The schema of one group.
#[derive(Debug, Clone)]
pub struct Group {
    /// The name of the group in facts and reports.
    pub id: String,
    /// The version of the schema; a site's additions do not change a built-in one.
    pub version: String,
    /// What it is about, in one line.
    pub label: String,
    /// Other names of the group.
    pub aliases: Vec<String>,
    /// The files that say something about it, the built-in one first.
    pub files: Vec<String>,
    /// What follows from what, and what excludes what.
    pub implications: Vec<Implication>,
    keys: BTreeMap<String, Key>,
    key_aliases: BTreeMap<String, String>,
    strip: Vec<String>,
}

/// The meaning of one key, or of all keys with a prefix (`cpu-cpuid.*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// What its values are.
    pub kind: Type,
    /// How they compare; without it the default of the type.
    pub compare: Option<Compare>,
    /// Which side it describes.
    pub role: Role,
    /// Whether it must hold, where neither the site nor the document says.
    pub level: Level,
    /// How much a satisfied requirement counts within its dimension.
    pub weight: u32,
    /// Which dimension of the order it counts in.
    pub dimension: Dimension,
    /// What it means that the host does not have the thing.
    pub absent: Absent,
    /// What several values of a host mean, such as of several devices.
    pub several: Several,
    /// A fixed value specificity for keys whose values have none: `X86_64_V4` before `X86_64_V3`.
    pub specificity: u64,
    /// Other names of the key.
    pub aliases: Vec<String>,
    /// Other names of values.
    pub value_aliases: BTreeMap<String, String>,
    /// What it means, or where that is written.
    pub doc: String,
    /// Where a host says it: a file, an instruction, another fact.
    pub source: String,
    /// Values as documents write them, in JSON.
    pub examples: Vec<String>,
    /// The host's fact that it is held against, as group and key, where that has another name.
    pub fact: Option<(String, String)>,
    /// The group and key that say better what authors mean by this one.
    pub instead: Option<(String, String)>,
    /// Its values and their order, where the schema lists them.
    pub values: Option<Arc<Values>>,
}

/// The type of a key's values (matching.md §3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// No type is given: equality with whatever the host says.
    #[default]
    Untyped,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A whole number of bytes, with `Ki`, `Mi`, `Gi`, `Ti`, `K`, `M`, `G`, `T`.
    Quantity,
    /// Up to four numeric components.
    Version,
    /// Text; an array is any-of.
    String,
    /// Text out of a list.
    Enum,
    /// A set that the host's must contain.
    Set,
    /// Names of processor features, all of which the host must have; a name that nobody knows is Unknown.
    Flags,
    /// A node of a graph: of the values that the schema lists, else of archspec's targets.
    Dag,
}

/// How values compare (matching.md §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compare {
    /// Equal.
    Eq,
    /// At least.
    Ge,
    /// Within a range; a bare value is a range of its own.
    Range,
    /// At least, with the same major number. What ends in a letter, as `9.0a`, is for that version alone: only `=9.0a` says so.
    SameMajor,
    /// The same leading components.
    Prefix,
    /// Contained in the host's set.
    Subset,
    /// The host's node or one of its ancestors.
    Ancestor,
}

/// Which side a key describes (matching.md §2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The host must satisfy it.
    #[default]
    Requires,
    /// A fact of the image: checked only where the site or the user asks.
    Provides,
    /// Never checked.
    Info,
}

/// Whether a requirement must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It must.
    #[default]
    Required,
    /// It counts in the order only.
    Preferred,
    /// It is reported only.
    Info,
}

/// What an absent thing is (matching.md §5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Absent {
    /// `false`.
    False,
    /// 0.
    Zero,
    /// Neither this nor that: no requirement on it holds.
    #[default]
    Mismatch,
}

/// What it means that a host has several values of what a requirement asks one for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Several {
    /// One that satisfies it is enough: libraries that are installed side by side.
    #[default]
    Any,
    /// Each must satisfy it: devices, of which a program may use any.
    Each,
}

/// The dimensions of the order (matching.md §6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    /// GPUs and the like.
    Accelerator,
    /// The processor.
    Cpu,
    /// The network between nodes.
    Fabric,
    /// Libraries of the host.
    Libs,
    /// The kernel.
    Kernel,
    /// Everything else.
    #[default]
    Other,
}

/// A node of a schema as something that can be so on a host: a key that is true, or that has a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Assertion {
    /// The key.
    pub key: String,
    /// Its value; `None` stands for "true".
    pub value: Option<String>,
}

/// What a host that satisfies `when` says about `then` as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Implication {
    /// What is known.
    pub when: Assertion,
    /// What follows, or is excluded.
    pub then: Assertion,
    /// Whether it is excluded.
    pub conflict: bool,
}

/// One thing that is wrong with a schema, or better done otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Line and column, from 1, where they could be told.
    pub position: Option<(usize, usize)>,
    /// Whether the file is refused.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
}

/// Whether a finding keeps a schema from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is used all the same.
    Warning,
    /// It is refused.
    Error,
}

/// Why schemas were refused: every error of every file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SchemaErrors(pub Vec<Finding>);

impl Schemas {
    /// The graph of microarchitectures that is among the files of a site, else the built-in one: what a host is held against
    /// before there is a question.
    pub fn targets_of(files: &[SchemaFile]) -> Result<Cow<'static, Microarchitectures>, MicroarchError> {
        match files.iter().find(|file| microarch::is_file(&file.name)) {
            Some(file) => Microarchitectures::parse(file.text.as_bytes()).map(Cow::Owned),
            None => Ok(Cow::Borrowed(Microarchitectures::builtin())),
        }
    }

    /// The schemas that are compiled in, parsed once.
    pub fn builtin() -> &'static Self {
        static SCHEMAS: OnceLock<Schemas> = OnceLock::new();
        #[expect(clippy::expect_used, reason = "the files are compiled in, and a test parses them")]
        SCHEMAS.get_or_init(|| merge::all(&BUILTIN, &[]).expect("the built-in schemas are valid"))
    }

    /// The built-in schemas and those of the site, in the order of their names. A site's schema may add and tighten; what
    /// weakens a built-in requirement without `"override": true` is an error.
    pub fn with(files: &[SchemaFile]) -> Result<Self, SchemaErrors> {
        merge::all(&BUILTIN, files)
    }

    /// The digest over all schemas and the archspec data.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The graph of microarchitectures: the built-in one, or the site's.
    pub fn targets(&self) -> &Microarchitectures {
        &self.targets
    }

    /// The group of this name or alias.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(self.aliases.get(name).map_or(name, String::as_str))
    }

    /// All groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// The group that was probably meant by one that is not known.
    pub fn nearest(&self, group: &str) -> Option<&str> {
        nearest(group, self.groups.keys().chain(self.aliases.keys()).map(String::as_str))
    }

    /// What is to be said about a key that the schema of a group does not list.
    pub(crate) fn unlisted(&self, group: &str, key: &str) -> String {
        format!("no known key{}", did_you_mean(self.group(group).and_then(|group| group.nearest(key))))
    }

    /// The canonical name of a group.
    pub fn canonical<'a>(&'a self, group: &'a str) -> &'a str {
        self.aliases.get(group).map_or(group, String::as_str)
    }
}

impl Group {
    /// The canonical name of `key` and its meaning: the key itself, an alias, else the longest prefix (`cpu-cpuid.*`).
    pub fn key<'a>(&'a self, key: &'a str) -> Option<(&'a str, &'a Key)> {
        let key = self.strip.iter().find_map(|prefix| key.strip_prefix(prefix.as_str())).unwrap_or(key);
        if let Some((name, meaning)) = self.keys.get_key_value(self.key_aliases.get(key).map_or(key, String::as_str)) {
            return Some((name, meaning));
        }
        let families = self.keys.iter().filter_map(|(name, meaning)| Some((name.strip_suffix('*')?, meaning)));
        let covering = families.filter(|(prefix, _)| key.len() > prefix.len() && key.starts_with(prefix));
        covering.max_by_key(|(prefix, _)| prefix.len()).map(|(_, meaning)| (key, meaning))
    }

    /// All keys and families by name.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &Key)> {
        self.keys.iter().map(|(name, key)| (name.as_str(), key))
    }

    /// The key that was probably meant by one that is not known.
    pub fn nearest(&self, key: &str) -> Option<&str> {
        nearest(key, self.keys.keys().map(String::as_str).filter(|name| !name.ends_with('*')))
    }
}

impl Type {
    /// How values of this type compare where the schema does not say.
    pub fn compare(self) -> Compare {
        match self {
            Self::Int | Self::Quantity | Self::Version => Compare::Ge,
            Self::Set | Self::Flags => Compare::Subset,
            Self::Dag => Compare::Ancestor,
            Self::Untyped | Self::Bool | Self::String | Self::Enum => Compare::Eq,
        }
    }
}

impl Default for Key {
    fn default() -> Self {
        Self {
            kind: Type::default(),
            compare: None,
            role: Role::default(),
            level: Level::default(),
            weight: 10,
            dimension: Dimension::default(),
            absent: Absent::default(),
            several: Several::default(),
            specificity: 0,
            aliases: Vec::new(),
            value_aliases: BTreeMap::new(),
            doc: String::new(),
            source: String::new(),
            examples: Vec::new(),
            fact: None,
            instead: None,
            values: None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        write!(f, ": {severity}: {}", self.message)
    }
}

impl fmt::Display for SchemaErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Finding::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// The name that was probably meant by `written`: the nearest, the first of equals; none where all differ too much.
pub(crate) fn nearest<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let near = names.filter_map(|name| Some((distance(written, name, name.len() / 3)?, name)));
    near.min().map(|(_, name)| name)
}

/// What is said of a name that was probably meant.
pub(crate) fn did_you_mean(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"))
}

/// How many bytes to insert, delete, replace or swap with the next to turn one text into the other; `None` above `most`,
/// which is found out without looking at all of it.
pub(crate) fn distance(a: &str, b: &str, most: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = [vec![0; b.len() + 1], vec![0; b.len() + 1], (0..=b.len()).collect()];
    for i in 0..a.len() {
        rows.rotate_left(1);
        let [before, last, row] = &mut rows;
        row[0] = i + 1;
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            row[j + 1] = replaced.min(row[j] + 1).min(last[j + 1] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        if last.iter().chain(row.iter()).min() > Some(&most) {
            return None;
        }
    }
    let [.., row] = rows;
    row.last().copied().filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests;
