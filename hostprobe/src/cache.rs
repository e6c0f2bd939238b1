//! Owns facts that outlive a process: they are read once, and again when something that they rest on has changed. A stale fact
//! is worse than a slow one: what cannot be told to stand is read anew, and so is what lies here and cannot be trusted.
//!
//! ```text
//! <dir>/<data>.index3   since, until, digests of the evidence and of the facts, the questions; its own digest first
//! <dir>/<digest>.facts  the facts
//! ```
//!
//! - [`index`], [`compact`]: the forms of the two
//! - [`evidence`]: how it is told that nothing has changed
//!
//! Only the running machine has such a cache. What hooks say is kept elsewhere (`crate::hook`), and is not in it.

mod compact;
mod evidence;
mod index;

use std::borrow::Cow;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bestfit_selector::digest::Digest;
use bestfit_selector::facts::Facts;
use bestfit_selector::microarch::{self, MicroarchError};
use bestfit_selector::schema::{SchemaFile, Schemas};
use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use crate::probe_settled;
use crate::root::HostRoot;
use index::Index;

/// How the name of an index ends: another form of it, or of the facts, has another name.
const INDEX: &str = "index3";
/// The longest file that is read, in bytes; facts of a large host have about 100 KB.
const MAX_FILE: usize = 4 << 20;
/// The most files that are kept: for each set of archspec data an index and its facts.
const MAX_FILES: usize = 16;

/// The cache of this machine's facts in a directory that only its owner may look into.
#[derive(Debug)]
pub struct FactsCache<'a> {
    dir: &'a Path,
    schemas: &'a [SchemaFile],
}

/// The facts that decide, on this machine.
#[derive(Debug)]
pub struct Held {
    /// The digest of the facts in the form that the cache keeps.
    pub digest: Digest,
    /// Whether they were in the cache.
    pub cached: bool,
    /// What was wrong with the cache, for the log.
    pub notes: Vec<String>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Here(Box<Facts>),
    File(PathBuf),
}

/// Facts in the cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct CacheError {
    path: PathBuf,
    why: String,
}

impl Held {
    /// The facts themselves: they are only read where somebody looks into them.
    pub fn facts(&self) -> Result<Cow<'_, Facts>, CacheError> {
        let path = match &self.place {
            Place::Here(facts) => return Ok(Cow::Borrowed(facts)),
            Place::File(path) => path,
        };
        let broken = |why: String| CacheError { path: path.clone(), why };
        let bytes = read(path).map_err(|error| broken(error.to_string()))?;
        if !self.digest.matches(&bytes) {
            return Err(broken("the bytes do not have this digest".to_owned()));
        }
        compact::read(&bytes).map(Cow::Owned).ok_or_else(|| broken("not the form that facts have".to_owned()))
    }
}

impl<'a> FactsCache<'a> {
    /// The cache in `dir`, for facts by the archspec data among the site's files, else by the built-in data.
    pub fn new(dir: &'a Path, schemas: &'a [SchemaFile]) -> Self {
        Self { dir, schemas }
    }

    /// The facts: from the cache where nothing has changed, else probed and kept. Fails where the site's data is broken.
    pub fn held(&self) -> Result<Held, MicroarchError> {
        match self.recall() {
            Ok(Some(digest)) => {
                let place = Place::File(self.facts_file(&digest));
                Ok(Held { digest, cached: true, notes: Vec::new(), place })
            }
            Ok(None) => self.probed(Vec::new()),
            Err(broken) => self.probed(vec![broken.to_string()]),
        }
    }

    /// The facts, probed whatever lies in the cache, and kept.
    pub fn renewed(&self) -> Result<Held, MicroarchError> {
        self.probed(Vec::new())
    }

    fn probed(&self, mut notes: Vec<String>) -> Result<Held, MicroarchError> {
        let targets = Schemas::targets_of(self.schemas)?;
        let (root, began) = (HostRoot::running().recording(), SystemTime::now());
        let facts = probe_settled(&root, &targets);
        let bytes = compact::write(&facts);
        let digest = Digest::of(&bytes);
        let snapshot = root.into_snapshot().unwrap_or_default();
        if let Some((asked, evidence)) = evidence::of(&snapshot, began) {
            let until = snapshot.until.and_then(|until| u64::try_from(until).ok()).unwrap_or(u64::MAX);
            let index = Index { since: seconds(began), until, evidence, facts: digest, asked };
            if let Err(error) = self.keep(&index, &bytes) {
                notes.push(format!("{}: {error}", self.dir.display()));
            }
        }
        Ok(Held { digest, cached: false, notes, place: Place::Here(Box::new(facts)) })
    }

    /// The digest of the facts, if they still stand. An index that is not as this program writes it is an error.
    fn recall(&self) -> Result<Option<Digest>, CacheError> {
        let path = self.index_file();
        let broken = |why: String| CacheError { path: path.clone(), why };
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(broken(error.to_string())),
        };
        let index = Index::read(&bytes).map_err(|why| broken(why.to_owned()))?;
        let stands = (index.since..index.until).contains(&seconds(SystemTime::now()))
            && evidence::now(&index.asked) == Some(index.evidence);
        Ok(stands.then_some(index.facts))
    }

    fn keep(&self, index: &Index<'_>, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.dir)?;
        write(&self.facts_file(&index.facts), bytes)?;
        write(&self.index_file(), &index.write())?;
        prune(self.dir)
    }

    fn index_file(&self) -> PathBuf {
        let data = self.schemas.iter().find(|file| microarch::is_file(&file.name));
        let name = data.map_or_else(|| "built-in".to_owned(), |file| Digest::of(file.text.as_bytes()).hex());
        self.dir.join(format!("{name}.{INDEX}"))
    }

    fn facts_file(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}.facts", digest.hex()))
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// Reads a file that nobody else can have written.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(io::Error::other("not a file that only its owner, who asks, can write"));
    }
    if found.len() > MAX_FILE as u64 {
        return Err(io::Error::other(format!("longer than {MAX_FILE} bytes")));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or_default() + 1);
    file.take(MAX_FILE as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Replaces a file at once.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Removes the oldest files.
fn prune(dir: &Path) -> io::Result<()> {
    let mut files: Vec<_> = fs::read_dir(dir)?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let surplus = files.len().saturating_sub(MAX_FILES);
    files[..surplus].iter().for_each(|(_, path)| drop(fs::remove_file(path)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Until what the machine does by itself lets two looks in a row see the same.
    fn settled(cache: &FactsCache<'_>) -> Held {
        (0..50).map(|_| cache.held().unwrap()).find(|held| held.cached).expect("a cache that holds")
    }

    #[test]
    fn a_second_look_finds_the_facts_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = FactsCache::new(dir.path(), &[]);
        assert!(!cache.held().unwrap().cached);
        let held = settled(&cache);
        assert!(held.notes.is_empty());
        let facts = held.facts().unwrap();
        assert_eq!(held.digest, Digest::of(&compact::write(&facts)));
        assert_eq!(fs::metadata(facts_of(&cache, &held)).unwrap().mode() & 0o777, 0o600);
    }

    fn facts_of(cache: &FactsCache<'_>, held: &Held) -> PathBuf {
        cache.facts_file(&held.digest)
    }

    fn signed(said: &[u8]) -> Vec<u8> {
        [&Digest::of(said).bytes()[..], said].concat()
    }

    #[test]
    fn what_cannot_be_trusted_is_probed_anew_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let cache = FactsCache::new(dir.path(), &[]);
        let index = cache.index_file();
        settled(&cache);
        let good = fs::read(&index).unwrap();
        let mut changed = good.clone();
        *changed.last_mut().unwrap() ^= 1;
        for (bytes, why) in [
            (changed, "do not have the digest"),
            (good[..good.len() / 2].to_vec(), "do not have the digest"),
            (b"x".to_vec(), "no whole digest"),
            (signed(b"x"), "not the form"),
            (signed(&[0xff; 9]), "not the form"),
            (signed(&good[32..good.len() - 1]), "not the form"),
            (vec![b'a'; MAX_FILE + 1], "longer than"),
        ] {
            fs::write(&index, bytes).unwrap();
            let held = cache.held().unwrap();
            assert!(!held.cached && held.notes[0].contains(why), "{:?}", held.notes);
        }
        fs::remove_file(&index).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &index).unwrap();
        assert!(!cache.held().unwrap().notes.is_empty());
        let held = settled(&cache);
        fs::write(facts_of(&cache, &held), "{}").unwrap();
        assert!(held.facts().unwrap_err().to_string().contains("do not have this digest"));
    }

    #[test]
    fn another_machine_time_or_data_has_other_facts() {
        let dir = tempfile::tempdir().unwrap();
        let cache = FactsCache::new(dir.path(), &[]);
        settled(&cache);
        let good = fs::read(cache.index_file()).unwrap();
        let changes: [fn(&mut Index<'_>); 4] = [
            |index| index.since = 9_999_999_999,
            |index| index.until = 1,
            |index| index.evidence = Digest::of(b"another boot"),
            |index| index.asked.truncate(9),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut index = Index::read(&good).unwrap();
            assert_eq!(index.write(), good);
            change(&mut index);
            fs::write(cache.index_file(), index.write()).unwrap();
            assert_eq!(cache.recall().unwrap(), None, "change {at}");
        }
        let data = SchemaFile { name: "/x/microarchitectures.json".to_owned(), text: "{}".to_owned() };
        assert!(FactsCache::new(dir.path(), &[data]).held().is_err(), "broken data is no cached data");
    }

    #[test]
    fn the_directory_stays_small() {
        let dir = tempfile::tempdir().unwrap();
        (0..40).for_each(|number| write(&dir.path().join(format!("{number}.facts")), b"").unwrap());
        prune(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), MAX_FILES);
    }
}
