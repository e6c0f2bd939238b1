//! Owns the way from a record back to its inputs, all of them by digest, and what differs when they are decided on again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bestfit_config::{Config, places};
use bestfit_registry::{MANIFEST_LIMIT, Reference, Repository};
use bestfit_selector::decision::{
    Artifact, ConfigDigest, Decision, Evidence, EvidenceDigests, ImageConfig, ImageConfigs, ImageDigests, Inputs,
};
use bestfit_selector::digest::Digest;
use bestfit_selector::facts::Facts;
use bestfit_selector::policy::Policy;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::decision::decided;
use crate::failure::{Exit, Failure};
use crate::output::plain;

/// Where inputs are looked for.
pub(crate) struct Sources<'a> {
    pub(crate) config: &'a Config,
    /// Facts that may be the recorded ones: from a file, or of this host.
    pub(crate) facts: Facts,
    /// The file that these facts are from.
    pub(crate) facts_file: Option<&'a Path>,
    pub(crate) reference: &'a Reference,
    pub(crate) repository: &'a Repository,
}

/// Decides again on the inputs that `recorded` names.
pub(crate) async fn again(recorded: &Decision, sources: &Sources<'_>) -> Result<Decision, Failure> {
    let digests = &recorded.inputs;
    let policies = [sources.config.selection.policy.clone(), Policy::default()];
    let mut evidence = BTreeMap::new();
    for (subject, found) in &digests.evidence {
        evidence.insert(*subject, sources.evidence(found).await?);
    }
    let inputs = Inputs {
        index: sources.content("the index", &digests.index, true).await?,
        facts: sources
            .document("the facts", &digests.facts, std::slice::from_ref(&sources.facts))
            .map_err(|failure| sources.other_facts(&digests.facts).unwrap_or(failure))?,
        policy: sources.document("the policy", &digests.policy, &policies)?,
        schemas: sources.config.schemas.files.clone(),
        host: digests.host.clone(),
        default: recorded.default,
        evidence,
        standings: digests.standings.clone(),
        stale: digests.stale.clone(),
        images: match &digests.images {
            Some(images) => Some(sources.images(images).await?),
            None => None,
        },
        now: digests.now,
    };
    decided(&inputs, sources.reference)
}

impl Sources<'_> {
    /// Says that the file of facts is of another host, or of another day.
    fn other_facts(&self, digest: &Digest) -> Option<Failure> {
        let file = super::file::name(self.facts_file?);
        let own = Digest::of(&serde_json::to_vec(&self.facts).ok()?);
        let what = format!("{file} is not the facts of the record, {digest}: its hash is {own}");
        Some(
            Failure::new(Exit::NoInput, what)
                .hint("the record is about another host, another day, or a container with other devices (--devices)"),
        )
    }

    async fn evidence(&self, found: &EvidenceDigests) -> Result<Evidence, Failure> {
        if let Some(why) = &found.unread {
            return Ok(Evidence::Unread { why: why.clone() });
        }
        let mut artifacts = Vec::new();
        for (digest, layers) in &found.artifacts {
            let manifest = match found.unread_manifests.get(digest) {
                Some(why) => Err(why.clone()),
                None => Ok(self.content("an artifact", digest, true).await?),
            };
            let mut read = BTreeMap::new();
            for (layer, unread) in layers {
                let bytes = match unread {
                    Some(why) => Err(why.clone()),
                    None => Ok(self.content("a layer of an artifact", layer, false).await?),
                };
                read.insert(*layer, bytes);
            }
            artifacts.push(Artifact { digest: *digest, manifest, layers: read });
        }
        Ok(Evidence::Read { list: found.list, artifacts })
    }

    async fn images(&self, images: &ImageDigests) -> Result<ImageConfigs, Failure> {
        let mut of = BTreeMap::new();
        for (image, ConfigDigest { digest, unread }) in &images.of {
            let read = match (digest, unread) {
                (_, Some(why)) => Err(why.clone()),
                (Some(digest), None) => Ok(self.content("an image config", digest, false).await?),
                (None, None) => Err(String::new()),
            };
            of.insert(*image, ImageConfig { digest: *digest, read });
        }
        Ok(ImageConfigs { user: images.user.clone(), of })
    }

    /// Bytes by digest: what the decider kept, or the worker of containerd's, both only read; else from the repository.
    async fn content(&self, what: &str, digest: &Digest, manifest: bool) -> Result<Vec<u8>, Failure> {
        let (cache, documents) = (places::decider(&self.config.cache.dir), places::documents(&self.config.state));
        if let Some(bytes) = bestfit_registry::kept(&cache, digest) {
            return Ok(bytes);
        }
        if let Some(bytes) = by_digest(&documents.join(digest.hex()), digest)? {
            return Ok(bytes);
        }
        let read = match manifest {
            true => self.repository.manifest(digest).await,
            false => self.repository.blob(digest, MANIFEST_LIMIT).await,
        };
        read.map_err(|error| {
            let why = plain(&error.to_string());
            let exit = if error.is_unavailable() { Exit::Unavailable } else { Exit::NoInput };
            Failure::new(exit, format!("{what} of the record, {digest}: {why}")).hint(format!(
                "looked in {}, {} and {}",
                cache.display(),
                documents.display(),
                self.reference
            ))
        })
    }

    /// A document by the digest of its JSON: from the state directory, else one of `candidates` that has it.
    fn document<T>(&self, what: &str, digest: &Digest, candidates: &[T]) -> Result<T, Failure>
    where
        T: Serialize + DeserializeOwned + Clone,
    {
        let kept: PathBuf = places::inputs(&self.config.state).join(digest.hex());
        if let Some(bytes) = by_digest(&kept, digest)? {
            return serde_json::from_slice(&bytes)
                .map_err(|error| Failure::new(Exit::Data, format!("{}: {error}", kept.display())));
        }
        let has_it = |candidate: &&T| serde_json::to_vec(candidate).is_ok_and(|bytes| digest.matches(&bytes));
        candidates.iter().find(has_it).cloned().ok_or_else(|| {
            Failure::new(Exit::NoInput, format!("{what} of the record, {digest}, is not kept here"))
                .hint(format!("replay it on the node that made the record ({}), or with --facts", kept.display()))
        })
    }
}

/// The file's bytes where they have this digest; a file that has not, or is too large, counts as no file.
fn by_digest(file: &Path, digest: &Digest) -> Result<Option<Vec<u8>>, Failure> {
    match super::file::read_plain(file, MANIFEST_LIMIT) {
        Ok(bytes) => Ok(Some(bytes).filter(|bytes| digest.matches(bytes))),
        // The node's folders are closed to users, who can still ask the registry.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(None),
        Err(error) => Err(Failure::io(file.display(), &error)),
    }
}

/// What differs between two decisions, one line each; empty where they are the same.
pub(crate) fn differences(recorded: &Decision, now: &Decision) -> Vec<String> {
    let mut lines = Vec::new();
    let mut differ = |what: &str, before: String, after: String| {
        if before != after {
            lines.push(format!("{what}: {before} in the record, {after} now"));
        }
    };
    let digests = |list: &[Digest]| match list {
        [] => "none".to_owned(),
        list => list.iter().map(Digest::short).collect::<Vec<_>>().join(", "),
    };
    differ("outcome", word(&recorded.outcome), word(&now.outcome));
    differ("preferred", digests(&recorded.preferred), digests(&now.preferred));
    let refused = |decision: &Decision| decision.otherwise.clone().unwrap_or_else(|| "the default runs".to_owned());
    differ("without a swap", refused(recorded), refused(now));
    differ("why", recorded.why.clone(), now.why.clone());
    differ("schemas", recorded.inputs.schemas.short(), now.inputs.schemas.short());
    for before in &recorded.entries {
        let Some(after) = now.entries.iter().find(|entry| entry.position == before.position) else { continue };
        let name = format!("entry {} ({})", before.position, before.digest.short());
        differ(&name, word(&before.verdict), word(&after.verdict));
        let reasons = |entry: &bestfit_selector::decision::EntryReport| {
            entry.reasons.iter().map(|reason| reason.text.as_str()).collect::<Vec<_>>().join("; ")
        };
        differ(&format!("{name}, reasons"), reasons(before), reasons(after));
    }
    if lines.is_empty() && recorded != now {
        lines.push("notes, ranks or sources differ".to_owned());
    }
    lines
}

/// The word that stands for a value in JSON.
pub(crate) fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
}
