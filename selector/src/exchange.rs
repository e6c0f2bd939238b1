//! Owns the words between the privileged worker and the unprivileged decider: one frame after the other over a pipe.
//! Pure: encodes and decodes, reads and writes nothing.
//!
//! A frame is one byte of [`Kind`], four bytes of length (big endian) and that many bytes. The worker sends [`Ask`] and the
//! index, gets an [`Answer`] or an error, and may then send any number of [`Fetch`]; each is answered by chunks and an end,
//! or by an error. It closes the pipe when it is done.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decision::{Decision, HostPlatform, Inputs};
use crate::digest::Digest;
use crate::facts::Facts;
use crate::policy::Policy;
use crate::schema::SchemaFile;

/// The longest payload of one frame, in bytes: a 4 MiB index, or a decision over 64 entries, with room.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A JSON message: [`Ask`], [`Answer`] or [`Fetch`].
    Message,
    /// Raw bytes that belong to the message before.
    Bytes,
    /// The stream of chunks is complete, and its digest was right.
    End,
    /// What was asked for failed; the payload says why, in UTF-8.
    Error,
}

/// The other side broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first byte is no kind.
    #[error("frame of unknown kind {0:#04x}")]
    Kind(u8),
    /// The payload is longer than [`MAX_PAYLOAD`].
    #[error("frame of {0} bytes, at most {MAX_PAYLOAD} are allowed")]
    TooLong(usize),
}

/// The bytes of a frame's header.
pub const HEADER: usize = 5;

/// The header of a frame with a payload of `length` bytes.
pub fn header(kind: Kind, length: usize) -> Result<[u8; HEADER], FrameError> {
    let short = u32::try_from(length).ok().filter(|_| length <= MAX_PAYLOAD).ok_or(FrameError::TooLong(length))?;
    let byte = match kind {
        Kind::Message => b'M',
        Kind::Bytes => b'B',
        Kind::End => b'.',
        Kind::Error => b'!',
    };
    let [a, b, c, d] = short.to_be_bytes();
    Ok([byte, a, b, c, d])
}

/// Reads a header back: the kind, and the length of the payload that follows.
pub fn parse_header([kind, a, b, c, d]: [u8; HEADER]) -> Result<(Kind, usize), FrameError> {
    let kind = match kind {
        b'M' => Kind::Message,
        b'B' => Kind::Bytes,
        b'.' => Kind::End,
        b'!' => Kind::Error,
        other => return Err(FrameError::Kind(other)),
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > MAX_PAYLOAD {
        return Err(FrameError::TooLong(length));
    }
    Ok((kind, length))
}

/// The question; a [`Kind::Bytes`] frame with the index follows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The image as the container names it; its repository is where referrers and content are asked for.
    pub reference: String,
    /// What is known about the host.
    pub facts: Facts,
    /// What the site asked for.
    pub policy: Policy,
    /// The group schemas of the site: the decider has no files.
    #[serde(default)]
    pub schemas: Vec<SchemaFile>,
    /// The host's platform.
    pub host: HostPlatform,
    /// The entry that containerd chose.
    pub default: Option<Digest>,
    /// Where the container was given NVIDIA GPUs: what its user says about `NVIDIA_REQUIRE_*`, and the configs of the candidates
    /// are read (`crate::require`).
    #[serde(default)]
    pub images: Option<Vec<String>>,
    /// Seconds since 1970 UTC.
    pub now: i64,
    /// How long the answer may take.
    pub deadline: Duration,
    /// How registries are reached.
    pub registries: RegistryAccess,
}

impl Ask {
    /// What the question says of a decision's inputs; what the decider finds out is still missing.
    pub fn into_inputs(self, index: Vec<u8>) -> Inputs {
        Inputs {
            index,
            facts: self.facts,
            policy: self.policy,
            schemas: self.schemas,
            host: self.host,
            default: self.default,
            evidence: BTreeMap::new(),
            standings: BTreeMap::new(),
            stale: BTreeMap::new(),
            images: None,
            now: self.now,
        }
    }
}

/// The part of the configuration that the decider needs to reach registries.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryAccess {
    /// containerd's `certs.d`.
    pub hosts_dir: std::path::PathBuf,
    /// Hosts that may be asked over plain http besides loopback.
    pub plain_http: Vec<String>,
    /// TCP ports besides those of the hosts that are named: of token servers, and of where registries redirect to.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Hosts that redirects may lead to although they lie in networks that are not public.
    #[serde(default)]
    pub redirects: Vec<String>,
    /// The bytes of docker's `config.json`, read by the worker: the decider may not read root's files. Secret.
    pub docker_config: Option<Vec<u8>>,
    /// How long a list of referrers counts as fresh.
    pub referrers_lifetime: Duration,
    /// The most bytes that the cache may hold.
    pub cache_max_bytes: u64,
}

/// The credentials are not printed.
impl fmt::Debug for RegistryAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts_dir, plain_http, ports, docker_config, .. } = self;
        let docker_config = docker_config.as_ref().map(|_| "<secret>");
        f.debug_struct("RegistryAccess")
            .field("hosts_dir", hosts_dir)
            .field("plain_http", plain_http)
            .field("ports", ports)
            .field("docker_config", &docker_config)
            .finish_non_exhaustive()
    }
}

/// How long the evidence of an index that carries its artifacts holds: nothing in it can change but dates in the future.
pub const INLINE_FRESH: Duration = Duration::from_secs(3600);

/// The decision.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// What was decided.
    pub decision: Decision,
    /// Requests that went out to registries.
    pub requests: u64,
    /// How long gathering took, in microseconds.
    pub gather_us: u64,
    /// How long matching took, in microseconds.
    pub decide_us: u64,
    /// How long the same question has the same answer: until the first list that was read needs to be read again, or an
    /// artifact is older than the site allows. None where something could not be read, or a list is used although it is
    /// outdated.
    pub fresh: Option<Duration>,
    /// How long it stays so whatever is attached or signed meanwhile: until a signature that counts ends, or an artifact is
    /// older than the site allows. A pod may keep the answer for so long.
    pub lasts: Duration,
    /// What the kernel could not hold the decider back from, and a cache that cannot be used, in words; empty where it has all that
    /// is asked of it.
    #[serde(default)]
    pub unenforced: Vec<String>,
}

/// One piece of content of the chosen entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// What to fetch.
    pub digest: Digest,
    /// Its exact size in bytes, from the descriptor that named it.
    pub size: u64,
    /// Whether it is a manifest, which registries serve from another place than blobs.
    pub manifest: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_printed() {
        let access = RegistryAccess {
            hosts_dir: "/certs.d".into(),
            plain_http: Vec::new(),
            ports: Vec::new(),
            redirects: Vec::new(),
            docker_config: Some(b"hunter2".to_vec()),
            referrers_lifetime: Duration::ZERO,
            cache_max_bytes: 0,
        };
        let text = format!("{access:?}");
        assert!(text.contains("<secret>") && !text.contains("hunter2") && !text.contains("104, 117"), "{text}");
    }

    #[test]
    fn headers_come_back_and_bad_ones_do_not() {
        for kind in [Kind::Message, Kind::Bytes, Kind::End, Kind::Error] {
            assert_eq!(parse_header(header(kind, 70_000).unwrap()), Ok((kind, 70_000)));
        }
        assert_eq!(header(Kind::Bytes, MAX_PAYLOAD + 1), Err(FrameError::TooLong(MAX_PAYLOAD + 1)));
        assert_eq!(parse_header([b'B', 0xff, 0, 0, 0]), Err(FrameError::TooLong(0xff00_0000)));
        assert_eq!(parse_header([0, 0, 0, 0, 0]), Err(FrameError::Kind(0)));
    }
}
