//! Owns the registries of the tests: real ones on a free port of 127.0.0.1, and a push client that speaks to them.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::command::eventually;
use crate::http::{self, Response};
use crate::image::{Content, Index, media};
use crate::{isolate, peers};

/// Which registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// docker-registry 2.8: no Referrers API.
    Docker,
    /// `crane registry serve`.
    Crane,
    /// ferro-oci-server: with the Referrers API.
    Ferro,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker-registry",
            Self::Crane => "crane",
            Self::Ferro => "ferro-oci-server",
        }
    }
}

/// A running registry; it ends with the value.
#[derive(Debug)]
pub struct Registry {
    /// `127.0.0.1:port`.
    pub host: String,
    kind: Kind,
    dir: PathBuf,
    process: Option<Child>,
}

impl Registry {
    /// Starts one, or says which program is missing.
    pub fn start(kind: Kind) -> Result<Self, String> {
        let port = free_port();
        let dir = isolate::dir().join(format!("registry-{port}"));
        std::fs::create_dir_all(&dir).expect("registry's directory");
        let mut registry = Self { host: format!("127.0.0.1:{port}"), kind, dir, process: None };
        registry.resume()?;
        Ok(registry)
    }

    /// Ends the process and keeps the port: connections are refused from now on.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }

    /// Starts the process again. Registries without a disk have forgotten everything.
    pub fn resume(&mut self) -> Result<(), String> {
        let program = self.kind.program();
        let path = peers::program(program).ok_or_else(|| format!("{program} is missing"))?;
        let mut command = Command::new(path);
        match self.kind {
            Kind::Docker => {
                let config = self.dir.join("config.yml");
                let store = self.dir.join("store");
                let text = format!(
                    "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
                     http: {{addr: \"{}\"}}\n",
                    store.display(),
                    self.host
                );
                std::fs::write(&config, text).expect("registry's configuration");
                command.arg("serve").arg(config);
            }
            Kind::Crane => {
                let store = self.dir.join("store");
                std::fs::create_dir_all(&store).expect("registry's directory");
                command.args(["registry", "serve", "--address", &self.host, "--disk"]).arg(store);
            }
            Kind::Ferro => {
                command.env("FERRO_OCI_LISTEN", &self.host).env("RUST_LOG", "warn");
            }
        }
        let log = std::fs::File::create(self.dir.join("log")).expect("registry's log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("log")).stderr(log);
        self.process = Some(command.spawn().map_err(|error| format!("{program}: {error}"))?);
        eventually("the registry answers", Duration::from_secs(20), || {
            http::request("GET", &self.host, "/v2/", &[], &[]).ok().filter(|answer| answer.status == 200)
        });
        Ok(())
    }

    /// Its process, for the list of those that may stay.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// `127.0.0.1:port/repository:tag`.
    pub fn reference(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.host)
    }

    /// Pushes an index with all its content, and gives its reference.
    pub fn push(&self, repository: &str, tag: &str, index: &Index) -> String {
        self.push_content(repository, &index.content);
        let (descriptor, bytes) = index.content.blobs.last().expect("the index");
        self.put_manifest(repository, tag, &descriptor.media, bytes);
        self.reference(repository, tag)
    }

    /// Pushes blobs and manifests by digest.
    pub fn push_content(&self, repository: &str, content: &Content) {
        for (descriptor, bytes) in &content.blobs {
            if [media::MANIFEST, media::INDEX].contains(&descriptor.media.as_str()) {
                self.put_manifest(repository, &descriptor.digest, &descriptor.media, bytes);
            } else {
                self.put_blob(repository, &descriptor.digest, bytes);
            }
        }
    }

    /// Puts one manifest or index under a tag or digest.
    pub fn put_manifest(&self, repository: &str, name: &str, media: &str, bytes: &[u8]) -> Response {
        let path = format!("/v2/{repository}/manifests/{name}");
        let answer = http::request("PUT", &self.host, &path, &[("Content-Type", media)], bytes);
        answer.unwrap_or_else(|error| panic!("PUT {path}: {error}")).ok(&path)
    }

    /// Gets one manifest by tag or digest, where there is one.
    pub fn get_manifest(&self, repository: &str, name: &str) -> Option<Vec<u8>> {
        let accept = [media::INDEX, media::MANIFEST].join(", ");
        let path = format!("/v2/{repository}/manifests/{name}");
        let answer = http::request("GET", &self.host, &path, &[("Accept", &accept)], &[]).expect("GET manifest");
        (answer.status == 200).then_some(answer.body)
    }

    /// Puts one blob (OCI distribution, "Pushing a blob in two requests").
    pub fn put_blob(&self, repository: &str, digest: &str, bytes: &[u8]) {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let begun = http::request("POST", &self.host, &path, &[], &[]).expect("POST upload").ok(&path);
        let location = begun.header("location").expect("a Location");
        let location = location.strip_prefix(&format!("http://{}", self.host)).unwrap_or(location);
        let join = if location.contains('?') { '&' } else { '?' };
        let path = format!("{location}{join}digest={digest}");
        let kind = [("Content-Type", "application/octet-stream")];
        http::request("PUT", &self.host, &path, &kind, bytes).expect("PUT blob").ok(&path);
    }

    /// Makes a blob of a docker-registry that long, in its store: it serves more than the digest is of.
    pub fn grow(&self, digest: &str, length: u64) {
        let hex = digest.strip_prefix("sha256:").expect("sha256");
        let file = self.dir.join("store/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data");
        let file = std::fs::File::options().write(true).open(file).expect("the blob's file");
        file.set_len(length).expect("a sparse file");
    }

    /// Gets one blob, which must be there.
    pub fn get_blob(&self, repository: &str, digest: &str) -> Vec<u8> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        http::request("GET", &self.host, &path, &[], &[]).expect("GET blob").ok(&path).body
    }

    /// Removes a blob.
    pub fn delete_blob(&self, repository: &str, digest: &str) {
        let path = format!("/v2/{repository}/blobs/{digest}");
        http::request("DELETE", &self.host, &path, &[], &[]).expect("DELETE").ok(&path);
    }

    /// Removes a manifest.
    pub fn delete_manifest(&self, repository: &str, digest: &str) {
        let path = format!("/v2/{repository}/manifests/{digest}");
        http::request("DELETE", &self.host, &path, &[], &[]).expect("DELETE").ok(&path);
    }

    /// Stops it and puts a server in its place that accepts connections and never answers.
    pub fn fall_silent(&mut self) -> Silence {
        self.stop();
        Silence::at(&self.host)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

/// A server that accepts connections and never answers.
#[derive(Debug)]
pub struct Silence {
    host: String,
    over: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl Silence {
    fn at(host: &str) -> Self {
        let listener = eventually("the port is free", Duration::from_secs(5), || TcpListener::bind(host).ok());
        let (over, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (ended, count) = (Arc::clone(&over), Arc::clone(&connections));
        std::thread::spawn(move || {
            let mut held: Vec<TcpStream> = Vec::new();
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                held.push(stream);
            }
        });
        Self { host: host.to_owned(), over, connections }
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which closes the listener.
        if let Ok(mut stream) = TcpStream::connect(&self.host) {
            stream.read_exact(&mut [0]).ok();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
