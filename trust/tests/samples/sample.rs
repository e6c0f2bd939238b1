//! Owns reading samples, changing them, and asking for their standing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bestfit_selector::digest::Digest;
use bestfit_selector::trust::{Accept, By, Standing, Trust};
use bestfit_trust::{Candidate, judge};
use serde_json::Value;

/// Within the validity of all leaves of the samples: 2027-01-15.
pub(crate) const NOW: i64 = 1_800_000_000;
/// Where the samples are asked about.
pub(crate) const REPOSITORY: &str = "registry.example/hpc/solver";

/// Bytes of a file below `testdata`.
pub(crate) fn file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn text(name: &str) -> String {
    String::from_utf8(file(name)).unwrap()
}

/// What all samples are about.
pub(crate) fn subject() -> Digest {
    Digest::of(&file("subject.json"))
}

/// A signature: its manifest and its only layer.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) manifest: Value,
    pub(crate) signature: Vec<u8>,
}

impl Sample {
    pub(crate) fn read(name: &str) -> Self {
        let manifest = serde_json::from_slice(&file(&format!("{name}/manifest.json"))).unwrap();
        Self { manifest, signature: file(&format!("{name}/signature")) }
    }

    /// The same with another manifest.
    pub(crate) fn manifest(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.manifest);
        self
    }

    /// The same with other JSON in its layer.
    pub(crate) fn json(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let mut value = serde_json::from_slice(&self.signature).unwrap();
        change(&mut value);
        self.signature = serde_json::to_vec(&value).unwrap();
        self
    }

    /// The same with other bytes in its layer.
    pub(crate) fn bytes(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.signature);
        self
    }

    /// As it is fetched: the layer's digest and size, and the manifest's, are right whatever was changed.
    pub(crate) fn candidate(&self) -> Candidate {
        let mut manifest = self.manifest.clone();
        let digest = Digest::of(&self.signature);
        manifest["layers"][0]["digest"] = digest.to_string().into();
        manifest["layers"][0]["size"] = self.signature.len().into();
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let blobs = BTreeMap::from([(digest, Ok(self.signature.clone()))]);
        Candidate { digest: Digest::of(&manifest), manifest, blobs }
    }

    pub(crate) fn standing(&self, trust: &Trust) -> Standing {
        self.standing_at(trust, NOW)
    }

    pub(crate) fn standing_at(&self, trust: &Trust, now: i64) -> Standing {
        judge(trust, &subject(), REPOSITORY, &[self.candidate()], now)
    }

    /// Who it is trusted as, or why not: the reasons without the digests in front.
    pub(crate) fn outcome(&self, by: By) -> String {
        self.outcome_at(by, NOW)
    }

    pub(crate) fn outcome_at(&self, by: By, now: i64) -> String {
        outcome(self.standing_at(&site(vec![accept("lab", by)]), now))
    }
}

/// A standing as one line, digests of signatures left out.
pub(crate) fn outcome(standing: Standing) -> String {
    match standing {
        Standing::Trusted(signer) => format!("trusted: {}", signer.name),
        Standing::Untrusted { why } => {
            why.iter().map(|line| line.split_once(' ').unwrap().1).collect::<Vec<_>>().join("; ")
        }
        Standing::Unknown { why } => format!("unknown: {}", why.split_once(' ').unwrap().1),
    }
}

pub(crate) fn accept(name: &str, by: By) -> Accept {
    Accept { name: name.to_owned(), scopes: Vec::new(), by }
}

pub(crate) fn site(accept: Vec<Accept>) -> Trust {
    Trust { accept, ..Trust::default() }
}

pub(crate) fn key(name: &str) -> By {
    By::Key { pem: text(&format!("keys/{name}.pub")) }
}

/// Changes what a string of base64 stands for.
pub(crate) fn recode(value: &mut Value, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    change(&mut bytes);
    *value = STANDARD.encode(bytes).into();
}

/// Replaces text in bytes; it must be there.
pub(crate) fn replace(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(std::mem::take(bytes)).unwrap();
    assert!(text.contains(from), "{text} has no {from}");
    *bytes = text.replace(from, to).into_bytes();
}
