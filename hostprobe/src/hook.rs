//! Owns the asking of hooks: which programs may be run at all, what each is asked, and how long its answer is kept. What a
//! hook that fails leaves is "unknown", with the reason, for every key of its group. How one is run is [`run`]'s; the words
//! of question and answer are `bestfit_selector::hook`'s.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bestfit_selector::digest::Digest;
use bestfit_selector::facts::{Fact, Facts, State};
use bestfit_selector::hook::{self, Hook, Kept};
use bestfit_selector::json;
use bestfit_selector::schema::{SchemaFile, Schemas};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

mod run;

pub use run::ends_with_parent;

/// How long a failure is kept: a hook that hangs must not hold up every create.
const RETRY: Duration = Duration::from_secs(60);
/// How long until a lock that another process holds is tried again.
const AGAIN: Duration = Duration::from_millis(5);
/// The longest file of a kept answer, in bytes.
const MAX_KEPT: u64 = 4 << 20;

/// What came of asking.
#[derive(Debug, Default)]
pub struct Report {
    /// Why facts are unknown, and what hooks wrote on standard error: for the log.
    pub notes: Vec<String>,
    /// Some hook gave no answer: facts that hold what it left are not to be kept.
    pub failed: bool,
}

/// Asks every hook about its group, and adds what it says to `facts`. Each sees the facts as they were before any hook was
/// asked. Answers are kept in `dir`, by everything they depend on; a failure is kept for a minute. All together take no
/// longer than `within`.
pub fn ask(
    hooks: &BTreeMap<String, Hook>,
    schemas: &[SchemaFile],
    dir: &Path,
    within: Duration,
    facts: &mut Facts,
) -> Report {
    let mut report = Report::default();
    let started = Instant::now();
    let mut told = Vec::new();
    for (group, hook) in hooks {
        let until = started + within;
        let outcome = Asking { group, hook, until, schemas, dir }.outcome(facts, &mut report.notes);
        told.push((group, hook, outcome));
    }
    for (group, hook, outcome) in told {
        let source = hook.command.display().to_string();
        match outcome {
            Ok(keys) => {
                for (key, state) in keys {
                    facts.set(group, key, Fact { state, source: source.clone() });
                }
            }
            Err(why) => {
                let why = format!("hook {source}: {why}");
                report.failed = true;
                report.notes.push(format!("{group}: {why}"));
                facts.set(group, "*", Fact::unknown(why, source));
            }
        }
    }
    report
}

/// Everything besides the facts and the schemas that answers depend on: for whoever keeps facts with what hooks said.
pub fn stamp(hooks: &BTreeMap<String, Hook>) -> String {
    let one = |(group, hook): (&String, &Hook)| format!("{group} {}", stamp_of(hook).unwrap_or_default());
    hooks.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Why a program is not run: it, or a directory on its way, could be changed by somebody who is not root.
pub fn check(command: &Path) -> Result<(), String> {
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let real = fs::canonicalize(command).map_err(|error| failed(command, error))?;
    if real != command {
        return Err(format!("{} leads through a link: name {} itself", command.display(), real.display()));
    }
    let (mut place, mut first) = (Some(command), true);
    while let Some(path) = place {
        let found = fs::symlink_metadata(path).map_err(|error| failed(path, error))?;
        if found.uid() != 0 {
            return Err(format!("{} belongs to uid {}, not to root", path.display(), found.uid()));
        }
        if found.mode() & 0o022 != 0 {
            return Err(format!("{} can be written by others (mode {:o})", path.display(), found.mode() & 0o7777));
        }
        if first && (!found.is_file() || found.mode() & 0o111 == 0) {
            return Err(format!("{} is no program", path.display()));
        }
        (place, first) = (path.parent(), false);
    }
    Ok(())
}

/// One hook and what it is asked about.
struct Asking<'a> {
    group: &'a str,
    hook: &'a Hook,
    /// When there is no more time for it.
    until: Instant,
    schemas: &'a [SchemaFile],
    dir: &'a Path,
}

type Outcome = Result<BTreeMap<String, State>, String>;

impl Asking<'_> {
    /// The kept answer, or a new one.
    fn outcome(&self, facts: &Facts, notes: &mut Vec<String>) -> Outcome {
        if !geteuid().is_root() {
            return Err("it is asked only where bestfit runs as root, which can give up rights".to_owned());
        }
        check(&self.hook.command)?;
        let question = hook::question(self.group, facts).map_err(|error| error.to_string())?;
        // Without it nothing is kept: an answer must not outlive the boot that it was given in.
        let input = self.input(&question);
        let Some(input) = input else { return self.run(&question, notes) };
        // One after the other, so that many creates at once ask once.
        let lock = self.lock();
        if let Some(outcome) = self.kept(&input) {
            return outcome;
        }
        let outcome = self.run(&question, notes);
        match &lock {
            Ok(_) => self.keep(Kept { input, outcome: outcome.clone() }, notes),
            Err(error) => notes.push(format!("{}: answers are not kept: {}: {error}", self.group, self.dir.display())),
        }
        outcome
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    fn run(&self, question: &[u8], notes: &mut Vec<String>) -> Outcome {
        let hook = Hook { timeout: self.hook.timeout.min(self.left()), ..self.hook.clone() };
        if hook.timeout.is_zero() {
            return Err("no time is left for it".to_owned());
        }
        let ended = run::run(&hook, question)?;
        if !ended.said.is_empty() {
            notes.push(format!("{}: hook {} says: {}", self.group, self.hook.command.display(), ended.said));
        }
        let answer = ended.outcome?;
        let site;
        let schemas = match self.schemas {
            [] => Schemas::builtin(),
            files => {
                site = Schemas::with(files).map_err(|error| error.to_string())?;
                &site
            }
        };
        hook::answer(&answer, self.group, schemas.group(self.group))
    }

    /// The digest of what an answer depends on: the boot, the program, the schemas, the question.
    fn input(&self, question: &[u8]) -> Option<Digest> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let mut all = format!("{}\n{}\n{}\n", hook::VERSION, boot.trim(), stamp_of(self.hook)?);
        for file in self.schemas {
            all.push_str(&format!("{} {}\n", file.name, Digest::of(file.text.as_bytes())));
        }
        all.push_str(&Digest::of(question).to_string());
        Some(Digest::of(all.as_bytes()))
    }

    fn file(&self) -> PathBuf {
        let name = Digest::of(self.group.as_bytes()).to_string().replace(':', "-");
        self.dir.join(format!("{name}.json"))
    }

    fn lock(&self) -> io::Result<Flock<File>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.dir)?;
        let mut file = File::create(self.file().with_extension("lock"))?;
        loop {
            // A lock that waits would wait for as long as others run theirs.
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((_, errno)) if errno != Errno::EWOULDBLOCK || self.left().is_zero() => return Err(errno.into()),
                Err((back, _)) => file = back,
            }
            std::thread::sleep(AGAIN.min(self.left()));
        }
    }

    fn kept(&self, input: &Digest) -> Option<Outcome> {
        let file = File::open(self.file()).ok()?;
        let age = file.metadata().ok()?.modified().ok()?.elapsed().unwrap_or(RETRY);
        let mut bytes = Vec::new();
        file.take(MAX_KEPT).read_to_end(&mut bytes).ok()?;
        let kept = Kept::read(&bytes).filter(|kept| kept.input == *input)?;
        (kept.outcome.is_ok() || age < RETRY).then_some(kept.outcome)
    }

    fn keep(&self, kept: Kept, notes: &mut Vec<String>) {
        let (file, part) = (self.file(), self.file().with_extension("part"));
        let bytes = kept.bytes().map_err(io::Error::other);
        let written = bytes.and_then(|bytes| fs::write(&part, bytes)).and_then(|()| fs::rename(&part, &file));
        if let Err(error) = written {
            notes.push(format!("{}: its answer is not kept: {}: {error}", self.group, file.display()));
        }
    }
}

/// The program as it lies there, and as whom it runs.
fn stamp_of(hook: &Hook) -> Option<String> {
    let found = fs::metadata(&hook.command).ok()?;
    let time = (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
    let (device, inode, size) = (found.dev(), found.ino(), found.size());
    let (uid, gid, command) = (hook.uid, hook.gid, json::plain(&hook.command.to_string_lossy(), 4096));
    Some(format!("{command} {device} {inode} {size} {time:?} {:?} {uid} {gid}", hook.timeout))
}
