//! Owns the order of one create: configuration → subject → decision → content → plan → re-basing → answer → record. Each
//! step may end it; then the container runs as containerd made it, and the record says why. All that changes nothing may
//! happen before the request comes, while the delegate still starts.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use bestfit_config::{Config, Location, Mode, PullDeadline};
use bestfit_hostprobe::{HostRoot, host_platform, probe_with};
use bestfit_selector::decision::{Decision, HostPlatform, Outcome};
use bestfit_selector::digest::Digest;
use bestfit_selector::exchange::{Ask, RegistryAccess};
use bestfit_selector::facts::Facts;
use bestfit_selector::platform::candidates;
use bestfit_selector::policy::Otherwise;
use bestfit_selector::record::Applied;
use bestfit_selector::schema::Schemas;
use prost::Message;
use tokio::task::JoinHandle;

use crate::bundle::Bundle;
use crate::containerd::Containerd;
use crate::decider::Decider;
use crate::log::{self, Priority};
use crate::rebase;
use crate::record::Story;
use crate::relay::{Asked, Relay};
use crate::request::{CreateTaskRequest, Reply};
use crate::subject::{Leave, Subject, identify};
use crate::swap;

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
const KUBERNETES_NAMESPACE: &str = "io.kubernetes.cri.sandbox-namespace";

/// Runs one create to its end. The answer is out long before where something goes on in the background.
pub(crate) async fn create(call: &Call, relay: &mut Relay) {
    let mut story = Story::new(&call.namespace, &call.id);
    let loaded = bestfit_config::load(&Location::from_env(call.profile.clone()));
    let config = match loaded {
        Ok(loaded) => loaded.config,
        Err(errors) => {
            // Loud, in the journal and in the default log: the configured one is not known.
            relay.answer(&Reply::Leave).await;
            story.failed(format!("the configuration is broken, nothing is swapped: {errors}"));
            return story.write(&Config::default().log, Priority::Warning);
        }
    };
    let bundle = match Bundle::read(&call.bundle) {
        Ok(bundle) => bundle,
        Err(error) => {
            relay.answer(&Reply::Leave).await;
            story.failed(error.to_string());
            return story.write(&config.log, Priority::Warning);
        }
    };
    let mode = config.mode_for(&call.namespace, bundle.annotation(KUBERNETES_NAMESPACE));
    story.mode(mode);
    match mode {
        Mode::Off => {
            relay.answer(&Reply::Leave).await;
            return;
        }
        Mode::Observe | Mode::Select => {}
    }
    let mut create = Create { call, config: &config, bundle: &bundle, mode, story: &mut story, deadline: None };
    let (reply, priority) = match create.run(relay).await {
        Ok(()) => (Reply::Leave, Priority::Info),
        Err(End::GivenUp) => return,
        Err(End::Leave(priority, why)) => {
            story.leave(why);
            (Reply::Leave, priority)
        }
        Err(End::Failed(why)) if config.selection.policy.on_error == Otherwise::Deny && mode == Mode::Select => {
            story.deny(why.clone());
            (Reply::Deny(format!("bestfit: {why} (selection.on_error = \"deny\")")), Priority::Warning)
        }
        Err(End::Failed(why)) => {
            story.failed(why);
            (Reply::Leave, Priority::Warning)
        }
        Err(End::Deny(why)) => {
            story.deny(why.clone());
            (Reply::Deny(format!("bestfit: {why}")), Priority::Warning)
        }
    };
    relay.answer(&reply).await;
    story.keep_inputs(&config.state);
    story.write(&config.log, priority);
}

/// Why a create ended without a swap.
pub(crate) enum End {
    /// A rule says that the container stays as it is.
    Leave(Priority, String),
    /// Something went wrong: the policy's `on_error` says what follows.
    Failed(String),
    /// The policy refuses the container.
    Deny(String),
    /// The relay hung up before there was a Create.
    GivenUp,
}

impl From<Leave> for End {
    fn from(leave: Leave) -> Self {
        match leave {
            Leave::Rule(why) => Self::Leave(Priority::Info, why),
            Leave::Kept(_) => Self::Leave(Priority::Info, leave.to_string()),
            // Trouble between containerd and us is no reason to deny what containerd itself could start.
            Leave::Api(_) | Leave::Image(_) => Self::Leave(Priority::Warning, leave.to_string()),
        }
    }
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
}

/// What can be known before the request is there.
struct Prepared {
    containerd: Containerd,
    subject: Subject,
    /// Not yet where the create is only observed: what holds up nobody need not be done ahead.
    decided: Option<Decided>,
}

/// A decision, the process that made it and brings content, and the entry that needs no bringing.
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    pub(crate) decider: Decider,
    pub(crate) ready: Option<swap::Ready>,
}

impl Create<'_> {
    async fn run(&mut self, relay: &mut Relay) -> Result<(), End> {
        let root = HostRoot::running();
        let host = host_platform(&root);
        let targets =
            Schemas::targets_of(&self.config.schemas.files).map_err(|error| End::Failed(error.to_string()))?;
        // The probe reads files while containerd is asked.
        let mut probing = tokio::task::spawn_blocking(move || probe_with(&root, &targets));
        let (prepared, asked, waited) = self.prepare_and_wait(relay, &host, &mut probing).await?;
        self.story.waited(waited);
        self.deadline = asked.deadline;
        let request = CreateTaskRequest::decode(&asked.request[..])
            .map_err(|error| End::Failed(format!("the request: {error}")))?;
        if let Some(end) = self.put_back(relay).await {
            return Err(end);
        }
        let Prepared { containerd, mut subject, decided } = prepared?;
        subject.confirm(request)?;
        let observing = self.mode == Mode::Observe;
        if observing {
            // What is only observed holds up nobody; before this, the delegate would have written to the snapshot.
            relay.answer(&Reply::Leave).await;
        }
        let decided = match decided {
            Some(decided) => decided,
            None => {
                let decider = self.start_decider();
                self.decided(&containerd, &subject, &mut probing, &host, decider).await?
            }
        };
        match decided.decision.outcome {
            Outcome::Default => Ok(()),
            Outcome::Deny if observing => Ok(()),
            Outcome::Deny => Err(End::Deny(decided.decision.why)),
            Outcome::Swap if observing => {
                self.story.applied(Applied::Observed, decided.decision.preferred.first().copied());
                Ok(())
            }
            Outcome::Swap => swap::swap(self, relay, &containerd, &subject, decided).await,
        }
    }

    /// Prepares while the request is on its way, with no more time than the request leaves; says how long there was nothing to
    /// do but to wait for it.
    async fn prepare_and_wait(
        &mut self,
        relay: &mut Relay,
        host: &HostPlatform,
        probing: &mut JoinHandle<Facts>,
    ) -> Result<(Result<Prepared, End>, Asked, Duration), End> {
        let mut asking = pin!(relay.request());
        let mut preparing = pin!(self.prepare(host, probing));
        let (prepared, asked, waited) = tokio::select! {
            prepared = &mut preparing => {
                let ready = Instant::now();
                let asked = asking.await;
                (Some(prepared), asked, ready.elapsed())
            }
            asked = &mut asking => (None, asked, Duration::ZERO),
        };
        let asked = asked.map_err(|error| End::Failed(format!("the request: {error}")))?.ok_or(End::GivenUp)?;
        if let Some(prepared) = prepared {
            return Ok((prepared, asked, waited));
        }
        let limit = before(asked.deadline, PREPARED_WITHIN);
        let late = |_| Err(End::Failed(format!("no decision within {limit:?}")));
        let prepared = tokio::time::timeout(limit, preparing).await.unwrap_or_else(late);
        Ok((prepared, asked, waited))
    }

    async fn prepare(&mut self, host: &HostPlatform, probing: &mut JoinHandle<Facts>) -> Result<Prepared, End> {
        for finished in rebase::recover(&self.config.state, self.call).await {
            log::say(&finished, Priority::Warning, None);
        }
        let connected = Containerd::connect(&self.call.address, &self.call.namespace).await;
        let containerd = connected.map_err(|error| End::Leave(Priority::Warning, error.to_string()))?;
        // It gets ready while containerd is asked; where there is nothing to decide, it ends with this value.
        let decider = (self.mode == Mode::Select).then(|| self.start_decider());
        let subject = identify(&containerd, &self.call.id, self.bundle, host).await?;
        self.story.subject(&subject);
        let decided = match decider {
            Some(decider) => Some(self.decided(&containerd, &subject, probing, host, decider).await?),
            None => None,
        };
        Ok(Prepared { containerd, subject, decided })
    }

    async fn decided(
        &mut self,
        containerd: &Containerd,
        subject: &Subject,
        probing: &mut JoinHandle<Facts>,
        host: &HostPlatform,
        decider: Result<Decider, End>,
    ) -> Result<Decided, End> {
        let facts = probing.await.map_err(|error| End::Failed(format!("probing the host: {error}")))?;
        let mut decider = decider?;
        let decision = self.decide(subject, facts, host.clone(), &mut decider).await?;
        let ready = match (decision.outcome, self.mode) {
            (Outcome::Swap, Mode::Select) => swap::ready_here(self, containerd, subject, &decision, &mut decider).await,
            _ => None,
        };
        Ok(Decided { decision, decider, ready })
    }

    /// A worker for this very container died before: its snapshot may lie in a new directory once it is put back.
    async fn put_back(&mut self, relay: &mut Relay) -> Option<End> {
        match rebase::undo_for(&self.config.state, self.call).await {
            Ok(None) => None,
            Ok(Some(mounts)) => {
                if relay.answer(&Reply::Mounts(mounts)).await {
                    relay.accepted().await;
                }
                let why = "a worker died while it re-based this container before; the default entry is back";
                Some(End::Leave(Priority::Warning, why.to_owned()))
            }
            Err(error) => Some(End::Deny(format!("a worker died, and the container cannot be put back: {error}"))),
        }
    }

    async fn decide(
        &mut self,
        subject: &Subject,
        facts: Facts,
        host: HostPlatform,
        decider: &mut Decider,
    ) -> Result<Decision, End> {
        let deadline = self.within(self.config.selection.decision_deadline);
        let turn = Instant::now();
        let _turn = self.one_at_a_time("lookups", &subject.index_digest, deadline / 2).await;
        let started = Instant::now();
        let left = deadline.saturating_sub(turn.elapsed()).max(Duration::from_millis(100));
        let ask = self.ask(subject, facts, host, left);
        // The decider keeps the deadline itself; this one is for a decider that does not.
        let asked =
            tokio::time::timeout(left + Duration::from_millis(500), decider.ask(&ask, &subject.index_bytes)).await;
        let answer = match asked {
            Ok(answer) => answer.map_err(|error| End::Failed(error.to_string()))?,
            Err(_) => {
                decider.kill().await;
                return Err(End::Failed(format!("no decision within {left:?}")));
            }
        };
        self.story.answered(&answer, started.elapsed());
        self.story.asked = Some(ask);
        check(subject, &answer.decision).map_err(End::Failed)?;
        Ok(answer.decision)
    }

    fn start_decider(&self) -> Result<Decider, End> {
        let cache =
            self.cache().map_err(|error| End::Failed(format!("cache {}: {error}", self.config.cache.dir.display())))?;
        Decider::start(&cache, self.config.decider.uid, self.config.decider.gid)
            .map_err(|error| End::Failed(error.to_string()))
    }

    fn ask(&self, subject: &Subject, facts: Facts, host: HostPlatform, deadline: Duration) -> Ask {
        let registries = &self.config.registries;
        Ask {
            reference: subject.reference.clone(),
            facts,
            policy: self.config.selection.policy.clone(),
            schemas: self.config.schemas.files.clone(),
            host,
            default: Some(subject.default.digest),
            now: unix_now(),
            deadline,
            registries: RegistryAccess {
                hosts_dir: registries.hosts_dir.clone(),
                plain_http: registries.plain_http.clone(),
                docker_config: registries.docker_config.as_deref().and_then(read_docker_config),
                referrers_lifetime: self.config.selection.referrers_lifetime,
                cache_max_bytes: self.config.cache.max_bytes,
            },
        }
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

    /// The decider's own directory: only its uid can walk it.
    fn cache(&self) -> std::io::Result<PathBuf> {
        use std::os::unix::fs::{DirBuilderExt, chown};
        let dir = self.config.cache.dir.join("registry");
        if !dir.exists() {
            std::fs::create_dir_all(&self.config.cache.dir)?;
            match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        chown(&dir, Some(self.config.decider.uid), Some(self.config.decider.gid))?;
        Ok(dir)
    }

    /// One lookup and one pull per index and node: the next worker finds what it needs. Waits no longer than `limit`.
    pub(crate) async fn one_at_a_time(&self, what: &str, index: &Digest, limit: Duration) -> Option<std::fs::File> {
        let dir = self.config.state.join(what);
        rebase::private_dir(&dir).ok()?;
        // 256 files, not one per index: they stay.
        let file = std::fs::File::create(dir.join(&index.hex()[..2])).ok()?;
        let until = Instant::now() + limit;
        while file.try_lock().is_err() {
            if Instant::now() > until {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Some(file)
    }
}

/// The shorter of a limit and what a deadline leaves: two seconds are for the delegate, after which the relay gives up, and
/// two more to put things back.
fn before(deadline: Option<Instant>, limit: Duration) -> Duration {
    let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
    deadline.map_or(limit, |deadline| left(deadline).saturating_sub(Duration::from_secs(4)).min(limit))
}

/// The decider is not believed: what it prefers must be entries of exactly the index that was asked about, and the default
/// must be the one that was proven.
fn check(subject: &Subject, decision: &Decision) -> Result<(), String> {
    for digest in &decision.preferred {
        let mut candidates = candidates(&subject.index, &decision.inputs.host);
        if !candidates.any(|(entry, _)| entry.digest == *digest) || *digest == subject.default.digest {
            return Err(format!(
                "the decider preferred {digest}, which is no other entry of index {}",
                subject.index_digest
            ));
        }
    }
    match decision.outcome {
        Outcome::Swap if decision.preferred.is_empty() => {
            Err("the decider asked for a swap and named no entry".to_owned())
        }
        _ if decision.inputs.index != subject.index_digest => {
            Err("the decider answered about another index".to_owned())
        }
        _ => Ok(()),
    }
}

fn read_docker_config(path: &Path) -> Option<Vec<u8>> {
    let meta = std::fs::metadata(path).ok()?;
    if meta.len() > 1 << 20 {
        return None;
    }
    std::fs::read(path).ok()
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
