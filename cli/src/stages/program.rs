//! Owns finding and asking the other programs of bestfit: bounded in time and bytes, and gone when their time is over.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

pub(crate) const WORKER: &str = "bestfit-worker";
pub(crate) const DECIDER: &str = "bestfit-decider";
/// Where packages install them, unless they lie beside this program.
pub(crate) const INSTALLED: &str = "/usr/libexec/bestfit";
/// The most bytes of what a program says, and of its complaint.
const MAX_SAID: u64 = 64 << 20;
const MAX_COMPLAINT: u64 = 16 << 10;

/// How a program ended.
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) output: Vec<u8>,
    pub(crate) complaint: String,
}

/// A program of ours: in `dir`, else where packages install it.
pub(crate) fn beside(dir: Option<&Path>, name: &str) -> Option<PathBuf> {
    let beside = dir.map(|dir| dir.join(name));
    beside.into_iter().chain([Path::new(INSTALLED).join(name)]).find(|file| file.is_file())
}

/// The directory that this program lies in.
pub(crate) fn own_dir() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.to_owned())
}

/// Runs a program to its end. It is ended where the caller stops waiting.
pub(crate) async fn ask(program: &Path, arguments: &[&str]) -> io::Result<Said> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Both pipes are read at once, so that neither side waits for the other.
    let (output, complaint) = tokio::try_join!(bounded(stdout, MAX_SAID), bounded(stderr, MAX_COMPLAINT))?;
    let complaint = String::from_utf8_lossy(&complaint).into_owned();
    Ok(Said { status: child.wait().await?, output, complaint })
}

/// Reads to the end and keeps at most `limit` bytes.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> io::Result<Vec<u8>> {
    let Some(mut pipe) = pipe else { return Ok(Vec::new()) };
    let mut bytes = Vec::new();
    (&mut pipe).take(limit).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok(bytes)
}
