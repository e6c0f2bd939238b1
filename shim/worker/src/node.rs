//! Owns `bestfit-worker node`: what `bestfit doctor` wants to know about containerd, and only root can find out.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::Serialize;

use crate::containerd::{Containerd, Result};

/// The most bytes of an environment that are read.
const MAX_ENVIRONMENT: u64 = 1 << 20;

/// A running containerd.
#[derive(Debug, Serialize)]
pub(crate) struct Node {
    /// As containerd says it.
    version: String,
    /// Where it looks for shims: the `PATH` of its process; None where that cannot be seen.
    path: Option<String>,
    /// The program itself, beside which it looks as well.
    program: Option<PathBuf>,
}

/// Asks the containerd at `address`.
pub(crate) async fn node(address: &str) -> Result<Node> {
    let version = Containerd::connect(address, "default").await?.version().await?;
    let process = process(address.strip_prefix("unix://").unwrap_or(address));
    let path = process.and_then(path_of);
    let program = process.and_then(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok());
    Ok(Node { version, path, program })
}

/// The process that listens; none where it cannot be seen from here.
fn process(socket: &str) -> Option<i32> {
    let stream = UnixStream::connect(socket).ok()?;
    Some(getsockopt(&stream, PeerCredentials).ok()?.pid()).filter(|pid| *pid > 0)
}

fn path_of(pid: i32) -> Option<String> {
    use std::io::Read;
    let mut environment = Vec::new();
    let file = std::fs::File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(MAX_ENVIRONMENT).read_to_end(&mut environment).ok()?;
    let path = environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"PATH="))?;
    Some(String::from_utf8_lossy(path).into_owned())
}
