//! Owns the decider process from the worker's side: starts it, asks, and takes content from it piece by piece. Its bytes
//! are foreign: everything is bounded here, and checked again by whoever uses it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use bestfit_selector::exchange::{Answer, Ask, Fetch, FrameError, HEADER, Kind, header, parse_header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// All that the decider gets of the environment: how containerd itself reaches registries.
const PROXIES: &[&str] = &["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"];

/// The decider did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeciderError {
    #[error("{program}: {cause}")]
    Start { program: PathBuf, cause: std::io::Error },
    #[error("the decider went away: {0}")]
    Pipe(#[from] std::io::Error),
    #[error("the decider broke the protocol: {0}")]
    Protocol(String),
    /// What the decider itself said.
    #[error("{0}")]
    Said(String),
}

impl From<FrameError> for DeciderError {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// A running decider. It is killed when this is dropped.
pub(crate) struct Decider {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl Decider {
    /// Starts the decider that lies beside this program. It gives up its rights before it reads a byte, and has no directory
    /// but `cache`.
    pub(crate) fn start(cache: &Path, uid: u32, gid: u32) -> Result<Self, DeciderError> {
        let program = program();
        let start = Command::new(&program)
            .args(["--uid", &uid.to_string(), "--gid", &gid.to_string()])
            .current_dir(cache)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .env_clear()
            .envs(PROXIES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .kill_on_drop(true)
            .spawn();
        let mut child = start.map_err(|cause| DeciderError::Start { program, cause })?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok(Self { child, stdin, stdout }),
            _ => Err(DeciderError::Protocol("started without pipes".to_owned())),
        }
    }

    /// Asks for the decision.
    pub(crate) async fn ask(&mut self, ask: &Ask, index: &[u8]) -> Result<Answer, DeciderError> {
        let question = to_json(ask)?;
        let sent = async {
            self.send(Kind::Message, &question).await?;
            self.send(Kind::Bytes, index).await
        };
        // One that cannot give up its rights reads nothing, and says so before it ends.
        let sent = sent.await;
        let received = match (self.receive().await, sent) {
            (Err(_), Err(sent)) => return Err(sent),
            (received, _) => received?,
        };
        match received {
            (Kind::Message, bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| DeciderError::Protocol(error.to_string()))
            }
            (Kind::Error, why) => Err(said(&why)),
            (kind, _) => Err(DeciderError::Protocol(format!("{kind:?} instead of an answer"))),
        }
    }

    /// Asks for a piece of content; then [`Self::chunk`] gives it.
    pub(crate) async fn fetch(&mut self, fetch: &Fetch) -> Result<(), DeciderError> {
        self.send(Kind::Message, &to_json(fetch)?).await
    }

    /// The next bytes, or None at the end. The digest was checked by the decider, and is checked again by containerd.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, DeciderError> {
        match self.receive().await? {
            (Kind::Bytes, bytes) => Ok(Some(bytes)),
            (Kind::End, _) => Ok(None),
            (Kind::Error, why) => Err(said(&why)),
            (kind, _) => Err(DeciderError::Protocol(format!("{kind:?} instead of content"))),
        }
    }

    /// Ends it now.
    pub(crate) async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    async fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), DeciderError> {
        self.stdin.write_all(&header(kind, payload.len())?).await?;
        self.stdin.write_all(payload).await?;
        self.stdin.flush().await?;
        Ok(())
    }

    async fn receive(&mut self) -> Result<(Kind, Vec<u8>), DeciderError> {
        let mut head = [0; HEADER];
        self.stdout.read_exact(&mut head).await?;
        let (kind, length) = parse_header(head)?;
        let mut payload = vec![0; length];
        self.stdout.read_exact(&mut payload).await?;
        Ok((kind, payload))
    }
}

fn to_json(message: &impl serde::Serialize) -> Result<Vec<u8>, DeciderError> {
    serde_json::to_vec(message).map_err(|error| DeciderError::Protocol(error.to_string()))
}

/// Foreign text: bounded, and without control characters.
fn said(bytes: &[u8]) -> DeciderError {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]);
    DeciderError::Said(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

/// The decider: beside this program, else in the directory of the package.
pub(crate) fn program() -> PathBuf {
    let name = "bestfit-decider";
    let here = std::env::current_exe().ok().and_then(|path| path.parent().map(|dir| dir.join(name)));
    here.filter(|path| path.exists()).unwrap_or_else(|| Path::new("/usr/libexec/bestfit").join(name))
}
