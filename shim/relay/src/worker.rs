//! Owns the conversation with `bestfit-worker`, which decides about a Create and applies the decision.
//!
//! One socket is the worker's stdin and stdout. All lengths are u32, big endian. A worker may be started before its Create
//! comes: it looks, changes nothing until it has the request, and ends where that does not come within seconds.
//!
//! - relay → worker: the nanoseconds that the request has (u64, big endian; 0 where there is no limit), length, then the
//!   encoded CreateTaskRequest as it would go on to the delegate
//! - worker → relay, once: `L` leave it | `M` length, encoded `rootfs` fields | `D` length, text: deny, with the reason
//! - relay → worker, after `M` and `D`: `A` it goes on (or is denied) as you said | `R`, or the end of the stream: it does not, roll
//!   back. Nothing is said after `L`
//!
//! `bestfit-worker recover` answers in the same way for a worker that died: `M` with the default's mounts where they moved. It hears
//! `A` when that was read.
//!
//! The worker may go on in the background after that. On SIGTERM it exits in the middle of whatever it does; recover rolls
//! back, and its answer is the only one that carries the mounts of what was put back.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::conn::lock;
use crate::flags::Flags;
use crate::site::Site;
use crate::{bundle, log, request, require, sys};

const NAME: &str = "bestfit-worker";
/// What a refusal says where `recover` failed.
const LEFT: &str = "a worker died, and what it left could not be put back";
/// The same where neither had begun anything.
const BOTH_DIED: &str = "a worker died before it began anything, and so did the one after it";
/// What a refusal names as its reason, as the worker's do.
const REQUIRE: &str = "trust.mode = \"require\"";
/// Stack of the thread that ends a worker, in bytes.
const STACK: usize = 64 << 10;
/// Where the worker is installed if not beside this program.
const FOLDERS: [&str; 2] = ["/usr/libexec/bestfit", "/usr/lib/bestfit"];
/// The longest answer that is taken, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// How often a silent worker is looked at: a process of its own could keep the socket open after its death.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long putting back what a dead worker left may take.
pub(crate) const RECOVER_WITHIN: Duration = Duration::from_secs(10);
/// How long a worker may take to roll back, and to die of a signal.
const ROLL_BACK_WITHIN: Duration = Duration::from_secs(2);

/// What the worker decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Leave,
    /// Encoded `rootfs` fields to put in the place of the request's.
    Mounts(Vec<u8>),
    /// The reason.
    Deny(String),
}

/// A running worker.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    socket: UnixStream,
    stopped: bool,
    ahead: bool,
    /// A byte of its answer has come.
    spoke: bool,
}

/// The workers of a relay: what each is told, where the program is, and the one that was started ahead.
#[derive(Debug)]
pub(crate) struct Workers {
    /// Where the program may be installed.
    pub(crate) places: Vec<PathBuf>,
    namespace: String,
    /// containerd's gRPC address.
    address: String,
    /// Where the site's configuration lies, and the profile that the worker is told.
    pub(crate) site: Site,
    /// The worker that already looks at the container of this id.
    ahead: Mutex<Option<(String, Worker)>>,
}

impl Workers {
    /// Looks beside this program, then where packages put it.
    pub(crate) fn new(flags: &Flags) -> Self {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent);
        let places = beside.into_iter().chain(FOLDERS.map(Path::new)).map(|folder| folder.join(NAME)).collect();
        Self {
            places,
            namespace: flags.namespace.clone(),
            address: flags.address.clone(),
            site: Site::of(flags),
            ahead: Mutex::new(None),
        }
    }

    /// Starts the worker for a Create that is still to come. It changes nothing before it has the request.
    pub(crate) fn start_ahead(&self, id: &str, bundle: &Path) {
        if let Some(Ok(worker)) = bundle.to_str().map(|bundle| self.start("create", id, bundle)) {
            *lock(&self.ahead) = Some((id.to_owned(), worker));
        }
    }

    /// The worker for a Create: the one that was started ahead, or a new one; else why there is none.
    pub(crate) fn take(&self, create: &request::Create) -> Result<Worker, String> {
        self.take_ahead(create.id).map_or_else(|| self.start("create", create.id, create.bundle), Ok)
    }

    /// What becomes of a container about which no worker can decide: it stays as containerd made it, unless the site asks that
    /// it is refused then.
    pub(crate) fn undecided(&self, bundle: &str, why: &str) -> Answer {
        if require::is_asked(&self.site, &self.namespace, Path::new(bundle)) {
            log::warn(&format!("{why}: the container is refused, as {REQUIRE} is asked for"));
            return Answer::Deny(format!("bestfit: {why} ({REQUIRE})"));
        }
        log::warn(&format!("{why}: the image stays as containerd chose it"));
        Answer::Leave
    }

    /// Ends a worker that was started for a Create with which bestfit has no business, or that does not come; any where the
    /// id is empty. Nobody waits for that: it changes nothing before it has the request.
    pub(crate) fn dismiss(&self, id: &str) {
        let Some(mut worker) = self.take_ahead(id) else { return };
        // Where there can be no thread, it hears the end of the stream, and is reaped when the relay ends.
        let _ = thread::Builder::new().stack_size(STACK).spawn(move || worker.give_up());
    }

    fn take_ahead(&self, id: &str) -> Option<Worker> {
        let (_, mut worker) = lock(&self.ahead).take_if(|(other, _)| id.is_empty() || other == id)?;
        worker.ahead = true;
        // One that has waited too long has ended.
        matches!(worker.child.try_wait(), Ok(None)).then_some(worker)
    }

    /// Another worker for the Create of one that [gave up](Worker::gave_up).
    pub(crate) fn renew(&self, create: &request::Create) -> Option<Worker> {
        self.start("create", create.id, create.bundle).ok()
    }

    /// Puts back what a worker left that is dead: the snapshot may lie in a new directory by now, and only this answer names
    /// it. Where that cannot be done, and the bundle says that a swap was begun, the mounts of the request may be gone, and the
    /// container is refused.
    pub(crate) fn recover(&self, id: &str, bundle: &str, within: Duration) -> Answer {
        let mut worker = match self.start("recover", id, bundle) {
            Ok(worker) => worker,
            Err(why) if bundle::is_half_rebased(Path::new(bundle)) => {
                log::warn(&format!("{why}: {LEFT}"));
                return Answer::Deny(format!("bestfit: {LEFT}"));
            }
            Err(why) => return self.undecided(bundle, &why),
        };
        match worker.ask(&[], None, Instant::now() + within) {
            Some(answer) => {
                // Only now it forgets how to put things back. What it does after that holds up nobody.
                worker.accept();
                let _ = thread::Builder::new().stack_size(STACK).spawn(move || worker.reap());
                answer
            }
            None => {
                worker.stop();
                match bundle::is_half_rebased(Path::new(bundle)) {
                    true => Answer::Deny(format!("bestfit: {LEFT}")),
                    false => self.undecided(bundle, BOTH_DIED),
                }
            }
        }
    }

    /// Starts the installed worker; looked up for each Create, as it may be installed or removed at any time.
    fn start(&self, what: &str, id: &str, bundle: &str) -> Result<Worker, String> {
        let installed = |path: &&PathBuf| fs::metadata(path).is_ok_and(|meta| meta.is_file());
        let program = self.places.iter().find(installed).ok_or_else(|| format!("{NAME} is not installed"))?;
        self.spawn(what, program, id, bundle).map_err(|error| format!("{}: {error}", program.display()))
    }

    fn spawn(&self, what: &str, program: &Path, id: &str, bundle: &str) -> io::Result<Worker> {
        let (socket, other) = UnixStream::pair()?;
        let mut command = Command::new(program);
        command.args([what, "--namespace", &self.namespace, "--address", &self.address]);
        command.args(["--id", id, "--bundle", bundle, "--runtime", &self.site.profile]);
        command.stdin(OwnedFd::from(other.try_clone()?)).stdout(OwnedFd::from(other)).stderr(Stdio::null());
        command.current_dir("/");
        sys::own_session(&mut command);
        Ok(Worker { child: command.spawn()?, socket, stopped: false, ahead: false, spoke: false })
    }
}

impl Worker {
    /// A handle whose shutdown makes the worker roll back, from whichever thread.
    pub(crate) fn handle(&self) -> io::Result<UnixStream> {
        self.socket.try_clone()
    }

    /// Sends the request and waits for the answer; none where the worker is dead, silent past the limit, or talks nonsense.
    pub(crate) fn ask(&mut self, create: &[u8], deadline: Option<Instant>, limit: Instant) -> Option<Answer> {
        let now = Instant::now();
        let left = limit.saturating_duration_since(now);
        self.socket.set_write_timeout(Some(left.max(Duration::from_millis(1)))).ok()?;
        let deadline = deadline.map(|deadline| deadline.saturating_duration_since(now).as_nanos());
        let deadline = deadline.map_or(0, |left| u64::try_from(left).unwrap_or(u64::MAX).max(1));
        self.socket.write_all(&deadline.to_be_bytes()).ok()?;
        self.socket.write_all(&u32::try_from(create.len()).ok()?.to_be_bytes()).ok()?;
        self.socket.write_all(create).ok()?;
        let [kind] = self.read_array(limit)?;
        self.spoke = true;
        match kind {
            b'L' => Some(Answer::Leave),
            b'M' => self.read_long(limit).filter(|bytes| request::is_rootfs(bytes)).map(Answer::Mounts),
            b'D' => self.read_long(limit).map(|text| Answer::Deny(String::from_utf8_lossy(&text).into_owned())),
            _ => None,
        }
    }

    /// Whether it was started ahead and has ended by itself without a word, as one does whose Create comes late: the one after
    /// it sees to whatever it may have left. One that was killed did not give up.
    pub(crate) fn gave_up(&mut self) -> bool {
        let by_itself = |worker: &mut Self| matches!(worker.child.try_wait(), Ok(Some(status)) if status.success());
        self.ahead && !self.spoke && self.has_ended(Instant::now() + LOOK_EVERY) && by_itself(self)
    }

    fn read_long(&mut self, limit: Instant) -> Option<Vec<u8>> {
        let length = u32::from_be_bytes(self.read_array(limit)?) as usize;
        if length > MAX_ANSWER {
            return None;
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes, limit)?;
        Some(bytes)
    }

    fn read_array<const N: usize>(&mut self, limit: Instant) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, limit)?;
        Some(bytes)
    }

    fn fill(&mut self, mut bytes: &mut [u8], limit: Instant) -> Option<()> {
        let mut dead = false;
        while !bytes.is_empty() {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.socket.set_read_timeout(Some(left.min(LOOK_EVERY))).ok()?;
            match self.socket.read(bytes) {
                Ok(0) => return None,
                Ok(count) => bytes = &mut bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What a worker said before it died is still read.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !dead => {
                    dead = self.child.try_wait().ok()?.is_some();
                }
                Err(_) => return None,
            }
        }
        Some(())
    }

    /// Tells the worker that its answer takes effect now; false where it is gone: it has rolled back, or has left that to recover.
    pub(crate) fn accept(&mut self) -> bool {
        self.socket.write_all(b"A").is_ok()
    }

    /// Tells the worker that its answer does not take effect.
    pub(crate) fn reject(&mut self) {
        let _ = self.socket.write_all(b"R");
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Ends a worker whose Create still goes on, and waits for that: after this, nobody swaps anything under the container.
    /// It must not hear the end of the stream while it lives: it would put things back by itself and close its journal, and
    /// its mounts would reach nobody. What dies of SIGTERM leaves the journal, and recover answers with the mounts.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.end(sys::SIGTERM, Instant::now() + ROLL_BACK_WITHIN);
        self.end(sys::SIGKILL, Instant::now() + ROLL_BACK_WITHIN);
        self.reject();
    }

    /// Ends a worker whose Create does not go on, and waits for that: it rolls back by itself.
    pub(crate) fn give_up(&mut self) {
        self.reject();
        if !self.has_ended(Instant::now() + ROLL_BACK_WITHIN) {
            self.stop();
        }
    }

    fn end(&mut self, signal: i32, limit: Instant) {
        if !self.has_ended(Instant::now()) {
            sys::signal(self.child.id(), signal);
            self.has_ended(limit);
        }
    }

    fn has_ended(&mut self, limit: Instant) -> bool {
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= limit {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Whether [`Self::stop`] was called: there is nobody left to accept anything from.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Waits until the worker has exited, however long it goes on in the background.
    pub(crate) fn reap(mut self) {
        drop(self.socket);
        let _ = self.child.wait();
    }
}
