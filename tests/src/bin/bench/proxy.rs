//! Owns a proxy in front of a registry that delays each request, and so makes visible which waited for which.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What each request waits: long against the work between two requests.
const DELAY: Duration = Duration::from_millis(60);

/// One request: its line, when it came, when the last byte of its answer went.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) line: String,
    came: Instant,
    answered: Instant,
}

/// A proxy on a port of 127.0.0.1; it lives as long as the process.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// `127.0.0.1:port`.
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Exchange>>>,
}

impl Proxy {
    pub(crate) fn before(registry: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("its address").to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (registry, log) = (registry.to_owned(), Arc::clone(&seen));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (registry, log) = (registry.clone(), Arc::clone(&log));
                thread::spawn(move || relay(&client, &registry, &log));
            }
        });
        Self { host, seen }
    }

    /// What was asked since the last call.
    pub(crate) fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.seen.lock().expect("log"))
    }
}

/// Passes bytes on; a chunk from the client that opens with a method is a request (clients here send no bodies).
fn relay(client: &TcpStream, registry: &str, log: &Arc<Mutex<Vec<Exchange>>>) {
    let server = TcpStream::connect(registry).expect("the registry");
    let current: Arc<Mutex<Option<usize>>> = Arc::default();
    let (answers, to_client) = (server.try_clone().expect("socket"), client.try_clone().expect("socket"));
    let (their_log, their_current) = (Arc::clone(log), Arc::clone(&current));
    thread::spawn(move || {
        copy(
            &answers,
            &to_client,
            |_| {},
            |_| {
                let Some(at) = *their_current.lock().expect("current") else { return };
                if let Some(exchange) = their_log.lock().expect("log").get_mut(at) {
                    exchange.answered = Instant::now();
                }
            },
        );
    });
    let before = |bytes: &[u8]| {
        let line = String::from_utf8_lossy(bytes.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
        if ["GET ", "HEAD "].iter().any(|method| line.starts_with(method)) {
            let now = Instant::now();
            let mut log = log.lock().expect("log");
            *current.lock().expect("current") = Some(log.len());
            log.push(Exchange { line, came: now, answered: now });
            drop(log);
            thread::sleep(DELAY);
        }
    };
    copy(client, &server, before, |_| {});
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, before: impl Fn(&[u8]), after: impl Fn(&[u8])) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        before(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        after(&buffer[..count]);
    }
    to.shutdown(Shutdown::Write).ok();
}

/// The longest chain of requests of which each came after the answer to the one before: the rounds that were waited for.
pub(crate) fn rounds(exchanges: &[Exchange]) -> usize {
    let mut by_end = exchanges.to_vec();
    by_end.sort_by_key(|exchange| exchange.answered);
    let mut chain = 0;
    let mut end = None;
    for exchange in by_end {
        if end.is_none_or(|end| exchange.came >= end) {
            chain += 1;
            end = Some(exchange.answered);
        }
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_side_by_side_are_one_round() {
        let base = Instant::now();
        let at = |came: u64, answered: u64| Exchange {
            line: String::new(),
            came: base + Duration::from_millis(came),
            answered: base + Duration::from_millis(answered),
        };
        assert_eq!(rounds(&[]), 0);
        assert_eq!(rounds(&[at(0, 9), at(1, 8), at(2, 10)]), 1);
        // The second subject's requests overlap the first one's, one round later.
        assert_eq!(rounds(&[at(0, 10), at(0, 15), at(11, 21), at(16, 26), at(22, 32), at(27, 37)]), 3);
    }
}
