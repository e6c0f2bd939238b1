//! Owns the story of one create while it happens, and turns it into the decision record that is written at its end.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use bestfit_config::{Log, Mode, places};
use bestfit_selector::decision::{Decision, InputDigests};
use bestfit_selector::digest::Digest;
use bestfit_selector::exchange::Answer;
use bestfit_selector::policy::Policy;
use bestfit_selector::record::{Applied, Record, Refused};

use crate::documents;
use crate::facts::Seen;
use crate::log::{self, Priority};
use crate::subject::Subject;

/// What happened so far.
pub(crate) struct Story {
    started: Instant,
    /// Time in which there was nothing to do but to wait for the request.
    waited: Duration,
    /// What the decision was made about.
    pub(crate) seen: Option<Seen>,
    record: Record,
}

impl Story {
    pub(crate) fn new(namespace: &str, container: &str) -> Self {
        let mut record = Record::new(humantime::format_rfc3339_millis(SystemTime::now()).to_string(), "");
        record.namespace = Some(namespace.to_owned());
        record.container = Some(container.to_owned());
        record.applied = Some(Applied::Default);
        Self { started: Instant::now(), waited: Duration::ZERO, seen: None, record }
    }

    pub(crate) fn mode(&mut self, mode: Mode) {
        self.record.mode = Some(mode.as_str().to_owned());
        if mode == Mode::Observe {
            self.record.applied = Some(Applied::Observed);
        }
    }

    pub(crate) fn subject(&mut self, subject: &Subject) {
        self.record.reference = subject.reference.clone();
        self.record.chosen = Some(subject.default.digest);
        self.timing("subject", self.started.elapsed());
    }

    pub(crate) fn answered(&mut self, answer: &Answer, waited: Duration) {
        let decision: Decision = answer.decision.clone();
        self.record.decision = Some(decision);
        self.record.requests = Some(answer.requests);
        self.record.unenforced = answer.unenforced.clone();
        self.timing("gather", Duration::from_micros(answer.gather_us));
        self.timing("match", Duration::from_micros(answer.decide_us));
        self.timing("decider", waited);
    }

    /// A decision that was made before, and still holds: for everybody, or for this pod alone.
    pub(crate) fn recalled(&mut self, decision: &Decision, sticky: bool, took: Duration) {
        self.record.decision = Some(decision.clone());
        self.record.requests = Some(0);
        (self.record.remembered, self.record.sticky) = (!sticky, sticky);
        self.timing("recall", took);
    }

    pub(crate) fn timing(&mut self, stage: &str, took: Duration) {
        self.record.timings.insert(stage.to_owned(), u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn waited(&mut self, waited: Duration) {
        self.waited += waited;
    }

    pub(crate) fn refuse(&mut self, digest: Digest, reason: String) {
        // A look without a lease may have refused it already.
        if self.record.refused.iter().all(|refused| refused.digest != digest) {
            self.record.refused.push(Refused { digest, reason });
        }
    }

    /// The first of some entries that was not refused.
    pub(crate) fn not_refused(&self, preferred: &[Digest]) -> Option<Digest> {
        let refused = |digest: &Digest| self.record.refused.iter().any(|refused| refused.digest == *digest);
        preferred.iter().copied().find(|digest| !refused(digest))
    }

    /// What runs, or what would have run.
    pub(crate) fn applied(&mut self, applied: Applied, chosen: Option<Digest>) {
        self.record.applied = Some(applied);
        self.record.chosen = chosen.or(self.record.chosen);
    }

    pub(crate) fn leave(&mut self, why: String) {
        self.record.untouched = Some(why);
    }

    pub(crate) fn failed(&mut self, why: String) {
        self.record.error = Some(why);
    }

    pub(crate) fn deny(&mut self, why: String) {
        self.record.applied = Some(Applied::Denied);
        self.record.chosen = None;
        self.record.error = Some(why);
    }

    /// Keeps what the record names only by hash, so that it can be replayed. Comes after the answer: nobody waits for it.
    pub(crate) fn keep_inputs(&mut self, state: &Path, policy: &Policy) {
        let (Some(decision), Some(seen)) = (&self.record.decision, &mut self.seen) else { return };
        let InputDigests { facts, policy: of_policy, .. } = &decision.inputs;
        let json = |value: serde_json::Result<Vec<u8>>| value.map_err(io::Error::from);
        let dir = places::inputs(state);
        let facts_json = || json(serde_json::to_vec(&seen.narrowed().map_err(io::Error::other)?));
        let kept = documents::keep(&dir, facts, facts_json)
            .and_then(|()| documents::keep(&dir, of_policy, || json(serde_json::to_vec(policy))));
        if let Err(error) = kept {
            log::say(&format!("{}: {error}", state.display()), Priority::Warning, None);
        }
    }

    /// Writes the record.
    pub(crate) fn write(mut self, log: &Log, priority: Priority) {
        self.timing("total", self.started.elapsed().saturating_sub(self.waited));
        log::append(log, &self.record, &self.summary(), priority);
    }

    /// One line for people who read the journal.
    pub(crate) fn summary(&self) -> String {
        let record = &self.record;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let what = match record.applied {
            Some(Applied::Swapped) => "swapped",
            Some(Applied::Observed) => "observed",
            Some(Applied::Denied) => "denied",
            _ => "default",
        };
        let why = record
            .error
            .as_ref()
            .or(record.untouched.as_ref())
            .or(record.decision.as_ref().map(|decision| &decision.why));
        format!(
            "{what}: {}/{} {} {}: {}",
            text(&record.namespace),
            text(&record.container),
            record.reference,
            record.chosen.map(|digest| digest.short()).unwrap_or_default(),
            why.cloned().unwrap_or_default()
        )
    }
}
