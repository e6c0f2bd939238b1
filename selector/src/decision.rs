//! Owns the data on both sides of the decision: [`Inputs`] go in, a [`Decision`] comes out, and the same inputs always
//! give the same decision. The code that turns one into the other is in `crate::decide`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::facts::Facts;
use crate::policy::Policy;
use crate::ranking::Rank;
use crate::schema::SchemaFile;
use crate::trust::Standing;

/// Everything a decision depends on. Nothing else is read: no clock, no file, no environment.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The bytes of the image index, exactly as their digest names them.
    pub index: Vec<u8>,
    /// What is known about the host.
    pub facts: Facts,
    /// What the site asked for.
    pub policy: Policy,
    /// The group schemas that the site adds to the built-in ones, in their order.
    pub schemas: Vec<SchemaFile>,
    /// The operating system and architecture of the host, in OCI (GOOS, GOARCH) spelling.
    pub host: HostPlatform,
    /// The entry that containerd chose; without it the rule of `crate::platform` decides.
    pub default: Option<Digest>,
    /// The artifacts that were found, by the digest of the entry, or of the index itself, that they are about. A candidate
    /// that is not listed here was not asked about, and counts as [`Evidence::Unread`].
    pub evidence: BTreeMap<Digest, Evidence>,
    /// What came of looking for signatures, by the digest of what they are about: artifacts, the index, entries. What is not
    /// listed was not looked at, and counts as signed by nobody.
    pub standings: BTreeMap<Digest, Standing>,
    /// Where an outdated list counts because the registry failed when it was asked again: why, by the digest of what the list
    /// is about. The decision does not depend on it; whoever reads the decision does.
    pub stale: BTreeMap<Digest, String>,
    /// The configs of the candidates, where the container was given NVIDIA GPUs; else nothing is asked of them.
    pub images: Option<ImageConfigs>,
    /// Seconds since 1970 UTC. Artifacts that claim a later date are refused.
    pub now: i64,
}

/// Operating system and architecture as OCI spells them: `linux`, `amd64`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlatform {
    /// GOOS.
    pub os: String,
    /// GOARCH.
    pub architecture: String,
}

/// What came back when the artifacts of one subject were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// The list was read to its end; it may be empty.
    Read {
        /// The digest of the list of referrers, or of the tag-fallback index, where there was one.
        list: Option<Digest>,
        /// Each artifact of our type that the list named.
        artifacts: Vec<Artifact>,
    },
    /// It could not be read. Never the same as "there is none".
    Unread {
        /// What failed, for people.
        why: String,
    },
}

/// What images say themselves about the hosts that they run on: `NVIDIA_REQUIRE_*` (`crate::require`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfigs {
    /// Variables that the container's user set, `NAME=VALUE`: they go before those of images.
    pub user: Vec<String>,
    /// By candidate. One that is not listed here was not asked about, and counts as unread.
    pub of: BTreeMap<Digest, ImageConfig>,
}

/// The config of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// Its digest, where the image's manifest could be read.
    pub digest: Option<Digest>,
    /// Its bytes, or why they could not be read.
    pub read: Result<Vec<u8>, String>,
}

/// One referrer, still as bytes: selection parses them, and says line and column when it cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The digest of `manifest`.
    pub digest: Digest,
    /// The artifact manifest, or why it could not be read.
    pub manifest: Result<Vec<u8>, String>,
    /// The layers of the manifest by digest: their bytes, or why they could not be read.
    pub layers: BTreeMap<Digest, Result<Vec<u8>, String>>,
}

/// What was decided, for every candidate why, and from which inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What to do.
    pub outcome: Outcome,
    /// Why, in one sentence.
    pub why: String,
    /// The entry that containerd chose, where the index has one.
    pub default: Option<Digest>,
    /// Every entry of the index in its order, the ones that are no candidates included.
    pub entries: Vec<EntryReport>,
    /// The digests of the entries that may replace the default, best first. The applying side takes the first one
    /// that it can apply; the default itself is never in it.
    pub preferred: Vec<Digest>,
    /// Why the container is refused where none of `preferred` can be applied; without it the default runs then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub otherwise: Option<String>,
    /// Things the author of an artifact or of the index should know: ignored groups, refused artifacts.
    pub notes: Vec<String>,
    /// The forms that the artifacts in force are written in, for people: `Proposal F`, `carried by the index`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub forms: BTreeMap<Digest, Vec<String>>,
    /// The digests of all inputs.
    pub inputs: InputDigests,
}

/// What to do with the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Another entry fits better: `Decision::preferred` is not empty.
    Swap,
    /// Leave the container as containerd made it.
    Default,
    /// Refuse to start it; only where the policy says so.
    Deny,
}

/// What became of one entry of the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryReport {
    /// The digest of the entry's manifest.
    pub digest: Digest,
    /// Its position in the index, from 0.
    pub position: usize,
    /// `os/architecture[/variant]`, for people.
    pub platform: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// Each requirement that was looked at, or the reason why none was.
    pub reasons: Vec<Reason>,
    /// The place in the order, where the entry is Compatible.
    pub rank: Option<Rank>,
    /// The artifacts that count for this entry.
    pub artifacts: Vec<Digest>,
}

/// matching.md, "Verdicts".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All required atoms are true, and there is at least one, or the document is explicitly empty.
    Compatible,
    /// A required atom is false.
    Incompatible,
    /// Something required is unknown, malformed or unread.
    Undetermined,
    /// Nothing checkable was said about it.
    Undeclared,
    /// Not a candidate at all: another platform, an attestation, an inline artifact.
    Skipped,
}

/// One requirement and how the host answered it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// True, false, unknown, or a note that counts for nothing.
    pub answer: Answer,
    /// The requirement, or the error, in one line: `nfd/cpu-cpuid.AVX512F = true: absent on this host (cpuid 7.0 ebx)`.
    pub text: String,
    /// The artifact that asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub artifact: Option<Digest>,
    /// Where the host's answer came from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<String>,
}

/// The answer to one requirement (Kleene).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The host satisfies it.
    True,
    /// The host does not.
    False,
    /// It cannot be told.
    Unknown,
    /// Reported, never counted.
    Note,
}

/// The digests of everything that went in, so that a record can be replayed and two nodes compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDigests {
    /// The image index.
    pub index: Digest,
    /// The facts, over their JSON form without spaces.
    pub facts: Digest,
    /// The policy, over its JSON form without spaces.
    pub policy: Digest,
    /// The built-in group schemas and the site's.
    pub schemas: Digest,
    /// The host's platform.
    pub host: HostPlatform,
    /// The configs of the candidates, where they were asked about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub images: Option<ImageDigests>,
    /// [`Inputs::standings`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub standings: BTreeMap<Digest, Standing>,
    /// [`Inputs::stale`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub stale: BTreeMap<Digest, String>,
    /// [`Inputs::now`].
    pub now: i64,
    /// What was found per subject.
    pub evidence: BTreeMap<Digest, EvidenceDigests>,
}

/// The digests of the artifacts of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceDigests {
    /// The list of referrers, where there was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub list: Option<Digest>,
    /// The artifacts and their layers: what could not be read has its reason.
    pub artifacts: BTreeMap<Digest, BTreeMap<Digest, Option<String>>>,
    /// Why the list could not be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unread: Option<String>,
    /// Why an artifact's manifest could not be read.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub unread_manifests: BTreeMap<Digest, String>,
}

/// The digests of the configs of candidates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDigests {
    /// [`ImageConfigs::user`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub user: Vec<String>,
    /// By candidate.
    pub of: BTreeMap<Digest, ConfigDigest>,
}

/// The digest of one config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigDigest {
    /// Where the image's manifest could be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<Digest>,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unread: Option<String>,
}
