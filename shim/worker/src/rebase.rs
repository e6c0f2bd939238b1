//! Owns the re-basing of a container: its pristine snapshot is replaced, under the same key, by one on top of the chosen
//! entry; bundle and record get the process that belongs to it. Before the first step a journal says how to undo all of
//! them, so that this worker when it fails, or the next one when this one was killed ([`mod@crate::recover`]), puts everything back.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use containerd_client::services::v1::Container;
use containerd_client::types::Mount;
use nix::unistd::Uid;
use prost_types::Any;
use serde::{Deserialize, Serialize};

use crate::bundle::{BundleError, replace};
use crate::containerd::{ApiError, Containerd};
use crate::log::{self, Priority};
use crate::mounts::{may_have_run, with_context_of};
use crate::recover::is_absent;
use crate::subject::CHOSEN_LABEL;

/// Lies in the bundle as long as the journal does: the relay's `delete` asks for `recover` where it finds it
/// (`shim/relay/src/bundle.rs`).
const MARK: &str = "bestfit-rebase";

/// Re-basing or undoing it failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebaseError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("journal {path}: {cause}")]
    Journal { path: PathBuf, cause: io::Error },
    #[error("the snapshot's directories: {0}")]
    Directories(io::Error),
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
    pub(crate) fn old_mounts(&self) -> [Mount; 1] {
        [Mount { options: self.contexts.clone(), ..Default::default() }]
    }

    fn path(&self, state: &Path) -> PathBuf {
        path(state, &self.namespace, &self.container)
    }

    /// Writes the journal, which stays until [`Self::close`]. Where that fails nothing was begun, and nothing is left.
    pub(crate) fn begin(&self, state: &Path) -> Result<(), RebaseError> {
        let path = self.path(state);
        self.write(&path).map_err(|cause| {
            // Another worker's journal has its mark, too.
            if cause.kind() != io::ErrorKind::AlreadyExists {
                self.forget(&path);
            }
            RebaseError::Journal { path, cause }
        })
    }

    /// Does every step; the mounts are those of the chosen entry.
    pub(crate) async fn apply(&self, containerd: &Containerd, target: Target<'_>) -> Result<Vec<Mount>, RebaseError> {
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
        let current = match snapshot {
            Some(_) => Some(containerd.snapshot_mounts(&self.snapshotter, &self.key).await?),
            None => None,
        };
        // Also in the default's, which an undo before this one may have put back.
        if let Some(mounts) = &current
            && may_have_run(mounts, self.created_at).map_err(RebaseError::Directories)?
        {
            return Ok(None);
        }
        if self.spec_file.exists() {
            // Where this worker dies as well, the next one must not be taken for the first.
            self.mark().map_err(|cause| RebaseError::Journal { path: self.spec_file.clone(), cause })?;
            replace(&self.spec_file, &self.spec)?;
        }
        let record = Any { type_url: self.record_type.clone(), value: self.record.clone() };
        containerd.set_spec(&self.container, record).await?;
        if let Some(mounts) = current.filter(|_| !replaced) {
            return Ok(Some(mounts));
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

    fn mark(&self) -> io::Result<()> {
        fs::write(self.spec_file.with_file_name(MARK), "")
    }

    /// A journal that stays is looked at by every worker of this node: it undoes nothing any more, but that is to be known.
    pub(crate) fn forget(&self, path: &Path) {
        for file in [path, &self.spec_file.with_file_name(MARK)] {
            match fs::remove_file(file) {
                Err(error) if !is_absent(&error) => {
                    log::say(&format!("{}: {error}", file.display()), Priority::Warning, None);
                }
                _ => {}
            }
        }
    }

    /// Only root may read it: the spec holds the environment. It is on the disk when this returns, as what containerd does next
    /// will be. Another worker's is not written over.
    fn write(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        private_dir(dir)?;
        self.mark()?;
        let temporary = path.with_extension(format!("{}.new", self.pid));
        let written = || {
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            fs::hard_link(&temporary, path)
        };
        let written = written();
        let _ = fs::remove_file(&temporary);
        written.and_then(|()| fs::File::open(dir)?.sync_all())
    }

    /// What the container has after another worker closed this; None where it is gone, or another one.
    pub(crate) async fn present(&self) -> Result<Option<Present>, RebaseError> {
        let containerd = Containerd::connect(&self.address, &self.namespace).await?;
        let (container, snapshot, mounts) = tokio::join!(
            containerd.container(&self.container),
            containerd.snapshot(&self.snapshotter, &self.key),
            containerd.snapshot_mounts(&self.snapshotter, &self.key)
        );
        let present = container.and_then(|container| Ok((container, snapshot?, mounts?)));
        match present {
            Ok((container, ..)) if created_at(&container) != self.created_at => Ok(None),
            Ok((_, snapshot, mounts)) => Ok(Some(Present {
                chosen: snapshot.labels.get(CHOSEN_LABEL).cloned(),
                mounts: with_context_of(mounts, &self.old_mounts()),
            })),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the worker that wrote this is dead.
    pub(crate) fn is_orphaned(&self) -> bool {
        started(self.pid) != Some(self.started)
    }
}

/// The snapshot of a container as it is.
pub(crate) struct Present {
    /// The entry that a worker chose for it.
    pub(crate) chosen: Option<String>,
    pub(crate) mounts: Vec<Mount>,
}

/// Where the journal of a container lies.
pub(crate) fn path(state: &Path, namespace: &str, container: &str) -> PathBuf {
    // Both names are containerd identifiers: letters, digits, `-`, `_` and `.`.
    state.join("rebase").join(format!("{namespace}+{container}.json"))
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

/// A directory that only this user can write to, made where there is none: what lies in it is believed.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if is_private(dir) { Ok(()) } else { Err(io::Error::other("not a directory that belongs to bestfit alone")) }
}

/// Whether this is a directory that only this user can write to.
pub(crate) fn is_private(dir: &Path) -> bool {
    let own = |meta: fs::Metadata| meta.is_dir() && meta.uid() == Uid::effective().as_raw() && meta.mode() & 0o022 == 0;
    fs::symlink_metadata(dir).is_ok_and(own)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = started(std::process::id()).unwrap();
        assert!(own > 0);
        assert_eq!(started(std::process::id()), Some(own));
        assert_eq!(started(u32::MAX), None);
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("state/rebase");
        private_dir(&dir).unwrap();
        private_dir(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        for mode in [0o720, 0o702] {
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
            assert!(private_dir(&dir).is_err(), "{mode:o}");
        }
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path(), &link).unwrap();
        assert!(private_dir(&link).is_err(), "a link");
    }

    pub(crate) fn journal(bundle: &Path) -> Journal {
        let text = || "x".to_owned();
        Journal {
            address: text(),
            namespace: "n".to_owned(),
            container: "c".to_owned(),
            snapshotter: text(),
            key: text(),
            old_parent: text(),
            old_labels: HashMap::new(),
            new_parent: text(),
            spec_file: bundle.join("config.json"),
            spec: Vec::new(),
            record_type: text(),
            record: Vec::new(),
            created_at: (0, 0),
            contexts: Vec::new(),
            lease: text(),
            pid: 1,
            started: 1,
        }
    }

    #[test]
    fn what_cannot_be_written_down_is_not_begun_and_another_workers_journal_stays() {
        let root = tempfile::tempdir().unwrap();
        let (state, bundle) = (root.path().join("state"), root.path().join("bundle"));
        fs::create_dir(&bundle).unwrap();
        let left = || fs::read_dir(state.join("rebase")).map_or(0, Iterator::count);
        let marked = || bundle.join(MARK).exists();
        // Where the journal should be, nothing can be linked.
        fs::write(&state, "").unwrap();
        assert!(journal(&bundle).begin(&state).is_err() && !marked());
        fs::remove_file(&state).unwrap();
        private_dir(&state.join("rebase")).unwrap();
        assert!(journal(&root.path().join("none")).begin(&state).is_err() && left() == 0);

        let first = journal(&bundle);
        first.begin(&state).unwrap();
        assert!((left(), marked()) == (1, true), "the journal alone, and its mark");
        let written = fs::read(first.path(&state)).unwrap();
        assert!(Journal { pid: 2, ..journal(&bundle) }.begin(&state).is_err());
        assert_eq!((fs::read(first.path(&state)).unwrap(), left(), marked()), (written, 1, true));
        assert_eq!(fs::metadata(first.path(&state)).unwrap().mode() & 0o777, 0o600);
        first.close(&state);
        assert_eq!((left(), marked()), (0, false));
    }
}
