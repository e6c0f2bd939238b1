//! Owns documents that are kept by digest below the state directory: inputs of decisions, so that these can be replayed, and
//! small documents of containerd's store, so that a create need not ask for them again. By digest they never change.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use bestfit_config::places;
use bestfit_selector::digest::Digest;

use crate::containerd::{Containerd, Result};
use crate::log::{self, Priority, prune};
use crate::rebase::private_dir;

/// The most documents of one kind; the oldest go first.
pub(crate) const MAX_DOCUMENTS: usize = 512;
/// The longest document of containerd's that is kept, in bytes.
const MAX_KEPT: usize = 64 << 10;

/// Keeps a document. It is made only where it is not there yet.
pub(crate) fn keep(dir: &Path, digest: &Digest, make: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<()> {
    let file = dir.join(digest.hex());
    if let Ok(known) = std::fs::File::options().append(true).open(&file) {
        // The oldest go first, and this one is in use.
        return known.set_modified(SystemTime::now());
    }
    let bytes = make()?;
    if !digest.matches(&bytes) {
        return Err(io::Error::other(format!("the document is not {digest}")));
    }
    private_dir(dir)?;
    let temporary = dir.join(format!("{}.{}", digest.hex(), std::process::id()));
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(&temporary, &file)?;
    prune(dir, MAX_DOCUMENTS)
}

/// A document of containerd's store, kept here or asked for. Whether the store has it is another question.
pub(crate) async fn read(containerd: &Containerd, state: &Path, digest: &Digest) -> Result<Vec<u8>> {
    let dir = places::documents(state);
    let file = dir.join(digest.hex());
    match std::fs::read(&file) {
        Ok(bytes) if digest.matches(&bytes) => return Ok(bytes),
        Ok(_) => drop(std::fs::remove_file(&file)),
        Err(_) => {}
    }
    let bytes = containerd.document(digest).await?;
    if bytes.len() <= MAX_KEPT
        && let Err(error) = keep(&dir, digest, || Ok(bytes.clone()))
    {
        log::say(&format!("{}: {error}", dir.display()), Priority::Warning, None);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_kept_by_digest_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..MAX_DOCUMENTS + 5 {
            let bytes = number.to_string().into_bytes();
            keep(dir.path(), &Digest::of(&bytes), || Ok(bytes)).unwrap();
        }
        assert!(std::fs::read_dir(dir.path()).unwrap().count() <= MAX_DOCUMENTS);
        let wrong = keep(dir.path(), &Digest::of(b"a"), || Ok(b"b".to_vec()));
        assert!(wrong.unwrap_err().to_string().starts_with("the document is not sha256:"));
    }
}
