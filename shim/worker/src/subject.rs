//! Owns the question whether a container may be touched at all: every row of design.md, "When bestfit does nothing", that
//! depends on the container is here, in the order in which it is asked. What passes is a [`Subject`]: the container, its
//! index, the entry that containerd chose, and the proof that the snapshot is that entry's.

use std::collections::HashMap;
use std::path::Path;

use bestfit_selector::decision::HostPlatform;
use bestfit_selector::digest::Digest;
use bestfit_selector::index::{Entry, Index};
use bestfit_selector::platform::containerd_default;
use containerd_client::services::v1::snapshots::{Info, Kind};
use containerd_client::services::v1::{Container, Image};
use containerd_client::types::Mount;
use prost_types::Timestamp;

use crate::bundle::Bundle;
use crate::containerd::{ApiError, Containerd};
use crate::documents;
use crate::image::{ImageConfig, ImageError, Manifest};
use crate::mounts;
use crate::plan::UserPart;
use crate::rebase;
use crate::request::CreateTaskRequest;

/// The label on a snapshot that says which entry it was made from.
pub(crate) const CHOSEN_LABEL: &str = "io.bestfit/chosen";
/// The label on a snapshot that names the index.
pub(crate) const INDEX_LABEL: &str = "io.bestfit/index";
/// The label on a snapshot that names the entry that containerd had chosen.
pub(crate) const DEFAULT_LABEL: &str = "io.bestfit/default";

/// The annotation that says what CRI made a container for.
pub(crate) const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";
const IMAGE_NAME: &str = "io.kubernetes.cri.image-name";
/// Where CRI keeps its own view of a container (containerd, `pkg/cri/store/container`).
const CRI_METADATA: &str = "io.cri-containerd.container.metadata";

/// A container that may be given another entry of its index.
pub(crate) struct Subject {
    pub(crate) container: Container,
    /// The active snapshot, as containerd made it.
    pub(crate) snapshot: Info,
    /// The snapshot's mounts; once the request is there, as containerd asked for them.
    pub(crate) mounts: Vec<Mount>,
    /// The image's name.
    pub(crate) reference: String,
    pub(crate) index_digest: Digest,
    pub(crate) index_bytes: Vec<u8>,
    /// The index's media type, as containerd files it.
    pub(crate) index_type: String,
    pub(crate) index: Index,
    /// The entry that containerd chose, and its image config.
    pub(crate) default: Entry,
    pub(crate) default_config_digest: Digest,
    pub(crate) default_config: ImageConfig,
    /// What the user asked for, where CRI recorded it.
    pub(crate) user: Option<UserPart>,
}

/// Why the container is left as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Leave {
    /// A rule says so; nothing is wrong.
    #[error("{0}")]
    Rule(String),
    /// It holds a pod's namespaces, and runs nobody's image.
    #[error("a sandbox (pause) container")]
    Sandbox,
    /// It ran before.
    #[error("it may have run: the snapshot has been written to, or mounted, since the container was made")]
    Started,
    /// An earlier start chose already.
    #[error("{}", kept(.0))]
    Kept(String, Vec<Mount>),
    /// containerd did not answer as needed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A document of the default entry cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Why a container stays as it is whose snapshot is already made from the entry `chosen`.
pub(crate) fn kept(chosen: &str) -> String {
    format!("the choice of an earlier start is kept: {chosen}")
}

fn rule<T>(why: impl Into<String>) -> Result<T, Leave> {
    Err(Leave::Rule(why.into()))
}

/// Asks every question about the container that needs no request, cheapest first; [`Subject::confirm`] asks the others.
pub(crate) async fn identify(
    containerd: &Containerd,
    id: &str,
    bundle: &Bundle,
    host: &HostPlatform,
    state: &Path,
) -> Result<Subject, Leave> {
    match bundle.annotation(CONTAINER_TYPE) {
        Some("sandbox") => return Err(Leave::Sandbox),
        Some("container") | None => {}
        Some(other) => return rule(format!("a container of CRI type {other:?}")),
    }
    if in_user_namespace(bundle) {
        return rule("in a user namespace: the layers may have been remapped to other ids");
    }
    let container = containerd.container(id).await?;
    let (snapshot, mounts, image) = pristine_snapshot(containerd, &container).await?;
    let image = image?;
    let index_type = image.target.as_ref().map(|target| target.media_type.clone()).unwrap_or_default();
    let (image, index_digest) = unambiguous_index(containerd, &container, image, bundle).await?;
    let index_bytes = documents::read(containerd, state, &index_digest).await?;
    let index = match Index::parse(&index_bytes) {
        Ok(index) => index,
        Err(error) => return rule(format!("index {index_digest}: {error}")),
    };
    let Some(default) = containerd_default(&index, host).cloned() else {
        return rule(format!(
            "index {index_digest} has no entry that containerd would choose on {}/{}",
            host.os, host.architecture
        ));
    };
    let manifest = match documents::read(containerd, state, &default.digest).await {
        Ok(bytes) => Manifest::parse(default.digest, &bytes)?,
        Err(error) if error.is_not_found() => {
            return rule(format!(
                "the default entry {} of index {index_digest} is not on this node: another platform was asked for",
                default.digest
            ));
        }
        Err(error) => return Err(error.into()),
    };
    if manifest.is_encrypted() {
        return rule(format!("the default entry {} has encrypted layers", default.digest));
    }
    let default_config_digest = manifest.config.digest;
    let config_bytes = documents::read(containerd, state, &default_config_digest).await?;
    let default_config = ImageConfig::parse(default_config_digest, &config_bytes)?;
    let chain = default_config.chain_ids(default_config_digest, &manifest)?;
    if chain.last() != Some(&snapshot.parent) {
        return rule(format!(
            "the snapshot is not made from the default entry {} of index {index_digest}: another platform was asked for, or the name moved",
            default.digest
        ));
    }
    let user = user_part(&container, bundle)?;
    Ok(Subject {
        container,
        snapshot,
        mounts,
        reference: image,
        index_digest,
        index_bytes,
        index_type,
        index,
        default,
        default_config_digest,
        default_config,
        user,
    })
}

impl Subject {
    /// Asks what only the request can answer, and takes its mounts over.
    pub(crate) fn confirm(&mut self, request: CreateTaskRequest) -> Result<(), Leave> {
        if !request.checkpoint.is_empty() || !request.parent_checkpoint.is_empty() {
            return rule("restored from a checkpoint, which was taken against the default entry");
        }
        if let Err(why) = mounts::plain_overlay(&request.rootfs) {
            return rule(why);
        }
        if mounts::without_context(&request.rootfs) != mounts::without_context(&self.mounts) {
            return rule("the mounts in the request are not the snapshot's own");
        }
        self.mounts = request.rootfs;
        Ok(())
    }

    /// A container that ran is not given another entry, although nothing of what it wrote may be there.
    pub(crate) fn never_ran(&self) -> Result<(), Leave> {
        never_ran(&self.mounts, rebase::created_at(&self.container))
    }
}

fn never_ran(mounts: &[Mount], made: (i64, i32)) -> Result<(), Leave> {
    match mounts::may_have_run(mounts, made) {
        Ok(false) => Ok(()),
        Ok(true) => Err(Leave::Started),
        Err(error) => rule(format!("the snapshot's directories: {error}")),
    }
}

fn in_user_namespace(bundle: &Bundle) -> bool {
    let linux = bundle.spec.get("linux");
    let namespaces = linux.and_then(|linux| linux.get("namespaces")).and_then(|list| list.as_array());
    namespaces
        .is_some_and(|list| list.iter().any(|item| item.get("type").and_then(|kind| kind.as_str()) == Some("user")))
}

/// The snapshot is ours to replace: active, never written to, plain overlay, not chosen before. The image is asked for in
/// the same round.
async fn pristine_snapshot(
    containerd: &Containerd,
    container: &Container,
) -> Result<(Info, Vec<Mount>, Result<Image, ApiError>), Leave> {
    let (snapshotter, key) = (&container.snapshotter, &container.snapshot_key);
    if key.is_empty() || container.image.is_empty() {
        return rule("made without an image or without a snapshot");
    }
    if snapshotter != "overlayfs" {
        return rule(format!("snapshotter {snapshotter:?}: only overlayfs is proven"));
    }
    let (snapshot, mounts, inodes, image) = tokio::join!(
        containerd.snapshot(snapshotter, key),
        containerd.snapshot_mounts(snapshotter, key),
        containerd.snapshot_inodes(snapshotter, key),
        containerd.image(&container.image)
    );
    let snapshot = snapshot?;
    if let Some(chosen) = snapshot.labels.get(CHOSEN_LABEL) {
        return Err(Leave::Kept(chosen.clone(), mounts?));
    }
    if snapshot.kind() != Kind::Active {
        return rule(format!("snapshot {key} is not active"));
    }
    if snapshot.labels.keys().any(|label| label.ends_with("/uidmapping") || label.ends_with("/gidmapping")) {
        return rule(format!("snapshot {key} is remapped to other user ids"));
    }
    let mounts = mounts?;
    if let Err(why) = mounts::plain_overlay(&mounts) {
        return rule(why);
    }
    if inodes? > 1 {
        return Err(Leave::Started);
    }
    Ok((snapshot, mounts, image))
}

/// The user-specified name and the container record lead to the same index, and did so when the container was made.
async fn unambiguous_index(
    containerd: &Containerd,
    container: &Container,
    image: Image,
    bundle: &Bundle,
) -> Result<(String, Digest), Leave> {
    let target = image.target.unwrap_or_default();
    if !is_index(&target.media_type) {
        return rule(format!("{} is one image, not an index", container.image));
    }
    let Ok(digest) = target.digest.parse::<Digest>() else {
        return rule(format!("{}: digest {:?} is not one that bestfit reads", container.image, target.digest));
    };
    if after(image.updated_at, container.created_at) {
        return rule(format!("{} changed after the container was made from it", container.image));
    }
    if bundle.annotation(CONTAINER_TYPE).is_none() {
        return Ok((container.image.clone(), digest));
    }
    let Some(asked) = asked_for(container, bundle) else {
        return rule("a pod's container without the name that its user gave");
    };
    let asked = familiar(&asked);
    if asked == container.image {
        return Ok((asked, digest));
    }
    match containerd.image(&asked).await {
        Ok(named) if after(named.updated_at, container.created_at) => {
            rule(format!("{asked} changed after the container was made from it"))
        }
        Ok(named) if named.target.as_ref().map(|target| &target.digest) == Some(&target.digest) => Ok((asked, digest)),
        Ok(_) => rule(format!(
            "{asked} and {}, by which containerd files this image, are different indexes",
            container.image
        )),
        Err(error) if error.is_not_found() => {
            rule(format!("the user's name {asked} is no image of this node (any more)"))
        }
        Err(error) => Err(error.into()),
    }
}

fn after(one: Option<Timestamp>, other: Option<Timestamp>) -> bool {
    let (one, other) = (one.unwrap_or_default(), other.unwrap_or_default());
    (one.seconds, one.nanos) > (other.seconds, other.nanos)
}

/// The name that the pod's user gave: kubelet records it beside the image id that it asks for; other clients ask by name.
/// The annotation is containerd's own name for the image before 2.0, so it comes last.
fn asked_for(container: &Container, bundle: &Bundle) -> Option<String> {
    let config = cri_config(container)?;
    let image = config.get("image")?;
    let text = |key: &str| image.get(key).and_then(|name| name.as_str()).filter(|name| !name.is_empty());
    let is_id =
        |name: &str| name.starts_with("sha256:") || (name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()));
    let named = text("user_specified_image").or_else(|| text("image")).filter(|name| !is_id(name));
    // An annotation that says another name is a doubt.
    let annotated = bundle.annotation(IMAGE_NAME)?;
    named.filter(|named| familiar(named) == familiar(annotated) || annotated == container.image).map(str::to_owned)
}

fn is_index(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json"
    )
}

/// The full form of a name as a person writes it (docker's rule): `busybox` is `docker.io/library/busybox:latest`.
fn familiar(name: &str) -> String {
    let (first, rest) = name.split_once('/').unwrap_or(("", name));
    let is_host = first.contains(['.', ':']) || first == "localhost";
    let with_host = match (is_host, first.is_empty()) {
        (true, _) => name.to_owned(),
        (false, true) => format!("docker.io/library/{rest}"),
        (false, false) => format!("docker.io/{name}"),
    };
    let last = with_host.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) { with_host } else { format!("{with_host}:latest") }
}

/// What CRI recorded of the user's wishes. A pod's container whose record cannot be read is not touched.
fn user_part(container: &Container, bundle: &Bundle) -> Result<Option<UserPart>, Leave> {
    if bundle.annotation(CONTAINER_TYPE).is_none() {
        return Ok(None);
    }
    let config = cri_config(container);
    match config.as_ref().map(UserPart::from_cri) {
        Some(Some(user)) => Ok(Some(user)),
        _ => rule(format!("the extension {CRI_METADATA} of the record cannot be read")),
    }
}

/// CRI's `ContainerConfig` in the record.
fn cri_config(container: &Container) -> Option<serde_json::Value> {
    let metadata: serde_json::Value = serde_json::from_slice(&container.extensions.get(CRI_METADATA)?.value).ok()?;
    metadata.get("Metadata")?.get("Config").cloned()
}

impl UserPart {
    /// Reads CRI's `ContainerConfig` as containerd stores it in JSON.
    fn from_cri(config: &serde_json::Value) -> Option<Self> {
        let strings = |key: &str| -> Option<Vec<String>> {
            match config.get(key) {
                None | Some(serde_json::Value::Null) => Some(Vec::new()),
                Some(list) => list.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            }
        };
        let env = match config.get("envs") {
            None | Some(serde_json::Value::Null) => Vec::new(),
            Some(list) => list.as_array()?.iter().map(variable).collect::<Option<_>>()?,
        };
        let working_dir = config.get("working_dir").and_then(|dir| dir.as_str()).unwrap_or_default().to_owned();
        Some(Self { command: strings("command")?, args: strings("args")?, env, working_dir })
    }
}

fn variable(pair: &serde_json::Value) -> Option<String> {
    let value = pair.get("value").and_then(|value| value.as_str()).unwrap_or_default();
    Some(format!("{}={value}", pair.get("key")?.as_str()?))
}

/// The labels of the snapshot that replaces `old`.
pub(crate) fn labels(old: &Info, subject: &Subject, chosen: &Digest) -> HashMap<String, String> {
    let mut labels = old.labels.clone();
    labels.insert(CHOSEN_LABEL.to_owned(), chosen.to_string());
    labels.insert(INDEX_LABEL.to_owned(), subject.index_digest.to_string());
    labels.insert(DEFAULT_LABEL.to_owned(), subject.default.digest.to_string());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn familiar_names_get_their_full_form() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (given, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1", "docker.io/library/busybox:1"),
            ("me/app", "docker.io/me/app:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest"),
            ("r.example/a/b:t", "r.example/a/b:t"),
        ] {
            assert_eq!(familiar(given), full);
        }
        assert_eq!(familiar(&format!("app@{digest}")), format!("docker.io/library/app@{digest}"));
    }

    /// As it ran before: also where a trusted artifact is required, and whether it wrote something or not.
    #[test]
    fn a_container_that_ran_and_wrote_nothing_starts_again() {
        let dir = tempfile::tempdir().unwrap();
        let options = ["workdir", "upperdir"].map(|name| format!("{name}={}", dir.path().join(name).display()));
        let mounts = [Mount { options: options.to_vec(), ..Default::default() }];
        assert!(matches!(never_ran(&mounts, (0, 0)), Err(Leave::Rule(_))), "what cannot be read is no proof");
        std::fs::create_dir_all(dir.path().join("workdir")).unwrap();
        std::fs::create_dir(dir.path().join("upperdir")).unwrap();
        assert!(never_ran(&mounts, (0, 0)).is_ok());
        std::fs::create_dir(dir.path().join("workdir/work")).unwrap();
        assert!(matches!(never_ran(&mounts, (0, 0)), Err(Leave::Started)), "mounted since");
        assert!(matches!(Leave::Started.into(), crate::ending::End::Exempt(_)));
    }

    #[test]
    fn the_users_part_is_read_as_cri_writes_it() {
        let json = serde_json::json!({"command": ["a"], "envs": [{"key": "K", "value": "v"}, {"key": "E"}], "working_dir": "/w"});
        let user = UserPart::from_cri(&json).unwrap();
        assert_eq!(user.env, ["K=v", "E="]);
        assert_eq!((user.command.len(), user.args.len(), user.working_dir.as_str()), (1, 0, "/w"));
        assert_eq!(UserPart::from_cri(&serde_json::json!({"command": [1]})), None);
    }
}
