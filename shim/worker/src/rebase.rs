//! Owns the re-basing of a container: its pristine snapshot is replaced, under the same key, by one on top of the chosen
//! entry; bundle and record get the process that belongs to it. Before the first step a journal says how to undo all of
//! them, so that this worker when it fails, or the next one when this one was killed, puts everything back.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containerd_client::services::v1::Container;
use containerd_client::types::Mount;
use prost_types::Any;
use serde::{Deserialize, Serialize};

use crate::bundle::{BundleError, replace};
use crate::containerd::{ApiError, Containerd};
use crate::create::Call;
use crate::mounts::with_context_of;
use crate::subject::CHOSEN_LABEL;

/// Lies in the bundle as long as the journal does: the relay's `delete` asks for `recover` where it finds it
/// (`shim/relay/src/bundle.rs`).
const MARK: &str = "bestfit-rebase";
/// How long a create may be held up by what other workers left.
const RECOVER_WITHIN: Duration = Duration::from_secs(1);

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
    /// When the container's record was made (seconds, nanoseconds): names come back.
    pub(crate) created_at: (i64, i32),
    /// SELinux contexts that the client had put on the mounts.
    pub(crate) contexts: Vec<String>,
    /// The lease to give back; empty where none was taken.
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

    /// Puts everything back, whichever steps were done; the mounts are those of the default entry, as new. None where there
    /// is nothing to put back: the container is gone or another one, or was started since.
    pub(crate) async fn undo(&self, containerd: &Containerd) -> Result<Option<Vec<Mount>>, RebaseError> {
        match containerd.container(&self.container).await {
            Ok(container) if created_at(&container) == self.created_at => {}
            Ok(_) => return Ok(None),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let snapshot = match containerd.snapshot(&self.snapshotter, &self.key).await {
            Ok(snapshot) => Some(snapshot),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let replaced = snapshot.as_ref().is_some_and(|snapshot| snapshot.labels.contains_key(CHOSEN_LABEL));
        if replaced && containerd.snapshot_inodes(&self.snapshotter, &self.key).await? > 1 {
            return Ok(None);
        }
        if self.spec_file.exists() {
            replace(&self.spec_file, &self.spec)?;
        }
        let record = Any { type_url: self.record_type.clone(), value: self.record.clone() };
        containerd.set_spec(&self.container, record).await?;
        if snapshot.is_some() && !replaced {
            return Ok(Some(containerd.snapshot_mounts(&self.snapshotter, &self.key).await?));
        }
        containerd.remove_snapshot(&self.snapshotter, &self.key).await?;
        let labels = self.old_labels.clone();
        let mounts = containerd.prepare(&self.snapshotter, &self.key, &self.old_parent, labels).await?;
        // Who made the container may have removed it meanwhile.
        if containerd.container(&self.container).await.is_err_and(|error| error.is_not_found()) {
            containerd.remove_snapshot(&self.snapshotter, &self.key).await?;
            return Ok(None);
        }
        Ok(Some(mounts))
    }

    /// The re-basing is over, one way or the other.
    pub(crate) fn close(&self, state: &Path) {
        self.forget(&self.path(state));
    }

    fn forget(&self, path: &Path) {
        let _ = fs::remove_file(path);
        let _ = fs::remove_file(self.spec_file.with_file_name(MARK));
    }

    /// Only root may read it: the spec holds the environment.
    fn write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            private_dir(dir)?;
        }
        fs::write(self.spec_file.with_file_name(MARK), "")?;
        let temporary = path.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&temporary, path)
    }

    fn is_orphaned(&self) -> bool {
        started(self.pid) != Some(self.started)
    }
}

/// When a process started, in ticks since boot; None where it is gone or a zombie (proc(5), `/proc/pid/stat` fields 22, 3).
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, spaces and parentheses too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

/// When a container's record was made.
pub(crate) fn created_at(container: &Container) -> (i64, i32) {
    container.created_at.as_ref().map_or((0, 0), |at| (at.seconds, at.nanos))
}

/// A directory that only root can look into.
pub(crate) fn private_dir(dir: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Finishes what dead workers left on this containerd, other than for the container of this call: their journals are
/// undone. Says what was done. Bounded: what does not get done now is done by the next worker.
pub(crate) async fn recover(state: &Path, call: &Call) -> Vec<String> {
    let Ok(files) = fs::read_dir(state.join("rebase")) else { return Vec::new() };
    let until = Instant::now() + RECOVER_WITHIN;
    let mut said = Vec::new();
    for file in files.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json")) {
        let Some(journal) = read(&file) else {
            said.push(format!("journal {} cannot be read, and is left", file.display()));
            continue;
        };
        let own = journal.namespace == call.namespace && journal.container == call.id;
        if own || journal.address != call.address || !journal.is_orphaned() {
            continue;
        }
        let left = until.saturating_duration_since(Instant::now());
        let undone = tokio::time::timeout(left, undo(&file, journal)).await;
        said.push(match undone {
            Ok(Ok(_)) => format!("{}: a worker died while it re-based this container; undone", file.display()),
            Ok(Err(error)) => {
                format!("{}: a worker died while it re-based this container, not undone: {error}", file.display())
            }
            Err(_) => format!("{}: no time left to undo what a dead worker began", file.display()),
        });
    }
    said
}

/// Undoes what a dead worker began for the container of this call, and gives its leases back; None where nothing was begun
/// or nothing is to be put back.
pub(crate) async fn undo_for(state: &Path, call: &Call) -> Result<Option<Vec<Mount>>, RebaseError> {
    let file = state.join("rebase").join(format!("{}+{}.json", call.namespace, call.id));
    match read(&file) {
        Some(journal) if journal.is_orphaned() => undo(&file, journal).await,
        _ => Ok(None),
    }
}

/// Gives back the leases that dead workers took for a container.
pub(crate) async fn release_leases(call: &Call) {
    let Ok(containerd) = Containerd::connect(&call.address, &call.namespace).await else { return };
    for lease in containerd.leases_of(&call.id).await.unwrap_or_default() {
        let pid = lease.rsplit('-').next().and_then(|pid| pid.parse().ok());
        if pid.and_then(started).is_none() {
            let _ = containerd.with_lease(&lease).release().await;
        }
    }
}

fn read(file: &Path) -> Option<Journal> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Undoes one journal, and removes it; one worker at a time.
async fn undo(file: &Path, journal: Journal) -> Result<Option<Vec<Mount>>, RebaseError> {
    let claim = fs::File::open(file).and_then(|claim| claim.try_lock().map(|()| claim).map_err(Into::into));
    let _claim = claim.map_err(|cause| RebaseError::Journal { path: file.to_owned(), cause })?;
    let containerd = Containerd::connect(&journal.address, &journal.namespace).await?;
    let mounts = journal.undo(&containerd).await?;
    if !journal.lease.is_empty() {
        let _ = containerd.with_lease(&journal.lease).release().await;
    }
    journal.forget(file);
    Ok(mounts.map(|mounts| with_context_of(mounts, &journal.old_mounts())))
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
