//! Owns the errors of reading from registries. No secret and no query of a URL ever gets into one.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bestfit_selector::digest::Digest;

/// Why something could not be read. Only [`Error::NotFound`] says that it is not there.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry, or the layout, says that it has no such thing.
    #[error("{what} is not there")]
    NotFound {
        /// What was asked for, with its place.
        what: String,
    },
    /// The registry refuses: HTTP 401 or 403.
    #[error("{what}: the registry refuses with HTTP {status}{detail}")]
    Denied {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// The registry's words, cleaned and shortened, or nothing.
        detail: String,
    },
    /// Any other answer that is no success.
    #[error("{what}: the registry answers with HTTP {status}{detail}")]
    Status {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// The registry's words, cleaned and shortened, or nothing.
        detail: String,
    },
    /// The host failed a short while ago and is left alone until then; nothing was sent.
    #[error("{host} is left alone for {} s more: {why}", seconds_until(*until))]
    Unavailable {
        /// Host with port.
        host: String,
        /// When it may be asked again.
        until: SystemTime,
        /// What happened.
        why: String,
    },
    /// No connection, or the connection broke.
    #[error("{host} cannot be reached: {why}")]
    Unreachable {
        /// Host with port.
        host: String,
        /// The cause in words.
        why: String,
    },
    /// The host did not answer, or stopped sending.
    #[error("{host} sent nothing for {} s", limit.as_secs_f32())]
    Stalled {
        /// Host with port.
        host: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The bytes are not those that were asked for.
    #[error("{what}: the bytes that came have the digest {got}, expected was {expected}")]
    DigestMismatch {
        /// What was asked for.
        what: String,
        /// The digest that was asked for, or that the registry claimed.
        expected: Digest,
        /// The digest of what came.
        got: Digest,
    },
    /// More bytes than allowed; the rest was not read.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Not as many bytes as declared.
    #[error("{what} has another size than the declared {declared} bytes")]
    WrongSize {
        /// What was asked for.
        what: String,
        /// The declared size in bytes.
        declared: u64,
    },
    /// More parts than allowed.
    #[error("{what}: more than {limit} {unit}")]
    TooMany {
        /// What was asked for.
        what: String,
        /// The limit.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// So many requests were sent that no more are.
    #[error("{host} is not asked any more, after {sent} requests")]
    Exhausted {
        /// Host with port.
        host: String,
        /// The requests that were sent.
        sent: u64,
    },
    /// An answer that is not what the distribution specification says.
    #[error("{what}: {why}")]
    Malformed {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A redirect that is not followed.
    #[error("{what}: redirect to {to} is not followed: {why}")]
    Redirect {
        /// What was asked for.
        what: String,
        /// Scheme, host and path of the target.
        to: String,
        /// The rule that forbids it.
        why: &'static str,
    },
    /// A token server that is not asked.
    #[error("{host}: its token server {realm} is not asked: {why}")]
    Realm {
        /// Host with port.
        host: String,
        /// Scheme, host and path of the realm.
        realm: String,
        /// The rule that forbids it.
        why: &'static str,
    },
    /// The stored credentials cannot be used.
    #[error("credentials for {host}: {why}")]
    Credentials {
        /// Host with port.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// containerd's configuration of registry hosts is broken.
    #[error("{}{}: {why}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    Hosts {
        /// The file or folder.
        path: PathBuf,
        /// Line, counted from 1.
        line: Option<usize>,
        /// What is wrong.
        why: String,
    },
    /// TLS or HTTP could not be set up (no CA certificates, a broken client key).
    #[error("TLS for {host} cannot be set up: {why}")]
    Tls {
        /// Host with port.
        host: String,
        /// The cause in words.
        why: String,
    },
    /// An OCI layout on disk cannot be read.
    #[error("OCI layout {}: {why}", folder.display())]
    Layout {
        /// The layout's folder.
        folder: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Error {
    /// Whether the thing is surely not there.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether a service could not be reached or did not answer, so that later may be better (exit code 69).
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Unreachable { .. } | Self::Stalled { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }

    /// Whether the registry, or the stored credentials, deny access (exit code 77).
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::Realm { .. } | Self::Credentials { .. })
    }
}

fn seconds_until(until: SystemTime) -> u64 {
    until.duration_since(SystemTime::now()).map_or(0, |left| left.as_secs().saturating_add(1))
}
