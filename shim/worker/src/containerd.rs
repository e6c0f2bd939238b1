//! Owns the calls to containerd's API: records, images, content, snapshots, diffs and leases of one namespace. Nothing else
//! in bestfit talks to containerd. Thin: one method, one call, typed errors; the order of calls belongs to the callers.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bestfit_selector::digest::Digest;
use containerd_client::services::v1 as api;
use containerd_client::services::v1::snapshots as snap;
use containerd_client::types::{Descriptor, Mount};
use prost_types::{Any, FieldMask};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// The longest manifest, index or image config that is read, in bytes (reference: trust.md, "Attacks").
pub(crate) const MAX_DOCUMENT: u64 = 4 << 20;

/// The longest message that containerd sends (containerd, `defaults.DefaultMaxSendMsgSize`), in bytes.
const MAX_MESSAGE: usize = 16 << 20;
/// How long a call may take: a containerd that hangs must not hold a create for ever.
const CALL: Duration = Duration::from_secs(10);
/// How long writing or unpacking a layer may take; the caller has a deadline of its own.
const LAYER: Duration = Duration::from_secs(3600);
/// The label on a lease that names the container it was taken for.
const CONTAINER_LABEL: &str = "io.bestfit/container";

/// A call to containerd failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No connection.
    #[error("containerd does not answer at {address}: {cause}")]
    Connect { address: String, cause: String, denied: bool },
    /// The call came back with a status.
    #[error("containerd refused {call} of {what}: {message}")]
    Call { call: &'static str, what: String, code: Code, message: String },
    /// What came back cannot be used.
    #[error("{what}: {problem}")]
    Content { what: String, problem: String },
}

impl ApiError {
    /// Whether the thing is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Call { code: Code::NotFound, .. })
    }

    /// Whether containerd cannot make sense of the question: it has no such snapshotter.
    pub(crate) fn is_invalid_argument(&self) -> bool {
        matches!(self, Self::Call { code: Code::InvalidArgument, .. })
    }

    /// Whether containerd's socket may not be opened.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::Connect { denied: true, .. })
    }

    /// Whether somebody else made it first.
    pub(crate) fn is_already_exists(&self) -> bool {
        matches!(self, Self::Call { code: Code::AlreadyExists, .. })
    }
}

pub(crate) type Result<T> = std::result::Result<T, ApiError>;

/// containerd as seen from one namespace, with a lease on what it makes once one is taken.
#[derive(Clone)]
pub(crate) struct Containerd {
    channel: Channel,
    namespace: String,
    lease: Option<String>,
}

fn failed(call: &'static str, what: impl Into<String>) -> impl FnOnce(Status) -> ApiError {
    let what = what.into();
    move |status| ApiError::Call { call, what, code: status.code(), message: status.message().to_owned() }
}

fn missing(what: &str) -> ApiError {
    ApiError::Content { what: what.to_owned(), problem: "containerd answered without it".to_owned() }
}

impl Containerd {
    /// Connects to the socket at `address` (a path, or `unix://` and a path).
    pub(crate) async fn connect(address: &str, namespace: &str) -> Result<Self> {
        let refused = |cause: String| ApiError::Connect { address: address.to_owned(), cause, denied: false };
        if namespace.parse::<tonic::metadata::AsciiMetadataValue>().is_err() {
            return Err(refused(format!("namespace {namespace:?} is not ASCII")));
        }
        let path = address.strip_prefix("unix://").unwrap_or(address);
        let connecting = containerd_client::connect(Path::new(path));
        let channel = tokio::time::timeout(Duration::from_secs(2), connecting)
            .await
            .map_err(|_| refused("no answer in 2 s".to_owned()))?
            .map_err(|error| ApiError::Connect {
                address: address.to_owned(),
                cause: sources(&error),
                denied: is_denied(&error),
            })?;
        Ok(Self { channel, namespace: namespace.to_owned(), lease: None })
    }

    /// The same connection in another namespace, without a lease.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Self {
        Self { channel: self.channel.clone(), namespace: namespace.to_owned(), lease: None }
    }

    /// A connection whose calls add what they make to the lease.
    pub(crate) fn with_lease(&self, lease: &str) -> Self {
        Self { lease: Some(lease.to_owned()), ..self.clone() }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        self.request_within(message, CALL)
    }

    fn request_within<T>(&self, message: T, limit: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(limit);
        let mut set = |name: &'static str, value: &str| {
            // Both were checked to be ASCII where they came from.
            if let Ok(value) = value.parse() {
                request.metadata_mut().insert(name, value);
            }
        };
        set("containerd-namespace", &self.namespace);
        if let Some(lease) = &self.lease {
            set("containerd-lease", lease);
        }
        request
    }

    /// Its version, as it says it.
    pub(crate) async fn version(&self) -> Result<String> {
        let reply = api::version_client::VersionClient::new(self.channel.clone())
            .version(self.request(()))
            .await
            .map_err(failed("version", "containerd"))?;
        Ok(reply.into_inner().version)
    }

    /// All namespaces.
    pub(crate) async fn namespaces(&self) -> Result<Vec<String>> {
        let reply = api::namespaces_client::NamespacesClient::new(self.channel.clone())
            .list(self.request(api::ListNamespacesRequest::default()))
            .await
            .map_err(failed("list", "namespaces"))?;
        Ok(reply.into_inner().namespaces.into_iter().map(|namespace| namespace.name).collect())
    }

    /// Records hold runtime specs, and a list of them all of these: containerd sends up to 16 MiB.
    fn containers_client(&self) -> api::containers_client::ContainersClient<Channel> {
        api::containers_client::ContainersClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// The record of a container.
    pub(crate) async fn container(&self, id: &str) -> Result<api::Container> {
        self.containers_client()
            .get(self.request(api::GetContainerRequest { id: id.to_owned() }))
            .await
            .map_err(failed("get", format!("container {id}")))?
            .into_inner()
            .container
            .ok_or_else(|| missing("the container record"))
    }

    /// The records of all containers of the namespace.
    pub(crate) async fn containers(&self) -> Result<Vec<api::Container>> {
        let reply = self
            .containers_client()
            .list(self.request(api::ListContainersRequest::default()))
            .await
            .map_err(failed("list", "containers"))?;
        Ok(reply.into_inner().containers)
    }

    /// Replaces the runtime spec in the record: exec and probes read env and cwd from there.
    pub(crate) async fn set_spec(&self, id: &str, spec: Any) -> Result<()> {
        let container = api::Container { id: id.to_owned(), spec: Some(spec), ..Default::default() };
        let update_mask = Some(FieldMask { paths: vec!["spec".to_owned()] });
        self.containers_client()
            .update(self.request(api::UpdateContainerRequest { container: Some(container), update_mask }))
            .await
            .map_err(failed("update", format!("container {id}")))?;
        Ok(())
    }

    /// Whether a task of this container exists.
    pub(crate) async fn has_task(&self, id: &str) -> Result<bool> {
        let reply = api::tasks_client::TasksClient::new(self.channel.clone())
            .get(self.request(api::GetRequest { container_id: id.to_owned(), ..Default::default() }))
            .await
            .map_err(failed("get", format!("task {id}")));
        match reply {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// An image record.
    pub(crate) async fn image(&self, name: &str) -> Result<api::Image> {
        api::images_client::ImagesClient::new(self.channel.clone())
            .get(self.request(api::GetImageRequest { name: name.to_owned() }))
            .await
            .map_err(failed("get", format!("image {name}")))?
            .into_inner()
            .image
            .ok_or_else(|| missing("the image record"))
    }

    /// The labels of a piece of content, or None where it is not in the store.
    pub(crate) async fn content_labels(&self, digest: &Digest) -> Result<Option<HashMap<String, String>>> {
        let reply = api::content_client::ContentClient::new(self.channel.clone())
            .info(self.request(api::InfoRequest { digest: digest.to_string() }))
            .await
            .map_err(failed("info", format!("content {digest}")));
        match reply {
            Ok(reply) => Ok(Some(reply.into_inner().info.map(|info| info.labels).unwrap_or_default())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds labels to a piece of content.
    pub(crate) async fn label_content(&self, digest: &Digest, labels: HashMap<String, String>) -> Result<()> {
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let info = api::Info { digest: digest.to_string(), labels, ..Default::default() };
        api::content_client::ContentClient::new(self.channel.clone())
            .update(self.request(api::UpdateRequest { info: Some(info), update_mask: Some(FieldMask { paths }) }))
            .await
            .map_err(failed("label", format!("content {digest}")))?;
        Ok(())
    }

    /// Reads a small document and checks it against its digest: the store is trusted, its disk need not be.
    pub(crate) async fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let request = api::ReadContentRequest { digest: digest.to_string(), offset: 0, size: 0 };
        let mut stream = api::content_client::ContentClient::new(self.channel.clone())
            .read(self.request(request))
            .await
            .map_err(failed("read", format!("content {digest}")))?
            .into_inner();
        let wrong = |problem: &str| ApiError::Content { what: digest.to_string(), problem: problem.to_owned() };
        let mut bytes = Vec::new();
        while let Some(part) = stream.message().await.map_err(failed("read", format!("content {digest}")))? {
            bytes.extend_from_slice(&part.data);
            if bytes.len() as u64 > MAX_DOCUMENT {
                return Err(wrong("longer than 4 MiB"));
            }
        }
        if !digest.matches(&bytes) {
            return Err(wrong("the bytes in containerd's store do not have this digest"));
        }
        Ok(bytes)
    }

    /// Opens a digest-checked write; see [`crate::content`].
    pub(crate) fn content_client(&self) -> api::content_client::ContentClient<Channel> {
        api::content_client::ContentClient::new(self.channel.clone())
    }

    /// Drops what an unfinished write left; one that is not there is no error.
    pub(crate) async fn abort_write(&self, reference: &str) -> Result<()> {
        let request = api::AbortRequest { r#ref: reference.to_owned() };
        match self.content_client().abort(self.request(request)).await.map_err(failed("abort", reference)) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Wraps a message with namespace and lease for [`Self::content_client`].
    pub(crate) fn wrap<T>(&self, message: T) -> Request<T> {
        self.request_within(message, LAYER)
    }

    fn snapshots(&self) -> snap::snapshots_client::SnapshotsClient<Channel> {
        snap::snapshots_client::SnapshotsClient::new(self.channel.clone())
    }

    /// A snapshot's kind, parent and labels.
    pub(crate) async fn snapshot(&self, snapshotter: &str, key: &str) -> Result<snap::Info> {
        let request = snap::StatSnapshotRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
        self.snapshots()
            .stat(self.request(request))
            .await
            .map_err(failed("stat", format!("snapshot {key}")))?
            .into_inner()
            .info
            .ok_or_else(|| missing("the snapshot"))
    }

    /// The number of inodes that a snapshot holds itself.
    pub(crate) async fn snapshot_inodes(&self, snapshotter: &str, key: &str) -> Result<i64> {
        let request = snap::UsageRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
        let reply = self.snapshots().usage(self.request(request)).await;
        Ok(reply.map_err(failed("usage", format!("snapshot {key}")))?.into_inner().inodes)
    }

    /// The mounts of an active snapshot.
    pub(crate) async fn snapshot_mounts(&self, snapshotter: &str, key: &str) -> Result<Vec<Mount>> {
        let request = snap::MountsRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
        let reply = self.snapshots().mounts(self.request(request)).await;
        Ok(reply.map_err(failed("mounts", format!("snapshot {key}")))?.into_inner().mounts)
    }

    /// Makes a writable snapshot on top of `parent`.
    pub(crate) async fn prepare(
        &self,
        snapshotter: &str,
        key: &str,
        parent: &str,
        labels: HashMap<String, String>,
    ) -> Result<Vec<Mount>> {
        let request = snap::PrepareSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels,
        };
        let reply = self.snapshots().prepare(self.request(request)).await;
        Ok(reply.map_err(failed("prepare", format!("snapshot {key}")))?.into_inner().mounts)
    }

    /// Makes a read-only snapshot of `parent`.
    pub(crate) async fn view(&self, snapshotter: &str, key: &str, parent: &str) -> Result<Vec<Mount>> {
        let request = snap::ViewSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: HashMap::new(),
        };
        let reply = self.snapshots().view(self.request(request)).await;
        Ok(reply.map_err(failed("view", format!("snapshot {parent}")))?.into_inner().mounts)
    }

    /// Names a prepared snapshot and makes it read-only.
    pub(crate) async fn commit(&self, snapshotter: &str, name: &str, key: &str) -> Result<()> {
        let request = snap::CommitSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: HashMap::new(),
        };
        self.snapshots().commit(self.request(request)).await.map_err(failed("commit", format!("snapshot {name}")))?;
        Ok(())
    }

    /// Removes a snapshot; one that is gone already is no error.
    pub(crate) async fn remove_snapshot(&self, snapshotter: &str, key: &str) -> Result<()> {
        let request = snap::RemoveSnapshotRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
        let reply = self.snapshots().remove(self.request(request)).await;
        match reply.map_err(failed("remove", format!("snapshot {key}"))) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Unpacks a layer onto mounts; returns the digest of the unpacked stream (its diff id).
    pub(crate) async fn apply(&self, layer: Descriptor, mounts: Vec<Mount>) -> Result<String> {
        let what = format!("layer {}", layer.digest);
        let request = api::ApplyRequest { diff: Some(layer), mounts, payloads: HashMap::new(), ..Default::default() };
        let reply =
            api::diff_client::DiffClient::new(self.channel.clone()).apply(self.request_within(request, LAYER)).await;
        let applied = reply.map_err(failed("unpack", what))?.into_inner().applied;
        applied.map(|descriptor| descriptor.digest).ok_or_else(|| missing("the diff id"))
    }

    /// Takes a lease that ends by itself at `expires` (RFC 3339): a dead worker leaves nothing for longer than that.
    pub(crate) async fn lease(&self, id: &str, container: &str, expires: &str) -> Result<Self> {
        let labels = HashMap::from([
            ("containerd.io/gc.expire".to_owned(), expires.to_owned()),
            (CONTAINER_LABEL.to_owned(), container.to_owned()),
        ]);
        api::leases_client::LeasesClient::new(self.channel.clone())
            .create(self.request(api::CreateRequest { id: id.to_owned(), labels }))
            .await
            .map_err(failed("create", format!("lease {id}")))?;
        Ok(self.with_lease(id))
    }

    /// The leases that workers took for a container.
    pub(crate) async fn leases_of(&self, container: &str) -> Result<Vec<String>> {
        let reply = api::leases_client::LeasesClient::new(self.channel.clone())
            .list(self.request(api::ListRequest::default()))
            .await
            .map_err(failed("list", "leases"))?;
        let ours = |lease: &api::Lease| lease.labels.get(CONTAINER_LABEL).is_some_and(|of| of == container);
        Ok(reply.into_inner().leases.into_iter().filter(ours).map(|lease| lease.id).collect())
    }

    /// Gives the lease back.
    pub(crate) async fn release(&self) -> Result<()> {
        let Some(id) = self.lease.clone() else { return Ok(()) };
        let request = api::DeleteRequest { id: id.clone(), sync: false };
        let reply = api::leases_client::LeasesClient::new(self.channel.clone()).delete(self.request(request)).await;
        match reply.map_err(failed("delete", format!("lease {id}"))) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether one of an error's causes is that this process may not.
fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |cause| cause.source());
    let io =
        |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    causes.any(|cause| io(cause) == Some(std::io::ErrorKind::PermissionDenied))
}

/// An error with its causes, which tonic keeps apart.
fn sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let why = cause.to_string();
        if !text.ends_with(&why) {
            text = format!("{text}: {why}");
        }
        next = cause.source();
    }
    text
}
