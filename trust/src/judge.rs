//! Owns the judgement: every signature about a subject against every entry of the site's list, the most trusted signer that
//! holds, and else why nothing does.

use bestfit_selector::digest::Digest;
use bestfit_selector::trust::{Standing, Trust};

use crate::bundle::Bundle;
use crate::entry::{Asked, Entry, Signature};
use crate::manifest::{Layer, Manifest};
use crate::notation::Envelope;
use crate::refusal::Refusal;
use crate::sigstore::Sigstore;
use crate::simple::Simple;
use crate::{Candidate, Form, MAX_BLOB, MAX_SIGNATURES};

const NO_SIGNATURE: &str = "there is no signature";
/// Lines of reasons that are kept.
const MAX_REASONS: usize = 64;

/// Whether one of `candidates` is a signature about `subject` by somebody whom the site trusts for `repository`
/// (`host/repository`). `now` is in seconds since 1970 UTC.
///
/// Of several the most trusted signer counts. Where none holds, a signature that could not be read, or that is one too many
/// (more than [`MAX_SIGNATURES`]), makes the outcome [`Standing::Unknown`]: it might have been the one.
pub fn judge(trust: &Trust, subject: &Digest, repository: &str, candidates: &[Candidate], now: i64) -> Standing {
    judge_until(trust, subject, repository, candidates, now).0
}

/// The same, with the last second at which the signature that made it [`Standing::Trusted`] holds: `i64::MAX` where no date ends
/// it, and for what nobody trusted.
pub fn judge_until(
    trust: &Trust,
    subject: &Digest,
    repository: &str,
    candidates: &[Candidate],
    now: i64,
) -> (Standing, i64) {
    let untrusted = |why: String| (Standing::Untrusted { why: vec![why] }, i64::MAX);
    if trust.revoked_digests.contains(subject) {
        return untrusted(Refusal::Revoked(*subject).to_string());
    }
    if candidates.is_empty() {
        return untrusted(NO_SIGNATURE.to_owned());
    }
    let entries = trust
        .accept
        .iter()
        .enumerate()
        .map(|(position, accept)| Entry::new(position, accept, &trust.revoked_keys))
        .collect();
    let asked = Asked { subject, repository, now, revoked: &trust.revoked_keys };
    let mut court = Court { trust, entries, asked, seen: 0, best: None, unread: None, reasons: Vec::new() };
    for candidate in candidates {
        court.hear(candidate);
    }
    let until = court.best.map_or(i64::MAX, |(_, until)| until);
    (court.standing(), until)
}

/// What is wrong with the keys and roots of a site: the position in [`Trust::accept`], and the mistake.
pub fn problems(trust: &Trust) -> Vec<(usize, String)> {
    let entries =
        trust.accept.iter().enumerate().map(|(position, accept)| Entry::new(position, accept, &trust.revoked_keys));
    entries.filter_map(|entry| entry.problem().map(|problem| (entry.position, problem.to_string()))).collect()
}

/// What is known so far about one subject.
struct Court<'a> {
    trust: &'a Trust,
    entries: Vec<Entry<'a>>,
    asked: Asked<'a>,
    seen: usize,
    /// The position of the most trusted entry that a signature holds for, and the last second at which it does.
    best: Option<(usize, i64)>,
    unread: Option<String>,
    reasons: Vec<String>,
}

/// One signature: where it lies, and what it is.
struct Exhibit<'a> {
    candidate: &'a Candidate,
    form: Form,
    layer: &'a Layer,
}

impl Exhibit<'_> {
    /// Names it, for people: by its manifest, and where that may hold several, by its layer.
    fn name(&self) -> String {
        match self.form {
            Form::SimpleSigning => format!("{} ({})", self.layer.digest.short(), self.form),
            Form::Bundle | Form::Notation => format!("{} ({})", self.candidate.digest.short(), self.form),
        }
    }
}

impl Court<'_> {
    fn hear(&mut self, candidate: &Candidate) {
        let Some(manifest) = Manifest::read(&candidate.manifest) else {
            let name = candidate.digest.short();
            return self.note(format!("{name}: its manifest holds no signature in a form that is known"));
        };
        for layer in &manifest.signatures {
            let exhibit = Exhibit { candidate, form: manifest.form, layer };
            if self.seen == MAX_SIGNATURES {
                let cut = || format!("there are more than {MAX_SIGNATURES} signatures; the rest is not looked at");
                self.unread.get_or_insert_with(cut);
                return;
            }
            self.seen += 1;
            if let Err(refusal) = self.admit(&exhibit, &manifest) {
                self.note(format!("{}: {refusal}", exhibit.name()));
            }
        }
    }

    /// Reads one signature and holds it against the entries.
    fn admit(&mut self, exhibit: &Exhibit<'_>, manifest: &Manifest) -> Result<(), Refusal> {
        let named = [exhibit.candidate.digest, exhibit.layer.digest];
        if let Some(revoked) = named.iter().find(|digest| self.trust.revoked_digests.contains(digest)) {
            return Err(Refusal::Revoked(*revoked));
        }
        // cosign's older form is about what its tag says; its payload names the digest.
        if exhibit.form != Form::SimpleSigning && manifest.subject.as_ref() != Some(self.asked.subject) {
            return Err(Refusal::OtherSubject(manifest.subject));
        }
        if exhibit.layer.size > MAX_BLOB {
            return Err(Refusal::TooLong(exhibit.layer.size));
        }
        let bytes = match exhibit.candidate.blobs.get(&exhibit.layer.digest) {
            Some(Ok(bytes)) => bytes,
            Some(Err(why)) => return self.could_not_read(exhibit, why),
            None => return self.could_not_read(exhibit, "it was not fetched"),
        };
        let signature = read(exhibit, bytes, self.asked.subject)?;
        self.compare(exhibit, &signature)
    }

    fn could_not_read(&mut self, exhibit: &Exhibit<'_>, why: &str) -> Result<(), Refusal> {
        self.unread.get_or_insert_with(|| format!("{} could not be read: {why}", exhibit.name()));
        Ok(())
    }

    /// Holds a signature against the entries, the most trusted first.
    fn compare(&mut self, exhibit: &Exhibit<'_>, signature: &Signature) -> Result<(), Refusal> {
        let better = |entry: &&Entry<'_>| self.best.is_none_or(|(best, _)| entry.position < best);
        let mut refused = Vec::new();
        let mut holds = None;
        for entry in self.entries.iter().filter(better) {
            let covers = entry.covers(self.asked.repository);
            match (entry.verify(signature, &self.asked), covers) {
                (Some(Ok(until)), true) => {
                    holds = Some((entry.position, until));
                    break;
                }
                (Some(Ok(_)), false) => {
                    refused.push((entry.name(), Refusal::OutOfScope(self.asked.repository.to_owned())));
                }
                (Some(Err(refusal)), true) => refused.push((entry.name(), refusal)),
                (Some(Err(_)), false) | (None, _) => {}
            }
        }
        if holds.is_some() {
            self.best = holds;
            return Ok(());
        }
        if let Some((_, early)) = refused.iter().find(|(_, refusal)| matches!(refusal, Refusal::Early { .. })) {
            self.unread.get_or_insert_with(|| format!("{}: {early}", exhibit.name()));
            return Ok(());
        }
        if refused.is_empty() {
            return Err(Refusal::NobodyTakes(signature.maker()));
        }
        for (name, refusal) in refused {
            self.note(format!("{}, {name}: {refusal}", exhibit.name()));
        }
        Ok(())
    }

    fn note(&mut self, reason: String) {
        match self.reasons.len() {
            0..MAX_REASONS => self.reasons.push(reason),
            MAX_REASONS => self.reasons.push("more reasons are left out".to_owned()),
            _ => {}
        }
    }

    fn standing(self) -> Standing {
        if let Some(signer) = self.best.and_then(|(position, _)| self.trust.signer(position)) {
            return Standing::Trusted(signer);
        }
        if let Some(why) = self.unread {
            return Standing::Unknown { why };
        }
        let mut why = self.reasons;
        if why.is_empty() {
            why.push(NO_SIGNATURE.to_owned());
        }
        Standing::Untrusted { why }
    }
}

/// Reads a signature, and refuses what is not about `subject` before anybody's key is asked.
fn read(exhibit: &Exhibit<'_>, bytes: &[u8], subject: &Digest) -> Result<Signature, Refusal> {
    match exhibit.form {
        Form::Bundle => {
            let bundle = Bundle::read(bytes)?;
            bundle.check_subject(subject)?;
            Ok(Signature::Sigstore(Box::new(Sigstore::Bundle(bundle))))
        }
        Form::SimpleSigning => {
            let simple = Simple::read(exhibit.layer, bytes)?;
            simple.check_subject(subject)?;
            Ok(Signature::Sigstore(Box::new(Sigstore::Simple(simple))))
        }
        Form::Notation => {
            let envelope = Envelope::read(exhibit.layer, bytes)?;
            envelope.check_subject(subject)?;
            Ok(Signature::Notation(Box::new(envelope)))
        }
    }
}
