//! Owns the conversation with the relay: the request comes in, exactly one answer goes out, and where mounts changed the
//! relay says whether it forwards them. The bytes are described in `shim/relay/src/worker.rs`.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, Stdin, Stdout};

use crate::request::Reply;

/// The longest Create request, in bytes: a ttrpc message (containerd/ttrpc, `messageLengthMax`).
const MAX_REQUEST: u32 = 4 << 20;
/// How long the request may take after the start of this process; for a later one, the relay starts another.
const ASKED_WITHIN: Duration = Duration::from_secs(5);
/// How long the relay may take to say that it forwards.
const ACCEPT_WITHIN: Duration = Duration::from_secs(10);
/// The byte with which the relay says so.
const ACCEPTED: u8 = b'A';

/// The relay at the other end of stdin and stdout.
pub(crate) struct Relay {
    stdin: Stdin,
    stdout: Stdout,
    asked: bool,
    answered: bool,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The relay goes on as it was told.
    Taken,
    /// It does not: it, or its client, is gone; or it was told something else before.
    Void,
    /// It has not said so yet, and may still go on: whoever gives up leaves the journal, and the relay asks `recover` for it.
    Nothing,
}

/// What the relay asks, once the Create has come.
pub(crate) struct Asked {
    /// The encoded CreateTaskRequest.
    pub(crate) request: Vec<u8>,
    /// When its client stops waiting.
    pub(crate) deadline: Option<Instant>,
}

impl Relay {
    pub(crate) fn new() -> Self {
        Self { stdin: tokio::io::stdin(), stdout: tokio::io::stdout(), asked: false, answered: false }
    }

    /// Reads the request: nanoseconds to the deadline (u64, big endian; 0 is none), a length (u32) and that many bytes. The
    /// relay may start a worker before there is one; None where it hangs up without any, or takes too long: where containerd dies
    /// before it sends one, its shims may stay, and this process must not.
    pub(crate) async fn request(&mut self) -> io::Result<Option<Asked>> {
        tokio::time::timeout(ASKED_WITHIN, self.read_request()).await.unwrap_or(Ok(None))
    }

    async fn read_request(&mut self) -> io::Result<Option<Asked>> {
        self.asked = true;
        let left = match self.stdin.read_u64().await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            left => left?,
        };
        let deadline = Some(left).filter(|left| *left > 0);
        let deadline = deadline.and_then(|left| Instant::now().checked_add(Duration::from_nanos(left)));
        let length = self.stdin.read_u32().await?;
        if length > MAX_REQUEST {
            return Err(io::Error::other(format!("a request of {length} bytes")));
        }
        let mut bytes = vec![0; length as usize];
        self.stdin.read_exact(&mut bytes).await?;
        Ok(Some(Asked { request: bytes, deadline }))
    }

    /// Answers, unless that was done already; where nothing was asked yet, once it is. True where the relay has taken it.
    pub(crate) async fn answer(&mut self, reply: &Reply) -> bool {
        if !self.asked && !matches!(self.request().await, Ok(Some(_))) {
            return false;
        }
        if std::mem::replace(&mut self.answered, true) {
            return false;
        }
        let sent = async {
            self.stdout.write_all(&reply.encode()).await?;
            self.stdout.flush().await
        };
        sent.await.is_ok()
    }

    async fn heard(&mut self) -> Heard {
        let mut byte = [0];
        match tokio::time::timeout(ACCEPT_WITHIN, self.stdin.read_exact(&mut byte)).await {
            Ok(Ok(_)) if byte[0] == ACCEPTED => Heard::Taken,
            Ok(_) => Heard::Void,
            Err(_) => Heard::Nothing,
        }
    }

    /// Answers, and where that changes the mounts, waits until the relay has taken them: one whose worker is gone by then asks
    /// for them again.
    pub(crate) async fn settle(&mut self, reply: &Reply) -> Heard {
        match (self.answer(reply).await, reply) {
            (false, _) => Heard::Void,
            (true, Reply::Mounts(_)) => self.heard().await,
            (true, Reply::Leave | Reply::Deny(_)) => Heard::Taken,
        }
    }

    /// Returns when the relay says that the request is void, or is gone.
    pub(crate) async fn gone(&mut self) {
        let _ = self.stdin.read(&mut [0]).await;
    }
}
