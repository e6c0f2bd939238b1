//! Owns getting the decision: the one that is remembered, else the decider's, which is not believed before it is checked; and
//! where the content of what it prefers comes from.

use std::time::{Duration, Instant};

use bestfit_config::Mode;
use bestfit_selector::decision::{Decision, HostPlatform, Outcome};
use bestfit_selector::exchange::{Ask, RegistryAccess};
use bestfit_selector::facts::Facts;
use bestfit_selector::platform::candidates;
use bestfit_selector::scope::Scope;

use crate::cache::decider_dir;
use crate::containerd::Containerd;
use crate::create::{Create, unix_now};
use crate::decider::{self, Decider};
use crate::ending::End;
use crate::facts::{HostFacts, Seen};
use crate::log::{self, Priority};
use crate::logins::logins_for;
use crate::remember::Remembered;
use crate::subject::Subject;
use crate::swap;

/// A decision, and where what it prefers comes from.
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    pub(crate) content: Content,
}

/// Where the content of a preferred entry is.
pub(crate) enum Content {
    /// On this node, all of it.
    Here(Box<swap::Ready>),
    /// Where the decider gets it, or where nobody needs it.
    From(Option<Box<Decider>>),
}

impl Create<'_> {
    /// Recalls the decision, or makes it: once per question and node, while others wait for it.
    pub(crate) async fn decided(
        &mut self,
        containerd: &Containerd,
        subject: &Subject,
        facts: HostFacts,
        host: &HostPlatform,
    ) -> Result<Decided, End> {
        let scope = Scope::of(&self.bundle.spec, &subject.default_config.config.env);
        let mut seen = Seen { facts, scope };
        let decided = self.decided_by(containerd, subject, &mut seen, host).await;
        self.story.seen = Some(seen);
        decided
    }

    async fn decided_by(
        &mut self,
        containerd: &Containerd,
        subject: &Subject,
        seen: &mut Seen,
        host: &HostPlatform,
    ) -> Result<Decided, End> {
        let started = Instant::now();
        let deadline = self.within(self.config.selection.decision_deadline);
        let mut ask = Ask { images: seen.scope.required(), ..self.ask(subject, host.clone(), deadline) };
        let remembered = self.remembered(&ask, subject, seen)?;
        if let Some(decided) = self.recalled(containerd, subject, &ask, &remembered, started).await {
            return Ok(decided);
        }
        let _turn = self.one_at_a_time("lookups", &subject.index_digest, deadline / 2).await;
        if let Some(decided) = self.recalled(containerd, subject, &ask, &remembered, started).await {
            return Ok(decided);
        }
        ask.facts = seen.narrowed().map_err(End::Failed)?;
        // A cache of facts that turned out to be broken has other facts now.
        let remembered = self.remembered(&ask, subject, seen)?;
        ask.deadline = deadline.saturating_sub(started.elapsed()).max(Duration::from_millis(100));
        let mut decider = self.start_decider()?;
        let decision = self.decide(subject, &ask, &mut decider, &remembered).await?;
        let content = match self.here(containerd, subject, &decision).await {
            Some(ready) => Content::Here(Box::new(ready)),
            None => Content::From(Some(Box::new(decider))),
        };
        Ok(Decided { decision, content })
    }

    fn remembered(&self, ask: &Ask, subject: &Subject, seen: &Seen) -> Result<Remembered, End> {
        let program = decider::program();
        let seen = (seen.facts.digest(), &seen.scope);
        Remembered::of(&self.config.state, ask, &subject.index_digest, seen, &program)
            .map_err(|error| End::Failed(format!("{}: {error}", program.display())))
    }

    /// The decision that was made before, if it holds and nothing has to be fetched for it.
    async fn recalled(
        &mut self,
        containerd: &Containerd,
        subject: &Subject,
        ask: &Ask,
        remembered: &Remembered,
        started: Instant,
    ) -> Option<Decided> {
        let answer = remembered.recall(unix_now())?;
        check(subject, ask, &answer.decision).ok()?;
        let content = match self.here(containerd, subject, &answer.decision).await {
            Some(ready) => Content::Here(Box::new(ready)),
            None if answer.decision.outcome == Outcome::Swap && self.mode == Mode::Select => return None,
            None => Content::From(None),
        };
        self.story.recalled(&answer, started.elapsed());
        Some(Decided { decision: answer.decision, content })
    }

    async fn here(&mut self, containerd: &Containerd, subject: &Subject, decision: &Decision) -> Option<swap::Ready> {
        match (decision.outcome, self.mode) {
            (Outcome::Swap, Mode::Select) => swap::ready_here(self, containerd, subject, decision).await,
            _ => None,
        }
    }

    async fn decide(
        &mut self,
        subject: &Subject,
        ask: &Ask,
        decider: &mut Decider,
        remembered: &Remembered,
    ) -> Result<Decision, End> {
        let started = Instant::now();
        // The decider keeps the deadline itself; this one is for a decider that does not.
        let limit = ask.deadline + Duration::from_millis(500);
        let answer = match tokio::time::timeout(limit, decider.ask(ask, &subject.index_bytes)).await {
            Ok(answer) => answer.map_err(|error| End::Failed(error.to_string()))?,
            Err(_) => {
                decider.kill().await;
                return Err(End::Failed(format!("no decision within {:?}", ask.deadline)));
            }
        };
        self.story.answered(&answer, started.elapsed());
        check(subject, ask, &answer.decision).map_err(End::Failed)?;
        if let Err(error) = remembered.keep(&answer, ask.now) {
            log::say(&format!("{}: {error}", self.config.state.display()), Priority::Warning, None);
        }
        Ok(answer.decision)
    }

    fn start_decider(&self) -> Result<Decider, End> {
        let bestfit_config::Decider { uid, gid } = self.config.decider;
        let cache = &self.config.cache.dir;
        let cache =
            decider_dir(cache, uid, gid).map_err(|error| End::Failed(format!("cache {}: {error}", cache.display())))?;
        Decider::start(&cache, uid, gid).map_err(|error| End::Failed(error.to_string()))
    }

    /// The question, still without facts.
    fn ask(&self, subject: &Subject, host: HostPlatform, deadline: Duration) -> Ask {
        let registries = &self.config.registries;
        Ask {
            reference: subject.reference.clone(),
            facts: Facts::default(),
            policy: self.config.selection.policy.clone(),
            schemas: self.config.schemas.files.clone(),
            host,
            default: Some(subject.default.digest),
            images: None,
            now: unix_now(),
            deadline,
            registries: RegistryAccess {
                hosts_dir: registries.hosts_dir.clone(),
                plain_http: registries.plain_http.clone(),
                ports: registries.ports.clone(),
                docker_config: registries
                    .docker_config
                    .as_deref()
                    .and_then(|file| logins_for(&subject.reference, file, &registries.hosts_dir)),
                referrers_lifetime: self.config.selection.referrers_lifetime,
                cache_max_bytes: self.config.cache.max_bytes,
            },
        }
    }
}

/// The decider is not believed: what it prefers must be entries of exactly the index that was asked about, the default must be
/// the one that was proven, and the policy the one in force.
fn check(subject: &Subject, ask: &Ask, decision: &Decision) -> Result<(), String> {
    if serde_json::to_vec(&ask.policy).map_or(true, |policy| !decision.inputs.policy.matches(&policy)) {
        return Err("the decider answered under another policy".to_owned());
    }
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
