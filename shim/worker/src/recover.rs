//! Owns finishing what dead workers left: their journals are found, claimed and undone, by one worker at a time. The one of this
//! call's own container is closed only once the relay has taken the mounts that the undo made: until then, whoever comes next
//! finds it, undoes it again, and names them.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use containerd_client::types::Mount;

use crate::containerd::Containerd;
use crate::create::Call;
use crate::mounts::{moved, with_context_of};
use crate::rebase::{Journal, Present, RebaseError, path, started};
use crate::relay::{Heard, Relay};
use crate::request::Reply;

/// How long a create may be held up by what other workers left.
const RECOVER_WITHIN: Duration = Duration::from_secs(1);
/// How old a journal is before workers of other containers undo it: until then that is for the container's own relay, whose
/// request names the mounts that the undo takes away. So long stays what says that it was undone, and what was half written.
const LEFT_AFTER: Duration = Duration::from_secs(60);
/// How long the container's own worker waits for one that is just ending, or undoing its journal.
const CLAIM_WITHIN: Duration = Duration::from_secs(5);
/// The extension of a journal that a worker of another container has undone: the request of the container's own may have been on its
/// way, and name the mounts that the undo took away.
const UNDONE: &str = "undone";

/// What a dead worker began for a container is still there: its snapshot may be missing, and the mounts that containerd names.
#[derive(Debug, thiserror::Error)]
#[error("a worker died while it re-based this container, and it cannot be put back: {0}")]
pub(crate) struct NotPutBack(#[from] RebaseError);

/// What a container has that another worker was at: its request may name mounts that are gone.
pub(crate) struct PutBack {
    pub(crate) present: Present,
    /// What is to be closed.
    open: Option<Open>,
}

/// A journal that was undone; the file is held until it is closed.
struct Open {
    file: PathBuf,
    journal: Journal,
    containerd: Containerd,
    _claim: fs::File,
}

impl PutBack {
    /// Answers with a reply that takes account of this, and closes the journal where the relay has taken it, or will not; false
    /// where it is still to say so.
    pub(crate) async fn settle(back: Option<Self>, relay: &mut Relay, reply: &Reply) -> bool {
        if relay.settle(reply).await == Heard::Nothing {
            return false;
        }
        if let Some(Open { file, journal, containerd, _claim }) = back.and_then(|back| back.open) {
            journal.forget(&file);
            release(&containerd, &journal).await;
        }
        true
    }
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
    let until = Instant::now() + RECOVER_WITHIN;
    let mut said = Vec::new();
    for file in files.flatten().map(|entry| entry.path()) {
        if file.extension().is_none_or(|extension| extension != "json") {
            sweep(&file);
            continue;
        }
        let left = until.saturating_duration_since(Instant::now());
        let undone = tokio::time::timeout(left, undo_left(&file, call)).await;
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

/// Removes what is no journal: half of one, which no worker is writing any more, or one that was undone.
fn sweep(file: &Path) {
    if !is_young(file) {
        let _ = fs::remove_file(file);
    }
}

/// Undoes a journal that nobody else does, and says whether it did.
async fn undo_left(file: &Path, call: &Call) -> Result<bool, RebaseError> {
    let Some(journal) = read(file)? else { return Ok(false) };
    let own = journal.namespace == call.namespace && journal.container == call.id;
    if own || journal.address != call.address || !journal.is_orphaned() || is_young(file) {
        return Ok(false);
    }
    let Claim::Ours(claim) = claim(file, Duration::ZERO).await? else { return Ok(false) };
    let containerd = Containerd::connect(&journal.address, &journal.namespace).await?;
    let put_back = journal.undo(&containerd).await?.is_some();
    if put_back {
        let failed = |cause| RebaseError::Journal { path: file.to_owned(), cause };
        claim.set_modified(SystemTime::now()).map_err(failed)?;
        fs::rename(file, file.with_extension(UNDONE)).map_err(failed)?;
    }
    journal.forget(file);
    release(&containerd, &journal).await;
    Ok(true)
}

/// Undoes what a dead worker began for the container of this call; None where nothing was begun, or nothing is to be put back. `asked`
/// are the mounts in the request, where there is one.
pub(crate) async fn undo_for(
    state: &Path,
    call: &Call,
    asked: Option<&[Mount]>,
) -> Result<Option<PutBack>, NotPutBack> {
    let file = path(state, &call.namespace, &call.id);
    let Some(mut journal) = read(&file)? else { return Ok(undone_by_another(&file, asked).await?) };
    // Its bundle is this one, wherever it lay before.
    journal.spec_file = call.bundle.join("config.json");
    match claim_of_dead(&file, &journal, CLAIM_WITHIN).await? {
        Claim::Ours(claim) => Ok(undo_own(file, journal, claim).await?),
        Claim::Done => Ok(journal.present().await?.map(|present| PutBack { present, open: None })),
        Claim::Theirs => {
            let cause = io::Error::other("another worker is still at it");
            Err(RebaseError::Journal { path: file, cause }.into())
        }
    }
}

/// Takes a journal once the worker that wrote it has ended. One that lives closes it by itself: nobody else may then take what is
/// there for untouched.
async fn claim_of_dead(file: &Path, journal: &Journal, within: Duration) -> Result<Claim, RebaseError> {
    let until = Instant::now() + within;
    while !journal.is_orphaned() && file.exists() {
        if Instant::now() >= until {
            return Ok(Claim::Theirs);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    claim(file, until.saturating_duration_since(Instant::now())).await
}

async fn undo_own(file: PathBuf, journal: Journal, claim: fs::File) -> Result<Option<PutBack>, RebaseError> {
    let containerd = Containerd::connect(&journal.address, &journal.namespace).await.map_err(RebaseError::from)?;
    let Some(mounts) = journal.undo(&containerd).await? else {
        journal.forget(&file);
        release(&containerd, &journal).await;
        return Ok(None);
    };
    let present = Present { chosen: None, mounts: with_context_of(mounts, &journal.old_mounts()) };
    Ok(Some(PutBack { present, open: Some(Open { file, journal, containerd, _claim: claim }) }))
}

/// What the container has where a worker of another one has just undone its journal; None where the request names that already.
async fn undone_by_another(file: &Path, asked: Option<&[Mount]>) -> Result<Option<PutBack>, RebaseError> {
    let Some(journal) = read(&file.with_extension(UNDONE))? else { return Ok(None) };
    let present = journal.present().await?;
    let present = present.filter(|present| asked.is_none_or(|asked| moved(asked, &present.mounts).is_some()));
    Ok(present.map(|present| PutBack { present, open: None }))
}

async fn release(containerd: &Containerd, journal: &Journal) {
    if !journal.lease.is_empty() {
        // It ends by itself.
        let _ = containerd.with_lease(&journal.lease).release().await;
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
pub(crate) fn is_absent(error: &io::Error) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebase::tests::journal;

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

    #[tokio::test]
    async fn a_journal_of_a_worker_that_lives_is_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n+c.json");
        fs::write(&file, "").unwrap();
        let of = |pid| Journal { pid, started: started(std::process::id()).unwrap(), ..journal(dir.path()) };
        let (own, long) = (of(std::process::id()), Duration::from_secs(60));
        assert!(matches!(claim_of_dead(&file, &own, Duration::ZERO).await.unwrap(), Claim::Theirs));
        assert!(matches!(claim_of_dead(&file, &of(u32::MAX), Duration::ZERO).await.unwrap(), Claim::Ours(_)));
        let closed = async { fs::remove_file(&file).unwrap() };
        let (waited, ()) = tokio::join!(claim_of_dead(&file, &own, long), closed);
        assert!(matches!(waited.unwrap(), Claim::Done));
    }

    #[tokio::test]
    async fn what_was_never_finished_or_is_undone_is_swept_once_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let text = |text: &str| text.to_owned();
        let call =
            Call { namespace: text("n"), address: text("/s"), id: text("c"), bundle: "/nowhere".into(), profile: None };
        crate::rebase::private_dir(&dir.path().join("rebase")).unwrap();
        for name in ["n+c.7.new", "n+d.undone"] {
            let file = dir.path().join("rebase").join(name);
            fs::write(&file, "{\"address\":").unwrap();
            assert!(
                recover(dir.path(), &call).await.is_empty() && file.exists(),
                "its worker may be about to rename it"
            );
            assert!(undo_for(dir.path(), &call, None).await.unwrap().is_none(), "nothing was begun");
            let old = SystemTime::now() - Duration::from_secs(90);
            fs::File::options().append(true).open(&file).unwrap().set_modified(old).unwrap();
            assert!(recover(dir.path(), &call).await.is_empty() && !file.exists());
        }
    }
}
