//! A small HTTP server on 127.0.0.1 that answers what a test tells it to, also with lies, drips, floods and silence.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub target: String,
    pub authorization: Option<String>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Status, headers, body.
    Plain(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Declares this size, sends this body, hangs up.
    Declared(u64, Vec<u8>),
    /// Sends bytes without end and without declaring a size.
    Flood,
    /// Sends a beginning and then nothing.
    Drip,
    /// Sends a byte every few milliseconds, without end.
    Trickle,
    /// Reads and says nothing.
    Silence,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    pub(crate) flooded: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", answer)
    }

    pub(crate) fn at(address: &str, answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, flooded, stop) =
            (Arc::<Mutex<Vec<Request>>>::default(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let answer = Arc::new(answer);
        let (log, count, end) = (seen.clone(), flooded.clone(), stop.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (log, count, end, answer) = (log.clone(), count.clone(), end.clone(), answer.clone());
                thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    log.lock().unwrap().push(request.clone());
                    let _ = write(stream, answer(&request), &count, &end);
                });
            }
        });
        Self { address, seen, flooded, stop }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Targets asked for so far, in order.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|request| request.target.clone()).collect()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

pub(crate) fn ok(media: &str, body: impl Into<Vec<u8>>) -> Answer {
    Answer::Plain(200, vec![("content-type", media.to_owned())], body.into())
}

pub(crate) fn status(status: u16) -> Answer {
    Answer::Plain(status, Vec::new(), br#"{"errors":[{"code":"TEST","message":"said the test"}]}"#.to_vec())
}

pub(crate) fn redirect(to: impl Into<String>) -> Answer {
    Answer::Plain(307, vec![("location", to.into())], Vec::new())
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let target = line.split(' ').nth(1)?.to_owned();
    let mut authorization = None;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => authorization = Some(value.to_owned()),
            Some(_) => {}
            None => return Some(Request { target, authorization }),
        }
    }
}

fn write(mut stream: TcpStream, answer: Answer, flooded: &AtomicU64, stop: &AtomicBool) -> std::io::Result<()> {
    let wait = || {
        while !stop.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
    };
    let index = "content-type: application/vnd.oci.image.index.v1+json";
    match answer {
        Answer::Plain(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            stream.write_all(head.as_bytes())?;
            stream.write_all(b"\r\n")?;
            stream.write_all(&body)
        }
        Answer::Declared(size, body) => {
            stream.write_all(format!("HTTP/1.1 200 X\r\n{index}\r\ncontent-length: {size}\r\n\r\n").as_bytes())?;
            stream.write_all(&body)
        }
        Answer::Flood => {
            stream.write_all(format!("HTTP/1.1 200 X\r\n{index}\r\nconnection: close\r\n\r\n").as_bytes())?;
            let piece = [b' '; 1 << 16];
            while flooded.load(Ordering::SeqCst) < 1 << 30 {
                stream.write_all(&piece)?;
                flooded.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
            Ok(())
        }
        Answer::Drip => {
            stream.write_all(format!("HTTP/1.1 200 X\r\n{index}\r\ncontent-length: 100\r\n\r\n{{").as_bytes())?;
            wait();
            Ok(())
        }
        Answer::Trickle => {
            stream.write_all(format!("HTTP/1.1 200 X\r\n{index}\r\ncontent-length: 100000\r\n\r\n").as_bytes())?;
            while !stop.load(Ordering::SeqCst) {
                stream.write_all(b" ")?;
                thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        }
        Answer::Silence => {
            wait();
            Ok(())
        }
    }
}
