//! Owns the way from a reference to bytes: options from the configuration, resolving, index or single image.

use std::fs::File;
use std::path::{Path, PathBuf};

use bestfit_config::{Config, Loaded};
use bestfit_registry::{Client, Error, MANIFEST_LIMIT, Options, Reference, Repository};
use bestfit_selector::digest::Digest;
use bestfit_selector::index::Index;
use serde::Deserialize;
use serde_json::json;

use super::file;
use crate::failure::{Exit, Failure, MAY_READ};
use crate::output::plain;

/// The most bytes of docker's file of credentials.
const MAX_DOCKER_CONFIG: u64 = 1 << 20;
const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// What a reference led to.
pub(crate) enum Image {
    /// An index: something to choose from.
    Index(Vec<u8>),
    /// A single image.
    Single(Single),
}

/// A single image.
pub(crate) struct Single {
    pub(crate) digest: Digest,
    media_type: String,
    bytes: Vec<u8>,
}

/// A reference that is one.
pub(crate) fn reference(text: &str) -> Result<Reference, Failure> {
    Reference::parse(text).map_err(|error| Failure::new(Exit::Data, plain(&error.to_string())))
}

/// A client with the site's way to registries, but with the user's own cache and credentials.
pub(crate) fn client(loaded: &Loaded) -> Result<Client, Failure> {
    let Config { registries, cache, selection, .. } = &loaded.config;
    Ok(Client::new(Options {
        hosts_dir: Some(registries.hosts_dir.clone()),
        plain_http: registries.plain_http.clone(),
        redirects: registries.redirects.clone(),
        // A person who asks again has mended something, or wants to know.
        remember_failures: false,
        docker_config: docker_config(loaded)?,
        allow_credential_helpers: true,
        // Never the node's: what root wrote there would be closed to the decider.
        cache: user_cache(),
        cache_max_bytes: cache.max_bytes,
        referrers_lifetime: selection.referrers_lifetime,
        ..Options::default()
    }))
}

fn home(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn user_cache() -> Option<PathBuf> {
    home("XDG_CACHE_HOME").or_else(|| Some(home("HOME")?.join(".cache"))).map(|dir| dir.join("bestfit"))
}

/// The bytes of the file that the site names, else of the user's own; a missing file is no file.
fn docker_config(loaded: &Loaded) -> Result<Option<Vec<u8>>, Failure> {
    let named = loaded.origins.contains_key("registries.docker_config");
    let own =
        || home("DOCKER_CONFIG").or_else(|| Some(home("HOME")?.join(".docker"))).map(|dir| dir.join("config.json"));
    let path: Option<PathBuf> = if named { loaded.config.registries.docker_config.clone() } else { own() };
    path.filter(|path| is_there(path)).map(|path| file::read(&path, MAX_DOCKER_CONFIG)).transpose()
}

/// Only "not found" is "none"; what cannot be looked at is an error when it is read.
fn is_there(path: &Path) -> bool {
    !std::fs::metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Resolves a reference.
pub(crate) async fn resolve(repository: &Repository, reference: &Reference) -> Result<Image, Failure> {
    let resolved = repository.resolve(&reference.version()).await.map_err(|error| failure(reference, &error))?;
    let media_type = resolved.descriptor.media_type;
    if INDEX_TYPES.contains(&media_type.as_str()) {
        return Ok(Image::Index(resolved.bytes));
    }
    // Bytes that are neither have the index's error, which says line and column.
    match serde_json::from_slice::<Manifest>(&resolved.bytes) {
        Ok(_) => Ok(Image::Single(Single { digest: resolved.descriptor.digest, media_type, bytes: resolved.bytes })),
        Err(_) => Ok(Image::Index(resolved.bytes)),
    }
}

/// The parsed index; its errors name the image.
pub(crate) fn parse(reference: &Reference, index: &[u8]) -> Result<Index, Failure> {
    Index::parse(index).map_err(|error| Failure::new(Exit::Data, format!("{reference}: {}", plain(&error.to_string()))))
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: Digest,
}

#[derive(Deserialize)]
struct ImageConfig {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Single {
    /// An index with this image as its only entry, so that the same stages judge it.
    pub(crate) async fn as_index(&self, repository: &Repository, reference: &Reference) -> Result<Vec<u8>, Failure> {
        let wrong = |error: serde_json::Error| {
            Failure::new(Exit::Data, format!("{reference}: the image cannot be read: {error}"))
        };
        let manifest: Manifest = serde_json::from_slice(&self.bytes).map_err(wrong)?;
        let config = repository.blob(&manifest.config.digest, MANIFEST_LIMIT).await;
        let config = config.map_err(|error| failure(reference, &error))?;
        let config: ImageConfig = serde_json::from_slice(&config).map_err(wrong)?;
        let mut platform = json!({ "os": config.os, "architecture": config.architecture });
        if let Some(variant) = config.variant {
            platform["variant"] = variant.into();
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": INDEX_TYPES[0],
            "manifests": [{
                "mediaType": self.media_type,
                "digest": self.digest,
                "size": self.bytes.len(),
                "platform": platform,
            }],
        });
        Ok(index.to_string().into_bytes())
    }
}

/// Whether a layout is broken, not there, or closed.
fn layout_failure(folder: &Path, what: String) -> Failure {
    let of = |part: &str| File::open(folder.join(part)).map_or_else(|error| Exit::of(&error), |_| Exit::Data);
    let exit = match of("index.json") {
        // Blobs that are not there are a broken layout.
        Exit::Data if of("blobs/sha256") == Exit::NoPermission => Exit::NoPermission,
        exit => exit,
    };
    let failure = Failure::new(exit, what);
    match exit {
        Exit::NoInput => failure.hint("oci:DIR names a directory that has an index.json"),
        Exit::NoPermission => failure.hint(MAY_READ),
        _ => failure,
    }
}

/// What a registry's error means for whoever asked.
pub(crate) fn failure(reference: &Reference, error: &Error) -> Failure {
    let what = format!("{reference}: {}", plain(&error.to_string()));
    if error.is_absence() {
        return Failure::new(Exit::NoInput, what).hint("check the name and the tag");
    }
    if error.is_denied() {
        return Failure::new(Exit::NoPermission, what).hint("log in, for example with `docker login` or `oras login`");
    }
    if error.is_unavailable() {
        return Failure::new(Exit::Unavailable, what)
            .hint("check the name and the network; a registry without TLS has to be named in registries.plain_http");
    }
    match error {
        Error::Hosts { .. } | Error::Tls { .. } => Failure::new(Exit::Config, what),
        Error::Layout { folder, .. } => layout_failure(folder, what),
        _ => Failure::new(Exit::Data, what),
    }
}
