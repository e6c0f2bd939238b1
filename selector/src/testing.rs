//! Owns builders for tests: indexes, artifacts as `oras attach` writes them, facts, whole inputs.

use std::collections::{BTreeMap, BTreeSet};

use crate::artifact::{ALTERNATIVE_ANNOTATION, LAYER_TYPE};
use crate::decision::{Artifact, Evidence, HostPlatform, Inputs};
use crate::digest::Digest;
use crate::facts::{Fact, Facts, Value};
use crate::index::ARTIFACT_TYPE;
use crate::nfd;
use crate::policy::Policy;

/// 2026-01-01.
pub(crate) const NOW: i64 = 1_767_225_600;

/// An artifact to be attached.
#[derive(Clone)]
pub(crate) struct Attach {
    subject: Digest,
    layers: Vec<(String, Option<String>)>,
    created: Option<String>,
    type_in_config: bool,
    nfd: bool,
}

impl Attach {
    pub(crate) fn to(subject: Digest) -> Self {
        Self { subject, layers: Vec::new(), created: None, type_in_config: false, nfd: false }
    }

    pub(crate) fn document(mut self, text: &str) -> Self {
        self.layers.push((text.to_owned(), None));
        self
    }

    pub(crate) fn alternative(mut self, name: &str, text: &str) -> Self {
        self.layers.push((text.to_owned(), Some(name.to_owned())));
        self
    }

    pub(crate) fn created(mut self, time: &str) -> Self {
        self.created = Some(time.to_owned());
        self
    }

    pub(crate) fn type_in_config(mut self) -> Self {
        self.type_in_config = true;
        self
    }

    /// An artifact of NFD's type, with NFD's documents.
    pub(crate) fn nfd(mut self) -> Self {
        self.nfd = true;
        self
    }

    pub(crate) fn artifact(&self) -> Artifact {
        let (kind, layer_type) = match self.nfd {
            true => (nfd::ARTIFACT_TYPE, nfd::LAYER_TYPE),
            false => (ARTIFACT_TYPE, LAYER_TYPE),
        };
        let mut contents = BTreeMap::new();
        let layers = self.layers.iter().map(|(text, alternative)| {
            let digest = Digest::of(text.as_bytes());
            contents.insert(digest, Ok(text.clone().into_bytes()));
            let annotations = alternative
                .as_ref()
                .map_or_else(String::new, |name| format!(r#","annotations":{{"{ALTERNATIVE_ANNOTATION}":"{name}"}}"#));
            format!(r#"{{"mediaType":"{layer_type}","digest":"{digest}","size":{}{annotations}}}"#, text.len())
        });
        let layers: Vec<String> = layers.collect();
        let (own, config) = match self.type_in_config {
            true => (String::new(), kind),
            false => (format!(r#","artifactType":"{kind}""#), "application/vnd.oci.empty.v1+json"),
        };
        let created = self.created.as_ref().map_or_else(String::new, |time| {
            format!(r#","annotations":{{"org.opencontainers.image.created":"{time}"}}"#)
        });
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"{own},"config":{{"mediaType":"{config}","digest":"{}","size":2}},"layers":[{}],"subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":1}}{created}}}"#,
            Digest::of(b"{}"),
            layers.join(","),
            self.subject,
        );
        Artifact { digest: Digest::of(manifest.as_bytes()), manifest: Ok(manifest.into_bytes()), layers: contents }
    }
}

/// The digest of the image called `name`.
pub(crate) fn image(name: &str) -> Digest {
    Digest::of(format!("image {name}").as_bytes())
}

/// An index of images: name, then `os/architecture[/variant]`.
pub(crate) fn index(images: &[(&str, &str)]) -> Vec<u8> {
    let entries = images.iter().map(|(name, platform)| {
        let parts: Vec<&str> = platform.split('/').collect();
        let variant = parts.get(2).map_or_else(String::new, |variant| format!(r#","variant":"{variant}""#));
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":1,"platform":{{"os":"{}","architecture":"{}"{variant}}}}}"#,
            image(name),
            parts[0],
            parts[1],
        )
    });
    index_of(&entries.collect::<Vec<_>>())
}

/// An index of descriptors.
pub(crate) fn index_of(entries: &[String]) -> Vec<u8> {
    let entries = entries.join(",");
    format!(r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{entries}]}}"#)
        .into_bytes()
}

/// A decision about amd64 images: name and document (`None`: no artifact), all on one host.
pub(crate) fn inputs(images: &[(&str, Option<&str>)], facts: Facts) -> Inputs {
    let named: Vec<(&str, &str)> = images.iter().map(|(name, _)| (*name, "linux/amd64")).collect();
    let mut inputs = bare_inputs(index(&named), facts);
    for (name, document) in images {
        let attached = document.map(|text| Attach::to(image(name)).document(&wrap(text)));
        attach(&mut inputs, name, attached.as_slice());
    }
    inputs
}

/// Inputs with an index alone; the index was asked, and there is nothing about it.
pub(crate) fn bare_inputs(index: Vec<u8>, facts: Facts) -> Inputs {
    let evidence = [(Digest::of(&index), Evidence::Read { list: None, artifacts: Vec::new() })].into();
    let host = HostPlatform { os: "linux".into(), architecture: "amd64".into() };
    let schemas = Vec::new();
    Inputs {
        index,
        facts,
        policy: Policy::default(),
        schemas,
        host,
        default: None,
        evidence,
        standings: BTreeMap::new(),
        stale: BTreeMap::new(),
        images: None,
        now: NOW,
    }
}

/// Attaches artifacts to an image; none at all says that it was asked and has none.
pub(crate) fn attach(inputs: &mut Inputs, name: &str, artifacts: &[Attach]) {
    let artifacts = artifacts.iter().map(Attach::artifact).collect();
    inputs.evidence.insert(image(name), Evidence::Read { list: None, artifacts });
}

/// `"nfd":{…}` becomes a document.
pub(crate) fn wrap(groups: &str) -> String {
    format!(r#"{{"compatibilities":{{{groups}}}}}"#)
}

/// Facts from triples: group, key, value.
pub(crate) fn facts(known: &[(&str, &str, Value)]) -> Facts {
    let mut facts = Facts::default();
    for (group, key, value) in known {
        facts.set(group, *key, Fact::known(value.clone(), format!("/test/{key}")));
    }
    facts
}

/// A set of words.
pub(crate) fn set(words: &str) -> Value {
    Value::Set(words.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>())
}
