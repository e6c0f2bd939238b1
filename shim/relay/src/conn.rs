//! Owns one connection of containerd and the one to the delegate that belongs to it. Frames go through as they are, under
//! other stream ids ([`crate::streams`]). When one side closes, the other is closed: the delegate sees a client that gave up.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use crate::frame::{self, Frame};
use crate::hold;
use crate::request::{Call, Request};
use crate::serve::Relay;
use crate::streams::Streams;
use crate::sys;

/// Stack of the threads that move frames, in bytes.
const STACK: usize = 64 << 10;

/// Milliseconds without an answer of the delegate after which this process gives back what it does not need to wait.
const QUIET: i32 = 250;

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) relay: Arc<Relay>,
    /// Tells the connections of a relay apart.
    pub(crate) number: u64,
    client: UnixStream,
    upstream: UnixStream,
    /// Held while a frame is written to containerd.
    to_client: Mutex<()>,
    /// Held while a frame is written to the delegate.
    to_upstream: Mutex<()>,
    streams: Mutex<Streams>,
}

/// Locks; a thread that panicked leaves nothing half done behind these locks.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Connects a client to the delegate and moves frames until one of them is gone.
pub(crate) fn open(relay: &Arc<Relay>, client: UnixStream) -> io::Result<()> {
    let upstream = UnixStream::connect(&relay.record.delegate)?;
    relay.open.fetch_add(1, Ordering::Relaxed);
    let conn = Arc::new(Conn {
        relay: Arc::clone(relay),
        number: relay.taken.fetch_add(1, Ordering::Relaxed),
        client,
        upstream,
        to_client: Mutex::new(()),
        to_upstream: Mutex::new(()),
        streams: Mutex::default(),
    });
    let down = Arc::clone(&conn);
    thread::Builder::new().stack_size(STACK).spawn(move || {
        let _ = down.to_containerd();
        down.close();
    })?;
    let up = Arc::clone(&conn);
    let spawned = thread::Builder::new().stack_size(STACK).spawn(move || {
        let _ = to_delegate(&up);
        up.close();
        up.relay.holds.cancel_of(up.number);
    });
    if spawned.is_err() {
        conn.close();
    }
    spawned.map(drop)
}

/// Moves containerd's frames to the delegate.
fn to_delegate(conn: &Arc<Conn>) -> io::Result<()> {
    let mut frame = Frame::default();
    while frame.read(&conn.client)? {
        if let Some(refusal) = frame.refusal() {
            conn.answer(refusal)?;
            continue;
        }
        match frame.kind() {
            frame::REQUEST => {
                let kept = handle_request(conn, frame)?;
                frame = kept;
            }
            // Data of a stream that the delegate has closed has nowhere to go.
            frame::DATA => {
                let stream = lock(&conn.streams).delegates(frame.stream());
                if let Some(stream) = stream {
                    let _writing = lock(&conn.to_upstream);
                    (&conn.upstream).write_all(frame.as_stream(stream))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sends a request on, or lets it wait; returns a frame whose buffer can be used again.
fn handle_request(conn: &Arc<Conn>, mut frame: Frame) -> io::Result<Frame> {
    let relay = &conn.relay;
    // What cannot be read is for the delegate to judge.
    let Ok(request) = Request::parse(frame.payload()) else { return conn.send(frame, |_| true) };
    let call = request.call;
    if call == Call::End
        && let Some(id) = request.ended_container()
    {
        relay.holds.cancel(id);
        relay.workers.dismiss(id);
    }
    let bridge = request.bridge_place().filter(|_| relay.bridge);
    if let Some(byte) = bridge.and_then(|place| frame.payload_mut().get_mut(place)) {
        *byte = b'3';
    }
    if call == Call::Create {
        return hold::begin(conn, frame, hold::STACK);
    }
    conn.send(frame, |_| true)
}

impl Conn {
    /// Sends a request to the delegate under a new stream id, unless `still` says no once it would be its turn.
    pub(crate) fn send(&self, mut frame: Frame, still: impl FnOnce(&mut Frame) -> bool) -> io::Result<Frame> {
        let _writing = lock(&self.to_upstream);
        if !still(&mut frame) {
            return Ok(frame);
        }
        let stream = lock(&self.streams).begin(frame.stream());
        (&self.upstream).write_all(frame.as_stream(stream))?;
        Ok(frame)
    }

    /// Answers a request in the delegate's place.
    pub(crate) fn answer(&self, mut frame: Frame) -> io::Result<()> {
        let _writing = lock(&self.to_client);
        let stream = frame.stream();
        (&self.client).write_all(frame.as_stream(stream))
    }

    /// Moves the delegate's frames to containerd.
    fn to_containerd(&self) -> io::Result<()> {
        let mut frame = Frame::default();
        while frame.read(&self.upstream)? {
            // containerd's own client ends the call in this way.
            frame = frame.refusal().unwrap_or(frame);
            let ends = frame.ends_stream();
            let stream = lock(&self.streams).containerds(frame.stream(), ends);
            if let Some(stream) = stream {
                let _writing = lock(&self.to_client);
                (&self.client).write_all(frame.as_stream(stream))?;
            }
            let [more] = sys::poll([self.upstream.as_raw_fd()], QUIET)?;
            if !more {
                frame = Frame::default();
                sys::let_go_of_code();
            }
        }
        Ok(())
    }

    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.upstream.shutdown(Shutdown::Both);
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.relay.open.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
