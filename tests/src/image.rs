//! Owns making real OCI content: layers, image configs, manifests and indexes, each by its digest. Writes nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::program;
use crate::tar::Tar;

/// Media types as the OCI image specification names them.
pub mod media {
    /// An image index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// A manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An image config.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A layer that is not compressed.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// A layer compressed by gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// The empty JSON object, which stands where there is no config.
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
}

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold(String::from("sha256:"), |text, byte| text + &format!("{byte:02x}"))
}

/// This machine's architecture as OCI spells it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// One piece of content by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its media type.
    pub media: String,
    /// Its digest.
    pub digest: String,
    /// Its size in bytes.
    pub size: usize,
}

impl Descriptor {
    /// The descriptor of some bytes.
    pub fn of(media: &str, bytes: &[u8]) -> Self {
        Self { media: media.to_owned(), digest: digest(bytes), size: bytes.len() }
    }

    /// As it stands in a manifest.
    pub fn json(&self) -> Value {
        json!({"mediaType": self.media, "digest": self.digest, "size": self.size})
    }
}

/// One image: what differs between the entries of an index.
#[derive(Debug, Clone)]
pub struct Image {
    /// Which build it is: the text of `/build`, in a layer of its own.
    pub build: String,
    /// os/architecture of its config and of its entry.
    pub architecture: String,
    /// `platform.variant` of its entry.
    pub variant: Option<String>,
    /// The `config` object of the image config.
    pub config: Value,
    /// Lower layers, before the one with `/build`.
    pub layers: Vec<Vec<u8>>,
    /// More annotations of the entry.
    pub annotations: BTreeMap<String, String>,
    /// Whether its own layer is compressed.
    pub gzip: bool,
    /// Whether its own layer says that it is encrypted.
    pub encrypted: bool,
}

impl Image {
    /// An image of the probe for this machine: entrypoint `/probe`, arguments `report`.
    pub fn new(build: &str) -> Self {
        Self {
            build: build.to_owned(),
            architecture: architecture().to_owned(),
            variant: None,
            config: json!({"Entrypoint": ["/probe"], "Cmd": ["report"], "Env": ["PATH=/usr/bin:/bin"], "WorkingDir": "/"}),
            layers: vec![base_layer("shared")],
            annotations: BTreeMap::new(),
            gzip: true,
            encrypted: false,
        }
    }

    /// Sets one field of the config, such as `Env` or `User`.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.config[field] = value;
        self
    }

    /// Sets `platform.variant` of its entry.
    #[must_use]
    pub fn variant(mut self, variant: &str) -> Self {
        self.variant = Some(variant.to_owned());
        self
    }

    /// Takes another architecture.
    #[must_use]
    pub fn for_architecture(mut self, architecture: &str) -> Self {
        architecture.clone_into(&mut self.architecture);
        self
    }

    /// Says that its own layer is encrypted.
    #[must_use]
    pub fn encrypted(mut self) -> Self {
        self.encrypted = true;
        self
    }

    /// Shares no layer with others: its base differs as well.
    #[must_use]
    pub fn with_own_base(mut self) -> Self {
        self.layers = vec![base_layer(&self.build)];
        self
    }

    /// Lays these layers below, instead of the base with the probe.
    #[must_use]
    pub fn on(mut self, layers: Vec<Vec<u8>>) -> Self {
        self.layers = layers;
        self
    }

    fn build(&self, content: &mut Content) -> Entry {
        let own = Tar::default().file("build", 0o644, self.build.as_bytes()).finish();
        let mut diffs = Vec::new();
        let mut layers = Vec::new();
        for (tar, gzip) in self.layers.iter().map(|tar| (tar, false)).chain([(&own, self.gzip)]) {
            diffs.push(digest(tar));
            let (media, bytes) = if gzip { (media::LAYER_GZIP, zip(tar)) } else { (media::LAYER, tar.clone()) };
            let suffix = if self.encrypted && *tar == own { "+encrypted" } else { "" };
            layers.push(content.add(&format!("{media}{suffix}"), bytes));
        }
        let config = json!({
            "architecture": self.architecture, "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diffs},
        });
        let config = content.add(media::CONFIG, to_bytes(&config));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media::MANIFEST, "config": config.json(),
            "layers": layers.iter().map(Descriptor::json).collect::<Vec<_>>(),
        });
        let descriptor = content.add(media::MANIFEST, to_bytes(&manifest));
        let mut platform = json!({"architecture": self.architecture, "os": "linux"});
        if let Some(variant) = &self.variant {
            platform["variant"] = json!(variant);
        }
        let mut json = descriptor.json();
        json["platform"] = platform;
        if !self.annotations.is_empty() {
            json["annotations"] = json!(self.annotations);
        }
        Entry { descriptor, config, layers, json }
    }
}

/// A layer with the probe and what a root file system needs; another `name` makes it another layer.
pub fn base_layer(name: &str) -> Vec<u8> {
    Tar::default()
        .dir("etc", 0o755)
        .file("etc/passwd", 0o644, b"root:x:0:0:root:/:/probe\ndaemon:x:7:7:daemon:/:/probe\n")
        .file("etc/group", 0o644, b"root:x:0:\ndaemon:x:7:\n")
        .file("etc/base", 0o644, name.as_bytes())
        .dir("tmp", 0o777)
        .dir("work", 0o755)
        .file("probe", 0o755, program::probe())
        .finish()
}

fn zip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut gzip =
        Command::new("gzip").args(["-n", "-1"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    let mut stdin = gzip.stdin.take().expect("piped");
    let owned = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&owned));
    let out = gzip.wait_with_output().expect("gzip");
    writer.join().expect("writer").expect("gzip's input");
    out.stdout
}

fn to_bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}

/// Blobs and manifests by digest.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// Each with its media type, in the order in which a registry accepts them.
    pub blobs: Vec<(Descriptor, Vec<u8>)>,
}

impl Content {
    /// Adds a piece once.
    pub fn add(&mut self, media: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(media, &bytes);
        if !self.blobs.iter().any(|(known, _)| known.digest == descriptor.digest) {
            self.blobs.push((descriptor.clone(), bytes));
        }
        descriptor
    }
}

/// One entry of a built index.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its manifest.
    pub descriptor: Descriptor,
    /// Its image config.
    pub config: Descriptor,
    /// Its layers, the lowest first.
    pub layers: Vec<Descriptor>,
    json: Value,
}

/// An index with everything it names.
#[derive(Debug, Clone)]
pub struct Index {
    /// All content, the index last.
    pub content: Content,
    /// The index itself.
    pub descriptor: Descriptor,
    /// Its entries in their order.
    pub entries: Vec<Entry>,
}

impl Index {
    /// Builds an index whose entries stand in the given order: the first one that this machine can run is the default.
    pub fn of(images: &[Image]) -> Self {
        Self::carrying(images, |_, _| Vec::new())
    }

    /// The same, with more descriptors behind those of the images: `more` sees the entries and adds what it describes.
    pub fn carrying(images: &[Image], more: impl Fn(&[Entry], &mut Content) -> Vec<Value>) -> Self {
        let mut content = Content::default();
        let entries: Vec<Entry> = images.iter().map(|image| image.build(&mut content)).collect();
        let more = more(&entries, &mut content);
        let manifests: Vec<Value> = entries.iter().map(|entry| entry.json.clone()).chain(more).collect();
        let json = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests});
        let descriptor = content.add(media::INDEX, to_bytes(&json));
        Self { content, descriptor, entries }
    }

    /// The same with that many more entries behind the others, for another platform.
    #[must_use]
    pub fn padded(mut self, count: usize) -> Self {
        let (_, bytes) = self.content.blobs.pop().expect("the index");
        let mut json: Value = serde_json::from_slice(&bytes).expect("JSON");
        let mut more = self.entries[0].descriptor.json();
        more["platform"] = json!({"architecture": "s390x", "os": "linux"});
        json["manifests"].as_array_mut().expect("a list").extend(vec![more; count]);
        self.descriptor = self.content.add(media::INDEX, to_bytes(&json));
        self
    }

    /// The digest of the entry at a position.
    pub fn entry(&self, position: usize) -> &str {
        &self.entries[position].descriptor.digest
    }

    /// Writes it as an OCI image layout with one tag.
    pub fn write_layout(&self, dir: &std::path::Path, tag: &str) {
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("layout");
        for (descriptor, bytes) in &self.content.blobs {
            let name = descriptor.digest.strip_prefix("sha256:").expect("sha256");
            std::fs::write(blobs.join(name), bytes).expect("blob");
        }
        let mut entry = self.descriptor.json();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": [entry]});
        std::fs::write(dir.join("index.json"), to_bytes(&index)).expect("index.json");
        std::fs::write(dir.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).expect("oci-layout");
    }
}
