//! Owns bringing the chosen entry into containerd: manifest, config and layers by digest-checked writes, labels that keep
//! them, and the layers unpacked into committed snapshots. Everything happens under the caller's lease.

use std::collections::HashMap;

use bestfit_selector::digest::Digest;
use bestfit_selector::exchange::Fetch;
use bestfit_selector::index::Entry;
use containerd_client::services::v1::{WriteAction, WriteContentRequest};
use containerd_client::types;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::containerd::{ApiError, Containerd, MAX_DOCUMENT};
use crate::decider::{Decider, DeciderError};
use crate::image::{Descriptor, ImageConfig, ImageError, Manifest};
use crate::log::{self, Priority};

/// The entry could not be brought in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BringError {
    /// Something would have to be written, and there is no lease for it.
    #[error("not all of it is on this node")]
    Missing,
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("fetching {digest}: {cause}")]
    Fetch { digest: Digest, cause: DeciderError },
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("{what} {digest} is said to have {size} bytes, at most {MAX_DOCUMENT} are read")]
    TooLarge { what: &'static str, digest: Digest, size: u64 },
    #[error("layer {layer} unpacks to {got}, the image config says {expected}")]
    DiffId { layer: Digest, got: String, expected: Digest },
}

/// What is known of an entry before its layers are there.
pub(crate) struct Described {
    pub(crate) entry: Entry,
    pub(crate) manifest: Manifest,
    pub(crate) config: ImageConfig,
    /// The chain ids of the layers, the lowest first.
    pub(crate) chain: Vec<String>,
}

impl Described {
    /// The name of the committed snapshot that holds the whole root filesystem.
    pub(crate) fn top(&self) -> &str {
        self.chain.last().map_or("", String::as_str)
    }
}

/// Brings pieces of content into containerd's store.
pub(crate) struct Bringer<'a> {
    /// containerd, under a lease.
    pub(crate) containerd: &'a Containerd,
    /// How missing content is brought in; None where nothing may be written.
    pub(crate) writing: Option<Writing<'a>>,
}

/// What it takes to bring content in.
pub(crate) struct Writing<'a> {
    /// Where missing bytes come from.
    pub(crate) decider: &'a mut Decider,
    /// Tells this worker's writes and snapshots from any other's.
    pub(crate) worker: &'a str,
}

impl<'a> Bringer<'a> {
    /// The name to write under.
    pub(crate) fn writes(&self) -> Result<&'a str, BringError> {
        self.writing.as_ref().map(|writing| writing.worker).ok_or(BringError::Missing)
    }

    /// Reads manifest and config of an entry, fetching what is missing.
    pub(crate) async fn describe(
        &mut self,
        entry: &Entry,
        index: Digest,
        snapshotter: &str,
    ) -> Result<Described, BringError> {
        let manifest_bytes = self.document("manifest", entry.digest, entry.size, true).await?;
        let manifest = Manifest::parse(entry.digest, &manifest_bytes)?;
        let config_bytes = self.document("image config", manifest.config.digest, manifest.config.size, false).await?;
        let config = ImageConfig::parse(manifest.config.digest, &config_bytes)?;
        let chain = config.chain_ids(manifest.config.digest, &manifest)?;
        let described = Described { entry: entry.clone(), manifest, config, chain };
        self.keep(&described, index, snapshotter).await?;
        Ok(described)
    }

    /// Brings the layers in and unpacks them. Layers whose snapshot is there are not even fetched.
    pub(crate) async fn unpack(&mut self, described: &Described, snapshotter: &str) -> Result<(), BringError> {
        let missing = self.missing_from(described, snapshotter).await?;
        for at in missing..described.chain.len() {
            self.writes()?;
            let layer = &described.manifest.layers[at];
            self.bring(layer.digest, layer.size, false).await?;
            let parent = at.checked_sub(1).map_or("", |below| described.chain[below].as_str());
            self.unpack_layer(layer, &described.config.rootfs.diff_ids[at], parent, &described.chain[at], snapshotter)
                .await?;
        }
        Ok(())
    }

    /// The position of the lowest layer that has no snapshot.
    async fn missing_from(&self, described: &Described, snapshotter: &str) -> Result<usize, BringError> {
        for (at, chain) in described.chain.iter().enumerate().rev() {
            match self.containerd.snapshot(snapshotter, chain).await {
                Ok(_) => return Ok(at + 1),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(0)
    }

    async fn unpack_layer(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
        parent: &str,
        chain: &str,
        snapshotter: &str,
    ) -> Result<(), BringError> {
        let key = format!("extract-{}-{chain}", self.writes()?);
        let mounts = match self.containerd.prepare(snapshotter, &key, parent, HashMap::new()).await {
            Err(error) if error.is_already_exists() => {
                // A retry of this very worker: start from nothing.
                self.containerd.remove_snapshot(snapshotter, &key).await?;
                self.containerd.prepare(snapshotter, &key, parent, HashMap::new()).await?
            }
            other => other?,
        };
        let descriptor = types::Descriptor {
            media_type: layer.media_type.clone(),
            digest: layer.digest.to_string(),
            size: i64::try_from(layer.size).unwrap_or(i64::MAX),
            ..Default::default()
        };
        let unpacked = match self.containerd.apply(descriptor, mounts).await {
            Ok(got) if got == diff_id.to_string() => {
                self.containerd.commit(snapshotter, chain, &key).await.map_err(Into::into)
            }
            Ok(got) => Err(BringError::DiffId { layer: layer.digest, got, expected: *diff_id }),
            Err(error) => Err(error.into()),
        };
        match unpacked {
            Ok(()) => Ok(()),
            Err(error) => {
                if let Err(left) = self.containerd.remove_snapshot(snapshotter, &key).await {
                    log::say(&format!("after {error}: {left}"), Priority::Warning, None);
                }
                // Another worker, or a pull, was faster: the same layer under the same name.
                if matches!(&error, BringError::Api(api) if api.is_already_exists()) { Ok(()) } else { Err(error) }
            }
        }
    }

    /// A small document, from the store or fetched into it.
    async fn document(
        &mut self,
        what: &'static str,
        digest: Digest,
        size: u64,
        manifest: bool,
    ) -> Result<Vec<u8>, BringError> {
        if size > MAX_DOCUMENT {
            return Err(BringError::TooLarge { what, digest, size });
        }
        match self.containerd.document(&digest).await {
            Err(error) if error.is_not_found() => {}
            read => return Ok(read?),
        }
        self.bring(digest, size, manifest).await?;
        Ok(self.containerd.document(&digest).await?)
    }

    /// Makes sure that a piece of content is in the store.
    async fn bring(&mut self, digest: Digest, size: u64, manifest: bool) -> Result<(), BringError> {
        if self.containerd.content_labels(&digest).await?.is_some() {
            return Ok(());
        }
        let Some(Writing { decider, worker }) = &mut self.writing else { return Err(BringError::Missing) };
        let reference = format!("bestfit-{worker}-{digest}");
        let fetch = |cause| BringError::Fetch { digest, cause };
        decider.fetch(&Fetch { digest, size, manifest }).await.map_err(fetch)?;
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        let mut client = self.containerd.content_client();
        let write = client.write(self.containerd.wrap(ReceiverStream::new(receiver)));
        let feed = feed(decider, sender, &reference, digest, size);
        // Both sides run until both are done: a refused write ends the feed, because nobody takes its chunks.
        let (written, fed) = tokio::join!(async { finish(write.await).await }, feed);
        let outcome = match (fed, written) {
            (Err(cause), _) => Err(fetch(cause)),
            (Ok(()), Err(error)) if error.is_already_exists() => Ok(()),
            (Ok(()), written) => written.map_err(Into::into),
        };
        if let Err(error) = &outcome
            && let Err(left) = self.containerd.abort_write(&reference).await
        {
            log::say(&format!("after {error}: {left}"), Priority::Warning, None);
        }
        outcome
    }

    /// Labels that keep the content while the image is there, and the unpacked layers as long as the config
    /// (containerd docs/garbage-collection.md).
    async fn keep(&self, described: &Described, index: Digest, snapshotter: &str) -> Result<(), BringError> {
        let (entry, manifest) = (&described.entry, &described.manifest);
        let mut labels =
            HashMap::from([("containerd.io/gc.ref.content.config".to_owned(), manifest.config.digest.to_string())]);
        for (at, layer) in manifest.layers.iter().enumerate() {
            labels.insert(format!("containerd.io/gc.ref.content.l.{at}"), layer.digest.to_string());
        }
        let unpacked =
            HashMap::from([(format!("containerd.io/gc.ref.snapshot.{snapshotter}"), described.top().to_owned())]);
        let (of_entry, of_config, known) = tokio::join!(
            self.label(entry.digest, labels),
            self.label(manifest.config.digest, unpacked),
            self.containerd.content_labels(&index)
        );
        of_entry.and(of_config)?;
        let known = known?.unwrap_or_default();
        let target = entry.digest.to_string();
        if !known.iter().any(|(key, value)| key.starts_with("containerd.io/gc.ref.content") && *value == target) {
            self.writes()?;
            let label = format!("containerd.io/gc.ref.content.bestfit.{}", entry.position);
            self.containerd.label_content(&index, HashMap::from([(label, target)])).await?;
        }
        Ok(())
    }

    /// Adds the labels that are not there yet: warm, nothing is written.
    async fn label(&self, digest: Digest, mut labels: HashMap<String, String>) -> Result<(), BringError> {
        let known = self.containerd.content_labels(&digest).await?.unwrap_or_default();
        labels.retain(|key, value| known.get(key) != Some(value));
        if !labels.is_empty() {
            self.writes()?;
            self.containerd.label_content(&digest, labels).await?;
        }
        Ok(())
    }
}

/// Passes chunks on until the decider says that all came.
async fn feed(
    decider: &mut Decider,
    sender: tokio::sync::mpsc::Sender<WriteContentRequest>,
    reference: &str,
    digest: Digest,
    size: u64,
) -> Result<(), DeciderError> {
    let total = i64::try_from(size).map_err(|_| DeciderError::Protocol(format!("{size} bytes are too many")))?;
    let message = |action: WriteAction, offset: i64, data: Vec<u8>| WriteContentRequest {
        action: action.into(),
        r#ref: reference.to_owned(),
        total,
        expected: digest.to_string(),
        offset,
        data,
        labels: HashMap::new(),
    };
    let mut offset = 0;
    // A closed channel means that containerd refused: its answer says why. The decider's chunks are still read to their end.
    let _ = sender.send(message(WriteAction::Write, 0, Vec::new())).await;
    while let Some(chunk) = decider.chunk().await? {
        let length = chunk.len() as i64;
        if offset + length > total {
            return Err(DeciderError::Protocol(format!("more than the {total} bytes of {digest}")));
        }
        let _ = sender.send(message(WriteAction::Write, offset, chunk)).await;
        offset += length;
    }
    let _ = sender.send(message(WriteAction::Commit, offset, Vec::new())).await;
    Ok(())
}

/// Reads containerd's answers to a write to their end.
async fn finish(
    started: Result<
        tonic::Response<tonic::Streaming<containerd_client::services::v1::WriteContentResponse>>,
        tonic::Status,
    >,
) -> Result<(), ApiError> {
    let failed = |status: tonic::Status| ApiError::Call {
        call: "write",
        what: "content".to_owned(),
        code: status.code(),
        message: status.message().to_owned(),
    };
    let mut answers = started.map_err(failed)?.into_inner();
    let mut committed = false;
    while let Some(answer) = answers.message().await.map_err(failed)? {
        committed |= answer.action() == WriteAction::Commit;
    }
    if committed { Ok(()) } else { Err(failed(tonic::Status::new(Code::Aborted, "the write was not committed"))) }
}
