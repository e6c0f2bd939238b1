//! Owns the way from what was found about a subject to the artifacts that are in force for it, ready for any host. Errors
//! stay beside them: what could not be read is never the same as what is not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::admission::{Admission, admit, outdated, outdated_from};
use crate::artifact::{self, ArtifactError, MAX_ARTIFACTS, Parsed};
use crate::compiled::Meaning;
use crate::decision::{Answer, Evidence, Inputs, Reason};
use crate::digest::Digest;
use crate::index::Index;
use crate::inline::{self, About, Carried};
use crate::json;
use crate::matching::{Host, MAX_ATOMS, Prepared, Required, Summary, Trace};
use crate::require;

/// What was found about one subject.
#[derive(Debug, Default)]
pub struct Found {
    /// The artifacts in force.
    pub artifacts: Vec<Arc<Prepared>>,
    /// Something could not be read.
    pub unread: bool,
    /// There is an artifact, whatever it is worth.
    pub any: bool,
    /// The rank of the most trusted of their signers; 0 where nobody signed.
    pub author: u32,
    /// One of them counts although nobody whom the site trusts signed it.
    pub unsigned: bool,
    /// What authors should know.
    pub notes: Vec<String>,
    /// The second from which on one of them is older than the site allows.
    pub outdated_from: Option<i64>,
    /// What its image config requires.
    required: Vec<Required>,
    /// Why something about it is not known.
    unknown: Vec<(String, Option<Digest>)>,
}

/// Everything that was found, artifacts that the index carries inline included.
pub struct Sources<'a> {
    inputs: &'a Inputs,
    index: &'a Index,
    meaning: Meaning<'a>,
    carried: Vec<Carried<'a>>,
    /// By digest: entries that share an artifact share its meaning.
    prepared: BTreeMap<Digest, (Parsed, Arc<Prepared>)>,
}

impl<'a> Sources<'a> {
    /// Reads what the index carries.
    pub fn new(inputs: &'a Inputs, index: &'a Index, meaning: Meaning<'a>) -> Self {
        Self { inputs, index, meaning, carried: inline::carried(index), prepared: BTreeMap::new() }
    }

    /// Everything about `subject`, from the index itself and from outside.
    pub fn about(&mut self, subject: &Digest) -> Found {
        let mut found = Found::default();
        let mut parsed = Vec::new();
        match self.inputs.evidence.get(subject) {
            Some(Evidence::Read { artifacts, .. }) if artifacts.len() > MAX_ARTIFACTS => {
                found.any = true;
                found.unknown.push((format!("more than {MAX_ARTIFACTS} artifacts: none is read"), None));
            }
            Some(Evidence::Read { artifacts, .. }) => {
                let inputs = self.inputs;
                for given in artifacts {
                    let read = || artifact::read(subject, given, inputs.now);
                    parsed.extend(found.take(&given.digest, &given.digest, inputs, read));
                }
            }
            Some(Evidence::Unread { why }) => {
                found.lose(format!("its artifacts could not be read: {}", json::plain(why, 300)), None);
            }
            // An index that carries its artifacts is the whole story: no registry is asked.
            None if !self.carried.is_empty() => {}
            None => found.lose("its artifacts were not asked for".to_owned(), None),
        }
        let (mut in_force, replaced) = artifact::in_force(parsed, self.meaning.schemas);
        in_force.extend(self.carried_about(subject, &mut found));
        let signers = in_force.iter().filter_map(|parsed| parsed.signer.as_ref());
        found.author = signers.map(|signer| signer.rank).max().unwrap_or_default();
        // Counted before it is compiled.
        let size: usize = in_force.iter().map(Parsed::size).sum();
        found.artifacts = match size > MAX_ATOMS {
            true => {
                in_force.iter().map(|parsed| Arc::new(Prepared::uncompiled(parsed, self.meaning.schemas))).collect()
            }
            false => in_force.into_iter().map(|parsed| self.prepare(parsed)).collect(),
        };
        found.notes.extend(replaced);
        self.image_config(subject, &mut found);
        found.unknown.sort();
        found.unknown.dedup();
        found
    }

    /// What the index carries about `subject`. All of it holds: it was put there at once, so none of it is the older one. It
    /// is signed as far as the index is.
    fn carried_about(&self, subject: &Digest, found: &mut Found) -> Vec<Parsed> {
        let whole = *subject == self.index.digest;
        let is_about = |carried: &&Carried<'_>| match carried.about {
            About::Entry(digest) => digest == *subject,
            About::Index | About::Untold => whole,
        };
        let mut parsed: Vec<Parsed> = Vec::new();
        for carried in self.carried.iter().filter(is_about) {
            let (digest, now) = (&carried.entry.digest, self.inputs.now);
            let taken = found.take(digest, &self.index.digest, self.inputs, || carried.read(now));
            parsed.extend(taken.filter(|taken| !parsed.contains(taken)));
        }
        parsed
    }

    /// What the config of a candidate asks for, where that was asked.
    fn image_config(&self, subject: &Digest, found: &mut Found) {
        let Some(images) = self.inputs.images.as_ref().filter(|_| *subject != self.index.digest) else { return };
        let Some(config) = images.of.get(subject) else {
            return found.lose("image config: it was not asked for".to_owned(), None);
        };
        match &config.read {
            Err(why) => found.lose(format!("image config: it could not be read: {}", json::plain(why, 300)), None),
            Ok(bytes) if !config.digest.is_some_and(|digest| digest.matches(bytes)) => {
                found.unknown.push(("image config: it does not have its digest".to_owned(), None));
            }
            Ok(bytes) => match require::read(bytes, &images.user) {
                Ok(all) => {
                    found.required = all.iter().map(|one| Required::new(one, self.meaning.schemas)).collect();
                }
                Err(error) => found.unknown.push((format!("image config: {error}"), None)),
            },
        }
    }

    fn prepare(&mut self, parsed: Parsed) -> Arc<Prepared> {
        match self.prepared.get(&parsed.digest) {
            // Of two entries with the same `data` each may say that it is of another type.
            Some((known, prepared)) if *known == parsed => prepared.clone(),
            _ => {
                let prepared = Arc::new(Prepared::new(&parsed, &self.meaning));
                self.prepared.insert(parsed.digest, (parsed, prepared.clone()));
                prepared
            }
        }
    }
}

impl Found {
    /// What is left of an artifact once it is known who signed `signed`: itself, or the index that carries it. Only where it
    /// counts are its bytes read.
    fn take(
        &mut self,
        digest: &Digest,
        signed: &Digest,
        inputs: &Inputs,
        read: impl FnOnce() -> Result<Parsed, ArtifactError>,
    ) -> Option<Parsed> {
        let signer = match admit(inputs, digest, signed) {
            Admission::Counts(signer, note) => {
                self.notes.extend(note);
                signer
            }
            Admission::Ignored(why) => {
                self.notes.push(why);
                return None;
            }
            Admission::Unknown(why) => {
                self.any = true;
                self.lose(why, Some(*digest));
                return None;
            }
        };
        let text = |error: &ArtifactError| format!("artifact {}: {error}", digest.short());
        let parsed = match read() {
            Ok(parsed) => Some(Parsed { signer, ..parsed }),
            Err(error @ ArtifactError::OtherType(_)) => {
                self.notes.push(text(&error));
                return None;
            }
            Err(error @ ArtifactError::Unread(_)) => {
                self.lose(text(&error), Some(*digest));
                None
            }
            Err(error) => {
                self.unknown.push((text(&error), Some(*digest)));
                None
            }
        };
        let trust = &inputs.policy.trust;
        if let Some(why) = parsed.as_ref().and_then(|parsed| outdated(trust, parsed, inputs.now)) {
            self.notes.push(why);
            if trust.mode.only_trusted() {
                return None;
            }
        } else {
            let until = parsed.as_ref().and_then(|parsed| outdated_from(trust, parsed));
            self.outdated_from = self.outdated_from.into_iter().chain(until).min();
        }
        self.unsigned |= parsed.as_ref().is_some_and(|parsed| parsed.signer.is_none());
        self.any = true;
        parsed
    }

    fn lose(&mut self, text: String, artifact: Option<Digest>) {
        self.unread = true;
        self.unknown.push((text, artifact));
    }

    /// What it means on a host; `author` is the rank of the most trusted signer of anything about the entry.
    pub fn evaluate<T: Trace>(&self, host: &Host<'_>, author: u32, into: &mut Summary, trace: &mut T) {
        host.evaluate(self.artifacts.iter().map(Arc::as_ref), author, into, trace);
        self.required.iter().for_each(|required| host.required(required, into, trace));
        for (text, artifact) in &self.unknown {
            into.answer = into.answer.and(Answer::Unknown);
            if T::ON {
                let (answer, text, artifact) = (Answer::Unknown, text.clone(), *artifact);
                trace.reason(Reason { answer, text, artifact, source: None });
            }
        }
    }
}
