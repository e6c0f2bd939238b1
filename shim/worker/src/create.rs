//! Owns the order of one create: configuration → subject → decision → content → plan → re-basing → answer → record. Each
//! step may end it; then the container runs as containerd made it, and the record says why. All that changes nothing may
//! happen before the request comes, while the delegate still starts.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use bestfit_config::{Config, ConfigErrors, Location, Mode, PullDeadline};
use bestfit_hostprobe::{HostRoot, host_platform};
use bestfit_selector::decision::{HostPlatform, Outcome, Verdict};
use bestfit_selector::digest::Digest;
use bestfit_selector::record::Applied;
use bestfit_selector::trust::TrustMode;
use containerd_client::types::Mount;
use prost::Message;
use tokio::task::JoinHandle;

use crate::bundle::Bundle;
use crate::containerd::Containerd;
use crate::decision::Decided;
use crate::documents;
use crate::ending::{End, broken, undecided, unreadable};
use crate::facts::HostFacts;
use crate::log::{self, Priority};
use crate::rebase;
use crate::record::Story;
use crate::recover::{self, PutBack, undo_for};
use crate::relay::{Asked, Relay};
use crate::remember::ForPod;
use crate::request::{CreateTaskRequest, Reply};
use crate::subject::{Leave, Subject, identify, kept};
use crate::{swap, verifiers};

/// What the relay said on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) namespace: String,
    pub(crate) address: String,
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) profile: Option<String>,
}

/// How long preparing may go on after the request has come: the steps have shorter limits of their own.
const PREPARED_WITHIN: Duration = Duration::from_secs(60);
/// The annotation that names a pod's namespace.
pub(crate) const KUBERNETES_NAMESPACE: &str = "io.kubernetes.cri.sandbox-namespace";

/// Runs one create to its end. The answer is out long before where something goes on in the background.
pub(crate) async fn create(call: &Call, relay: &mut Relay) {
    let mut story = Story::new(&call.namespace, &call.id);
    let loaded = bestfit_config::load(&Location::from_env(call.profile.clone()));
    // What dead workers left is finished under every configuration: some of those containers cannot start without.
    let state = loaded.as_ref().map_or_else(ConfigErrors::state, |loaded| &loaded.config.state);
    for finished in recover::recover(state, call).await {
        log::say(&finished, Priority::Warning, None);
    }
    let config = match loaded {
        Ok(loaded) => loaded.config,
        Err(errors) => return broken(call, relay, story, &errors).await,
    };
    let bundle = match Bundle::read(&call.bundle) {
        Ok(bundle) => bundle,
        Err(error) => return unreadable(call, relay, story, &config, &error.to_string()).await,
    };
    let mode = config.mode_for(&call.namespace, bundle.annotation(KUBERNETES_NAMESPACE));
    story.mode(mode);
    match mode {
        Mode::Off => {
            undecided(call, relay, &config.state, None).await;
            return;
        }
        Mode::Observe | Mode::Select => {}
    }
    let (config, bundle) = (&config, &bundle);
    let mut create = Create::new(call, config, bundle, mode, &mut story);
    let (reply, priority) = match create.run(relay).await {
        Ok(priority) => (Reply::Leave, priority),
        Err(End::GivenUp) => return,
        Err(end) => create.ended(end),
    };
    let for_pod = create.for_pod.filter(|_| !matches!(reply, Reply::Deny(_)));
    relay.settle(&reply).await;
    if let Some(for_pod) = for_pod {
        for_pod.keep();
    }
    story.keep_inputs(&config.state, &config.selection.policy);
    story.write(&config.log, priority);
}

/// One create on its way.
pub(crate) struct Create<'a> {
    pub(crate) call: &'a Call,
    pub(crate) config: &'a Config,
    pub(crate) bundle: &'a Bundle,
    pub(crate) mode: Mode,
    pub(crate) story: &'a mut Story,
    /// When the client of the create stops waiting; known once the request is there.
    pub(crate) deadline: Option<Instant>,
    /// Artifacts that count say that the entry that containerd chose fits: it may run whatever happens to a swap.
    pub(crate) default_fits: bool,
    /// Why the container is refused where a swap was decided and fails.
    pub(crate) otherwise: Option<String>,
    /// What the pod keeps of the decision where the container is not refused.
    pub(crate) for_pod: Option<ForPod>,
    /// The mounts in the request.
    pub(crate) asked: Vec<Mount>,
    /// The snapshot's, where it may have been made anew since its client asked for them.
    pub(crate) now: Option<Vec<Mount>>,
}

/// The facts on their way.
type Probing = JoinHandle<Result<HostFacts, String>>;

/// What can be known before the request is there.
struct Prepared {
    containerd: Containerd,
    subject: Subject,
    /// Not yet where the create is only observed: what holds up nobody need not be done ahead.
    decided: Option<Decided>,
}

impl<'a> Create<'a> {
    /// Of which nothing is known yet.
    pub(crate) fn new(
        call: &'a Call,
        config: &'a Config,
        bundle: &'a Bundle,
        mode: Mode,
        story: &'a mut Story,
    ) -> Self {
        Self {
            call,
            config,
            bundle,
            mode,
            story,
            deadline: None,
            default_fits: false,
            otherwise: None,
            for_pod: None,
            asked: Vec::new(),
            now: None,
        }
    }

    async fn run(&mut self, relay: &mut Relay) -> Result<Priority, End> {
        let host = host_platform(&HostRoot::running());
        // The probe reads files while containerd is asked.
        let config = self.config.clone();
        let mut probing = tokio::task::spawn_blocking(move || HostFacts::read(&config));
        let (prepared, asked, waited) = self.prepare_and_wait(relay, &host, &mut probing).await?;
        self.story.waited(waited);
        self.deadline = asked.deadline;
        let request = CreateTaskRequest::decode(&asked.request[..])
            .map_err(|error| End::Failed(format!("the request: {error}")))?;
        if let Some(end) = self.put_back(relay, &request.rootfs).await {
            return Err(end);
        }
        self.asked.clone_from(&request.rootfs);
        let Prepared { containerd, mut subject, decided } = prepared?;
        subject.confirm(request)?;
        let observing = self.mode == Mode::Observe;
        if observing {
            // What is only observed holds up nobody; before this, the delegate would have written to the snapshot.
            relay.answer(&Reply::Leave).await;
        }
        let decided = match decided {
            Some(decided) => decided,
            None => self.decided(&containerd, &subject, probed(&mut probing).await?, &host).await?,
        };
        let default = decided.decision.default;
        let mut entries = decided.decision.entries.iter();
        self.default_fits = entries.any(|entry| Some(entry.digest) == default && entry.verdict == Verdict::Compatible);
        self.otherwise.clone_from(&decided.decision.otherwise);
        // What counts under `warn` although nobody trusted signed it is to be seen.
        let unsigned = decided.decision.inputs.standings.values().any(|standing| standing.signer().is_none());
        let loud = unsigned && self.config.selection.policy.trust.mode == TrustMode::Warn;
        let priority = if loud { Priority::Warning } else { Priority::Info };
        match decided.decision.outcome {
            Outcome::Default => {}
            Outcome::Deny if observing => {}
            Outcome::Deny => return Err(End::Deny(decided.decision.why)),
            Outcome::Swap if observing => {
                // What lies on this node is planned as well; to look, nothing is fetched.
                let ready = swap::ready_here(self, &containerd, &subject, &decided.decision).await;
                let unplanned = self.story.not_refused(&decided.decision.preferred);
                self.story.applied(Applied::Observed, ready.map(|ready| ready.digest()).or(unplanned));
            }
            Outcome::Swap => {
                subject.never_ran()?;
                self.ask_verifiers(&subject).await?;
                swap::swap(self, relay, &containerd, &subject, decided).await?;
            }
        }
        Ok(priority)
    }

    /// Asks the programs that containerd asks about images, where the site names them.
    async fn ask_verifiers(&mut self, subject: &Subject) -> Result<(), End> {
        let Some(dir) = &self.config.trust.image_verifiers else { return Ok(()) };
        let started = Instant::now();
        let target = verifiers::Target::of(subject);
        let answer = verifiers::ask(dir, &target, self.within(verifiers::WITHIN)).await;
        self.story.timing("verifiers", started.elapsed());
        answer.map_err(|why| End::Leave(Priority::Warning, format!("nothing is swapped: {why}")))
    }

    /// Prepares while the request is on its way, with no more time than the request leaves; says how long there was nothing to
    /// do but to wait for it.
    async fn prepare_and_wait(
        &mut self,
        relay: &mut Relay,
        host: &HostPlatform,
        probing: &mut Probing,
    ) -> Result<(Result<Prepared, End>, Asked, Duration), End> {
        let mut asking = pin!(asked(relay));
        let mut preparing = pin!(self.prepare(host, probing));
        let (prepared, asked, waited) = tokio::select! {
            prepared = &mut preparing => {
                let ready = Instant::now();
                let asked = asking.await;
                (Some(prepared), asked, ready.elapsed())
            }
            asked = &mut asking => (None, asked, Duration::ZERO),
        };
        let asked = asked?;
        if let Some(prepared) = prepared {
            return Ok((prepared, asked, waited));
        }
        let limit = before(asked.deadline, PREPARED_WITHIN);
        let late = |_| Err(End::Failed(format!("no decision within {limit:?}")));
        let prepared = tokio::time::timeout(limit, preparing).await.unwrap_or_else(late);
        Ok((prepared, asked, waited))
    }

    async fn prepare(&mut self, host: &HostPlatform, probing: &mut Probing) -> Result<Prepared, End> {
        let connected = Containerd::connect(&self.call.address, &self.call.namespace).await;
        let containerd = connected.map_err(|error| End::Leave(Priority::Warning, error.to_string()))?;
        let subject = identify(&containerd, &self.call.id, self.bundle, host, &self.config.state).await;
        if let Err(Leave::Kept(_, mounts)) = &subject {
            self.now = Some(mounts.clone());
        }
        let subject = subject?;
        self.story.subject(&subject);
        let decided = match self.mode {
            Mode::Select => Some(self.decided(&containerd, &subject, probed(probing).await?, host).await?),
            Mode::Off | Mode::Observe => None,
        };
        Ok(Prepared { containerd, subject, decided })
    }

    /// Another worker was at this very container before: its snapshot may lie in another directory than the request says.
    async fn put_back(&mut self, relay: &mut Relay, asked: &[Mount]) -> Option<End> {
        let back = match undo_for(&self.config.state, self.call, Some(asked)).await {
            Ok(back) => back?,
            Err(error) => return Some(End::Deny(error.to_string())),
        };
        let mounts = Reply::Mounts(back.present.mounts.clone());
        let (end, reply) = match &back.present.chosen {
            Some(chosen) => (End::Exempt(kept(chosen)), mounts),
            None => {
                let why = "a worker died while it re-based this container before; the default entry is back";
                let denial = Some(self.without_swap(why)).filter(|reply| matches!(reply, Reply::Deny(_)));
                (End::Leave(Priority::Warning, why.to_owned()), denial.unwrap_or(mounts))
            }
        };
        Some(if PutBack::settle(Some(back), relay, &reply).await { end } else { End::GivenUp })
    }

    /// The time a step may take: its own limit, and what the client's deadline leaves once it is known.
    pub(crate) fn within(&self, limit: Duration) -> Duration {
        before(self.deadline, limit)
    }

    /// The time that bringing content in may take.
    pub(crate) fn pull_within(&self) -> Duration {
        match self.config.selection.pull_deadline {
            PullDeadline::After(limit) => self.within(limit),
            PullDeadline::Wait => self.within(Duration::from_secs(3600)),
        }
    }
}

/// One lookup and one pull per index and node: the next worker finds what it needs. Waits no longer than `limit`, and not for one
/// that [goes on aside](goes_on_aside); Err says why there is no turn.
pub(crate) async fn one_at_a_time(state: &Path, what: &str, index: &Digest, limit: Duration) -> Result<File, String> {
    let dir = state.join(what);
    let opened = rebase::private_dir(&dir).and_then(|()| {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(index.hex()))?;
        file.set_modified(SystemTime::now())?;
        // One that is in use is not among the oldest; were it, two workers would do the same work.
        log::prune(&dir, documents::MAX_DOCUMENTS)?;
        Ok(file)
    });
    let file = opened.map_err(|error| format!("{}: {error}", dir.display()))?;
    let until = Instant::now() + limit;
    let is_aside = |file: &File| file.metadata().is_ok_and(|meta| meta.len() > 0);
    while file.try_lock().is_err() {
        if is_aside(&file) {
            return Err("another worker is still at it, in the background".to_owned());
        }
        if Instant::now() > until {
            return Err(format!("another worker was still at it after {limit:?}"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // One that died in the background left that there.
    let cleared = file.set_len(0).map_err(|error| format!("{}: {error}", dir.display()));
    cleared.map(|()| file)
}

/// Whoever has the turn goes on in the background: nobody waits for that any more.
pub(crate) fn goes_on_aside(mut turn: &File) {
    // Where it cannot be written, the others wait.
    let _ = turn.write_all(b"in the background");
}

async fn asked(relay: &mut Relay) -> Result<Asked, End> {
    relay.request().await.map_err(|error| End::Failed(format!("the request: {error}")))?.ok_or(End::GivenUp)
}

/// The facts, once they are read.
async fn probed(probing: &mut Probing) -> Result<HostFacts, End> {
    let facts = probing.await.unwrap_or_else(|error| Err(error.to_string()));
    facts.map_err(|why| End::Failed(format!("probing the host: {why}")))
}

/// The shorter of a limit and what a deadline leaves: two seconds are for the delegate, after which the relay gives up, and
/// two more to put things back.
fn before(deadline: Option<Instant>, limit: Duration) -> Duration {
    let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
    deadline.map_or(limit, |deadline| left(deadline).saturating_sub(Duration::from_secs(4)).min(limit))
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_image_waits_for_its_own_pull_and_for_no_other() {
        let state = tempfile::tempdir().unwrap();
        let digest = |last: &str| format!("sha256:{}{last}", "a".repeat(63)).parse::<Digest>().unwrap();
        let turn = async |index: &Digest| one_at_a_time(state.path(), "pulls", index, Duration::ZERO).await;
        let held = turn(&digest("1")).await.unwrap();
        assert!(turn(&digest("1")).await.unwrap_err().starts_with("another worker was still at it"));
        turn(&digest("2")).await.unwrap();
        drop(held);
        turn(&digest("1")).await.unwrap();
    }

    #[tokio::test]
    async fn nobody_waits_for_a_pull_that_is_late_already() {
        let state = tempfile::tempdir().unwrap();
        let digest = format!("sha256:{}", "a".repeat(64)).parse::<Digest>().unwrap();
        let turn = async || one_at_a_time(state.path(), "pulls", &digest, Duration::from_secs(3600)).await;
        let held = turn().await.unwrap();
        goes_on_aside(&held);
        assert_eq!(turn().await.unwrap_err(), "another worker is still at it, in the background");
        drop(held);
        let next = turn().await.unwrap();
        assert_eq!(next.metadata().unwrap().len(), 0, "it has only begun");
    }
}
