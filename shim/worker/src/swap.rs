//! Owns the way from a decision to a container that runs the chosen entry: the first preferred entry that can be applied is
//! brought in, planned, checked and applied; what is refused is recorded. Everything up to [`apply`] leaves the container
//! alone, and where the entry lies on this node already, nothing at all is written before it.

use std::time::{Duration, Instant, SystemTime};

use bestfit_selector::decision::Decision;
use bestfit_selector::digest::Digest;
use bestfit_selector::record::Applied;
use containerd_client::types::Mount;
use prost_types::Any;
use serde_json::Value;
use tokio::time::error::Elapsed;

use crate::bounds;
use crate::containerd::{ApiError, Containerd};
use crate::content::{BringError, Bringer, Described, Writing};
use crate::create::{Create, goes_on_aside, one_at_a_time};
use crate::decider::Decider;
use crate::decision::{Content, Decided};
use crate::documents;
use crate::ending::End;
use crate::image::ProcessConfig;
use crate::log::{self, Priority};
use crate::mounts;
use crate::plan::{Process, plan};
use crate::rebase::{Journal, Target, created_at, private_dir, started};
use crate::relay::{Heard, Relay};
use crate::request::Reply;
use crate::subject::{self, Subject};
use crate::users::{self, Accounts};

/// How long a lease lives that nobody gives back.
const LEASE: Duration = Duration::from_secs(3600);

/// The name of a worker's lease, which the journal keeps for whoever has to give it back.
fn lease_name(worker: &str) -> String {
    format!("bestfit-{worker}")
}

/// An entry whose content is there and whose process is known.
pub(crate) struct Ready {
    described: Described,
    process: Process,
}

impl Ready {
    /// The entry.
    pub(crate) fn digest(&self) -> Digest {
        self.described.entry.digest
    }
}

/// The first preferred entry that can be applied, if all of it lies on this node: nothing is written for that.
pub(crate) async fn ready_here(
    create: &mut Create<'_>,
    containerd: &Containerd,
    subject: &Subject,
    decision: &Decision,
) -> Option<Ready> {
    let bringing = Instant::now();
    let mut bringer = Bringer { containerd, writing: None };
    let ready = find(create, &mut bringer, subject, decision).await.ok().flatten()?;
    create.story.timing("bring", bringing.elapsed());
    Some(ready)
}

/// Applies the entry that is ready; else brings in and applies the first preferred one that can be, under a lease.
pub(crate) async fn swap(
    create: &mut Create<'_>,
    relay: &mut Relay,
    containerd: &Containerd,
    subject: &Subject,
    decided: Decided,
) -> Result<(), End> {
    let Decided { decision, content } = decided;
    let mut decider = match content {
        Content::Here(ready) => return apply(create, relay, containerd, subject, *ready, String::new()).await,
        Content::From(Some(decider)) => decider,
        Content::From(None) => return Err(End::Failed("nobody was asked for the content".to_owned())),
    };
    let worker = format!("{}-{}", create.call.id, std::process::id());
    let lease = lease_name(&worker);
    let expires = humantime::format_rfc3339_seconds(SystemTime::now() + LEASE).to_string();
    let leased =
        containerd.lease(&lease, &create.call.id, &expires).await.map_err(|error| End::Failed(error.to_string()))?;
    let outcome = match bring(create, relay, &leased, &worker, subject, &decision, &mut decider).await {
        Ok(ready) => apply(create, relay, &leased, subject, ready, lease.clone()).await,
        Err(end) => Err(end),
    };
    if let Err(error) = leased.release().await {
        log::say(&format!("lease {lease} is left to expire: {error}"), Priority::Warning, None);
    }
    outcome
}

async fn bring(
    create: &mut Create<'_>,
    relay: &mut Relay,
    leased: &Containerd,
    worker: &str,
    subject: &Subject,
    decision: &Decision,
    decider: &mut Decider,
) -> Result<Ready, End> {
    let bringing = Instant::now();
    let within = create.pull_within();
    // One limit for the turn and for what comes after it.
    let until = bringing + within;
    let turn = tokio::select! {
        turn = one_at_a_time(&create.config.state, "pulls", &subject.index_digest, within) => turn,
        () = relay.gone() => return Err(given_up()),
    };
    let turn = turn.map_err(|why| End::Leave(Priority::Warning, format!("the content was not brought in: {why}")))?;
    let late = create.without_swap(&format!("the content did not come within {within:?}"));
    let mut bringer = Bringer { containerd: leased, writing: Some(Writing { decider, worker }) };
    let ready = {
        let mut find = std::pin::pin!(find(create, &mut bringer, subject, decision));
        let found = tokio::select! {
            found = tokio::time::timeout_at(until.into(), &mut find) => found,
            () = relay.gone() => return Err(given_up()),
        };
        match found {
            Ok(ready) => ready?,
            Err(_) => {
                // The default runs now, if it may; the next create finds the content.
                relay.answer(&late).await;
                goes_on_aside(&turn);
                let after = afterwards(tokio::time::timeout(LEASE, find).await);
                let why = format!("the content did not come within {within:?}; {after}");
                return Err(End::Leave(Priority::Warning, why));
            }
        }
    };
    create.story.timing("bring", bringing.elapsed());
    ready.ok_or_else(|| End::Leave(Priority::Warning, "every entry that fits better was refused".to_owned()))
}

/// What became of a pull that went on in the background.
fn afterwards<T>(found: Result<Result<Option<T>, End>, Elapsed>) -> String {
    match found {
        Ok(Ok(Some(_))) => "it was brought in afterwards".to_owned(),
        Ok(Ok(None)) => "afterwards every entry that fits better was refused".to_owned(),
        Ok(Err(end)) => format!("nor afterwards: {}", end.why()),
        Err(_) => format!("nor within {LEASE:?} afterwards"),
    }
}

fn given_up() -> End {
    End::Leave(Priority::Info, "the create was given up while the content was brought in".to_owned())
}

/// The first preferred entry that passes the plan, with its layers unpacked.
async fn find(
    create: &mut Create<'_>,
    bringer: &mut Bringer<'_>,
    subject: &Subject,
    decision: &Decision,
) -> Result<Option<Ready>, End> {
    let failed = |error: crate::content::BringError| End::Failed(error.to_string());
    let snapshotter = &subject.container.snapshotter;
    let current =
        Process::of(&create.bundle.spec).ok_or_else(|| End::Failed("the runtime spec has no process".to_owned()))?;
    for digest in &decision.preferred {
        let Some(entry) = subject.index.entry(digest) else { continue };
        let described = bringer.describe(entry, subject.index_digest, snapshotter).await.map_err(failed)?;
        if described.manifest.is_encrypted() {
            create.story.refuse(*digest, "its layers are encrypted".to_owned());
            continue;
        }
        let process =
            match plan(&subject.default_config.config, &described.config.config, &current, subject.user.as_ref()) {
                Ok(process) => process,
                Err(refusal) => {
                    create.story.refuse(*digest, refusal.to_string());
                    continue;
                }
            };
        bringer.unpack(&described, snapshotter).await.map_err(failed)?;
        match same_users(create, bringer, subject, &described).await.map_err(failed)? {
            Ok(()) => return Ok(Some(Ready { described, process })),
            Err(why) => create.story.refuse(*digest, why),
        }
    }
    Ok(None)
}

/// Compares the users of both entries; the answer for a pair of image configs and a uid never changes, and is remembered.
async fn same_users(
    create: &Create<'_>,
    bringer: &Bringer<'_>,
    subject: &Subject,
    described: &Described,
) -> Result<Result<(), String>, BringError> {
    let uid = create.bundle.spec.pointer("/process/user/uid").and_then(Value::as_u64).unwrap_or(0);
    let Ok(uid) = u32::try_from(uid) else { return Ok(Err(format!("uid {uid} is no uid"))) };
    let pair = format!("{} {} {uid}", subject.default_config_digest, described.manifest.config.digest);
    let known = create.config.state.join("users").join(Digest::of(pair.as_bytes()).hex());
    if known.exists() {
        return Ok(Ok(()));
    }
    let scratch = create.config.state.join("mnt");
    let snapshotter = &subject.container.snapshotter;
    let key = format!("view-{}", bringer.writes()?);
    let view = bringer.containerd.view(snapshotter, &key, described.top()).await?;
    let outcome = compare(subject, described, &view, &scratch, uid);
    bringer.containerd.remove_snapshot(snapshotter, &key).await?;
    if outcome.is_err() {
        return Ok(outcome);
    }
    let remembered = known.parent().map_or(Ok(()), |dir| {
        private_dir(dir)?;
        std::fs::write(&known, pair)?;
        log::prune(dir, documents::MAX_DOCUMENTS)
    });
    if let Err(error) = remembered {
        log::say(&format!("{}: {error}", known.display()), Priority::Warning, None);
    }
    Ok(Ok(()))
}

fn compare(
    subject: &Subject,
    described: &Described,
    view: &[Mount],
    scratch: &std::path::Path,
    uid: u32,
) -> Result<(), String> {
    let default = Accounts::read("the default entry", &subject.mounts, scratch).map_err(|error| error.to_string())?;
    let candidate = Accounts::read("the candidate", view, scratch).map_err(|error| error.to_string())?;
    let user = |config: &ProcessConfig| config.user.clone();
    let (was, would_be) = (user(&subject.default_config.config), user(&described.config.config));
    users::same((&was, &default), (&would_be, &candidate), uid)
}

/// Re-bases the container and hands the new mounts over; whatever fails from here on is undone.
async fn apply(
    create: &mut Create<'_>,
    relay: &mut Relay,
    leased: &Containerd,
    subject: &Subject,
    ready: Ready,
    lease: String,
) -> Result<(), End> {
    let applying = Instant::now();
    let chosen = ready.digest();
    let current = Process::of(&create.bundle.spec);
    let changes = current.as_ref() != Some(&ready.process);
    let journal = journal(create, subject, &ready, lease);
    if changes && !has_process(&journal.record, current.as_ref()) {
        let why = "bundle and record do not have the same process, and it is not known whose is meant";
        return Err(End::Leave(Priority::Warning, why.to_owned()));
    }
    let spec = changes.then(|| rewritten(&create.bundle.original, &ready.process)).transpose().map_err(End::Failed)?;
    let record = changes.then(|| rewritten(&journal.record, &ready.process)).transpose().map_err(End::Failed)?;
    let record = record.map(|value| Any { type_url: journal.record_type.clone(), value });
    still_as_identified(create, leased, subject).await?;
    let labels = subject::labels(&subject.snapshot, subject, &chosen);
    let state = &create.config.state;
    let target = Target { labels, spec: spec.as_deref(), record };
    journal.begin(state).map_err(|error| End::Failed(error.to_string()))?;
    let failure = match journal.apply(leased, target).await {
        Ok(mounts) => {
            let reply = Reply::Mounts(mounts::with_context_of(mounts, &subject.mounts));
            create.story.timing("apply", applying.elapsed());
            match relay.settle(&reply).await {
                Heard::Taken => {
                    journal.close(state);
                    create.story.applied(Applied::Swapped, Some(chosen));
                    return Ok(());
                }
                Heard::Void => "the relay or its client went away before the container was created".to_owned(),
                Heard::Nothing => return Err(End::GivenUp),
            }
        }
        Err(error) => error.to_string(),
    };
    match journal.undo(leased).await {
        Ok(None) => {
            journal.close(state);
            Err(End::Leave(Priority::Warning, format!("{failure}; the container is not there any more, or runs")))
        }
        Ok(Some(mounts)) => {
            // The default snapshot is back, in a new directory; whether it may run is for the policy.
            let why = format!("{failure}; the default entry is back");
            let reply = match create.without_success(&why) {
                Reply::Deny(why) => Reply::Deny(why),
                Reply::Leave | Reply::Mounts(_) => Reply::Mounts(mounts::with_context_of(mounts, &subject.mounts)),
            };
            // Not before: where the relay ends this worker instead of hearing it, recover has to tell the mounts.
            if relay.settle(&reply).await == Heard::Nothing {
                return Err(End::GivenUp);
            }
            journal.close(state);
            Err(End::Failed(why))
        }
        // The mounts of the request may be gone: to go on with them would fail less clearly.
        Err(error) => Err(End::Deny(format!("{failure}; going back failed too, the next start tries again: {error}"))),
    }
}

/// Time has passed since the container was looked at: it must still be the same one, and still untouched.
async fn still_as_identified(create: &mut Create<'_>, leased: &Containerd, subject: &Subject) -> Result<(), End> {
    let failed = |error: ApiError| End::Leave(Priority::Warning, error.to_string());
    let (snapshotter, key) = (&subject.container.snapshotter, &subject.container.snapshot_key);
    let (container, snapshot, inodes, mounts) = tokio::try_join!(
        leased.container(&subject.container.id),
        leased.snapshot(snapshotter, key),
        leased.snapshot_inodes(snapshotter, key),
        leased.snapshot_mounts(snapshotter, key)
    )
    .map_err(failed)?;
    if container == subject.container && snapshot == subject.snapshot && inodes <= 1 {
        return Ok(subject.never_ran()?);
    }
    create.now = Some(mounts);
    Err(match snapshot.labels.get(subject::CHOSEN_LABEL) {
        Some(chosen) => End::Exempt(subject::kept(chosen)),
        None => End::Leave(Priority::Warning, "the container changed while an entry was chosen for it".to_owned()),
    })
}

fn journal(create: &Create<'_>, subject: &Subject, ready: &Ready, lease: String) -> Journal {
    let record = subject.container.spec.clone().unwrap_or_default();
    Journal {
        address: create.call.address.clone(),
        namespace: create.call.namespace.clone(),
        container: create.call.id.clone(),
        snapshotter: subject.container.snapshotter.clone(),
        key: subject.container.snapshot_key.clone(),
        old_parent: subject.snapshot.parent.clone(),
        old_labels: subject.snapshot.labels.clone(),
        new_parent: ready.described.top().to_owned(),
        spec_file: create.call.bundle.join("config.json"),
        spec: create.bundle.original.clone(),
        record_type: record.type_url,
        record: record.value,
        created_at: created_at(&subject.container),
        contexts: mounts::contexts(&subject.mounts),
        lease,
        pid: std::process::id(),
        started: started(std::process::id()).unwrap_or_default(),
    }
}

/// Whether a runtime spec has exactly this process.
fn has_process(spec: &[u8], process: Option<&Process>) -> bool {
    let spec: Option<Value> = serde_json::from_slice(spec).ok();
    process.is_some() && spec.as_ref().and_then(Process::of).as_ref() == process
}

/// A runtime spec with another process; everything else keeps its bytes' meaning and order.
fn rewritten(spec: &[u8], process: &Process) -> Result<Vec<u8>, String> {
    let original: Value = serde_json::from_slice(spec).map_err(|error| format!("the runtime spec: {error}"))?;
    let mut value = original.clone();
    process.write_into(&mut value);
    bounds::hold(&original, &value)?;
    serde_json::to_vec(&value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_that_fails_in_the_background_is_not_told_as_done() {
        let failed = |end| afterwards::<()>(Ok(Err(end)));
        assert_eq!(afterwards(Ok(Ok(Some(())))), "it was brought in afterwards");
        assert_eq!(failed(End::Failed("no route".to_owned())), "nor afterwards: no route");
        assert_eq!(failed(End::Leave(Priority::Info, "gone".to_owned())), "nor afterwards: gone");
        assert!(afterwards::<()>(Ok(Ok(None))).contains("refused"));
    }

    #[test]
    fn bundle_and_record_must_have_the_same_process() {
        let process = Process { args: vec!["a".to_owned()], env: vec!["A=1".to_owned()], cwd: "/".to_owned() };
        for (record, same) in [
            (r#"{"process": {"args": ["a"], "env": ["A=1"], "cwd": "/"}, "root": {}}"#, true),
            (r#"{"process": {"args": ["a"], "env": ["A=2"], "cwd": "/"}}"#, false),
            (r#"{"process": {"args": ["a"], "env": ["A=1"]}}"#, false),
            ("{}", false),
            ("", false),
        ] {
            assert_eq!(has_process(record.as_bytes(), Some(&process)), same, "{record}");
            assert!(!has_process(record.as_bytes(), None), "no process in the bundle");
        }
    }
}
