//! Owns a server on this machine that answers as a scenario tells it to: the truth of the registry behind it, lies, drips,
//! floods, redirects, silence. It keeps what it was asked, credentials included. [`tls`]: the same by https.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::{Value, json};

use crate::http::{self, Response};
use crate::image::media;
use crate::registry::Registry;

pub mod tls;

use tls::Stream;

/// The most bytes of one flood: a reader that has no limit of its own ends there.
const FLOOD: u64 = 1 << 30;
/// The time between two bytes of a drip.
const DRIP: Duration = Duration::from_millis(200);

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `HEAD`, ….
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
    behind: Option<String>,
}

impl Request {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is for that kind of thing (`manifests`, `blobs`, `referrers`) with that digest or tag.
    pub fn is_for(&self, kind: &str, id: &str) -> bool {
        let path = self.target.split('?').next().unwrap_or_default();
        path.ends_with(&format!("/{kind}/{id}"))
    }

    /// Whether it is for any thing of that kind.
    pub fn is_kind(&self, kind: &str) -> bool {
        self.target.contains(&format!("/{kind}/"))
    }

    /// Whether it asks for what refers to a digest: by the API, or by the tag that stands in for it.
    pub fn is_list(&self, digest: &str) -> bool {
        self.is_for("referrers", digest) || self.is_for("manifests", &digest.replace(':', "-"))
    }

    /// What the registry behind answers.
    pub fn honest(&self) -> Response {
        let Some(behind) = &self.behind else { return Response { status: 404, headers: Vec::new(), body: Vec::new() } };
        let passed = ["accept", "range", "content-type", "authorization"];
        let headers = self.headers.iter().filter(|(name, _)| passed.contains(&name.as_str()));
        let headers: Vec<(&str, &str)> = headers.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let failed = |error: io::Error| Response { status: 502, headers: Vec::new(), body: error.to_string().into() };
        http::request(&self.method, behind, &self.target, &headers, &self.body).unwrap_or_else(failed)
    }

    /// The honest list of referrers, changed.
    pub fn list_with(&self, change: impl FnOnce(&mut Vec<Value>)) -> Answer {
        let honest = self.honest();
        let mut list: Value = serde_json::from_slice(&honest.body)
            .unwrap_or_else(|_| json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": []}));
        change(list["manifests"].as_array_mut().expect("a list of manifests"));
        Answer::json(media::INDEX, &list)
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// What the registry behind says.
    Honest,
    /// Status, headers, body.
    Plain(u16, Vec<(String, String)>, Vec<u8>),
    /// Bytes without end, of no declared size.
    Flood,
    /// A byte from time to time, of a size that is never reached.
    Drip,
    /// Reads and says nothing.
    Silence,
}

impl Answer {
    /// 200 with a body.
    pub fn ok(media: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::Plain(200, vec![("Content-Type".to_owned(), media.to_owned())], body.into())
    }

    /// 200 with a JSON body.
    pub fn json(media: &str, body: &Value) -> Self {
        Self::ok(media, serde_json::to_vec(body).expect("JSON"))
    }

    /// A status with a body as registries send them.
    pub fn status(status: u16) -> Self {
        let body = br#"{"errors":[{"code":"TEST","message":"said the test"}]}"#;
        Self::Plain(status, vec![("Content-Type".to_owned(), "application/json".to_owned())], body.to_vec())
    }

    /// 307 to another address.
    pub fn redirect(to: &str) -> Self {
        Self::Plain(307, vec![("Location".to_owned(), to.to_owned())], Vec::new())
    }

    /// 401 with a challenge.
    pub fn challenge(challenge: &str) -> Self {
        Self::Plain(401, vec![("WWW-Authenticate".to_owned(), challenge.to_owned())], Vec::new())
    }
}

type Rule = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

struct Shared {
    behind: Option<String>,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Request>>,
    connections: AtomicU64,
    flooded: AtomicU64,
    over: AtomicBool,
}

/// The server; it ends with the value.
pub struct Hostile {
    /// `address:port`, as it stands in references to images.
    pub host: String,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Hostile {
    /// In front of a registry, whose answers it gives until it is told otherwise.
    pub fn before(registry: &Registry) -> Self {
        Self::start(("127.0.0.1", 0), Some(registry.host.clone()), None, |_| Answer::Honest)
    }

    /// The same by https, with a certificate and its key.
    pub fn before_by_tls(registry: &Registry, (certificate, key): (&Path, &Path)) -> Self {
        let tls = Some(tls::server(certificate, key));
        Self::start(("127.0.0.1", 0), Some(registry.host.clone()), tls, |_| Answer::Honest)
    }

    /// With no registry behind, on every address of this machine.
    pub fn alone(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(("0.0.0.0", 0), None, None, answer)
    }

    /// With no registry behind, on one address and the port of somebody else: deciders reach few ports.
    pub fn at(address: &str, port: u16, answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start((address, port), None, None, answer)
    }

    fn start(
        address: (&str, u16),
        behind: Option<String>,
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let rule: Rule = Arc::new(answer);
        let shared = Arc::new(Shared {
            behind,
            rule: Mutex::new(rule),
            seen: Mutex::default(),
            connections: AtomicU64::new(0),
            flooded: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if served.over.load(Ordering::SeqCst) {
                    return;
                }
                served.connections.fetch_add(1, Ordering::SeqCst);
                let (served, tls) = (Arc::clone(&served), tls.clone());
                thread::spawn(move || {
                    let mut stream = Stream::new(stream, tls.as_ref())?;
                    served.serve(&mut stream)?;
                    stream.finish()
                });
            }
        });
        Self { host: format!("127.0.0.1:{}", address.port()), address, shared }
    }

    /// From now on it answers so.
    pub fn answer(&self, rule: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *lock(&self.shared.rule) = Arc::new(rule);
    }

    /// From now on it tells the truth.
    pub fn be_honest(&self) {
        self.answer(|_| Answer::Honest);
    }

    /// Its port, on whichever address.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What was asked since the last call.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *lock(&self.shared.seen))
    }

    /// How often somebody connected, also with what is no HTTP: an attempt at TLS.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Bytes that floods have sent.
    pub fn flooded(&self) -> u64 {
        self.shared.flooded.load(Ordering::SeqCst)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which closes the listener.
        TcpStream::connect(self.address).ok();
    }
}

impl std::fmt::Debug for Hostile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hostile").field("host", &self.host).field("behind", &self.shared.behind).finish_non_exhaustive()
    }
}

impl Shared {
    fn serve(&self, stream: &mut Stream) -> io::Result<()> {
        let request = read(stream, self.behind.clone())?;
        lock(&self.seen).push(request.clone());
        let rule = Arc::clone(&lock(&self.rule));
        match rule(&request) {
            Answer::Honest => {
                let honest = request.honest();
                write(stream, &request, honest.status, &honest.headers, &honest.body)
            }
            Answer::Plain(status, headers, body) => write(stream, &request, status, &headers, &body),
            Answer::Flood => self.flood(stream),
            Answer::Drip => self.drip(stream),
            Answer::Silence => self.wait_for_end(|| Ok(())),
        }
    }

    fn flood(&self, stream: &mut Stream) -> io::Result<()> {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nConnection: close\r\n\r\n", media::INDEX)?;
        let piece = [b' '; 1 << 16];
        while self.flooded.load(Ordering::SeqCst) < FLOOD && !self.over.load(Ordering::SeqCst) {
            stream.write_all(&piece)?;
            self.flooded.fetch_add(piece.len() as u64, Ordering::SeqCst);
        }
        Ok(())
    }

    fn drip(&self, stream: &mut Stream) -> io::Result<()> {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: 100000\r\n\r\n", media::INDEX)?;
        self.wait_for_end(|| stream.write_all(b" "))
    }

    fn wait_for_end(&self, mut meanwhile: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        while !self.over.load(Ordering::SeqCst) {
            meanwhile()?;
            thread::sleep(DRIP);
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(stream: &mut Stream, behind: Option<String>) -> io::Result<Request> {
    let garbage = || io::Error::new(io::ErrorKind::InvalidData, "no HTTP request");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = words.next().zip(words.next()).ok_or_else(garbage)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse());
    let mut body = vec![0; length.transpose().map_err(|_| garbage())?.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Request { method, target, headers, body, behind })
}

/// Headers as given, but for those that say how the body is sent: it goes whole, and the connection ends.
fn write(
    stream: &mut Stream,
    request: &Request,
    status: u16,
    headers: &[(String, String)],
    body: &[u8],
) -> io::Result<()> {
    let head = request.method == "HEAD";
    let mut text = format!("HTTP/1.1 {status} Said\r\nConnection: close\r\n");
    for (name, value) in headers {
        let kept = match name.to_ascii_lowercase().as_str() {
            "connection" | "transfer-encoding" => false,
            // The answer to HEAD tells the size of what it leaves out.
            "content-length" => head,
            _ => true,
        };
        if kept {
            text += &format!("{name}: {value}\r\n");
        }
    }
    if !head {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    stream.write_all((text + "\r\n").as_bytes())?;
    if head { Ok(()) } else { stream.write_all(body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_it_is_told_and_keeps_what_it_was_asked() {
        let server = Hostile::alone(|request| match request.is_kind("blobs") {
            true => Answer::status(403),
            false => Answer::challenge("Bearer realm=\"http://elsewhere/\""),
        });
        let ask = |path: &str| {
            let headers = [("Authorization", "Basic c2VjcmV0")];
            http::request("GET", &server.host, path, &headers, b"").expect("an answer")
        };
        assert_eq!(ask("/v2/a/blobs/sha256:0").status, 403);
        assert_eq!(ask("/v2/").header("www-authenticate"), Some("Bearer realm=\"http://elsewhere/\""));
        server.be_honest();
        assert_eq!(ask("/v2/").status, 404, "nothing is behind it");
        let seen = server.take();
        assert_eq!((seen.len(), server.connections()), (3, 3));
        assert_eq!(seen[0].header("authorization"), Some("Basic c2VjcmV0"));
        assert!(seen[0].is_for("blobs", "sha256:0") && server.take().is_empty());
    }
}
