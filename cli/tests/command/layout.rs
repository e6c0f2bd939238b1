//! Writes OCI layouts (image-spec, image-layout.md) as authors' tools leave them.

use std::fs;
use std::path::{Path, PathBuf};

use bestfit_selector::digest::Digest;
use serde_json::{Value, json};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const ARTIFACT: &str = "application/vnd.oci.image-compatibility.v1";
const DOCUMENT: &str = "application/vnd.oci.image-compatibility.spec.v1+json";

pub(crate) struct Layout {
    dir: PathBuf,
    listed: Vec<Value>,
}

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { dir: dir.to_owned(), listed: Vec::new() }
    }

    /// Writes a blob and describes it.
    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    fn json(&self, media_type: &str, value: &Value) -> Value {
        self.blob(media_type, value.to_string().as_bytes())
    }

    /// An image for `linux/<architecture>` that differs from others by `name`.
    pub(crate) fn image(&self, architecture: &str, name: &str) -> Value {
        self.image_with(architecture, &json!({ "Labels": { "name": name } }))
    }

    /// An image with this `config` in its config.
    pub(crate) fn image_with(&self, architecture: &str, config: &Value) -> Value {
        let config = json!({ "os": "linux", "architecture": architecture, "config": config });
        let config = self.json("application/vnd.oci.image.config.v1+json", &config);
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [] });
        let mut descriptor = self.json(MANIFEST, &manifest);
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        descriptor
    }

    /// Attaches a document to `subject`, as `oras attach` does.
    pub(crate) fn attach(&mut self, subject: &Value, document: &str) {
        let descriptor = self.artifact(subject, document);
        self.listed.push(descriptor);
    }

    /// Lists an artifact that says it is about `subject` under the fallback tag of `other`.
    pub(crate) fn list_under(&mut self, other: &Value, subject: &Value, document: &str) {
        let mut artifact = self.artifact(subject, document);
        artifact["artifactType"] = ARTIFACT.into();
        let tag = other["digest"].as_str().unwrap().replace(':', "-");
        self.index(&tag, &[artifact]);
    }

    fn artifact(&self, subject: &Value, document: &str) -> Value {
        let layer = self.blob(DOCUMENT, document.as_bytes());
        let config = self.blob("application/vnd.oci.empty.v1+json", b"{}");
        let subject = json!({
            "mediaType": subject["mediaType"], "digest": subject["digest"], "size": subject["size"],
        });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": ARTIFACT,
            "config": config, "layers": [layer], "subject": subject,
        });
        self.json(MANIFEST, &manifest)
    }

    /// Tags an index of these entries.
    pub(crate) fn index(&mut self, tag: &str, entries: &[Value]) -> Digest {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        let descriptor = self.json(INDEX, &index);
        self.tag(tag, descriptor)
    }

    /// Tags anything.
    pub(crate) fn tag(&mut self, tag: &str, mut descriptor: Value) -> Digest {
        let digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        self.listed.push(descriptor);
        digest
    }

    /// Writes `index.json`.
    pub(crate) fn finish(self) {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": self.listed });
        fs::write(self.dir.join("index.json"), index.to_string()).unwrap();
    }
}

/// A host for `--facts`: AVX2 as said, a kernel, no AVX512.
pub(crate) fn facts(avx2: bool, kernel: &str) -> String {
    let avx2 = if avx2 {
        json!({ "state": "known", "value": true, "source": "cpuid" })
    } else {
        json!({ "state": "absent", "source": "cpuid" })
    };
    json!({ "facts": {
        "host": { "kernel.version": { "state": "known", "value": kernel, "source": "/proc/sys/kernel/osrelease" } },
        "io.archspec": { "cpu.target": { "state": "known", "value": "x86_64_v3", "source": "/proc/cpuinfo" } },
        "nfd": {
            "cpu-cpuid.*": { "state": "absent", "source": "cpuid" },
            "cpu-cpuid.AVX2": avx2,
            "cpu-cpuid.SGX": { "state": "unknown", "why": "EACCES", "source": "cpuid" },
        },
    }})
    .to_string()
}
