//! Owns the reading of compatibility artifacts: a manifest that is about one subject, and the documents in its layers, in
//! whichever form (spec/proposal-f.md, matching.md §1 and §4). Says which of several artifacts are in force; what they mean for a
//! host is `crate::matching`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

use crate::decision::Artifact;
use crate::digest::Digest;
use crate::document::{self, Document};
use crate::index::{self, ARTIFACT_TYPE, Entry};
use crate::inline::About;
use crate::json::{self, JsonError};
use crate::nfd;
use crate::schema::Schemas;
use crate::shape::{self, Shape};
use crate::time::Time;
use crate::trust::Signer;
use crate::{compspec, flat};

/// The type of a layer that holds a document of one of the proposals.
pub const LAYER_TYPE: &str = "application/vnd.oci.image-compatibility.spec.v1+json";
/// The type that compspec-go gives to its documents.
pub const COMPSPEC_LAYER_TYPE: &str = "application/org.supercontainers.compspec";
/// The types of layers that are read.
pub const LAYER_TYPES: [&str; 3] = [LAYER_TYPE, COMPSPEC_LAYER_TYPE, nfd::LAYER_TYPE];
/// Makes a layer one of several alternatives; its value names it.
pub const ALTERNATIVE_ANNOTATION: &str = "io.bestfit.alternative";
/// The longest artifact manifest that is read, in bytes (trust.md, "Attacks").
pub const MAX_MANIFEST: usize = 4 << 20;
/// The most layers of one artifact.
pub const MAX_LAYERS: usize = 64;
/// The most artifacts of one subject (trust.md, "Attacks").
pub const MAX_ARTIFACTS: usize = 256;
/// The date of an artifact; the second spelling is the proposal's.
const CREATED: [&str; 2] = ["org.opencontainers.image.created", "oci.opencontainers.image.created"];
const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A well-formed artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The digest of its manifest.
    pub digest: Digest,
    /// When it was made, where it says so.
    pub created: Option<Time>,
    /// Its documents.
    pub layers: Vec<Layer>,
    /// What its author should know.
    pub notes: Vec<String>,
    /// Who signed it, where that was verified and the site trusts them.
    pub signer: Option<Signer>,
    /// Whether the index carries it.
    pub inline: bool,
}

/// One document of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its name, where it is one of several alternatives.
    pub alternative: Option<String>,
    /// The form that it is written in.
    pub form: Form,
    /// What it says.
    pub content: Content,
}

/// The forms that are read (matching.md §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// Groups of keys.
    ProposalF,
    /// Names with attributes, as compspec writes them.
    ProposalD,
    /// Flat sets.
    ProposalH,
    /// NFD's rules, version v1alpha1.
    Nfd,
}

/// What a layer says. Each has one function in `crate::matching` that holds it against a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Groups of keys: all hold.
    Document(Document),
    /// Sets, of which one is enough.
    Sets(Vec<flat::Set>),
    /// NFD's rules.
    NfdRules(Box<nfd::Spec>),
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProposalF => "Proposal F",
            Self::ProposalD => "Proposal D",
            Self::ProposalH => "Proposal H",
            Self::Nfd => "NFD v1alpha1",
        })
    }
}

impl Content {
    /// How many things it asks for, groups included: what is evaluated is bounded by it.
    pub fn size(&self) -> usize {
        match self {
            Self::Document(document) => document.size(),
            Self::Sets(sets) => sets.iter().map(|set| set.document.size()).sum(),
            Self::NfdRules(spec) => spec.size(),
        }
    }

    /// What it asks about: `group/key` under canonical names, as far as that is told without compiling it.
    pub fn names(&self, schemas: &Schemas) -> BTreeSet<String> {
        match self {
            Self::Document(document) => document.names(schemas).into_iter().collect(),
            Self::Sets(sets) => sets.iter().flat_map(|set| set.document.names(schemas)).collect(),
            Self::NfdRules(spec) => spec.names().collect(),
        }
    }

    /// The groups that it names, under their canonical names: a newer artifact with the same ones replaces an older.
    pub fn groups(&self, schemas: &Schemas) -> BTreeSet<String> {
        match self {
            Self::Document(document) => document.group_names(schemas).collect(),
            Self::Sets(sets) => sets.iter().flat_map(|set| set.document.group_names(schemas)).collect(),
            Self::NfdRules(spec) => spec.groups(),
        }
    }
}

/// Reads one document of this media type; where the type is none of ours, `None`. The proposals share a type, so the shape
/// tells which of them it is.
pub fn read_document(media_type: &str, bytes: &[u8]) -> Option<Result<(Form, Content), JsonError>> {
    let rules = || nfd::read_sensible(bytes).map(|spec| (Form::Nfd, Content::NfdRules(Box::new(spec))));
    let document = |form, read: Result<Document, JsonError>| Ok((form, Content::Document(read?)));
    let by_shape = || match shape::of(bytes)? {
        Shape::Groups => document(Form::ProposalF, document::read(bytes)),
        Shape::Attributes => document(Form::ProposalD, compspec::read(bytes)),
        Shape::Sets => flat::read(bytes).map(|sets| (Form::ProposalH, Content::Sets(sets))),
        Shape::Rules => rules(),
    };
    match media_type {
        LAYER_TYPE | COMPSPEC_LAYER_TYPE => Some(by_shape()),
        nfd::LAYER_TYPE => Some(rules()),
        _ => None,
    }
}

/// Why an artifact says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// It is of another type: nothing is lost by ignoring it.
    #[error("of type {0:?}, not {ARTIFACT_TYPE}: ignored")]
    OtherType(String),
    /// A part of it could not be read, so nobody knows what it asks for.
    #[error("could not be read: {0}")]
    Unread(String),
    /// It is not what it must be.
    #[error("{0}")]
    Malformed(String),
    /// The manifest is no JSON of the right shape.
    #[error("manifest: {0}")]
    Manifest(JsonError),
    /// A document is no JSON of the right shape.
    #[error("layer {layer}: {source}")]
    Document {
        /// Position of the layer.
        layer: usize,
        /// Where and why.
        source: JsonError,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawConfig>,
    #[serde(default)]
    layers: Vec<RawLayer>,
    subject: Option<RawSubject>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConfig {
    media_type: String,
}

#[derive(Deserialize)]
struct RawSubject {
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLayer {
    media_type: String,
    digest: Digest,
    size: u64,
    annotations: Option<BTreeMap<String, String>>,
    data: Option<String>,
}

/// Reads an artifact that was listed for `subject`; `now` is in seconds since 1970 UTC.
pub fn read(subject: &Digest, artifact: &Artifact, now: i64) -> Result<Parsed, ArtifactError> {
    let bytes = artifact.manifest.as_ref().map_err(|why| ArtifactError::Unread(json::plain(why, 300)))?;
    if !artifact.digest.matches(bytes) {
        return Err(ArtifactError::Malformed("its manifest does not have its digest".to_owned()));
    }
    let manifest = parse_manifest(bytes)?;
    match &manifest.subject {
        Some(found) if found.digest == *subject => {}
        Some(found) => {
            let text = format!("it is about {}, but was listed for {}", found.digest.short(), subject.short());
            return Err(ArtifactError::Malformed(text));
        }
        None => return Err(ArtifactError::Malformed("it has no subject".to_owned())),
    }
    read_manifest(artifact.digest, manifest, &artifact.layers, now)
}

/// Reads an artifact that the index carries inline and that is about `about`. What is missing there is malformed, not
/// unread: to try again brings nothing.
pub fn read_inline(entry: &Entry, about: About, now: i64) -> Result<Parsed, ArtifactError> {
    let not_carried = || ArtifactError::Malformed("the index does not carry its content in `data`".to_owned());
    let bytes = entry.inline().ok_or_else(not_carried)?.map_err(ArtifactError::Malformed)?;
    if entry.media_type == IMAGE_MANIFEST {
        let manifest = parse_manifest(&bytes)?;
        if let Some(found) = manifest.subject.as_ref().filter(|found| about != About::Entry(found.digest)) {
            let text = format!("its manifest is about {}, its entry says otherwise", found.digest.short());
            return Err(ArtifactError::Malformed(text));
        }
        let carries = |raw: &RawLayer| raw.data.is_some() || !LAYER_TYPES.contains(&raw.media_type.as_str());
        if let Some(position) = manifest.layers.iter().position(|raw| !carries(raw)) {
            let text = format!("layer {position}: its manifest does not carry it in `data`");
            return Err(ArtifactError::Malformed(text));
        }
        let parsed = read_manifest(entry.digest, manifest, &BTreeMap::new(), now)?;
        return Ok(Parsed { inline: true, ..parsed });
    }
    let Some(read) = read_document(&entry.media_type, &bytes) else {
        let media_type = json::plain(&entry.media_type, 100);
        return Err(ArtifactError::Malformed(format!("an inline artifact has the media type {media_type:?}")));
    };
    let created = created(&entry.annotations, now)?;
    let (form, content) = read.map_err(|source| ArtifactError::Document { layer: 0, source })?;
    let layers = vec![Layer { alternative: alternative(&entry.annotations), form, content }];
    Ok(Parsed { digest: entry.digest, created, layers, notes: Vec::new(), signer: None, inline: true })
}

fn parse_manifest(bytes: &[u8]) -> Result<RawManifest, ArtifactError> {
    let manifest: RawManifest = json::read(bytes, MAX_MANIFEST).map_err(ArtifactError::Manifest)?;
    let config_type = manifest.config.as_ref().map_or("", |config| &config.media_type);
    let given = manifest.artifact_type.as_deref().filter(|given| !given.is_empty()).unwrap_or(config_type);
    if ![ARTIFACT_TYPE, nfd::ARTIFACT_TYPE].contains(&given) {
        return Err(ArtifactError::OtherType(json::plain(given, 100)));
    }
    let media_type = manifest.media_type.as_deref().unwrap_or(IMAGE_MANIFEST);
    if manifest.schema_version != 2 || media_type != IMAGE_MANIFEST {
        return Err(ArtifactError::Malformed("its manifest is no OCI image manifest".to_owned()));
    }
    if manifest.layers.len() > MAX_LAYERS {
        return Err(ArtifactError::Malformed(format!("it has more than {MAX_LAYERS} layers")));
    }
    Ok(manifest)
}

fn read_manifest(
    digest: Digest,
    manifest: RawManifest,
    contents: &BTreeMap<Digest, Result<Vec<u8>, String>>,
    now: i64,
) -> Result<Parsed, ArtifactError> {
    let created = created(&manifest.annotations.unwrap_or_default(), now)?;
    let (mut layers, mut notes) = (Vec::new(), Vec::new());
    for (position, raw) in manifest.layers.iter().enumerate() {
        if !LAYER_TYPES.contains(&raw.media_type.as_str()) {
            let media_type = json::plain(&raw.media_type, 100);
            notes.push(format!("layer {position} of {} has the type {media_type:?}: ignored", digest.short()));
            continue;
        }
        let bytes = layer_bytes(position, raw, contents)?;
        let Some(read) = read_document(&raw.media_type, &bytes) else { continue };
        let (form, content) = read.map_err(|source| ArtifactError::Document { layer: position, source })?;
        let alternative = raw.annotations.as_ref().and_then(alternative);
        layers.push(Layer { alternative, form, content });
    }
    // What is attached with this type is meant to say something: a type by mistake must not make it say nothing.
    if manifest.layers.is_empty() {
        return Err(ArtifactError::Malformed("it has no layer, so no compatibility document".to_owned()));
    }
    if layers.is_empty() {
        let types: BTreeSet<String> = manifest.layers.iter().map(|raw| json::plain(&raw.media_type, 100)).collect();
        let types = types.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        return Err(ArtifactError::Malformed(format!("none of its layers is a compatibility document: {types}")));
    }
    Ok(Parsed { digest, created, layers, notes, signer: None, inline: false })
}

fn alternative(annotations: &BTreeMap<String, String>) -> Option<String> {
    annotations.get(ALTERNATIVE_ANNOTATION).map(|name| json::plain(name, 60))
}

fn layer_bytes(
    position: usize,
    raw: &RawLayer,
    contents: &BTreeMap<Digest, Result<Vec<u8>, String>>,
) -> Result<Vec<u8>, ArtifactError> {
    if let Some(data) = &raw.data {
        let wrong = |why| ArtifactError::Malformed(format!("layer {position}: {why}"));
        return index::decode(data, &raw.digest, raw.size).map_err(wrong);
    }
    match contents.get(&raw.digest) {
        Some(Ok(bytes)) if raw.digest.matches(bytes) => Ok(bytes.clone()),
        Some(Ok(_)) => Err(ArtifactError::Malformed(format!("layer {position} does not have its digest"))),
        Some(Err(why)) => Err(ArtifactError::Unread(format!("layer {position}: {}", json::plain(why, 300)))),
        None => Err(ArtifactError::Unread(format!("layer {position} was not fetched"))),
    }
}

/// The date; one in the future is refused, since it would replace everything that comes after it.
fn created(annotations: &BTreeMap<String, String>, now: i64) -> Result<Option<Time>, ArtifactError> {
    let Some(text) = CREATED.iter().find_map(|name| annotations.get(*name)) else { return Ok(None) };
    let shown = json::plain(text, 60);
    let time = Time::parse(text).ok_or_else(|| ArtifactError::Malformed(format!("created {shown:?} is no date")))?;
    if time.seconds > now {
        return Err(ArtifactError::Malformed(format!("created {shown} lies in the future")));
    }
    Ok(Some(time))
}

/// The artifacts that are in force, oldest first: one replaces only an older one of the same signer that names the same
/// groups (matching.md §4). All unsigned ones have the same signer: nobody. Ties go by digest.
pub fn in_force(mut artifacts: Vec<Parsed>, schemas: &Schemas) -> (Vec<Parsed>, Vec<String>) {
    artifacts.sort_by_key(|artifact| (artifact.created, artifact.digest));
    artifacts.dedup();
    let mut newest: BTreeMap<(Option<&str>, BTreeSet<String>), usize> = BTreeMap::new();
    let (mut replaced, mut notes) = (BTreeSet::new(), Vec::new());
    for (at, artifact) in artifacts.iter().enumerate() {
        let signer = artifact.signer.as_ref().map(|signer| signer.name.as_str());
        if let Some(older) = newest.insert((signer, artifact.groups(schemas)), at) {
            let (old, new) = (artifacts[older].digest.short(), artifact.digest.short());
            notes.push(format!("{old} is replaced by the newer {new}, which names the same groups"));
            replaced.insert(older);
        }
    }
    let kept = artifacts.into_iter().enumerate().filter(|(at, _)| !replaced.contains(at));
    (kept.map(|(_, artifact)| artifact).collect(), notes)
}

impl Parsed {
    /// How many things its documents ask for.
    pub fn size(&self) -> usize {
        self.layers.iter().map(|layer| layer.content.size()).sum()
    }

    /// The groups that its documents name, under their canonical names.
    fn groups(&self, schemas: &Schemas) -> BTreeSet<String> {
        self.layers.iter().flat_map(|layer| layer.content.groups(schemas)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Attach};

    fn error(artifact: &Artifact) -> String {
        read(&subject(), artifact, testing::NOW).unwrap_err().to_string()
    }

    fn subject() -> Digest {
        Digest::of(b"subject")
    }

    #[test]
    fn reads_what_oras_writes() {
        let artifact = Attach::to(subject()).document(r#"{"compatibilities":{"nfd":{"memory-numa":true}}}"#).artifact();
        let parsed = read(&subject(), &artifact, testing::NOW).unwrap();
        assert_eq!((parsed.layers.len(), parsed.created.is_some()), (1, false));
        let by_config = Attach::to(subject()).document(r#"{"compatibilities":{}}"#).type_in_config().artifact();
        assert!(read(&subject(), &by_config, testing::NOW).is_ok());
    }

    #[test]
    fn refuses_what_is_not_what_it_must_be() {
        let attach = || Attach::to(subject()).document(r#"{"compatibilities":{}}"#);
        let with = |from: &str, to: &str| {
            let mut artifact = attach().artifact();
            let text = String::from_utf8(artifact.manifest.clone().unwrap()).unwrap().replace(from, to);
            artifact.digest = Digest::of(text.as_bytes());
            artifact.manifest = Ok(text.into_bytes());
            artifact
        };
        let mut artifact = attach().artifact();
        artifact.digest = Digest::of(b"other");
        assert_eq!(error(&artifact), "its manifest does not have its digest");
        let other = Attach::to(Digest::of(b"x")).document("{}").artifact();
        assert!(error(&other).starts_with("it is about sha256:2d711642b726, but was listed for"), "{}", error(&other));
        assert_eq!(error(&with("\"subject\"", "\"topic\"")), "it has no subject");
        assert!(error(&with(ARTIFACT_TYPE, "application/spdx+json")).contains("ignored"));
        assert_eq!(error(&with("\"schemaVersion\":2", "\"schemaVersion\":1")), "its manifest is no OCI image manifest");
        assert_eq!(
            error(&with(LAYER_TYPE, "application/vnd.oci.image.layer.v1.tar")),
            "none of its layers is a compatibility document: \"application/vnd.oci.image.layer.v1.tar\"",
            "the type that oras gives to what is attached without one"
        );
        let empty = Attach::to(subject()).artifact();
        assert_eq!(error(&empty), "it has no layer, so no compatibility document");
        let mut artifact = attach().artifact();
        artifact.layers.clear();
        assert_eq!(error(&artifact), "could not be read: layer 0 was not fetched");
        let mut artifact = attach().artifact();
        artifact.layers.values_mut().for_each(|layer| *layer = Ok(b"{}".to_vec()));
        assert_eq!(error(&artifact), "layer 0 does not have its digest");
        artifact.layers.values_mut().for_each(|layer| *layer = Err("429".into()));
        assert_eq!(error(&artifact), "could not be read: layer 0: 429");
        let artifact = Attach::to(subject()).document("{\n \"compatibilities\": {,").artifact();
        assert_eq!(error(&artifact), "layer 0: line 2 column 22: key must be a string");
        assert_eq!(
            error(&attach().created("2099-01-01T00:00:00Z").artifact()),
            "created 2099-01-01T00:00:00Z lies in the future"
        );
        assert_eq!(error(&attach().created("yesterday").artifact()), "created \"yesterday\" is no date");
    }

    #[test]
    fn only_the_same_groups_replace() {
        let make = |groups: &str, created: &str| {
            let document = format!(r#"{{"compatibilities":{{{groups}}}}}"#);
            let artifact = Attach::to(subject()).document(&document).created(created).artifact();
            read(&subject(), &artifact, testing::NOW).unwrap()
        };
        let vendor = make(r#""nfd":{"memory-numa":true}"#, "2024-01-01T00:00:00Z");
        let newer =
            make(r#""io.kubernetes.nfd":{"memory-numa":false},"io.bestfit":{"weight":1}"#, "2024-01-02T00:00:00Z");
        let notes = make(r#""org.blast":{"db":"nt"}"#, "2024-01-03T00:00:00Z");
        for order in [[&vendor, &newer, &notes], [&notes, &newer, &vendor], [&newer, &vendor, &notes]] {
            let (kept, said) = in_force(order.into_iter().cloned().collect(), Schemas::builtin());
            assert_eq!(kept, [newer.clone(), notes.clone()]);
            assert_eq!(said.len(), 1);
        }
    }
}
