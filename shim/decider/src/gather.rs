//! Owns the order of requests: which subjects are asked about, and what is read of each answer. Says nothing about fit.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use bestfit_registry::{Descriptor, Referrers, Repository};
use bestfit_selector::decision::{Artifact, Evidence, HostPlatform, ImageConfig};
use bestfit_selector::digest::Digest;
use bestfit_selector::exchange::INLINE_FRESH;
use bestfit_selector::index::{self, Index, Kind};
use bestfit_selector::trust::Standing;
use bestfit_selector::{artifact as form, nfd, platform, require};
use futures_util::future::{join, join_all};
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use tokio::time::Instant;

use crate::signatures::{Looked, Verifier};

/// The artifact types that are asked for: Proposal F's and NFD's.
pub const ARTIFACT_TYPES: [&str; 2] = [index::ARTIFACT_TYPE, nfd::ARTIFACT_TYPE];
/// The longest compatibility document that is read, in bytes (reference: trust.md, "Attacks").
pub const MAX_DOCUMENT: u64 = 256 << 10;
/// The most artifacts that are read per subject.
pub const MAX_ARTIFACTS: usize = 16;
/// The most layers that are read per artifact.
pub const MAX_LAYERS: usize = 16;
/// Subjects asked about at the same time: all of them, the index and 64 entries (design.md, "Promises": three rounds for any
/// number of entries).
const AT_ONCE: usize = 65;
/// The most requests for one decision. 64 signed entries take 449; with signatures about each entry, fallback tags, image configs, a
/// login and redirects it can be four times as many.
pub const MAX_REQUESTS: u64 = 2048;

/// What was found.
#[derive(Debug, Default)]
pub struct Gathered {
    /// By subject.
    pub evidence: BTreeMap<Digest, Evidence>,
    /// The configs of the candidates, where they were asked for; an index that carries its artifacts asks no registry.
    pub images: Option<BTreeMap<Digest, ImageConfig>>,
    /// What came of looking for signatures, by what they are about.
    pub standings: BTreeMap<Digest, Standing>,
    /// The manifests that hold those signatures, by what they are about.
    pub signatures: BTreeMap<Digest, Vec<Digest>>,
    /// Why a list counts that is outdated, by what it is about.
    pub stale: BTreeMap<Digest, String>,
    /// How long the same question has the same answer; none where something could not be read.
    pub fresh: Option<Duration>,
    /// How long the signatures that count do so, whatever is attached or signed meanwhile.
    pub lasts: Duration,
}

/// Asks for the artifacts of every entry that can run on `host`, and of the index itself, and for the signatures that the site
/// wants to see.
///
/// No artifact is asked for when the index carries its artifacts inline (matching.md, "What an entry asks for"). An error of one
/// subject is that subject's evidence, never the whole answer.
///
/// So is its silence: what has not answered within `limit` counts as unread, and takes nothing from the others. What would be asked
/// for after [`MAX_REQUESTS`] is unread, too.
///
/// With `configs` the image configs of the candidates are read, beside the rest: their manifests in the first round, the
/// configs in the second.
pub async fn gather(
    repository: &Repository,
    index: &Index,
    host: &HostPlatform,
    verifier: &Verifier<'_>,
    configs: bool,
    limit: Option<Duration>,
) -> Gathered {
    let time = Time { until: limit.map(|limit| Instant::now() + limit), limit: limit.unwrap_or_default() };
    let carries = index.entries.iter().any(|entry| entry.kind() == Kind::InlineArtifact);
    let _bound = repository.at_most(MAX_REQUESTS);
    // An index may list the same entry several times.
    let entries: BTreeSet<Digest> = platform::candidates(index, host).map(|(entry, _)| entry.digest).collect();
    let subjects = entries.iter().map(|entry| (*entry, verifier.of_entries()));
    let subjects = [(index.digest, verifier.of_index(carries))].into_iter().chain(subjects);
    let images = entries.iter().copied().filter(|_| configs && !carries).map(|image| async move {
        let late = |why| ImageConfig { digest: None, read: Err(why) };
        (image, time.within(image_config(repository, &image), late).await)
    });
    let subjects = subjects.map(|(digest, signed)| async move {
        let asked = async { if carries { Subject::carried() } else { of_subject(repository, digest, verifier).await } };
        let looked = look(repository, digest, verifier, signed);
        let (mut subject, looked) =
            join(time.within(asked, Subject::unread), time.within(looked, |why| Some(Looked::unknown(why)))).await;
        subject.looked.extend(looked.map(|looked| (digest, looked)));
        (digest, subject)
    });
    let (found, images) = join(side_by_side(subjects), side_by_side(images)).await;
    let all = images.iter().all(|(_, config)| config.read.is_ok());
    let fresh = all.then_some(Duration::MAX);
    let mut gathered = Gathered { fresh, lasts: Duration::MAX, ..Gathered::default() };
    gathered.images = (configs && !carries).then(|| images.into_iter().collect());
    for (digest, Subject { evidence, stale, fresh, looked }) in found {
        let mut until = |fresh: Option<Duration>| {
            gathered.fresh = gathered.fresh.zip(fresh).map(|(one, other)| one.min(other));
        };
        until(fresh.filter(|_| all_read(&evidence)));
        gathered.evidence.insert(digest, evidence);
        gathered.stale.extend(stale.map(|why| (digest, why)));
        for (signed, Looked { standing, signatures, stale, fresh, lasts }) in looked {
            until(fresh);
            gathered.stale.extend(stale.map(|why| (signed, why)));
            gathered.lasts = gathered.lasts.min(lasts);
            gathered.signatures.insert(signed, signatures);
            gathered.standings.insert(signed, standing);
        }
    }
    gathered
}

/// The time that there is.
#[derive(Clone, Copy)]
struct Time {
    until: Option<Instant>,
    limit: Duration,
}

impl Time {
    /// The answer, or what stands for it where there was none in time.
    async fn within<T>(self, asked: impl Future<Output = T>, late: impl FnOnce(String) -> T) -> T {
        let Some(until) = self.until else { return asked.await };
        let answer = tokio::time::timeout_at(until, asked).await;
        answer.unwrap_or_else(|_| late(format!("no answer within the deadline of {:?}", self.limit)))
    }
}

/// What was found about one subject.
struct Subject {
    evidence: Evidence,
    /// Why its list counts although it is outdated.
    stale: Option<String>,
    fresh: Option<Duration>,
    looked: Vec<(Digest, Looked)>,
}

impl Subject {
    /// An entry of an index that carries its artifacts: there is nothing outside of it.
    fn carried() -> Self {
        Self::of(Evidence::Read { list: None, artifacts: Vec::new() }, Some(INLINE_FRESH))
    }

    fn unread(why: String) -> Self {
        Self::of(Evidence::Unread { why }, None)
    }

    fn of(evidence: Evidence, fresh: Option<Duration>) -> Self {
        Self { evidence, stale: None, fresh, looked: Vec::new() }
    }
}

async fn look(repository: &Repository, digest: Digest, verifier: &Verifier<'_>, asked: bool) -> Option<Looked> {
    if asked { Some(verifier.look(repository, &digest).await) } else { None }
}

/// Whether nothing is missing that another try might bring.
fn all_read(evidence: &Evidence) -> bool {
    let read = |artifact: &Artifact| artifact.manifest.is_ok() && artifact.layers.values().all(Result::is_ok);
    matches!(evidence, Evidence::Read { artifacts, .. } if artifacts.iter().all(read))
}

/// Runs futures side by side, at most [`AT_ONCE`] of them, and keeps their order.
async fn side_by_side<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    stream::iter(futures).buffered(AT_ONCE).collect().await
}

async fn of_subject(repository: &Repository, subject: Digest, verifier: &Verifier<'_>) -> Subject {
    let unread = Subject::unread;
    let referrers = match repository.referrers(&subject, &ARTIFACT_TYPES).await {
        Ok(referrers) => referrers,
        Err(error) => return unread(format!("referrers of {subject}: {error}")),
    };
    // What a list calls one of ours is looked at at once; of the rest its manifest says what it is.
    let said =
        |descriptor: &&Descriptor| ARTIFACT_TYPES.iter().any(|kind| descriptor.artifact_type.as_deref() == Some(kind));
    let (said, unsaid): (Vec<_>, Vec<_>) = referrers.manifests.iter().partition(said);
    let too_many =
        |number: usize| unread(format!("{number} artifacts about {subject}, at most {MAX_ARTIFACTS} are read"));
    if said.len() > MAX_ARTIFACTS {
        return too_many(said.len());
    }
    let look = |digest| async move { (digest, look(repository, digest, verifier, verifier.of_artifacts()).await) };
    let read = async {
        let opened = stream::iter(said.iter().chain(&unsaid)).map(|descriptor| open(repository, descriptor.digest));
        let opened: Vec<Opened> = opened.buffered(MAX_ARTIFACTS).filter_map(std::future::ready).collect().await;
        if opened.len() > MAX_ARTIFACTS {
            return Err(opened.len());
        }
        let late =
            opened.iter().map(|opened| opened.digest).filter(|digest| unsaid.iter().any(|one| one.digest == *digest));
        let late = join_all(late.map(look));
        Ok(join(join_all(opened.into_iter().map(|opened| opened.read(repository))), late).await)
    };
    let (looked, read) = join(join_all(said.iter().map(|descriptor| look(descriptor.digest))), read).await;
    let (artifacts, late) = match read {
        Ok(read) => read,
        Err(number) => return too_many(number),
    };
    let looked = looked.into_iter().chain(late).filter_map(|(digest, looked)| Some((digest, looked?)));
    let looked = looked.filter(|(digest, _)| artifacts.iter().any(|artifact| artifact.digest == *digest)).collect();
    let Referrers { list, stale, fresh, .. } = referrers;
    Subject { evidence: Evidence::Read { list, artifacts }, stale, fresh, looked }
}

/// An artifact of which the manifest was asked for.
struct Opened {
    digest: Digest,
    manifest: Result<Vec<u8>, String>,
    documents: Vec<LayerShape>,
}

/// Opens one artifact; None where the manifest turns out to be of another type (a signature in a tag-fallback list).
async fn open(repository: &Repository, digest: Digest) -> Option<Opened> {
    let manifest = repository.manifest(&digest).await.map_err(|error| error.to_string());
    // Where it cannot be parsed, selection reads it again, and says line and column.
    let shape = manifest.as_ref().ok().and_then(|manifest| serde_json::from_slice::<Shape>(manifest).ok());
    if shape.as_ref().is_some_and(|shape| !ARTIFACT_TYPES.contains(&shape.artifact_type())) {
        return None;
    }
    let layers = shape.map(|shape| shape.layers).unwrap_or_default().into_iter();
    let documents = layers.filter(|layer| form::LAYER_TYPES.contains(&layer.media_type.as_str()));
    Some(Opened { digest, manifest, documents: documents.take(MAX_LAYERS).collect() })
}

impl Opened {
    /// With its documents.
    async fn read(self, repository: &Repository) -> Artifact {
        let documents = self.documents.iter();
        let layers = documents.map(|layer| async { (layer.digest, document(repository, layer).await) });
        let layers = join_all(layers).await.into_iter().collect();
        Artifact { digest: self.digest, manifest: self.manifest, layers }
    }
}

async fn document(repository: &Repository, layer: &LayerShape) -> Result<Vec<u8>, String> {
    if layer.size > MAX_DOCUMENT {
        return Err(format!("said to have {} bytes, at most {MAX_DOCUMENT} are read", layer.size));
    }
    repository.blob(&layer.digest, MAX_DOCUMENT).await.map_err(|error| error.to_string())
}

/// Reads the config of an image by way of its manifest.
async fn image_config(repository: &Repository, image: &Digest) -> ImageConfig {
    let unread = |why| ImageConfig { digest: None, read: Err(why) };
    let manifest = match repository.manifest(image).await {
        Ok(bytes) => bytes,
        Err(error) => return unread(error.to_string()),
    };
    let config = match serde_json::from_slice::<ImageShape>(&manifest) {
        Ok(shape) => shape.config,
        Err(error) => return unread(format!("its manifest: {error}")),
    };
    let digest = Some(config.digest);
    if config.size > require::MAX_CONFIG as u64 {
        let why = format!("said to have {} bytes, at most {} are read", config.size, require::MAX_CONFIG);
        return ImageConfig { digest, read: Err(why) };
    }
    let read = repository.blob(&config.digest, require::MAX_CONFIG as u64).await;
    ImageConfig { digest, read: read.map_err(|error| error.to_string()) }
}

/// As much of an image manifest as is needed to know its config.
#[derive(Deserialize)]
struct ImageShape {
    config: ImageConfigShape,
}

#[derive(Deserialize)]
struct ImageConfigShape {
    digest: Digest,
    size: u64,
}

/// As much of an artifact manifest as is needed to know what to fetch.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<ConfigShape>,
    #[serde(default)]
    layers: Vec<LayerShape>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigShape {
    #[serde(default)]
    media_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayerShape {
    media_type: String,
    digest: Digest,
    size: u64,
}

impl Shape {
    /// Without `artifactType` the config's media type stands for it (OCI image-spec, manifest.md).
    fn artifact_type(&self) -> &str {
        let config = || self.config.as_ref().map_or("", |config| config.media_type.as_str());
        self.artifact_type.as_deref().filter(|kind| !kind.is_empty()).unwrap_or_else(config)
    }
}
