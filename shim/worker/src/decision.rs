//! Owns getting the decision: the one that is remembered, else the decider's, which is not believed before it is checked; and
//! where the content of what it prefers comes from.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use bestfit_config::Mode;
use bestfit_selector::decision::{Decision, HostPlatform, Outcome};
use bestfit_selector::digest::Digest;
use bestfit_selector::exchange::{Answer, Ask, INLINE_FRESH, RegistryAccess};
use bestfit_selector::facts::Facts;
use bestfit_selector::index::Index;
use bestfit_selector::json::plain;
use bestfit_selector::platform::candidates;
use bestfit_selector::policy::{Action, Otherwise, Policy};
use bestfit_selector::scope::Scope;
use bestfit_selector::trust::TrustMode;

use crate::cache::decider_dir;
use crate::containerd::Containerd;
use crate::create::{Create, one_at_a_time, unix_now};
use crate::decider::{self, Decider};
use crate::ending::End;
use crate::facts::{HostFacts, Seen};
use crate::log::{self, Priority};
use crate::logins::logins_for;
use crate::remember::{Kept, Remembered};
use crate::subject::Subject;
use crate::swap;

/// The most that is kept of what could not be enforced, and of each of it, in characters.
const MAX_UNENFORCED: usize = 8;
const MAX_WORDS: usize = 300;
/// The longest reason of a decision, in characters.
const MAX_WHY: usize = 2000;

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
        let mut ask = Ask { images: seen.scope.required(), ..self.ask(subject, host.clone(), deadline)? };
        let remembered = self.remembered(&ask, subject, seen)?;
        if let Some(decided) = self.recalled(containerd, subject, &ask, remembered.clone(), started).await {
            return Ok(decided);
        }
        let _turn = one_at_a_time(&self.config.state, "lookups", &subject.index_digest, deadline / 2).await;
        if let Some(decided) = self.recalled(containerd, subject, &ask, remembered, started).await {
            return Ok(decided);
        }
        ask.facts = seen.narrowed().map_err(End::Failed)?;
        // A cache of facts that turned out to be broken has other facts now.
        let remembered = self.remembered(&ask, subject, seen)?;
        ask.deadline = deadline.saturating_sub(started.elapsed()).max(Duration::from_millis(100));
        let mut decider = self.start_decider()?;
        let decision = self.decide(subject, &ask, &mut decider, remembered).await?;
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
            .map(|remembered| remembered.in_pod(self.bundle.sandbox(&self.call.bundle).as_deref()))
            .map_err(|error| End::Failed(format!("{}: {error}", program.display())))
    }

    /// The decision that was made before, if it holds and nothing has to be fetched for it.
    async fn recalled(
        &mut self,
        containerd: &Containerd,
        subject: &Subject,
        ask: &Ask,
        remembered: Remembered,
        started: Instant,
    ) -> Option<Decided> {
        let now = unix_now();
        let kept = remembered.recall(now)?;
        let decision = kept.answer.decision.clone();
        check((&subject.index_digest, &subject.index), ask, &decision).ok()?;
        let content = match self.here(containerd, subject, &decision).await {
            Some(ready) => Content::Here(Box::new(ready)),
            None if decision.outcome == Outcome::Swap && self.mode == Mode::Select => return None,
            None => Content::From(None),
        };
        self.story.recalled(&decision, kept.is_sticky(now), started.elapsed());
        self.for_pod = remembered.for_pod(kept);
        Some(Decided { decision, content })
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
        remembered: Remembered,
    ) -> Result<Decision, End> {
        let started = Instant::now();
        // The decider keeps the deadline itself; this one is for a decider that does not.
        let limit = ask.deadline + Duration::from_millis(500);
        let answer = match tokio::time::timeout(limit, decider.ask(ask, &subject.index_bytes)).await {
            Ok(answer) => {
                let answer = answer.map_err(|error| End::Failed(error.to_string()))?;
                bounded(answer, ask.registries.referrers_lifetime)
            }
            Err(_) => {
                decider.kill().await;
                return Err(End::Failed(format!("no decision within {:?}", ask.deadline)));
            }
        };
        self.story.answered(&answer, started.elapsed());
        check((&subject.index_digest, &subject.index), ask, &answer.decision).map_err(End::Failed)?;
        if let Some(kept) = Kept::of(&answer, ask.now) {
            if let Err(error) = remembered.keep(&kept) {
                log::say(&format!("{}: {error}", self.config.state.display()), Priority::Warning, None);
            }
            self.for_pod = remembered.for_pod(kept);
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
    fn ask(&self, subject: &Subject, host: HostPlatform, deadline: Duration) -> Result<Ask, End> {
        let registries = &self.config.registries;
        let logins = |file: &Path| logins_for(&subject.reference, file, &registries.hosts_dir);
        let docker_config = registries.docker_config.as_deref().map(logins).transpose();
        let docker_config = docker_config.map_err(|error| End::Failed(error.to_string()))?.flatten();
        Ok(Ask {
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
                redirects: registries.redirects.clone(),
                docker_config,
                referrers_lifetime: self.config.selection.referrers_lifetime,
                cache_max_bytes: self.config.cache.max_bytes,
            },
        })
    }
}

/// The decider is not believed: index, platform, policy and default must be those that were asked about; what it prefers must
/// be other entries of exactly that index that can run here and are not revoked, each once; and it may refuse the container only
/// where the policy can. Verdicts and reasons are its word.
fn check(index: (&Digest, &Index), ask: &Ask, decision: &Decision) -> Result<(), String> {
    let ((index, parsed), policy, inputs) = (index, &ask.policy, &decision.inputs);
    let revoked = |digest: &Digest| policy.trust.revoked_digests.contains(digest);
    let swaps = decision.outcome == Outcome::Swap;
    let refuses = decision.outcome == Outcome::Deny || decision.otherwise.is_some();
    let of_policy = serde_json::to_vec(policy);
    for (wrong, what) in [
        (!of_policy.is_ok_and(|policy| inputs.policy.matches(&policy)), "answered under another policy"),
        (inputs.index != *index, "answered about another index"),
        (inputs.host != ask.host, "answered for another platform"),
        (decision.default != ask.default, "answered about another default entry"),
        (refuses && !may_deny(policy), "refused the container, which this site never does"),
        (swaps && decision.preferred.is_empty(), "asked for a swap and named no entry"),
        (swaps && revoked(index), "asked for a swap within an index that is revoked"),
    ] {
        if wrong {
            return Err(format!("the decider {what}"));
        }
    }
    let mut allowed: BTreeSet<Digest> = candidates(parsed, &ask.host).map(|(entry, _)| entry.digest).collect();
    allowed.retain(|digest| Some(*digest) != ask.default && !revoked(digest));
    match decision.preferred.iter().find(|digest| !allowed.remove(*digest)) {
        Some(digest) => {
            Err(format!("the decider preferred {digest}, which is no other entry of index {index} that may run"))
        }
        None => Ok(()),
    }
}

/// What the decider says in its own words goes into records and the journal: it must not push out what others wrote there. Nor does
/// its answer hold longer than lists of referrers do, which a registry may stretch by a tenth, or an index that carries its artifacts.
fn bounded(mut answer: Answer, lifetime: Duration) -> Answer {
    answer.fresh = answer.fresh.map(|fresh| fresh.min((lifetime + lifetime / 10).max(INLINE_FRESH)));
    answer.unenforced.truncate(MAX_UNENFORCED);
    answer.unenforced.iter_mut().for_each(|words| *words = plain(words, MAX_WORDS));
    answer.decision.why = plain(&answer.decision.why, MAX_WHY);
    answer.decision.otherwise = answer.decision.otherwise.map(|words| plain(&words, MAX_WHY));
    answer
}

/// Whether any decision under this policy refuses a container.
fn may_deny(policy: &Policy) -> bool {
    let otherwise = [policy.on_no_fit, policy.on_error].contains(&Otherwise::Deny);
    let by_rule = policy.rules.values().any(|rule| rule.action == Action::Deny);
    otherwise || by_rule || policy.trust.mode == TrustMode::Require
}

#[cfg(test)]
mod tests {
    use super::*;
    use bestfit_selector::decide::decide;
    use bestfit_selector::decision::Inputs;
    use bestfit_selector::policy::Rule;

    const SAID: &str = r#"{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        {"digest": "sha256:DEFAULT", "size": 1, "mediaType": "application/vnd.oci.image.manifest.v1+json", "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": "sha256:BETTER", "size": 1, "mediaType": "application/vnd.oci.image.manifest.v1+json", "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": "sha256:OTHER", "size": 1, "mediaType": "application/vnd.oci.image.manifest.v1+json", "platform": {"os": "linux", "architecture": "arm64"}}]}"#;

    fn digest(letter: &str) -> Digest {
        format!("sha256:{}", letter.repeat(64)).parse().unwrap()
    }

    /// An honest answer that prefers the better entry; then somebody changes question and answer.
    fn checked(change: impl FnOnce(&mut Ask, &mut Decision)) -> Result<(), String> {
        let index = SAID.replace("DEFAULT", &"a".repeat(64)).replace("BETTER", &"b".repeat(64));
        let bytes = index.replace("OTHER", &"c".repeat(64)).into_bytes();
        let index = Index::parse(&bytes).unwrap();
        let mut ask = crate::remember::tests::ask();
        ask.default = Some(digest("a"));
        let Ask { facts, policy, schemas, host, default, now, .. } = ask.clone();
        let (evidence, standings, stale, images) = Default::default();
        let inputs =
            Inputs { index: bytes, facts, policy, schemas, host, default, now, evidence, images, standings, stale };
        let mut decision = decide(&inputs).unwrap();
        (decision.outcome, decision.preferred) = (Outcome::Swap, vec![digest("b")]);
        change(&mut ask, &mut decision);
        // A decider that lies about nothing but its choice says which policy it was asked under.
        decision.inputs.policy = match decision.inputs.policy == digest("f") {
            true => digest("f"),
            false => Digest::of(&serde_json::to_vec(&ask.policy).unwrap()),
        };
        check((&index.digest, &index), &ask, &decision)
    }

    #[test]
    fn a_decider_is_not_believed() {
        assert_eq!(checked(|_, _| {}), Ok(()));
        let no_entry = |digest: Digest| format!("preferred {digest}, which is no other entry of index");
        type Change = fn(&mut Ask, &mut Decision);
        let table: &[(Change, String)] = &[
            (|_, said| said.inputs.policy = digest("f"), "another policy".to_owned()),
            (|_, said| said.inputs.index = digest("f"), "another index".to_owned()),
            (|_, said| said.inputs.host.architecture = "arm64".to_owned(), "another platform".to_owned()),
            (|_, said| said.default = Some(digest("b")), "another default entry".to_owned()),
            (|_, said| said.default = None, "another default entry".to_owned()),
            (|_, said| said.preferred.clear(), "named no entry".to_owned()),
            (|_, said| said.preferred = vec![digest("f")], no_entry(digest("f"))),
            (|_, said| said.preferred = vec![digest("a")], no_entry(digest("a"))),
            (|_, said| said.preferred = vec![digest("c")], no_entry(digest("c"))),
            (|_, said| said.preferred = vec![digest("b"), digest("b")], no_entry(digest("b"))),
            (|ask, _| ask.policy.trust.revoked_digests = vec![digest("b")], no_entry(digest("b"))),
            (|ask, said| ask.policy.trust.revoked_digests = vec![said.inputs.index], "is revoked".to_owned()),
            (|_, said| said.outcome = Outcome::Deny, "this site never does".to_owned()),
            (|_, said| said.otherwise = Some("no".to_owned()), "this site never does".to_owned()),
        ];
        for (number, (change, why)) in table.iter().enumerate() {
            let error = checked(change).unwrap_err();
            assert!(error.contains(why), "{number}: {error}");
        }
    }

    #[test]
    fn a_deciders_words_are_bounded_and_so_is_the_time_they_hold() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let fresh = |given: u64, lifetime| bounded(crate::remember::tests::answer(Some(given)), lifetime).fresh;
        assert_eq!(fresh(60, hours(0)), Some(Duration::from_secs(60)));
        assert_eq!(fresh(u64::MAX, hours(0)), Some(hours(1)));
        assert_eq!(fresh(u64::MAX, hours(10)), Some(hours(11)));
        let mut answer = crate::remember::tests::answer(None);
        assert_eq!(bounded(answer.clone(), hours(1)).decision, answer.decision);
        let long = "x\n".repeat(1 << 20);
        answer.unenforced = vec![long.clone(); 100];
        (answer.decision.why, answer.decision.otherwise) = (long.clone(), Some(long));
        let bytes = serde_json::to_vec(&bounded(answer, hours(1))).unwrap();
        assert!(bytes.len() < 40_000 && !bytes.windows(2).any(|pair| pair == b"\\n"), "{}", bytes.len());
    }

    #[test]
    fn a_container_is_refused_only_where_the_policy_can() {
        let table: &[fn(&mut Policy)] = &[
            |policy| policy.on_no_fit = Otherwise::Deny,
            |policy| policy.on_error = Otherwise::Deny,
            |policy| policy.trust.mode = TrustMode::Require,
            |policy| drop(policy.rules.insert("r".to_owned(), Rule { action: Action::Deny, ..Rule::default() })),
        ];
        for allow in table {
            let denied = |ask: &mut Ask, said: &mut Decision| {
                allow(&mut ask.policy);
                (said.outcome, said.preferred) = (Outcome::Deny, Vec::new());
            };
            assert_eq!(checked(denied), Ok(()));
        }
    }
}
