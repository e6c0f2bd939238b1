//! Owns the conversation with `bestfit-worker`, which decides about a Create and applies the decision.
//!
//! One socket is the worker's stdin and stdout. All lengths are u32, big endian.
//!
//! - relay → worker: length, then the encoded CreateTaskRequest as it would go on to the delegate
//! - worker → relay, once: `L` leave it | `M` length, encoded `rootfs` fields | `D` length, text: deny, with the reason
//! - relay → worker: `A` it goes on (or is denied) as you said | `R`, or the end of the stream: it does not, roll back
//!
//! `bestfit-worker recover` answers in the same way for a worker that died: `M` with the default's mounts where they moved.
//!
//! The worker may go on in the background after that. `BESTFIT_DEADLINE_NS` holds the time that the request has, in
//! nanoseconds, where it has a limit. On SIGTERM the worker exits; recover rolls back.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::request;
use crate::serve::Relay;
use crate::sys;

const NAME: &str = "bestfit-worker";
/// Where the worker is installed if not beside this program.
const FOLDERS: [&str; 2] = ["/usr/libexec/bestfit", "/usr/lib/bestfit"];
/// The longest answer that is taken, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// How often a silent worker is looked at: a process of its own could keep the socket open after its death.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long putting back what a dead worker left may take.
const RECOVER_WITHIN: Duration = Duration::from_secs(10);
/// How long a worker may take to roll back.
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
}

/// Where the worker is looked for: beside this program, then where packages put it.
pub(crate) fn places() -> Vec<PathBuf> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent);
    beside.into_iter().chain(FOLDERS.map(Path::new)).map(|folder| folder.join(NAME)).collect()
}

/// The installed worker; looked up for each Create, as it may be installed or removed at any time.
pub(crate) fn find(places: &[PathBuf]) -> Option<&Path> {
    places.iter().map(PathBuf::as_path).find(|path| fs::metadata(path).is_ok_and(|meta| meta.is_file()))
}

impl Worker {
    /// Starts the worker for a Create; nothing is sent to it yet.
    pub(crate) fn start(
        program: &Path,
        relay: &Relay,
        create: &request::Create,
        deadline: Option<Instant>,
    ) -> io::Result<Self> {
        Self::spawn("create", program, relay, create, deadline)
    }

    /// Puts back what a worker left that is dead: the snapshot may lie in a new directory by now, and only this answer names
    /// it.
    pub(crate) fn recover(relay: &Relay, create: &request::Create) -> Answer {
        let Some(program) = find(&relay.workers) else { return Answer::Leave };
        let Ok(mut worker) = Self::spawn("recover", program, relay, create, None) else { return Answer::Leave };
        let answer = worker.ask(&[], Instant::now() + RECOVER_WITHIN);
        worker.stop();
        answer.unwrap_or_else(|| {
            Answer::Deny("bestfit: a worker died, and what it left could not be put back".to_owned())
        })
    }

    fn spawn(
        what: &str,
        program: &Path,
        relay: &Relay,
        create: &request::Create,
        deadline: Option<Instant>,
    ) -> io::Result<Self> {
        let (socket, other) = UnixStream::pair()?;
        let mut command = Command::new(program);
        command.args([what, "--namespace", &relay.namespace, "--address", &relay.address]);
        command.args(["--id", create.id, "--bundle", create.bundle, "--runtime", &relay.profile]);
        command.stdin(OwnedFd::from(other.try_clone()?)).stdout(OwnedFd::from(other)).stderr(Stdio::null());
        command.env_remove("BESTFIT_DEADLINE_NS").current_dir("/");
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            command.env("BESTFIT_DEADLINE_NS", left.as_nanos().to_string());
        }
        sys::own_session(&mut command);
        Ok(Self { child: command.spawn()?, socket, stopped: false })
    }

    /// A handle whose shutdown makes the worker roll back, from whichever thread.
    pub(crate) fn handle(&self) -> io::Result<UnixStream> {
        self.socket.try_clone()
    }

    /// Sends the request and waits for the answer; none where the worker is dead, silent past the limit, or talks nonsense.
    pub(crate) fn ask(&mut self, create: &[u8], limit: Instant) -> Option<Answer> {
        let left = limit.saturating_duration_since(Instant::now());
        self.socket.set_write_timeout(Some(left.max(Duration::from_millis(1)))).ok()?;
        self.socket.write_all(&u32::try_from(create.len()).ok()?.to_be_bytes()).ok()?;
        self.socket.write_all(create).ok()?;
        let [kind] = self.read_array(limit)?;
        match kind {
            b'L' => Some(Answer::Leave),
            b'M' => self.read_long(limit).filter(|bytes| request::is_rootfs(bytes)).map(Answer::Mounts),
            b'D' => self.read_long(limit).map(|text| Answer::Deny(String::from_utf8_lossy(&text).into_owned())),
            _ => None,
        }
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

    /// Tells the worker that its answer takes effect now; false where it is gone, and so has rolled back.
    pub(crate) fn accept(&mut self) -> bool {
        self.socket.write_all(b"A").is_ok()
    }

    /// Tells the worker that its answer does not take effect.
    pub(crate) fn reject(&mut self) {
        let _ = self.socket.write_all(b"R");
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Ends the worker and waits for that: after this, nobody swaps anything under the container.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.reject();
        // A worker that lives hears the end of the stream, and rolls back by itself.
        let (end_at, kill_at) = (Instant::now() + ROLL_BACK_WITHIN, Instant::now() + 2 * ROLL_BACK_WITHIN);
        let mut told = false;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= end_at && !told {
                sys::signal(self.child.id(), sys::SIGTERM);
                told = true;
            }
            if Instant::now() >= kill_at {
                sys::signal(self.child.id(), sys::SIGKILL);
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
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
