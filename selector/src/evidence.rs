//! Owns the way from what was found about a subject to the artifacts that are in force for it, ready for any host. Errors
//! stay beside them: what could not be read is never the same as what is not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::artifact::{self, ArtifactError, MAX_ARTIFACTS, Parsed};
use crate::compiled::Meaning;
use crate::decision::{Answer, Evidence, Inputs, Reason};
use crate::digest::Digest;
use crate::index::{Index, Kind, SUBJECT_ANNOTATION};
use crate::json;
use crate::matching::{Host, Prepared, Summary, Trace};
use crate::trust::Standing;

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
    /// What authors should know.
    pub notes: Vec<String>,
    /// Why something about it is not known.
    unknown: Vec<(String, Option<Digest>)>,
    parsed: Vec<Parsed>,
}

/// The digest of an artifact and what came of reading it.
type Read = (Digest, Result<Parsed, ArtifactError>);

/// Everything that was found, artifacts that the index carries inline included.
pub struct Sources<'a> {
    inputs: &'a Inputs,
    index: &'a Index,
    meaning: Meaning<'a>,
    inline: BTreeMap<Digest, Vec<Read>>,
    /// Inline ones that do not say what they are about: they may be about any entry.
    stray: Vec<Digest>,
    carried: bool,
    /// By digest: entries that share an artifact share its meaning.
    prepared: BTreeMap<Digest, Arc<Prepared>>,
}

impl<'a> Sources<'a> {
    /// Reads what the index carries.
    pub fn new(inputs: &'a Inputs, index: &'a Index, meaning: Meaning<'a>) -> Self {
        let (mut inline, mut stray, mut carried) = (BTreeMap::<_, Vec<Read>>::new(), Vec::new(), false);
        for entry in index.entries.iter().filter(|entry| entry.kind() == Kind::InlineArtifact) {
            carried = true;
            let subject = entry.annotations.get(SUBJECT_ANNOTATION).and_then(|text| text.parse().ok());
            match subject.filter(|subject| *subject == index.digest || index.entry(subject).is_some()) {
                Some(subject) => {
                    let read = artifact::read_inline(entry, inputs.now);
                    inline.entry(subject).or_default().push((entry.digest, read));
                }
                None => stray.push(entry.digest),
            }
        }
        Self { inputs, index, meaning, inline, stray, carried, prepared: BTreeMap::new() }
    }

    /// Everything about `subject`, from the index itself and from outside.
    pub fn about(&mut self, subject: &Digest) -> Found {
        let mut found = Found::default();
        for (digest, read) in self.inline.get(subject).into_iter().flatten() {
            found.take(*digest, read.clone(), self.inputs);
        }
        if *subject == self.index.digest {
            for digest in &self.stray {
                found.any = true;
                let text = format!("inline artifact {}: {SUBJECT_ANNOTATION} names no entry", digest.short());
                found.unknown.push((text, Some(*digest)));
            }
        }
        match self.inputs.evidence.get(subject) {
            Some(Evidence::Read { artifacts, .. }) if artifacts.len() > MAX_ARTIFACTS => {
                found.any = true;
                found.unknown.push((format!("more than {MAX_ARTIFACTS} artifacts: none is read"), None));
            }
            Some(Evidence::Read { artifacts, .. }) => {
                let now = self.inputs.now;
                let read = artifacts.iter().map(|given| (given.digest, artifact::read(subject, given, now)));
                read.for_each(|(digest, read)| found.take(digest, read, self.inputs));
            }
            Some(Evidence::Unread { why }) => {
                found.lose(format!("its artifacts could not be read: {}", json::plain(why, 300)), None);
            }
            // An index that carries its artifacts is the whole story: no registry is asked.
            None if self.carried => {}
            None => found.lose("its artifacts were not asked for".to_owned(), None),
        }
        let (in_force, replaced) = artifact::in_force(std::mem::take(&mut found.parsed), self.meaning.schemas);
        let meaning = self.meaning;
        let prepare = |parsed: Parsed| {
            let prepared = self.prepared.entry(parsed.digest);
            prepared.or_insert_with(|| Arc::new(Prepared::new(&parsed, &meaning))).clone()
        };
        let signers = in_force.iter().filter_map(|parsed| parsed.signer.as_ref());
        found.author = signers.map(|signer| signer.rank).max().unwrap_or_default();
        found.artifacts = in_force.into_iter().map(prepare).collect();
        found.notes.extend(replaced);
        found.unknown.sort();
        found.unknown.dedup();
        found
    }
}

impl Found {
    fn take(&mut self, digest: Digest, read: Result<Parsed, ArtifactError>, inputs: &Inputs) {
        let signer = inputs.standings.get(&digest).and_then(Standing::signer).cloned();
        if signer.is_none() && inputs.policy.trust.mode.only_trusted() {
            let text = format!("artifact {}: signed by nobody whom this site trusts: ignored", digest.short());
            return self.notes.push(text);
        }
        let text = |error: &ArtifactError| format!("artifact {}: {error}", digest.short());
        match read {
            Ok(parsed) => self.parsed.push(Parsed { signer, ..parsed }),
            Err(error @ ArtifactError::OtherType(_)) => return self.notes.push(text(&error)),
            Err(error @ ArtifactError::Unread(_)) => self.lose(text(&error), Some(digest)),
            Err(error) => self.unknown.push((text(&error), Some(digest))),
        }
        self.any = true;
    }

    fn lose(&mut self, text: String, artifact: Option<Digest>) {
        self.unread = true;
        self.unknown.push((text, artifact));
    }

    /// What it means on a host.
    pub fn evaluate<T: Trace>(&self, host: &Host<'_>, into: &mut Summary, trace: &mut T) {
        host.evaluate(self.artifacts.iter().map(Arc::as_ref), into, trace);
        for (text, artifact) in &self.unknown {
            into.answer = into.answer.and(Answer::Unknown);
            if T::ON {
                let (answer, text, artifact) = (Answer::Unknown, text.clone(), *artifact);
                trace.reason(Reason { answer, text, artifact, source: None });
            }
        }
    }
}
