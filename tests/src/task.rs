//! Owns creating a task by containerd's API, with options that no client of containerd's would send.

use std::time::Duration;

use containerd_client::services::v1 as api;
use containerd_client::services::v1::snapshots as snap;
use prost_types::Any;
use tonic::{Request, Status};

use crate::node::Node;

const LIMIT: Duration = Duration::from_secs(60);

/// Creates and starts the task of a container that `ctr` has created, without any input or output.
///
/// # Errors
/// What containerd says.
pub fn start(node: &Node, id: &str, options: Any) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    node.asks();
    runtime.block_on(started(node, id, options)).map_err(|status| format!("{}: {}", status.code(), status.message()))
}

async fn started(node: &Node, id: &str, options: Any) -> Result<(), Status> {
    let channel = containerd_client::connect(node.address()).await;
    let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
    let key = snap::MountsRequest { snapshotter: "overlayfs".to_owned(), key: id.to_owned() };
    let mut snapshots = snap::snapshots_client::SnapshotsClient::new(channel.clone());
    let rootfs = snapshots.mounts(request(node, key)).await?.into_inner().mounts;
    let create =
        api::CreateTaskRequest { container_id: id.to_owned(), rootfs, options: Some(options), ..Default::default() };
    let mut tasks = api::tasks_client::TasksClient::new(channel);
    tasks.create(request(node, create)).await?;
    tasks.start(request(node, api::StartRequest { container_id: id.to_owned(), ..Default::default() })).await?;
    Ok(())
}

fn request<T>(node: &Node, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(LIMIT);
    request.metadata_mut().insert("containerd-namespace", node.namespace.parse().expect("an ASCII namespace"));
    request
}
