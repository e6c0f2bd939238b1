//! Owns what stays on disk: manifests and small blobs by digest, lists of referrers by subject. Layers never come here.
//! A cache that cannot be written is no reason to fail; one that others can write to is not used at all.

use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bestfit_selector::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::MANIFEST_LIMIT;
use crate::backoff::seconds;
use crate::document::Descriptor;
use crate::folder::{Folder, Found, TEMPORARY};
use crate::repository::Source;

/// Largest blob, and largest list, that is kept.
const KEPT_LIMIT: u64 = MANIFEST_LIMIT;
/// Names that are looked at in one folder when pruning.
const NAMES_LIMIT: usize = 100_000;
/// One write of so many looks whether to prune.
const PRUNE_EVERY: u64 = 16;
/// A hit makes a file young again when it is older than this.
const TOUCH_AFTER: Duration = Duration::from_secs(3600);
/// A temporary file older than this belongs to nobody.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The folders of a cache.
#[derive(Debug)]
pub(crate) struct Cache {
    blobs: Folder,
    referrers: Folder,
    max_bytes: u64,
}

/// A list of referrers as it came from a registry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredList {
    /// Seconds since 1970.
    pub(crate) fetched: u64,
    /// Checked on reading: names are shortened in paths.
    kind: String,
    pub(crate) list: Option<Digest>,
    pub(crate) source: Source,
    pub(crate) manifests: Vec<Descriptor>,
}

impl StoredList {
    pub(crate) fn new(kind: &str, list: Option<Digest>, source: Source, manifests: Vec<Descriptor>) -> Self {
        Self { fetched: seconds(SystemTime::now()), kind: kind.to_owned(), list, source, manifests }
    }

    /// Age by the wall clock; a list from the future is as old as can be.
    pub(crate) fn age(&self) -> Duration {
        let now = seconds(SystemTime::now());
        now.checked_sub(self.fetched).map_or(Duration::MAX, Duration::from_secs)
    }
}

impl Cache {
    /// Opens a cache, making its folders with mode 0700. Also returns the folder for the back-off's files.
    pub(crate) fn open(path: &Path, max_bytes: u64) -> Result<(Self, Folder), String> {
        let wrong = |error: std::io::Error| format!("cache {}: {error}", path.display());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(wrong)?;
        let root = Folder::open(path).map_err(wrong)?;
        if !root.is_private().map_err(wrong)? {
            return Err(format!("cache {}: others can write to it, it is not used", path.display()));
        }
        let blobs = root.below_or_new("blobs").and_then(|blobs| blobs.below_or_new("sha256")).map_err(wrong)?;
        let referrers = root.below_or_new("referrers").map_err(wrong)?;
        let hosts = root.below_or_new("hosts").map_err(wrong)?;
        Ok((Self { blobs, referrers, max_bytes }, hosts))
    }

    /// The bytes with this digest, if they are here, whole and not larger than `limit`; bad ones are removed.
    pub(crate) fn blob(&self, digest: &Digest, limit: u64) -> Option<Vec<u8>> {
        let name = digest.hex();
        let bytes = self.blobs.read(&name, limit.min(KEPT_LIMIT)).ok()?;
        if !digest.matches(&bytes) {
            let _ = self.blobs.remove(&name);
            return None;
        }
        if let Ok(file) = self.blobs.file(&name)
            && let Ok(modified) = file.metadata().and_then(|data| data.modified())
            && modified.elapsed().is_ok_and(|age| age > TOUCH_AFTER)
        {
            let _ = file.set_modified(SystemTime::now());
        }
        Some(bytes)
    }

    /// Keeps bytes that were checked against their digest.
    pub(crate) fn keep_blob(&self, digest: &Digest, bytes: &[u8]) {
        if bytes.len() as u64 <= KEPT_LIMIT && self.max_bytes > 0 && self.blobs.write(&digest.hex(), bytes).is_ok() {
            self.prune_sometimes();
        }
    }

    pub(crate) fn list(&self, host: &str, repository: &str, subject: &Digest, kind: &str) -> Option<StoredList> {
        let folder = self.referrers.below(host).ok()?.below(&escaped(repository)).ok()?;
        let name = list_name(subject, kind);
        let list = serde_json::from_slice::<StoredList>(&folder.read(&name, KEPT_LIMIT).ok()?);
        match list {
            Ok(list) if list.kind == kind => Some(list),
            _ => {
                let _ = folder.remove(&name);
                None
            }
        }
    }

    pub(crate) fn keep_list(&self, host: &str, repository: &str, subject: &Digest, list: &StoredList) {
        let folder = self.referrers.below_or_new(host).and_then(|host| host.below_or_new(&escaped(repository)));
        if let (Ok(folder), Ok(bytes)) = (folder, serde_json::to_vec(list))
            && bytes.len() as u64 <= KEPT_LIMIT
            && self.max_bytes > 0
            && folder.write(&list_name(subject, &list.kind), &bytes).is_ok()
        {
            self.prune_sometimes();
        }
    }

    /// By chance, so that it needs no state and nobody can choose digests that avoid it.
    fn prune_sometimes(&self) {
        if RandomState::new().hash_one(0).is_multiple_of(PRUNE_EVERY) {
            self.prune();
        }
    }

    /// Removes the oldest files until four fifths of the limit are left.
    fn prune(&self) {
        let mut all: Vec<(Vec<String>, Found)> = Vec::new();
        for found in self.blobs.files(NAMES_LIMIT).unwrap_or_default() {
            all.push((Vec::new(), found));
        }
        for host in self.referrers.names(NAMES_LIMIT).unwrap_or_default() {
            let Ok(folder) = self.referrers.below(&host) else { continue };
            for repository in folder.names(NAMES_LIMIT).unwrap_or_default() {
                let files = folder.below(&repository).and_then(|folder| folder.files(NAMES_LIMIT));
                for found in files.unwrap_or_default() {
                    all.push((vec![host.clone(), repository.clone()], found));
                }
            }
        }
        let mut bytes: u64 = all.iter().map(|(_, found)| found.bytes).sum();
        let abandoned = |found: &Found| {
            found.name.starts_with(TEMPORARY) && found.modified.elapsed().is_ok_and(|age| age > ABANDONED)
        };
        all.sort_by_key(|(_, found)| found.modified);
        let too_many = bytes > self.max_bytes;
        for (place, found) in all {
            if abandoned(&found) || (too_many && bytes > self.max_bytes / 5 * 4) {
                self.drop_file(&place, &found.name);
                bytes = bytes.saturating_sub(found.bytes);
            }
        }
    }

    fn drop_file(&self, place: &[String], name: &str) {
        let _ = match place {
            [host, repository] => self.referrers.below(host).and_then(|host| {
                host.below(repository)?.remove(name)?;
                // Stays where other lists are left in it.
                host.remove_folder(repository)
            }),
            _ => self.blobs.remove(name),
        };
    }
}

/// The bytes with this digest in the cache of somebody else at `path`, if they are there, whole and not larger than
/// [`MANIFEST_LIMIT`]. Nothing is made, changed or followed, so that root can look into what the decider wrote.
pub fn kept(path: &Path, digest: &Digest) -> Option<Vec<u8>> {
    let blobs = Folder::open(path).and_then(|root| root.below("blobs")?.below("sha256")).ok()?;
    blobs.read(&digest.hex(), KEPT_LIMIT).ok().filter(|bytes| digest.matches(bytes))
}

/// `+` is in no repository's name.
fn escaped(repository: &str) -> String {
    repository.replace('/', "+")
}

fn list_name(subject: &Digest, kind: &str) -> String {
    let kind = Digest::of(kind.as_bytes()).hex();
    format!("{}-{}.json", subject.hex(), kind.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn open(path: &Path, max: u64) -> Cache {
        Cache::open(path, max).unwrap().0
    }

    #[test]
    fn what_is_poisoned_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cache");
        let cache = open(&path, 1 << 20);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let digest = Digest::of(b"good");
        assert!(cache.blob(&digest, 10).is_none());
        cache.keep_blob(&digest, b"good");
        assert_eq!(cache.blob(&digest, 10).unwrap(), b"good");
        assert_eq!(kept(&path, &digest).unwrap(), b"good");
        assert!(cache.blob(&digest, 3).is_none(), "the caller's limit holds");
        let file = path.join("blobs/sha256").join(digest.hex());
        std::fs::write(&file, "evil").unwrap();
        assert!(kept(&path, &digest).is_none());
        assert!(file.exists(), "somebody else's cache is left as it is");
        assert!(cache.blob(&digest, 10).is_none());
        assert!(!file.exists());
        let outside = root.path().join("outside");
        std::fs::write(&outside, "good").unwrap();
        symlink(&outside, &file).unwrap();
        assert!(cache.blob(&digest, 10).is_none(), "links are not followed");
        assert!(kept(&path, &digest).is_none(), "links are not followed");
        cache.keep_blob(&digest, b"good");
        assert!(file.symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn a_cache_that_others_can_write_to_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Cache::open(root.path(), 1).unwrap_err().contains("others can write"));
        std::fs::write(root.path().join("file"), "").unwrap();
        assert!(Cache::open(&root.path().join("file"), 1).is_err());
    }

    #[test]
    fn lists_come_back_and_broken_ones_do_not() {
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let cache = open(root.path(), 1 << 20);
        let subject = Digest::of(b"s");
        let list = StoredList::new("kind", Some(subject), Source::Api, Vec::new());
        cache.keep_list("q.example:5000", "a/b", &subject, &list);
        assert_eq!(cache.list("q.example:5000", "a/b", &subject, "kind").unwrap().source, Source::Api);
        assert!(cache.list("q.example:5000", "a/b", &subject, "other").is_none());
        assert!(cache.list("q.example:5000", "a", &subject, "kind").is_none());
        let file = root.path().join("referrers/q.example:5000/a+b").join(list_name(&subject, "kind"));
        std::fs::write(&file, "{").unwrap();
        assert!(cache.list("q.example:5000", "a/b", &subject, "kind").is_none());
        assert!(!file.exists());
        assert_eq!(StoredList { fetched: u64::MAX, ..list }.age(), Duration::MAX);
    }

    /// What a crash leaves between writing and renaming, and what a loss of power leaves of a file that was not on the disk yet.
    #[test]
    fn a_write_that_was_cut_off_is_not_believed() {
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let cache = open(root.path(), 1 << 20);
        let digest = Digest::of(b"whole");
        let list = StoredList::new("kind", None, Source::Api, Vec::new());
        cache.keep_blob(&digest, b"whole");
        cache.keep_list("r.example", "a/b", &digest, &list);
        let files = [
            root.path().join("blobs/sha256").join(digest.hex()),
            root.path().join("referrers/r.example/a+b").join(list_name(&digest, "kind")),
        ];
        let temporary = |file: &Path| file.with_file_name(format!("{TEMPORARY}0123456789abcdef"));
        for cut in [0, 3] {
            for file in &files {
                let whole = std::fs::read(file).unwrap();
                std::fs::rename(file, temporary(file)).unwrap();
                assert!(cache.blob(&digest, 10).is_none() || file != &files[0], "a name that was never given");
                assert!(cache.list("r.example", "a/b", &digest, "kind").is_none() || file != &files[1]);
                std::fs::write(file, &whole[..cut]).unwrap();
                std::fs::write(temporary(file), &whole[..cut]).unwrap();
            }
            assert!(cache.blob(&digest, 10).is_none() && kept(root.path(), &digest).is_none());
            assert!(cache.list("r.example", "a/b", &digest, "kind").is_none());
            // Neither is in the way of what is written next.
            cache.keep_blob(&digest, b"whole");
            cache.keep_list("r.example", "a/b", &digest, &list);
            assert_eq!(cache.blob(&digest, 10).unwrap(), b"whole");
            assert!(cache.list("r.example", "a/b", &digest, "kind").is_some());
        }
        for file in &files {
            let old = SystemTime::now() - ABANDONED * 2;
            std::fs::File::open(temporary(file)).unwrap().set_modified(old).unwrap();
        }
        cache.prune();
        assert!(files.iter().all(|file| file.exists() && !temporary(file).exists()), "what nobody finished is swept");
    }

    #[test]
    fn pruning_takes_the_oldest_and_abandoned_files() {
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let cache = open(root.path(), 1000);
        let folder = root.path().join("blobs/sha256");
        let hour = Duration::from_secs(3600);
        for n in 0..20u32 {
            std::fs::write(folder.join(format!("{n:02}")), [0; 100]).unwrap();
            let file = std::fs::File::open(folder.join(format!("{n:02}"))).unwrap();
            file.set_modified(SystemTime::now() - hour * (100 - n)).unwrap();
        }
        std::fs::write(folder.join(".tmp-new"), "").unwrap();
        std::fs::write(folder.join(".tmp-old"), "").unwrap();
        std::fs::File::open(folder.join(".tmp-old")).unwrap().set_modified(SystemTime::now() - hour * 2).unwrap();
        cache.prune();
        let mut left = cache.blobs.names(100).unwrap();
        left.sort();
        assert_eq!(left, [".tmp-new", "12", "13", "14", "15", "16", "17", "18", "19"]);
    }
}
