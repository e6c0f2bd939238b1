//! Owns the questions that can be asked about a host root, and the three answers (value, not there, could not look) of each.
//! They come from files ([`live`]), or from a snapshot; what was asked can be recorded. It knows no fact.

mod live;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::cpu::cpuid::{Cpuid, Registers};
use crate::platform;
use crate::seen::Seen;
use crate::snapshot::{Answer, Machine, Snapshot, leaf_name};
use live::Near;

/// Where what is asked about a host comes from: the running machine, a directory that holds another machine's files, or a
/// snapshot.
#[derive(Debug)]
pub struct HostRoot {
    place: Place,
    /// The directory that is held open, of the running machine.
    near: Option<Near>,
    /// What was asked so far, where that is recorded. The same question has the same answer then.
    record: Option<Mutex<Snapshot>>,
}

#[derive(Debug)]
enum Place {
    Running,
    Beneath(OwnedFd),
    Recorded(Snapshot),
}

/// A file of the kernel of which only a part counts, so that only that part is an answer: the rest changes all the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) path: &'static str,
    /// Tells it from other parts of the file.
    pub(crate) name: &'static str,
    /// The part of the whole text.
    pub(crate) of: fn(&str) -> String,
}

impl Part {
    /// The question that asks for it.
    pub(crate) fn question(&self) -> String {
        format!("only {}", self.name)
    }
}

/// A host root that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the host root {path}")]
pub struct RootError {
    path: String,
    /// The failed call's error.
    pub source: std::io::Error,
}

/// Why a file or a directory of the root gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{0}: not there")]
    Missing(String),
    #[error("{0}: {1}")]
    Failed(String, Errno),
    #[error("{0}: {1}")]
    Unreadable(String, String),
}

impl HostRoot {
    /// The running machine: its files, its CPUID instruction, its auxiliary vector.
    pub fn running() -> Self {
        Self { place: Place::Running, near: None, record: None }
    }

    /// The host whose `/proc`, `/sys` and `/etc` lie below `dir`. Links are resolved inside `dir`, as after a chroot, and
    /// nothing but these files is read. Needs Linux 5.6 (`openat2`); before it every fact is unknown.
    pub fn at(dir: impl AsRef<Path>) -> Result<Self, RootError> {
        let dir = dir.as_ref();
        open(dir, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map(|fd| Self { place: Place::Beneath(fd), near: None, record: None })
            .map_err(|errno| RootError { path: dir.display().to_string(), source: errno.into() })
    }

    /// The host that a snapshot was made of; nothing of the running machine is looked at.
    pub fn recorded(snapshot: Snapshot) -> Self {
        Self { place: Place::Recorded(snapshot), near: None, record: None }
    }

    /// The same root, recording what is asked of it from now on.
    #[must_use]
    pub fn recording(self) -> Self {
        let machine = match &self.place {
            Place::Running => {
                Some(Machine { architecture: platform::this_architecture().to_owned(), ..Machine::default() })
            }
            Place::Beneath(_) => None,
            Place::Recorded(snapshot) => snapshot.machine.clone(),
        };
        Self { place: self.place, near: self.near, record: Some(Mutex::new(Snapshot::new(machine))) }
    }

    /// Says that `path` is asked about next, and what follows shares `dir` with it. Such a directory of the running machine is
    /// held open, so that what is asked about things in it needs no way from the top: most of what a question costs in `/sys`.
    pub(crate) fn stand_in(&mut self, path: &str, dir: Option<&str>) {
        let held = self.near.as_ref().filter(|near| near.name(path).is_some()).map_or(0, Near::depth);
        match dir.filter(|dir| dir.len() > held) {
            Some(dir) if self.is_running() => self.near = Near::to(dir),
            _ => {}
        }
    }

    /// What was recorded, if anything was to be.
    pub fn into_snapshot(self) -> Option<Snapshot> {
        self.record.map(|record| record.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether instructions and calls speak about this root: of the running machine, or of one that was recorded running.
    pub(crate) fn has_machine(&self) -> bool {
        match &self.place {
            Place::Running => true,
            Place::Beneath(_) => false,
            Place::Recorded(snapshot) => snapshot.machine.is_some(),
        }
    }

    /// The architecture that is known without a file, in GOARCH spelling.
    pub(crate) fn architecture(&self) -> Option<&'static str> {
        match &self.place {
            Place::Running => Some(platform::this_architecture()),
            Place::Beneath(_) => None,
            Place::Recorded(snapshot) => platform::known(&snapshot.machine.as_ref()?.architecture),
        }
    }

    /// Hands over the CPUID of this root's processor, where it has one.
    pub(crate) fn with_cpuid(&self, look: impl FnOnce(&dyn Cpuid)) -> bool {
        match &self.place {
            Place::Beneath(_) => return false,
            Place::Recorded(snapshot) => match &snapshot.machine {
                Some(machine) if machine.cpuid.is_some() => look(machine),
                _ => return false,
            },
            Place::Running => return self.with_instruction(look),
        }
        true
    }

    #[cfg(target_arch = "x86_64")]
    fn with_instruction(&self, look: impl FnOnce(&dyn Cpuid)) -> bool {
        let instruction = crate::cpu::instruction::ThisProcessor;
        match &self.record {
            None => look(&instruction),
            Some(record) => look(&Recording { instruction: &instruction, record }),
        }
        true
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn with_instruction(&self, _: impl FnOnce(&dyn Cpuid)) -> bool {
        false
    }

    /// What the call `name` returns. Of a root that is no machine nobody can know.
    pub(crate) fn call(&self, name: &str, live: impl FnOnce() -> Result<i64, Errno>) -> Option<Result<i64, Errno>> {
        let told = |value: i64| match value.checked_neg().map(i32::try_from) {
            Some(Ok(errno @ 1..)) => Err(Errno::from_raw(errno)),
            _ => Ok(value),
        };
        match &self.place {
            Place::Beneath(_) => None,
            Place::Recorded(snapshot) => snapshot.machine.as_ref()?.calls.get(name).copied().map(told),
            Place::Running => {
                let answer = live();
                let kept = answer.unwrap_or_else(|errno| -i64::from(errno as i32));
                self.note(|snapshot| {
                    if let Some(machine) = &mut snapshot.machine {
                        machine.calls.insert(name.to_owned(), kept);
                    }
                });
                Some(answer)
            }
        }
    }

    /// When this root is looked at, in seconds since 1970: of a snapshot, when it was made. One that does not say so, of an
    /// older bestfit, is read as of now.
    pub(crate) fn now(&self) -> i64 {
        let this = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        };
        let now = match &self.place {
            Place::Recorded(snapshot) => snapshot.made.unwrap_or_else(this),
            Place::Running | Place::Beneath(_) => this(),
        };
        self.note(|snapshot| snapshot.made = Some(now));
        now
    }

    /// What is asked of this root may be answered otherwise from `time` on, though nothing was written.
    pub(crate) fn changes_at(&self, time: i64) {
        self.note(|snapshot| snapshot.until = Some(snapshot.until.map_or(time, |until| until.min(time))));
    }

    fn note(&self, write: impl FnOnce(&mut Snapshot)) {
        if let Some(record) = &self.record {
            write(&mut record.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// The answer to `question` about `path`: the recorded one, or what `live` finds, which is recorded where that is wanted.
    fn ask(
        &self,
        path: &str,
        question: &str,
        live: impl FnOnce() -> Result<Answer, Answer>,
    ) -> Result<Answer, ReadError> {
        if let Some(record) = &self.record
            && let Some(answer) = record.lock().unwrap_or_else(PoisonError::into_inner).get(path, question)
        {
            return answer.told(path);
        }
        let answer = match &self.place {
            Place::Recorded(snapshot) => snapshot
                .get(path, question)
                .unwrap_or_else(|| Answer::Unreadable(format!("the snapshot does not hold it ({question})"))),
            Place::Running | Place::Beneath(_) => live().unwrap_or_else(|failed| failed),
        };
        self.note(|snapshot| snapshot.put(path, question, answer.clone()));
        answer.told(path)
    }

    /// Whether this is the running machine itself.
    pub fn is_running(&self) -> bool {
        matches!(self.place, Place::Running)
    }

    /// The whole file at the absolute `path`. Bytes that are no UTF-8 become U+FFFD, so that one odd byte in a name does
    /// not hide the rest.
    pub(crate) fn text(&self, path: &str) -> Result<String, ReadError> {
        let lossy = |error: std::string::FromUtf8Error| String::from_utf8_lossy(error.as_bytes()).into_owned();
        self.bytes(path).map(|bytes| String::from_utf8(bytes).unwrap_or_else(lossy))
    }

    /// The whole file at the absolute `path`; a longer one than 1 MiB is an error, never cut.
    pub(crate) fn bytes(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        self.ask(path, "file", || self.live_bytes(path).map(Answer::bytes))?.into_bytes(path)
    }

    /// The part that counts of a file. A snapshot of an older bestfit holds the whole file.
    pub(crate) fn text_of(&self, part: &Part) -> Result<String, ReadError> {
        let (path, question) = (part.path, part.question());
        if let Place::Recorded(snapshot) = &self.place
            && snapshot.get(path, &question).is_none()
        {
            return self.text(path).map(|text| (part.of)(&text));
        }
        let bytes = self.ask(path, &question, || self.live_text_of(part))?.into_bytes(path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The file at `path` up to where `enough` holds or the file ends. More than `limit` bytes before that is an error.
    pub(crate) fn text_until(
        &self,
        path: &str,
        limit: usize,
        enough: impl Fn(&[u8]) -> bool,
    ) -> Result<String, ReadError> {
        let live = || self.live_until(path, limit, enough).map(Answer::bytes);
        let bytes = self.ask(path, "start", live)?.into_bytes(path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Up to `length` bytes (at most 1 MiB) of the file at `path`, from the byte `offset` on; fewer where it ends.
    pub(crate) fn part(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, ReadError> {
        let question = format!("part {offset} {length}");
        self.ask(path, &question, || self.live_part(path, offset, length))?.into_bytes(path)
    }

    /// The sorted names in the directory at `path`, at most 4096: more is an error, never cut.
    pub(crate) fn names(&self, path: &str) -> Result<Vec<String>, ReadError> {
        self.ask(path, "names", || self.live_names(path).map(Answer::Names))?.into_names(path)
    }

    /// Those of the names in the directory at `path` below which there is something named `child`.
    pub(crate) fn names_with(&self, path: &str, child: &str) -> Result<Vec<String>, ReadError> {
        self.ask(path, &format!("with {child}"), || self.live_names_with(path, child).map(Answer::Names))?
            .into_names(path)
    }

    /// Whether something is at `path`.
    pub(crate) fn exists(&self, path: &str) -> Result<bool, ReadError> {
        self.ask(path, "exists", || self.live_exists(path).map(Answer::Is))?.into_is(path)
    }

    /// Whether a regular file is at `path`; nothing there is an error.
    pub(crate) fn is_regular(&self, path: &str) -> Result<bool, ReadError> {
        self.ask(path, "regular", || self.live_regular(path).map(Answer::Is))?.into_is(path)
    }

    /// Whether a file system would be mounted on `path` by looking into it (autofs): whoever looks would wait for that.
    pub(crate) fn awaits_mount(&self, path: &str) -> Result<bool, ReadError> {
        self.ask(path, "automount", || self.live_automount(path).map(Answer::Is))?.into_is(path)
    }

    /// Whether something is at `path`, as an answer: true, absent under the witness rule of [`HostRoot::seen`], or unknown.
    pub(crate) fn seen_there(&self, path: &str, witness: &str) -> Seen<bool> {
        let there = match self.exists(path) {
            Ok(true) => Ok(true),
            Ok(false) => Err(ReadError::Missing(path.to_owned())),
            Err(error) => Err(error),
        };
        self.seen(there, witness)
    }

    /// What `read` says: a missing file is absent only when the directory `witness`, which is there wherever anybody
    /// could have looked, is there. An unmounted `/sys` is no answer.
    pub(crate) fn seen<T>(&self, read: Result<T, ReadError>, witness: &str) -> Seen<T> {
        match read {
            Ok(value) => Seen::Known(value),
            Err(ReadError::Missing(path)) => match self.exists(witness) {
                Ok(true) => Seen::Absent,
                Ok(false) => Seen::Unknown(format!("{path}: not there, nor is {witness}")),
                Err(error) => Seen::Unknown(error.to_string()),
            },
            Err(error) => Seen::Unknown(error.to_string()),
        }
    }

    /// The trimmed text of `path`, with the witness rule of [`HostRoot::seen`].
    pub(crate) fn seen_line(&self, path: &str, witness: &str) -> Seen<String> {
        self.seen(self.text(path), witness).map(|text| text.trim().to_owned())
    }

    /// The whole number in `path`, with the witness rule of [`HostRoot::seen`].
    pub(crate) fn seen_number(&self, path: &str, witness: &str) -> Seen<i64> {
        self.seen_line(path, witness).and_then(|text| match text.parse() {
            Ok(number) => Seen::Known(number),
            Err(_) => Seen::Unknown(format!("{path}: not a number: {text:?}")),
        })
    }

    /// The trimmed text of a device's attribute: none where there is no such file, or where the device has no value for it
    /// now (EINVAL, as for the speed of an interface that is down).
    pub(crate) fn attribute(&self, path: &str) -> Result<Option<String>, ReadError> {
        match self.text(path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(ReadError::Missing(_) | ReadError::Failed(_, Errno::EINVAL)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The instruction, and what it said.
#[cfg(target_arch = "x86_64")]
struct Recording<'a> {
    instruction: &'a dyn Cpuid,
    record: &'a Mutex<Snapshot>,
}

#[cfg(target_arch = "x86_64")]
impl Recording<'_> {
    fn note(&self, write: impl FnOnce(&mut Machine)) {
        if let Some(machine) = &mut self.record.lock().unwrap_or_else(PoisonError::into_inner).machine {
            write(machine);
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Cpuid for Recording<'_> {
    fn registers(&self, leaf: u32, subleaf: u32) -> Option<Registers> {
        let found = self.instruction.registers(leaf, subleaf);
        if let Some(Registers { eax, ebx, ecx, edx }) = found {
            self.note(|machine| {
                machine.cpuid.get_or_insert_default().insert(leaf_name(leaf, subleaf), [eax, ebx, ecx, edx]);
            });
        }
        found
    }

    fn xcr0(&self) -> Option<u64> {
        let found = self.instruction.xcr0();
        self.note(|machine| machine.xcr0 = found);
        found
    }
}
