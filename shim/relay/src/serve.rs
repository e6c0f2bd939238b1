//! Owns the relay's life: it takes connections for the delegate until the delegate is gone.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::bundle::Record;
use crate::conn;
use crate::flags::Flags;
use crate::hold::Holds;
use crate::{log, socket, sys, worker};

/// More connections than containerd makes for the largest pod; each costs two small threads.
const MAX_CONNECTIONS: usize = 1024;

/// How long a delegate that closed its connections may take to exit.
const DELEGATE_EXITS_WITHIN: Duration = Duration::from_secs(5);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) record: Record,
    pub(crate) namespace: String,
    /// containerd's gRPC address.
    pub(crate) address: String,
    pub(crate) profile: String,
    /// containerd speaks task version 2 and the delegate 3.
    pub(crate) bridge: bool,
    /// The delegate wants runc's options.
    pub(crate) convert: bool,
    pub(crate) holds: Holds,
    /// Connections that are open.
    pub(crate) open: AtomicUsize,
    /// Connections that were taken so far.
    pub(crate) taken: AtomicU64,
    /// Where the worker may be installed.
    pub(crate) workers: Vec<PathBuf>,
    pub(crate) missed_worker: AtomicBool,
}

impl Relay {
    pub(crate) fn new(flags: &Flags) -> Self {
        let (delegate, relay) = (flags.delegate.clone().into(), flags.relay.clone().into());
        Self {
            record: Record { delegate, version: flags.delegate_version, relay },
            namespace: flags.namespace.clone(),
            address: flags.address.clone(),
            profile: flags.profile(),
            bridge: flags.bridge,
            convert: flags.convert,
            holds: Holds::default(),
            open: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            workers: worker::places(),
            missed_worker: AtomicBool::new(false),
        }
    }
}

pub(crate) fn run(flags: &Flags) -> ExitCode {
    sys::outlive_signals();
    let relay = Arc::new(Relay::new(flags));
    let identity = socket::identity(&relay.record.delegate);
    let served = listener().and_then(|listener| serve(&relay, &listener));
    let _ = std::fs::remove_file(&relay.record.relay);
    drain(&relay);
    // The delegate unlinks what the `address` file names, which is our socket; its own is left to us.
    if let Some(identity) = identity {
        socket::remove_dead_one(&relay.record.delegate, identity, DELEGATE_EXITS_WITHIN);
    }
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::warn(&format!("the relay ends: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The listening socket that `start` passed as stdin.
fn listener() -> io::Result<UnixListener> {
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.local_addr()?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes connections until the delegate closes the one that watches it.
pub(crate) fn serve(relay: &Arc<Relay>, listener: &UnixListener) -> io::Result<()> {
    let watch = watch(&relay.record.delegate)?;
    loop {
        let [client, delegate] = sys::poll([listener.as_raw_fd(), watch.as_raw_fd()], -1)?;
        if delegate && ended(&watch) {
            return Ok(());
        }
        if client {
            accept(relay, listener);
        }
    }
}

fn watch(delegate: &Path) -> io::Result<UnixStream> {
    let watch = UnixStream::connect(delegate)?;
    watch.set_nonblocking(true)?;
    Ok(watch)
}

/// Whether the delegate has closed the connection; what it might say there is passed over.
fn ended(mut watch: &UnixStream) -> bool {
    match io::Read::read(&mut watch, &mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

fn accept(relay: &Arc<Relay>, listener: &UnixListener) {
    let accepted = listener.accept().and_then(|(client, _)| {
        client.set_nonblocking(false)?;
        if relay.open.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
            return Err(io::Error::other("too many connections"));
        }
        conn::open(relay, client)
    });
    use io::ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
    // The delegate is gone, as the watch is about to say, or the client is.
    let expected = [ConnectionRefused, NotFound, WouldBlock];
    if let Err(error) = accepted
        && !expected.contains(&error.kind())
    {
        log::warn(&format!("a connection was refused: {error}"));
        // Without descriptors or memory the next attempt fails as well: do not spin.
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Lets the last answers reach containerd: the delegate's end closes every connection.
fn drain(relay: &Relay) {
    for _ in 0..100 {
        if relay.open.load(Ordering::Acquire) == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
