//! `bestfit ps`: what was chosen for the containers of this node. The worker, containerd's only user, makes the list.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::arguments::Ps;
use crate::failure::{Exit, Failure};
use crate::output::{plain, print, print_json, table};
use crate::stages::block_on;

const WORKER: &str = "bestfit-worker";
/// Where packages install it, unless it lies beside this program.
const INSTALLED: &str = "/usr/libexec/bestfit";
/// The most bytes of the worker's list, and of its complaint.
const MAX_LIST: u64 = 64 << 20;
const MAX_COMPLAINT: u64 = 16 << 10;

/// One container.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    namespace: String,
    container: String,
    image: String,
    #[serde(default)]
    runtime: String,
    /// The entry that runs; None where containerd's own choice was left.
    chosen: Option<String>,
    /// The entry that containerd chose, and the index of both.
    default: Option<String>,
    index: Option<String>,
    status: Option<String>,
    time: Option<String>,
}

pub(crate) fn run(arguments: &Ps) -> Result<Exit, Failure> {
    let list = list(arguments)?;
    let rows: Vec<Row> = serde_json::from_slice(&list)
        .map_err(|error| Failure::new(Exit::Data, format!("the list of {WORKER} cannot be read: {error}")))
        .map_err(|failure| failure.hint("are bestfit and bestfit-worker of the same version?"))?;
    if arguments.json {
        print_json(&rows)?;
    } else if rows.is_empty() {
        print("no container of this node went through bestfit\n")?;
    } else {
        print(&table(&lines(&rows)))?;
    }
    Ok(Exit::Done)
}

fn lines(rows: &[Row]) -> Vec<Vec<String>> {
    let mut lines =
        vec![["NAMESPACE", "CONTAINER", "IMAGE", "RUNS", "DEFAULT", "STATUS", "TIME"].map(str::to_owned).to_vec()];
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for row in rows {
        lines.push(vec![
            row.namespace.clone(),
            row.container.chars().take(24).collect(),
            row.image.clone(),
            row.chosen.as_deref().map_or_else(|| "default".to_owned(), short),
            row.default.as_deref().map_or_else(|| "-".to_owned(), short),
            or_dash(&row.status),
            or_dash(&row.time),
        ]);
    }
    lines
}

/// The first digits of a digest, for people.
fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

fn worker() -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(WORKER)));
    let installed = PathBuf::from(INSTALLED).join(WORKER);
    beside.into_iter().chain([installed]).find(|file| file.is_file()).ok_or_else(|| {
        Failure::new(Exit::Unavailable, format!("{WORKER} is neither beside this program nor in {INSTALLED}"))
            .hint("install bestfit on this node; ps asks the node that it runs on")
    })
}

fn list(arguments: &Ps) -> Result<Vec<u8>, Failure> {
    let worker = worker()?;
    block_on("listing containers".to_owned(), async {
        let failed = |error: io::Error| Failure::io(worker.display(), &error);
        // When time runs out the child is dropped, and must not stay behind.
        let mut child = Command::new(&worker)
            .args(["list", "--json"])
            .args(arguments.address.iter().flat_map(|socket| ["--address", socket]))
            .args(arguments.namespace.iter().flat_map(|namespace| ["--namespace", namespace]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // Both pipes are read at once, so that neither side waits for the other.
        let (list, complaint) =
            tokio::try_join!(bounded(stdout, MAX_LIST), bounded(stderr, MAX_COMPLAINT)).map_err(failed)?;
        let status = child.wait().await.map_err(failed)?;
        if status.success() { Ok(list) } else { Err(refusal(status, &String::from_utf8_lossy(&complaint))) }
    })
}

/// Reads to the end and keeps at most `limit` bytes.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> io::Result<Vec<u8>> {
    let Some(mut pipe) = pipe else { return Ok(Vec::new()) };
    let mut bytes = Vec::new();
    (&mut pipe).take(limit).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok(bytes)
}

/// The worker ends with the same codes as this program; what it printed says what happened.
fn refusal(status: ExitStatus, complaint: &str) -> Failure {
    let first = complaint.lines().next().unwrap_or_default();
    let said = plain(first.trim_start_matches("bestfit-worker: ").trim());
    let what = if said.is_empty() { format!("{WORKER}: {status}") } else { said };
    match status.code() {
        Some(69) => Failure::new(Exit::Unavailable, what).hint(
            "is containerd running? --address or CONTAINERD_ADDRESS names another socket than /run/containerd/containerd.sock",
        ),
        Some(77) => Failure::new(Exit::NoPermission, what).hint("run it as root: containerd's socket is root's"),
        Some(78) => Failure::new(Exit::Config, what).hint("`bestfit config check` shows every mistake"),
        _ => Failure::new(Exit::Unavailable, what),
    }
}
