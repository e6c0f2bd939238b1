//! Owns how a create ends without a swap: what the relay is told and what the record says. A container stays as containerd made
//! it, unless the site's policy refuses it: under `trust.mode = "require"` every failure does.

use std::path::Path;

use bestfit_config::{Config, ConfigErrors, Loaded, Log, Mode};
use bestfit_selector::policy::Otherwise;
use bestfit_selector::trust::TrustMode;
use containerd_client::types::Mount;
use prost::Message;

use crate::bundle::Bundle;
use crate::create::{Call, Create, KUBERNETES_NAMESPACE};
use crate::log::Priority;
use crate::mounts::moved;
use crate::record::Story;
use crate::recover::{PutBack, undo_for};
use crate::relay::Relay;
use crate::request::{CreateTaskRequest, Reply};
use crate::subject::{CONTAINER_TYPE, Leave};

/// What a refusal names as its reason.
pub(crate) const REQUIRE: &str = "trust.mode = \"require\"";

/// The answer where nobody decides about the container: as containerd made it. What a dead worker began for it is put back first,
/// whatever the configuration says, and mounts that moved with that are named. `asked` are those of the request, where it has any.
pub(crate) async fn settled(state: &Path, call: &Call, asked: Option<&[Mount]>) -> (Reply, Option<PutBack>) {
    match undo_for(state, call, asked).await {
        Ok(Some(back)) => (Reply::Mounts(back.present.mounts.clone()), Some(back)),
        Ok(None) => (Reply::Leave, None),
        Err(error) => (Reply::Deny(format!("bestfit: {error}")), None),
    }
}

/// Waits for the request, and answers it where nobody decides about the container, with a refusal if there is one. Returns what was
/// answered; None where nothing was, or where it may still be void: then this worker ends without another word.
pub(crate) async fn undecided(call: &Call, relay: &mut Relay, state: &Path, refusal: Option<String>) -> Option<Reply> {
    // Before there is a request nobody hears which mounts are put back.
    let asked = relay.request().await.ok()??;
    let asked = CreateTaskRequest::decode(&asked.request[..]).ok().map(|request| request.rootfs);
    let (reply, back) = settled(state, call, asked.as_deref()).await;
    let reply = match (reply, refusal) {
        (Reply::Mounts(_) | Reply::Leave, Some(refusal)) => Reply::Deny(refusal),
        (reply, _) => reply,
    };
    PutBack::settle(back, relay, &reply).await.then_some(reply)
}

/// With a broken configuration nothing is swapped; a container is refused where what could be read says `require`.
pub(crate) async fn broken(call: &Call, relay: &mut Relay, story: Story, errors: &ConfigErrors) {
    let bundle = Bundle::read(&call.bundle);
    let annotation = |key: &str| bundle.as_ref().ok().and_then(|bundle| bundle.annotation(key));
    let sandbox = annotation(CONTAINER_TYPE) == Some("sandbox");
    let denied = !sandbox && errors.deny(&call.namespace, annotation(KUBERNETES_NAMESPACE));
    let follows = if denied { format!("and says {REQUIRE}") } else { "nothing is swapped".to_owned() };
    let why = format!("the configuration is broken, {follows}: {errors}");
    let refusal = denied.then(|| format!("bestfit: {why}"));
    // Loud, in the journal and in the default log: the configured one is not known.
    unlooked(call, relay, story, (errors.state(), &Config::default().log), (why, refusal)).await;
}

/// The bundle cannot be read: of its namespaces only containerd's is known.
pub(crate) async fn unreadable(call: &Call, relay: &mut Relay, mut story: Story, config: &Config, why: &str) {
    let mode = config.mode_for(&call.namespace, None);
    story.mode(mode);
    let refusal = is_strict(config, mode).then(|| format!("bestfit: {why} ({REQUIRE})"));
    unlooked(call, relay, story, (&config.state, &config.log), (why.to_owned(), refusal)).await;
}

/// A container that cannot be looked at stays as it is, or is refused; with the reason for the record.
async fn unlooked(
    call: &Call,
    relay: &mut Relay,
    mut story: Story,
    (state, log): (&Path, &Log),
    (why, refusal): (String, Option<String>),
) {
    let denied = refusal.is_some();
    match undecided(call, relay, state, refusal).await {
        None => return,
        // Where it is not for that reason, what was begun cannot be put back.
        Some(Reply::Deny(said)) => story.deny(if denied { why } else { said }),
        Some(Reply::Leave | Reply::Mounts(_)) => story.failed(why),
    }
    story.write(log, Priority::Warning);
}

/// Where the state lies, and whether a container that nobody decided about is refused.
pub(crate) fn strictness<'a>(call: &Call, loaded: &'a Result<Loaded, ConfigErrors>) -> (&'a Path, bool) {
    let bundle = Bundle::read(&call.bundle);
    let kubernetes = bundle.as_ref().ok().and_then(|bundle| bundle.annotation(KUBERNETES_NAMESPACE));
    match loaded {
        Ok(Loaded { config, .. }) => {
            let strict = is_strict(config, config.mode_for(&call.namespace, kubernetes));
            (&config.state, strict)
        }
        Err(errors) => (errors.state(), errors.deny(&call.namespace, kubernetes)),
    }
}

/// Whether every failure refuses the container.
fn is_strict(config: &Config, mode: Mode) -> bool {
    mode == Mode::Select && config.selection.policy.trust.mode == TrustMode::Require
}

/// Why a create ended without a swap.
pub(crate) enum End {
    /// A rule says that the container stays as it is.
    Leave(Priority, String),
    /// The same, and the rule holds also where a trusted artifact is required.
    Exempt(String),
    /// Something went wrong: the policy's `on_error` says what follows.
    Failed(String),
    /// The policy refuses the container.
    Deny(String),
    /// There is nobody to answer: the relay hung up before there was a Create; or what it does with the answer is not known.
    GivenUp,
}

impl End {
    /// The reason.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Leave(_, why) | Self::Exempt(why) | Self::Failed(why) | Self::Deny(why) => why,
            Self::GivenUp => "the relay hung up",
        }
    }
}

impl From<Leave> for End {
    fn from(leave: Leave) -> Self {
        match leave {
            Leave::Rule(why) => Self::Leave(Priority::Info, why),
            Leave::Sandbox | Leave::Started | Leave::Kept(..) => Self::Exempt(leave.to_string()),
            // Trouble between containerd and us is no reason to deny what containerd itself could start.
            Leave::Api(_) | Leave::Image(_) => Self::Leave(Priority::Warning, leave.to_string()),
        }
    }
}

impl Create<'_> {
    /// The answer where the container stays as containerd made it, because of `why`: under `require` that needs a trusted
    /// artifact that says so. What the decision says about a failing swap holds in any mode of trust.
    pub(crate) fn without_swap(&self, why: &str) -> Reply {
        match &self.otherwise {
            Some(refused) if self.mode == Mode::Select => Reply::Deny(format!("bestfit: {why}; {refused}")),
            _ if is_strict(self.config, self.mode) && !self.default_fits => {
                Reply::Deny(format!("bestfit: {why} ({REQUIRE})"))
            }
            _ => self.as_it_is(),
        }
    }

    /// The answer where the container stays as it is: in the directory that its snapshot has now.
    fn as_it_is(&self) -> Reply {
        let moved = self.now.as_ref().and_then(|now| moved(&self.asked, now));
        moved.map_or(Reply::Leave, Reply::Mounts)
    }

    /// The same where something went wrong: the policy's `on_error` says what follows.
    pub(crate) fn without_success(&self, why: &str) -> Reply {
        match self.mode == Mode::Select && self.config.selection.policy.on_error == Otherwise::Deny {
            true => Reply::Deny(format!("bestfit: {why} (selection.on_error = \"deny\")")),
            false => self.without_swap(why),
        }
    }

    /// What follows from the end of a create without a swap.
    pub(crate) fn ended(&mut self, end: End) -> (Reply, Priority) {
        let (why, reply, priority) = match end {
            End::GivenUp => return (Reply::Leave, Priority::Info),
            End::Exempt(why) => {
                self.story.leave(why);
                return (self.as_it_is(), Priority::Info);
            }
            End::Deny(why) => (why.clone(), Reply::Deny(format!("bestfit: {why}")), Priority::Warning),
            End::Failed(why) => (why.clone(), self.without_success(&why), Priority::Warning),
            End::Leave(priority, why) => match self.without_swap(&why) {
                Reply::Deny(denial) => (why, Reply::Deny(denial), Priority::Warning),
                reply => {
                    self.story.leave(why);
                    return (reply, priority);
                }
            },
        };
        match reply {
            Reply::Deny(_) => self.story.deny(why),
            Reply::Leave | Reply::Mounts(_) => self.story.failed(why),
        }
        (reply, priority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        let text = |text: &str| text.to_owned();
        Call { namespace: text("k8s.io"), address: text("/s"), id: text("c"), bundle: "/nowhere".into(), profile: None }
    }

    fn leave() -> End {
        End::Leave(Priority::Info, "no index".to_owned())
    }

    /// What the decision says about the entry that containerd chose.
    #[derive(Clone, Default)]
    struct Allowed {
        default_fits: bool,
        otherwise: Option<String>,
    }

    /// The answer and the record for one end under one configuration.
    fn ended(end: End, change: impl FnOnce(&mut Config), allowed: Allowed) -> (String, String) {
        let Allowed { default_fits, otherwise } = allowed;
        let (call, mut config, mut story) = (call(), Config::default(), Story::new("k8s.io", "c"));
        change(&mut config);
        let bundle = Bundle { original: Vec::new(), spec: serde_json::json!({}) };
        let mut create = Create::new(&call, &config, &bundle, config.mode, &mut story);
        (create.default_fits, create.otherwise) = (default_fits, otherwise);
        let (reply, _) = create.ended(end);
        let reply = match reply {
            Reply::Leave => "leave".to_owned(),
            Reply::Mounts(_) => "mounts".to_owned(),
            Reply::Deny(why) => why,
        };
        (reply, story.summary())
    }

    fn require(config: &mut Config) {
        config.selection.policy.trust.mode = TrustMode::Require;
    }

    #[test]
    fn every_failure_refuses_where_trust_is_required() {
        let failed = || End::Failed("no decision within 3s".to_owned());
        let refused = "bestfit: no decision within 3s (trust.mode = \"require\")";
        for (end, change, default_fits, expected) in [
            (failed(), (|_| {}) as fn(&mut Config), false, "leave"),
            (failed(), require, false, refused),
            (failed(), require, true, "leave"),
            (leave(), |_| {}, false, "leave"),
            (leave(), require, false, "bestfit: no index (trust.mode = \"require\")"),
            (leave(), require, true, "leave"),
            (End::Exempt("a sandbox (pause) container".to_owned()), require, false, "leave"),
            (End::Deny("no".to_owned()), |_| {}, true, "bestfit: no"),
        ] {
            let (reply, record) = ended(end, change, Allowed { default_fits, otherwise: None });
            assert_eq!(reply, expected, "{record}");
            assert_eq!(record.starts_with("denied"), reply != "leave", "the record says what was done: {record}");
        }
        let observing = |config: &mut Config| {
            require(config);
            config.mode = Mode::Observe;
        };
        assert_eq!(ended(failed(), observing, Allowed::default()).0, "leave");
    }

    /// A denied entry does not run because a swap failed.
    #[test]
    fn a_swap_that_fails_refuses_what_the_decision_does_not_let_run() {
        let denied = Allowed { default_fits: true, otherwise: Some("site rule \"old\" denies it".to_owned()) };
        let failed = || End::Failed("no content".to_owned());
        let refused = "bestfit: no content; site rule \"old\" denies it";
        assert_eq!(ended(failed(), |_| {}, denied.clone()).0, refused);
        assert_eq!(ended(failed(), require, denied.clone()).0, refused);
        assert_eq!(ended(failed(), |config| config.mode = Mode::Observe, denied.clone()).0, "leave");
        assert_eq!(ended(End::Exempt("a sandbox (pause) container".to_owned()), |_| {}, denied).0, "leave");
    }

    #[test]
    fn a_dead_worker_and_a_broken_configuration_refuse_where_trust_is_required() {
        let loaded = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            strictness(&call(), &Ok(Loaded { config, files: Vec::new(), origins: Default::default() })).1
        };
        assert!(!loaded(|_| {}) && loaded(require));
        assert!(!loaded(|config| {
            require(config);
            config.namespaces.insert("k8s.io".to_owned(), Mode::Off);
        }));
    }
}
