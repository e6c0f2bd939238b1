//! Owns group schemas: what the keys of a group mean, how they compare, how much they count (matching.md §2, §8). A
//! schema is a JSON file shaped as JSON Graph; the built-in ones lie in `schemas/`. Compares nothing itself; that is
//! `crate::value`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::digest::Digest;
use crate::json::{self, JsonError};
use crate::microarch;

const BUILTIN: [&str; 4] = [
    include_str!("../schemas/nfd.json"),
    include_str!("../schemas/io.archspec.json"),
    include_str!("../schemas/host.json"),
    include_str!("../schemas/org.supercontainers.json"),
];
/// The longest schema that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// All schemas that hold on a node.
#[derive(Debug)]
pub struct Schemas {
    groups: BTreeMap<String, Group>,
    aliases: BTreeMap<String, String>,
    digest: Digest,
}

/// The schema of one group.
#[derive(Debug)]
pub struct Group {
    /// The name of the group in facts and reports.
    pub id: String,
    /// The version of the schema.
    pub version: String,
    keys: BTreeMap<String, Key>,
    aliases: BTreeMap<String, String>,
    strip: Vec<String>,
}

/// The meaning of one key, or of all keys with a prefix.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What its values are.
    #[serde(rename = "type")]
    pub kind: Type,
    /// How they compare; without it the default of the type.
    pub compare: Option<Compare>,
    /// Which side it describes.
    #[serde(default)]
    pub role: Role,
    /// Whether it must hold, where the document does not say.
    #[serde(default)]
    pub level: Level,
    /// How much a satisfied requirement counts within its dimension.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// Which dimension of the order it counts in.
    #[serde(default)]
    pub dimension: Dimension,
    /// What it means that the host does not have the thing.
    #[serde(default)]
    pub absent: Absent,
    /// A fixed value specificity for keys whose values have none: `X86_64_V4` before `X86_64_V3`.
    #[serde(default)]
    pub specificity: u64,
    /// Other names of the key.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Other names of values.
    #[serde(default)]
    pub value_aliases: BTreeMap<String, String>,
    /// What it means, or where that is written.
    #[serde(default)]
    pub doc: String,
}

/// The type of a key's values (matching.md §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
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
    /// A node of archspec's graph.
    Dag,
}

/// How values compare (matching.md §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compare {
    /// Equal.
    Eq,
    /// At least.
    Ge,
    /// At least, with the same major number.
    SameMajor,
    /// The same leading components.
    Prefix,
}

/// Which side a key describes (matching.md §2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The host must satisfy it.
    #[default]
    Requires,
    /// A fact of the image.
    Provides,
    /// Never checked.
    Info,
}

/// Whether a requirement must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
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

/// The dimensions of the order (matching.md §6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
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

/// Why a schema was refused.
#[derive(Debug, thiserror::Error)]
#[error("a group schema cannot be read: {0}")]
pub struct SchemaError(#[from] JsonError);

#[derive(Deserialize)]
struct RawFile {
    graph: RawGraph,
}

#[derive(Deserialize)]
struct RawGraph {
    id: String,
    version: String,
    #[serde(default)]
    metadata: RawMetadata,
    nodes: BTreeMap<String, RawNode>,
}

#[derive(Default, Deserialize)]
struct RawMetadata {
    /// Other names of the group.
    #[serde(default)]
    aliases: Vec<String>,
    /// Prefixes that keys may carry.
    #[serde(default)]
    strip: Vec<String>,
}

#[derive(Deserialize)]
struct RawNode {
    metadata: Key,
}

fn default_weight() -> u32 {
    10
}

impl Schemas {
    /// The schemas that are compiled in, parsed once.
    pub fn builtin() -> &'static Self {
        static SCHEMAS: OnceLock<Schemas> = OnceLock::new();
        #[expect(clippy::expect_used, reason = "the files are compiled in, and a test parses them")]
        SCHEMAS.get_or_init(|| Self::parse(&BUILTIN).expect("the built-in schemas are valid"))
    }

    /// Parses schema files; a later file of the same group replaces the earlier.
    fn parse(files: &[&str]) -> Result<Self, SchemaError> {
        let (mut groups, mut aliases) = (BTreeMap::new(), BTreeMap::new());
        let mut hashed = Digest::of(microarch::BUILTIN.as_bytes()).to_string();
        for file in files {
            let graph = json::read::<RawFile>(file.as_bytes(), MAX_BYTES)?.graph;
            aliases.extend(graph.metadata.aliases.iter().map(|alias| (alias.clone(), graph.id.clone())));
            groups.insert(graph.id.clone(), Group::from(graph));
            hashed.push('\n');
            hashed.push_str(&Digest::of(file.as_bytes()).to_string());
        }
        Ok(Self { groups, aliases, digest: Digest::of(hashed.as_bytes()) })
    }

    /// The digest over all schemas and the archspec data.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The group of this name or alias.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(self.aliases.get(name).map_or(name, String::as_str))
    }
}

impl From<RawGraph> for Group {
    fn from(graph: RawGraph) -> Self {
        let keys: BTreeMap<String, Key> = graph.nodes.into_iter().map(|(name, node)| (name, node.metadata)).collect();
        let named = |(name, key): (&String, &Key)| -> Vec<(String, String)> {
            key.aliases.iter().map(|alias| (alias.clone(), name.clone())).collect()
        };
        let aliases = keys.iter().flat_map(named).collect();
        Self { id: graph.id, version: graph.version, keys, aliases, strip: graph.metadata.strip }
    }
}

impl Group {
    /// The canonical name of `key` and its meaning: the key itself, an alias, else the longest prefix (`cpu-cpuid.*`).
    pub fn key<'a>(&'a self, key: &'a str) -> Option<(&'a str, &'a Key)> {
        let key = self.strip.iter().find_map(|prefix| key.strip_prefix(prefix.as_str())).unwrap_or(key);
        if let Some((name, meaning)) = self.keys.get_key_value(self.aliases.get(key).map_or(key, String::as_str)) {
            return Some((name, meaning));
        }
        let families = self.keys.iter().filter_map(|(name, meaning)| Some((name.strip_suffix('*')?, meaning)));
        let covering = families.filter(|(prefix, _)| key.len() > prefix.len() && key.starts_with(prefix));
        covering.max_by_key(|(prefix, _)| prefix.len()).map(|(_, meaning)| (key, meaning))
    }

    /// The key that was probably meant by one that is not known.
    pub fn nearest(&self, key: &str) -> Option<&str> {
        let far = |name: &str| name.ends_with('*') || key.len().abs_diff(name.len()) * 3 > name.len();
        let near = self.keys.keys().filter(|name| !far(name));
        let near = near.map(|name| (distance(key, name), name.as_str()));
        near.min().filter(|(distance, name)| distance * 3 <= name.len()).map(|(_, name)| name)
    }
}

/// How many bytes to insert, delete or replace to turn one text into the other (Levenshtein).
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_schemas_are_valid_and_documented() {
        let schemas = Schemas::builtin();
        for group in schemas.groups.values() {
            for (name, key) in &group.keys {
                assert!(!key.doc.is_empty(), "{}/{name} has no doc", group.id);
                assert!(!group.keys.keys().any(|other| key.aliases.contains(other)), "{name}: an alias is a key");
            }
        }
    }

    #[test]
    fn finds_keys_by_name_alias_and_family() {
        let nfd = Schemas::builtin().group("feature.node.kubernetes.io").unwrap();
        assert_eq!(nfd.id, "nfd");
        let (name, key) = nfd.key("feature.node.kubernetes.io/cpu-cpuid.AVX2").unwrap();
        assert_eq!((name, key.kind, key.absent), ("cpu-cpuid.AVX2", Type::Bool, Absent::False));
        assert_eq!(nfd.key("cpu-cpuid.X86_64_V3").unwrap().1.specificity, 2);
        assert!(nfd.key("cpu-cpuid.").is_none() && nfd.key("memory-num").is_none());
        assert_eq!(nfd.nearest("memory-num"), Some("memory-numa"));
        assert_eq!(nfd.nearest("something-else-altogether"), None);
        assert_eq!(Schemas::builtin().group("io.archspec").unwrap().key("target").unwrap().0, "cpu.target");
        assert!(Schemas::builtin().group("org.blast").is_none());
    }

    #[test]
    fn edit_distance() {
        assert_eq!((distance("kitten", "sitting"), distance("", "ab"), distance("a", "a")), (3, 2, 0));
    }
}
