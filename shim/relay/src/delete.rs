//! Owns `delete`: where the relay is gone and its delegate is not, the delegate is told to end the container and itself,
//! so that it is not left behind. Where a worker died with it in the middle of a swap, the container gets its snapshot back:
//! without one, no client could start it again. Then this process becomes the delegate's `delete`. containerd 2.x calls
//! `delete` after every exit, so it must cost nothing where the delegate is gone already.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::bundle::{self, Record};
use crate::delegate;
use crate::flags::Flags;
use crate::frame::{self, Frame, NOT_FOUND};
use crate::worker::Workers;
use crate::{log, request, socket, sys, wire};

/// How long ending a delegate may take: containerd gives `delete` 5 s, and the delegate's part comes after.
const LIMIT: Duration = Duration::from_secs(2);
/// How long all that comes before the delegate's part may take.
const ALL_WITHIN: Duration = Duration::from_secs(3);
/// How long a killed process may take before it is taken for frozen.
const THAW_AFTER: Duration = Duration::from_millis(500);
/// How long to wait before a delegate without a relay is told again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How long to wait before a delegate that gave no answer is looked at again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(1);
/// How long a process that is ending may take.
const ENDS_WITHIN: Duration = Duration::from_millis(300);

pub(crate) fn run(flags: &Flags) -> ExitCode {
    let limit = Instant::now() + ALL_WITHIN;
    let bundle = match flags.bundle.as_str() {
        "" => std::env::current_dir().unwrap_or_default(),
        path => PathBuf::from(path),
    };
    if let Some(record) = Record::read(&bundle) {
        end(&record, &flags.id);
        if let Err(error) = bundle::never_created(&bundle) {
            log::warn(&format!("the bundle {} may stay: {error}", bundle.display()));
        }
    }
    if bundle::is_half_rebased(&bundle)
        && let Some(bundle) = bundle.to_str()
    {
        // Nobody waits for the mounts: the next Create brings its own.
        Workers::new(flags).recover(&flags.id, bundle, limit.saturating_duration_since(Instant::now()));
    }
    delegate::become_delegate(flags, None)
}

/// Ends a container in its delegate, and a delegate that has no other and no relay any more; then removes the sockets
/// that nobody listens at. A relay or delegate that is just ending does so within a moment.
pub(crate) fn end(record: &Record, id: &str) {
    let limit = Instant::now() + LIMIT;
    // It is tried again: a create that was under way goes on after the first Kill found nothing.
    while let Ok(stream) = sys::connect_now(&record.delegate) {
        let mut client = Client { stream, version: record.version, next: 1, limit };
        // What cannot be told to the delegate is left to its `delete`, which kills the container by the runtime.
        let pause = match client.end(id, &record.relay) {
            Ok(Delegate::Relayed) => return,
            Ok(Delegate::Stays) if socket::stays_alive(&record.relay) => return,
            Ok(Delegate::Gone) => break,
            Ok(Delegate::Stays) => TRY_AGAIN_AFTER,
            // As a rule, it is just closing its connections, its listener last.
            Err(_) => LOOK_AGAIN_AFTER,
        };
        if Instant::now() + pause >= limit {
            break;
        }
        std::thread::sleep(pause);
    }
    for dead in [&record.relay, &record.delegate] {
        socket::remove_dead(dead, ENDS_WITHIN.min(limit.saturating_duration_since(Instant::now())));
    }
}

/// What a delegate does after a container has ended.
enum Delegate {
    /// It knows nothing of the container, and its relay lives.
    Relayed,
    /// It may have a relay, or other containers.
    Stays,
    Gone,
}

/// A client of the delegate's task service.
struct Client {
    stream: UnixStream,
    version: u32,
    next: u32,
    limit: Instant,
}

impl Client {
    fn end(&mut self, id: &str, relay: &Path) -> io::Result<Delegate> {
        let mut container = Vec::new();
        wire::put_bytes(&mut container, 1, id.as_bytes());
        let mut kill = container.clone();
        wire::put_number(&mut kill, 3, u64::from(sys::SIGKILL.cast_unsigned()));
        wire::put_number(&mut kill, 4, 1);
        let killed = self.call("Kill", &kill, LIMIT)?;
        if killed == u64::from(NOT_FOUND) && socket::stays_alive(relay) {
            // The usual case on 2.x: one container of a pod has ended, the others go on.
            return Ok(Delegate::Relayed);
        }
        if killed == 0 && self.call("Wait", &container, THAW_AFTER).is_err() {
            // A response that comes late is passed over by its stream id.
            self.call("Resume", &container, LIMIT)?;
            self.call("Wait", &container, LIMIT)?;
        }
        self.call("Delete", &container, LIMIT)?;
        self.call("Shutdown", &container, LIMIT)?;
        self.until_gone()
    }

    /// Calls a method and returns its status code.
    fn call(&mut self, method: &str, payload: &[u8], within: Duration) -> io::Result<u64> {
        let until = self.limit.min(Instant::now() + within);
        let nanoseconds = u64::try_from(remaining(until)?.as_nanos()).unwrap_or(0);
        let message = request::task_request(self.version, method, payload, nanoseconds);
        let stream = self.next;
        self.next += 2;
        self.stream.set_write_timeout(Some(remaining(until)?))?;
        io::Write::write_all(&mut self.stream, Frame::new(stream, frame::REQUEST, &message).as_stream(stream))?;
        let mut response = Frame::default();
        loop {
            self.stream.set_read_timeout(Some(remaining(until)?))?;
            if !response.read(&self.stream)? {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            if response.stream() == stream && response.kind() == frame::RESPONSE {
                return Ok(frame::status_code(response.payload()));
            }
        }
    }

    /// Waits until the delegate closes the connection, which it does not while it has other containers.
    fn until_gone(&mut self) -> io::Result<Delegate> {
        let until = self.limit.min(Instant::now() + ENDS_WITHIN);
        self.stream.set_read_timeout(Some(remaining(until)?))?;
        loop {
            match self.stream.read(&mut [0; 64]) {
                Ok(0) => return Ok(Delegate::Gone),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Delegate::Stays),
                Err(error) => return Err(error),
            }
        }
    }
}

fn remaining(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_relay_that_lives_is_looked_at_once() {
        let folder = Folder::new();
        let record = Record { delegate: folder.path().join("d"), version: 2, relay: folder.path().join("r") };
        let relay = UnixListener::bind(&record.relay).unwrap();
        let delegate = UnixListener::bind(&record.delegate).unwrap();
        let answers = std::thread::spawn(move || {
            let (client, _) = delegate.accept().unwrap();
            let mut kill = Frame::default();
            assert!(kill.read(&client).unwrap());
            let mut answer = frame::failure(kill.stream(), NOT_FOUND, "no such container");
            io::Write::write_all(&mut &client, answer.as_stream(kill.stream())).unwrap();
            Frame::default().read(&client).unwrap()
        });
        end(&record, "c1");
        assert!(!answers.join().unwrap(), "it was told more than Kill");
        relay.set_nonblocking(true).unwrap();
        assert!(relay.accept().is_ok() && relay.accept().is_err(), "the relay was looked at more than once");
        assert!(record.delegate.exists() && record.relay.exists());
    }
}
