//! Owns `bestfit-worker list`: which containers of this node run an entry that bestfit chose. The truth is containerd's: the
//! labels on the snapshots of the containers that exist now. `bestfit ps` shows it.

use containerd_client::services::v1::Container;
use containerd_client::services::v1::snapshots::Info;
use serde::Serialize;

use crate::containerd::{Containerd, Result};
use crate::subject::{CHOSEN_LABEL, DEFAULT_LABEL, INDEX_LABEL};

/// One container.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    namespace: String,
    container: String,
    image: String,
    runtime: String,
    /// The entry it runs; None where containerd's own choice was left.
    chosen: Option<String>,
    default: Option<String>,
    index: Option<String>,
    /// `running` while there is a task, else `created`.
    status: &'static str,
    /// When the snapshot was made, RFC 3339 UTC.
    time: Option<String>,
}

/// Lists the containers whose runtime is bestfit, and those whose snapshot says that bestfit chose it.
pub(crate) async fn list(address: &str, only: Option<&str>) -> Result<Vec<Listed>> {
    let node = Containerd::connect(address, "default").await?;
    let mut listed = Vec::new();
    for namespace in node.namespaces().await? {
        if only.is_some_and(|only| only != namespace) {
            continue;
        }
        let containerd = node.in_namespace(&namespace);
        for container in containerd.containers().await? {
            let snapshot = snapshot(&containerd, &container).await?;
            let runtime = container.runtime.map(|runtime| runtime.name).unwrap_or_default();
            let label = |name: &str| snapshot.as_ref().and_then(|snapshot| snapshot.labels.get(name).cloned());
            let chosen = label(CHOSEN_LABEL);
            if chosen.is_none() && !runtime.contains("bestfit") {
                continue;
            }
            let made = snapshot.as_ref().and_then(|snapshot| snapshot.created_at);
            let status = if containerd.has_task(&container.id).await? { "running" } else { "created" };
            listed.push(Listed {
                namespace: namespace.clone(),
                image: container.image,
                runtime,
                default: label(DEFAULT_LABEL),
                index: label(INDEX_LABEL),
                chosen,
                status,
                time: made.and_then(|at| rfc3339(at.seconds)),
                container: container.id,
            });
        }
    }
    listed.sort_by(|a, b| (&a.namespace, &a.container).cmp(&(&b.namespace, &b.container)));
    Ok(listed)
}

/// The snapshot of a container, where it has one that this containerd can tell of: dockerd's containers have none, and the
/// snapshotter of an old one may not be loaded any more. bestfit made neither.
async fn snapshot(containerd: &Containerd, container: &Container) -> Result<Option<Info>> {
    if container.snapshotter.is_empty() || container.snapshot_key.is_empty() {
        return Ok(None);
    }
    match containerd.snapshot(&container.snapshotter, &container.snapshot_key).await {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(error) if error.is_not_found() || error.is_invalid_argument() => Ok(None),
        Err(error) => Err(error),
    }
}

fn rfc3339(seconds: i64) -> Option<String> {
    let seconds = u64::try_from(seconds).ok()?;
    let time = std::time::SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds))?;
    Some(humantime::format_rfc3339_seconds(time).to_string())
}
