//! Owns the relay's life: it takes connections for the delegate until the delegate is gone.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::bundle::Record;
use crate::conn;
use crate::flags::Flags;
use crate::hold::Holds;
use crate::socket::Bound;
use crate::worker::Workers;
use crate::{log, socket, sys};

/// More connections than containerd makes for the largest pod; each costs two small threads.
const MAX_CONNECTIONS: usize = 1024;

/// The longest orders, in bytes: two paths of sockets and two words.
const MAX_ORDERS: u64 = 1024;
/// How long a delegate that closed its connections may take to exit.
const DELEGATE_EXITS_WITHIN: Duration = Duration::from_secs(5);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) record: Record,
    /// containerd speaks task version 2 and the delegate 3.
    pub(crate) bridge: bool,
    /// The delegate wants runc's options.
    pub(crate) convert: bool,
    pub(crate) holds: Holds,
    /// Connections that are open.
    pub(crate) open: AtomicUsize,
    /// Connections that were taken so far.
    pub(crate) taken: AtomicU64,
    pub(crate) workers: Workers,
}

/// What `start` says in the last line of its orders where versions differ.
pub(crate) const BRIDGE: &str = "bridge";
/// What it hears once clients can connect.
pub(crate) const LISTENS: u8 = b'L';

impl Relay {
    pub(crate) fn new(flags: &Flags, record: Record, bridge: bool, workers: Workers) -> Self {
        Self {
            record,
            bridge,
            convert: flags.convert,
            holds: Holds::default(),
            open: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            workers,
        }
    }
}

pub(crate) fn run(flags: &Flags) -> ExitCode {
    sys::outlive_signals();
    let workers = Workers::new(flags);
    if flags.ahead
        && let Ok(bundle) = std::env::current_dir()
    {
        workers.start_ahead(&flags.id, &bundle);
    }
    let (record, bridge, listener) = match told() {
        Ok(Some(told)) => told,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            log::warn(&format!("there is no relay: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let relay = Arc::new(Relay::new(flags, record, bridge, workers));
    let identity = socket::identity(&relay.record.delegate);
    let served = serve(&relay, &listener);
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

/// Waits for what `start` says on stdin: for which delegate, and where to listen. None where there is nothing to do: the
/// delegate did not start, or the relay of another container of the pod listens there.
fn told() -> io::Result<Option<(Record, bool, UnixListener)>> {
    let mut start = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut text = String::new();
    Read::by_ref(&mut start).take(MAX_ORDERS).read_to_string(&mut text)?;
    let Some(record) = Record::parse(&text) else { return Ok(None) };
    let listener = match socket::bind(&record.relay)? {
        Bound::Here(listener) => Some(listener),
        Bound::Elsewhere => None,
    };
    start.write_all(&[LISTENS])?;
    let Some(listener) = listener else { return Ok(None) };
    listener.set_nonblocking(true)?;
    Ok(Some((record, text.lines().nth(3) == Some(BRIDGE), listener)))
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
