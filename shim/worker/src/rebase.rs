//! Owns the re-basing of a container: its pristine snapshot is replaced, under the same key, by one on top of the chosen
//! entry; bundle and record get the process that belongs to it. Before the first step a journal says how to undo all of
//! them, so that this worker when it fails, or the next one when this one was killed, puts everything back.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use containerd_client::types::Mount;
use prost_types::Any;
use serde::{Deserialize, Serialize};

use crate::bundle::{BundleError, replace};
use crate::containerd::{ApiError, Containerd};
use crate::create::Call;

/// Re-basing or undoing it failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebaseError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("journal {path}: {cause}")]
    Journal { path: PathBuf, cause: std::io::Error },
}

/// How to undo a re-basing. Lies in `<state>/rebase/` from before the first step until after the last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Journal {
    pub(crate) address: String,
    pub(crate) namespace: String,
    pub(crate) container: String,
    pub(crate) snapshotter: String,
    pub(crate) key: String,
    /// The parent to go back to, and the labels that the snapshot had.
    pub(crate) old_parent: String,
    pub(crate) old_labels: HashMap<String, String>,
    pub(crate) new_parent: String,
    /// The bundle's `config.json` and its bytes.
    pub(crate) spec_file: PathBuf,
    pub(crate) spec: Vec<u8>,
    /// The record's spec.
    pub(crate) record_type: String,
    pub(crate) record: Vec<u8>,
    /// SELinux contexts that the client had put on the mounts.
    pub(crate) contexts: Vec<String>,
    /// The lease to give back.
    pub(crate) lease: String,
    /// The worker that wrote this, and when that process started (ticks since boot): pids come back.
    pub(crate) pid: u32,
    pub(crate) started: u64,
}

/// What the container gets.
pub(crate) struct Target<'a> {
    pub(crate) labels: HashMap<String, String>,
    /// The new runtime spec for the bundle, where it changes.
    pub(crate) spec: Option<&'a [u8]>,
    /// The new spec for the record, where it changes.
    pub(crate) record: Option<Any>,
}

impl Journal {
    /// Mounts that carry the client's contexts and nothing else.
    fn old_mounts(&self) -> [Mount; 1] {
        [Mount { options: self.contexts.clone(), ..Default::default() }]
    }

    fn path(&self, state: &Path) -> PathBuf {
        // Both names are containerd identifiers: letters, digits, `-`, `_` and `.`.
        state.join("rebase").join(format!("{}+{}.json", self.namespace, self.container))
    }

    /// Does every step; the mounts are those of the chosen entry. The journal stays until [`Self::close`].
    pub(crate) async fn apply(
        &self,
        containerd: &Containerd,
        state: &Path,
        target: Target<'_>,
    ) -> Result<Vec<Mount>, RebaseError> {
        let path = self.path(state);
        self.write(&path).map_err(|cause| RebaseError::Journal { path, cause })?;
        containerd.remove_snapshot(&self.snapshotter, &self.key).await?;
        let mounts = containerd.prepare(&self.snapshotter, &self.key, &self.new_parent, target.labels).await?;
        if let Some(spec) = target.spec {
            replace(&self.spec_file, spec)?;
        }
        if let Some(record) = target.record {
            containerd.set_spec(&self.container, record).await?;
        }
        Ok(mounts)
    }

    /// Puts everything back, whichever steps were done; the mounts are those of the default entry, as new.
    pub(crate) async fn undo(&self, containerd: &Containerd) -> Result<Vec<Mount>, RebaseError> {
        if self.spec_file.exists() {
            replace(&self.spec_file, &self.spec)?;
        }
        let record = Any { type_url: self.record_type.clone(), value: self.record.clone() };
        match containerd.set_spec(&self.container, record).await {
            // The container is gone; so its snapshot must be, and nothing may be made for it.
            Err(error) if error.is_not_found() => {
                containerd.remove_snapshot(&self.snapshotter, &self.key).await?;
                return Ok(Vec::new());
            }
            other => other?,
        }
        match containerd.snapshot(&self.snapshotter, &self.key).await {
            Ok(info) if info.parent == self.old_parent => {
                return Ok(containerd.snapshot_mounts(&self.snapshotter, &self.key).await?);
            }
            Ok(_) => containerd.remove_snapshot(&self.snapshotter, &self.key).await?,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(containerd.prepare(&self.snapshotter, &self.key, &self.old_parent, self.old_labels.clone()).await?)
    }

    /// The re-basing is over, one way or the other.
    pub(crate) fn close(&self, state: &Path) {
        let _ = fs::remove_file(self.path(state));
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let temporary = path.with_extension("new");
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        fs::rename(&temporary, path)
    }

    fn is_orphaned(&self) -> bool {
        started(self.pid) != Some(self.started)
    }
}

/// When a process started, in ticks since boot (proc(5), `/proc/pid/stat` field 22).
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, spaces and parentheses too.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Finishes what dead workers left: every journal whose worker is gone is undone, unless its container runs by now.
/// Says what was done.
pub(crate) async fn recover(state: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(state.join("rebase")) else { return Vec::new() };
    let mut said = Vec::new();
    for file in files.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json")) {
        let Some(journal) = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Journal>(&bytes).ok())
        else {
            said.push(format!("journal {} cannot be read, and is left", file.display()));
            continue;
        };
        if journal.is_orphaned() {
            let outcome = finish(&journal).await;
            if outcome.is_ok() {
                journal.close(state);
            }
            let what = format!("container {} in {}", journal.container, journal.namespace);
            said.push(match outcome {
                Ok(()) => format!("{what}: a worker died while it was re-based; its default snapshot is back"),
                Err(error) => {
                    format!("{what}: a worker died while it was re-based, and it cannot be undone yet: {error}")
                }
            });
        }
    }
    said
}

/// Undoes what a dead worker began for one container, and gives its leases back; None where nothing was begun.
pub(crate) async fn undo_for(state: &Path, call: &Call) -> Option<Vec<Mount>> {
    let containerd = Containerd::connect(&call.address, &call.namespace).await.ok()?;
    for lease in containerd.leases_of(&call.id).await.unwrap_or_default() {
        let _ = containerd.with_lease(&lease).release().await;
    }
    let file = state.join("rebase").join(format!("{}+{}.json", call.namespace, call.id));
    let journal: Journal = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    if !journal.is_orphaned() {
        return None;
    }
    let mounts = journal.undo(&containerd).await.ok()?;
    journal.close(state);
    Some(crate::mounts::with_context_of(mounts, &journal.old_mounts()))
}

async fn finish(journal: &Journal) -> Result<(), RebaseError> {
    let containerd = Containerd::connect(&journal.address, &journal.namespace).await?;
    let leased = containerd.with_lease(&journal.lease);
    // A running task has its root mounted: the worker died after the relay had accepted.
    if !containerd.has_task(&journal.container).await? {
        journal.undo(&containerd).await?;
    }
    leased.release().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = started(std::process::id()).unwrap();
        assert!(own > 0);
        assert_eq!(started(std::process::id()), Some(own));
        assert_eq!(started(u32::MAX), None);
    }
}
