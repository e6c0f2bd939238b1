//! Owns the re-basing of a container: its pristine snapshot is replaced, under the same key, by one on top of the chosen
//! entry; bundle and record get the process that belongs to it. Before the first step a journal says how to undo all of
//! them, so that this worker when it fails, or the next one when this one was killed, puts everything back.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containerd_client::services::v1::Container;
use containerd_client::types::Mount;
use nix::unistd::Uid;
use prost_types::Any;
use serde::{Deserialize, Serialize};

use crate::bundle::{BundleError, replace};
use crate::containerd::{ApiError, Containerd};
use crate::create::Call;
use crate::log::{self, Priority};
use crate::mounts::{may_have_run, with_context_of};
use crate::subject::CHOSEN_LABEL;

/// Lies in the bundle as long as the journal does: the relay's `delete` asks for `recover` where it finds it
/// (`shim/relay/src/bundle.rs`).
const MARK: &str = "bestfit-rebase";
/// How long a create may be held up by what other workers left.
const RECOVER_WITHIN: Duration = Duration::from_secs(1);
/// How old a journal is before workers of other containers undo it: until then that is for the container's own relay, whose
/// request names the mounts that the undo takes away.
const LEFT_AFTER: Duration = Duration::from_secs(60);
/// How long a worker that was killed may take to end, and one whose relay is gone to put things back itself.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
/// How long the container's own worker waits for another one that is just undoing its journal.
const CLAIM_WITHIN: Duration = Duration::from_secs(5);

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

/// What a dead worker began for a container is still there: its snapshot may be missing, and the mounts that containerd names.
#[derive(Debug, thiserror::Error)]
#[error("a worker died while it re-based this container, and it cannot be put back: {0}")]
pub(crate) struct NotPutBack(#[from] RebaseError);

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

/// What a dead worker began, undone. Whoever dies before the relay has these mounts leaves the journal, which tells them again.
pub(crate) struct PutBack {
    /// Those of the default entry.
    pub(crate) mounts: Vec<Mount>,
    /// None where another worker undid it.
    undone: Option<Undone>,
}

/// A journal that was undone, and is held until it is removed.
struct Undone {
    journal: Journal,
    file: PathBuf,
    _claim: fs::File,
}

impl PutBack {
    /// The mounts have reached the relay, or never will.
    pub(crate) fn close(self) {
        if let Some(Undone { journal, file, _claim }) = self.undone {
            journal.forget(&file);
        }
    }
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

    /// A journal that stays is looked at by every worker of this node: it undoes nothing any more, but that is to be known.
    fn forget(&self, path: &Path) {
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
    /// will be.
    fn write(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        private_dir(dir)?;
        fs::write(self.spec_file.with_file_name(MARK), "")?;
        let temporary = path.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(dir)?.sync_all()
    }

    /// The mounts that the container has after another worker undid this; None where it is gone.
    async fn mounts_now(&self) -> Result<Option<Vec<Mount>>, RebaseError> {
        let containerd = Containerd::connect(&self.address, &self.namespace).await?;
        match containerd.snapshot_mounts(&self.snapshotter, &self.key).await {
            Ok(mounts) => Ok(Some(with_context_of(mounts, &self.old_mounts()))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
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

/// Finishes what dead workers left on this containerd some time ago, other than for the container of this call: their
/// journals are undone. Says what was done. Bounded: what does not get done now is done by the next worker.
pub(crate) async fn recover(state: &Path, call: &Call) -> Vec<String> {
    let dir = state.join("rebase");
    let files = match fs::read_dir(&dir) {
        Ok(files) => files,
        Err(error) if is_absent(&error) => return Vec::new(),
        Err(error) => return vec![format!("journals {}: {error}", dir.display())],
    };
    let files: Vec<PathBuf> = files.flatten().map(|entry| entry.path()).collect();
    let named =
        |extension: &'static str| files.iter().filter(move |file| file.extension().is_some_and(|e| e == extension));
    // A worker that died before its journal had its name has begun nothing.
    named("new").filter(|file| !is_young(file)).for_each(|file| drop(fs::remove_file(file)));
    let until = Instant::now() + RECOVER_WITHIN;
    let mut said = Vec::new();
    for file in named("json") {
        let left = until.saturating_duration_since(Instant::now());
        let undone = tokio::time::timeout(left, undo_left(file, call)).await;
        let begun = format!("{}: a worker died while it re-based this container", file.display());
        said.extend(match undone {
            Ok(Ok(false)) => None,
            Ok(Ok(true)) => Some(format!("{begun}; undone")),
            Ok(Err(error)) => Some(format!("{begun}; not undone: {error}")),
            Err(_) => Some(format!("{begun}; there was no time left to undo it")),
        });
    }
    said
}

/// Undoes a journal that nobody else does, and says whether it did.
async fn undo_left(file: &Path, call: &Call) -> Result<bool, RebaseError> {
    let Some(journal) = read(file)? else { return Ok(false) };
    let own = journal.namespace == call.namespace && journal.container == call.id;
    if own || journal.address != call.address || !journal.is_orphaned() || is_young(file) {
        return Ok(false);
    }
    let Claim::Ours(_claim) = claim(file, Duration::ZERO).await? else { return Ok(false) };
    undo(&journal).await?;
    journal.forget(file);
    Ok(true)
}

/// Undoes what a dead worker began for the container of this call, and gives its leases back; None where nothing was begun
/// or nothing is to be put back. Else the journal stays until [`PutBack::close`].
pub(crate) async fn undo_for(state: &Path, call: &Call) -> Result<Option<PutBack>, NotPutBack> {
    Ok(undo_own(state, call).await?)
}

async fn undo_own(state: &Path, call: &Call) -> Result<Option<PutBack>, RebaseError> {
    let file = state.join("rebase").join(format!("{}+{}.json", call.namespace, call.id));
    let Some(journal) = read(&file)? else { return Ok(None) };
    let until = Instant::now() + ENDS_WITHIN;
    while !journal.is_orphaned() {
        if Instant::now() >= until {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    match claim(&file, CLAIM_WITHIN).await? {
        Claim::Ours(_claim) => match undo(&journal).await? {
            Some(mounts) => Ok(Some(PutBack { mounts, undone: Some(Undone { journal, file, _claim }) })),
            None => {
                journal.forget(&file);
                Ok(None)
            }
        },
        Claim::Done => Ok(journal.mounts_now().await?.map(|mounts| PutBack { mounts, undone: None })),
        Claim::Theirs => Err(RebaseError::Journal { path: file, cause: ErrorKind::WouldBlock.into() }),
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

/// Reads a journal; None only where there is none. One that cannot be read may tell of a container without a snapshot.
fn read(file: &Path) -> Result<Option<Journal>, RebaseError> {
    let read = fs::read(file).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from));
    match read {
        Ok(journal) => Ok(Some(journal)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(cause) => Err(RebaseError::Journal { path: file.to_owned(), cause }),
    }
}

/// Whether an error says that there is no such file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Whether a journal was written a moment ago; one from the future was not.
fn is_young(file: &Path) -> bool {
    let age = fs::metadata(file).and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age < LEFT_AFTER)
}

/// Whose it is to undo a journal.
enum Claim {
    /// This worker's, as long as it holds the file.
    Ours(fs::File),
    /// Another worker is at it.
    Theirs,
    /// It has been undone.
    Done,
}

/// Takes a journal for oneself, waiting for no longer than `within`.
async fn claim(file: &Path, within: Duration) -> Result<Claim, RebaseError> {
    let until = Instant::now() + within;
    let failed = |cause| RebaseError::Journal { path: file.to_owned(), cause };
    let claimed = match fs::File::open(file) {
        Err(error) if is_absent(&error) => return Ok(Claim::Done),
        opened => opened.map_err(failed)?,
    };
    loop {
        match claimed.try_lock() {
            // Who held it may have undone and removed it meanwhile.
            Ok(()) if file.exists() => return Ok(Claim::Ours(claimed)),
            Ok(()) => return Ok(Claim::Done),
            Err(fs::TryLockError::WouldBlock) if Instant::now() >= until => return Ok(Claim::Theirs),
            Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(fs::TryLockError::Error(cause)) => return Err(failed(cause)),
        }
    }
}

/// Undoes a journal that was claimed.
async fn undo(journal: &Journal) -> Result<Option<Vec<Mount>>, RebaseError> {
    let containerd = Containerd::connect(&journal.address, &journal.namespace).await?;
    let mounts = journal.undo(&containerd).await?;
    if !journal.lease.is_empty() {
        let _ = containerd.with_lease(&journal.lease).release().await;
    }
    Ok(mounts.map(|mounts| with_context_of(mounts, &journal.old_mounts())))
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn only_a_journal_that_is_not_there_means_that_nothing_was_begun() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n+c.json");
        assert!(read(&file).unwrap().is_none());
        assert!(read(Path::new("/dev/null/n+c.json")).unwrap().is_none());
        fs::write(&file, "{\"address\":").unwrap();
        let why = read(&file).unwrap_err().to_string();
        assert!(why.contains("n+c.json: EOF while parsing"), "{why}");
        assert!(read(dir.path()).is_err(), "a directory in its place");
    }

    #[test]
    fn a_young_journal_is_left_to_the_containers_own_relay() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n+c.json");
        let at = |time: std::time::SystemTime| {
            fs::File::create(&file).unwrap().set_modified(time).unwrap();
            is_young(&file)
        };
        let now = std::time::SystemTime::now();
        assert!(at(now) && at(now - Duration::from_secs(30)));
        assert!(!at(now - Duration::from_secs(90)));
        assert!(!at(now + Duration::from_secs(3600)), "a clock that was set back keeps nobody waiting");
    }

    #[tokio::test]
    async fn a_journal_that_was_never_finished_is_swept_once_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let text = |text: &str| text.to_owned();
        let call =
            Call { namespace: text("n"), address: text("/s"), id: text("c"), bundle: "/nowhere".into(), profile: None };
        private_dir(&dir.path().join("rebase")).unwrap();
        let file = dir.path().join("rebase/n+c.new");
        fs::write(&file, "{\"address\":").unwrap();
        assert!(recover(dir.path(), &call).await.is_empty() && file.exists(), "its worker may be about to rename it");
        assert!(undo_for(dir.path(), &call).await.unwrap().is_none(), "nothing was begun");
        let old = std::time::SystemTime::now() - Duration::from_secs(90);
        fs::File::options().append(true).open(&file).unwrap().set_modified(old).unwrap();
        assert!(recover(dir.path(), &call).await.is_empty() && !file.exists());
    }

    #[tokio::test]
    async fn one_worker_undoes_a_journal_and_another_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n+c.json");
        fs::write(&file, "").unwrap();
        let Claim::Ours(held) = claim(&file, Duration::ZERO).await.unwrap() else { panic!("nobody holds it") };
        assert!(matches!(claim(&file, Duration::from_millis(20)).await.unwrap(), Claim::Theirs));
        let done = async {
            fs::remove_file(&file).unwrap();
            drop(held);
        };
        let (waited, ()) = tokio::join!(claim(&file, Duration::from_secs(5)), done);
        assert!(matches!(waited.unwrap(), Claim::Done));
        assert!(matches!(claim(&file, Duration::ZERO).await.unwrap(), Claim::Done));
    }
}
