//! `bestfit ps`: what was chosen for the containers of this node. The worker, containerd's only user, makes the list.

use std::path::PathBuf;
use std::process::ExitStatus;

use serde::{Deserialize, Serialize};

use crate::arguments::Ps;
use crate::failure::{Exit, Failure};
use crate::output::{plain, print, print_json, table};
use crate::stages::block_on;
use crate::stages::program::{INSTALLED, WORKER, ask, beside, own_dir};

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
    beside(own_dir().as_deref(), WORKER).ok_or_else(|| {
        Failure::new(Exit::Unavailable, format!("{WORKER} is neither beside this program nor in {INSTALLED}"))
            .hint("install bestfit on this node; ps asks the node that it runs on")
    })
}

fn list(arguments: &Ps) -> Result<Vec<u8>, Failure> {
    let worker = worker()?;
    let mut line = vec!["list"];
    line.extend(arguments.address.iter().flat_map(|socket| ["--address", socket.as_str()]));
    line.extend(arguments.namespace.iter().flat_map(|namespace| ["--namespace", namespace.as_str()]));
    block_on("listing containers".to_owned(), async {
        let said = ask(&worker, &line).await.map_err(|error| Failure::io(worker.display(), &error))?;
        if said.status.success() { Ok(said.output) } else { Err(refusal(said.status, &said.complaint)) }
    })
}

/// The worker ends with the same codes as this program; what it printed says what happened.
pub(super) fn refusal(status: ExitStatus, complaint: &str) -> Failure {
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
