//! Which servers stand for a registry: containerd's `certs.d` where there is one, else the registry itself. Reads small
//! configuration files, opens no connection. An unreadable or broken file is an error, never "not configured".

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::error::Error;
use crate::folder::read_all;
use crate::hosts::{self, HostEntry};
use crate::http::same_origin;

const FILE_LIMIT: u64 = 1 << 20;
const HUB: &str = "docker.io";
const HUB_SERVER: &str = "registry-1.docker.io";

/// A server that is asked for the contents of one registry.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Scheme, host, port, and the path down to `/v2`.
    pub(crate) base: Url,
    /// Host with port, as the key of credentials and back-off.
    pub(crate) authority: String,
    /// The registry that it is a mirror of: containerd tells it by `?ns=`.
    pub(crate) namespace: Option<String>,
    pub(crate) pull: bool,
    pub(crate) resolve: bool,
    pub(crate) referrers: bool,
    pub(crate) tls: Tls,
    pub(crate) headers: HeaderMap,
}

/// How a server and we prove who we are; files are read when the first connection is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tls {
    pub(crate) ca: Vec<PathBuf>,
    pub(crate) client: Option<(PathBuf, Option<PathBuf>)>,
    pub(crate) skip_verify: bool,
}

impl Tls {
    /// What holds towards a host that the administrator did not name: no identity, no skipped check.
    pub(crate) fn for_others(&self) -> Self {
        Self { ca: self.ca.clone(), client: None, skip_verify: false }
    }
}

impl Endpoint {
    /// The address of a thing in a repository; every part was validated before.
    pub(crate) fn url(&self, repository: &str, kind: &str, id: &str) -> Url {
        let mut url = self.base.clone();
        let prefix = self.base.path().trim_end_matches('/');
        url.set_path(&format!("{prefix}/{repository}/{kind}/{id}"));
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.base.scheme() == "http"
    }

    fn new(base: Url, registry: &str) -> Option<Self> {
        let host = base.host_str()?;
        let authority = base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let named = Url::parse(&format!("{}://{registry}", base.scheme())).ok();
        // Compared as addresses: a default port may be written or not.
        let is_registry = named.is_some_and(|named| same_origin(&named, &base));
        let is_hub = registry == HUB && authority == HUB_SERVER;
        let authority = if is_registry { registry.to_owned() } else { authority };
        let is_registry = is_registry || is_hub;
        Some(Self {
            namespace: (!is_registry).then(|| registry.to_owned()),
            authority,
            base,
            pull: true,
            resolve: true,
            referrers: true,
            tls: Tls::default(),
            headers: HeaderMap::new(),
        })
    }
}

/// The servers for a registry, in the order in which they are asked; the last one is the registry itself.
///
/// # Errors
/// [`Error::Hosts`] for a configuration that cannot be used.
pub(crate) fn endpoints(
    hosts_dir: Option<&Path>,
    plain_http: &[String],
    registry: &str,
) -> Result<Vec<Endpoint>, Error> {
    let Some(folder) = folder_for(hosts_dir, registry)? else {
        return Ok(vec![origin(plain_http, registry)?]);
    };
    let file = folder.join("hosts.toml");
    let Some(text) = read(&file)? else {
        let mut endpoint = origin(plain_http, registry)?;
        endpoint.tls = docker_style(&folder)?;
        return Ok(vec![endpoint]);
    };
    let wrong = |line, why: String| Error::Hosts { path: file.clone(), line, why };
    let text = String::from_utf8(text).map_err(|_| wrong(None, "it is not UTF-8".into()))?;
    let entries = hosts::parse(&text).map_err(|error| wrong(error.line, error.why))?;
    entries
        .into_iter()
        .map(|entry| {
            let line = entry.line;
            from_entry(entry, &folder, plain_http, registry).map_err(|why| wrong(Some(line), why))
        })
        .collect()
}

/// Whether a host names this machine, so that plain http is the default as in docker and containerd.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn origin(plain_http: &[String], registry: &str) -> Result<Endpoint, Error> {
    let server = if registry == HUB { HUB_SERVER } else { registry };
    let name = registry.rsplit_once(':').map_or(registry, |(name, _)| name);
    let plain = is_loopback(registry) || plain_http.iter().any(|given| given == registry || given == name);
    let scheme = if plain { "http" } else { "https" };
    let malformed = || Error::Malformed { what: registry.to_owned(), why: "it is no host".into() };
    let base = Url::parse(&format!("{scheme}://{server}/v2")).map_err(|_| malformed())?;
    Endpoint::new(base, registry).ok_or_else(malformed)
}

fn from_entry(entry: HostEntry, folder: &Path, plain_http: &[String], registry: &str) -> Result<Endpoint, String> {
    let mut endpoint = match &entry.server {
        Some(server) => {
            let base = base_of(server, entry.override_path)?;
            Endpoint::new(base, registry).ok_or(format!("{server:?} has no host"))?
        }
        None => origin(plain_http, registry).map_err(|error| error.to_string())?,
    };
    endpoint.pull = entry.pull;
    endpoint.resolve = entry.resolve;
    endpoint.referrers = entry.referrers;
    endpoint.tls = Tls {
        ca: entry.ca.iter().map(|file| folder.join(file)).collect(),
        client: client_pair(&entry, folder)?,
        skip_verify: entry.skip_verify,
    };
    for (name, value) in &entry.headers {
        let header = HeaderName::try_from(name).map_err(|_| format!("{name:?} is no header name"))?;
        // The value may be a secret: it is not repeated.
        let mut value =
            HeaderValue::try_from(value).map_err(|_| format!("the value of header {name:?} cannot be sent"))?;
        value.set_sensitive(true);
        endpoint.headers.append(header, value);
    }
    Ok(endpoint)
}

fn client_pair(entry: &HostEntry, folder: &Path) -> Result<Option<(PathBuf, Option<PathBuf>)>, String> {
    match entry.client.as_slice() {
        [] => Ok(None),
        [(certificate, key)] => Ok(Some((folder.join(certificate), key.as_ref().map(|key| folder.join(key))))),
        _ => Err("more than one client certificate for a host is not supported".into()),
    }
}

/// containerd's rule: `/v2` is added unless it is there or the path is overridden.
fn base_of(server: &str, override_path: bool) -> Result<Url, String> {
    let with_scheme = if server.contains("://") { server.to_owned() } else { format!("https://{server}") };
    let mut base = Url::parse(&with_scheme).map_err(|error| format!("{server:?} is no address: {error}"))?;
    if !matches!(base.scheme(), "http" | "https") || !base.username().is_empty() || base.password().is_some() {
        return Err(format!("a host is https://NAME or http://NAME without a user, not {:?}", base.scheme()));
    }
    base.set_query(None);
    base.set_fragment(None);
    let path = base.path().trim_end_matches('/').to_owned();
    if !override_path && !path.ends_with("/v2") {
        base.set_path(&format!("{path}/v2"));
    }
    Ok(base)
}

fn folder_for(hosts_dir: Option<&Path>, registry: &str) -> Result<Option<PathBuf>, Error> {
    // containerd writes HOST_PORT_ where a colon cannot stand, and takes a list of folders.
    let with_port = registry.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let names = with_port.map(|(name, port)| format!("{name}_{port}_")).into_iter();
    let names: Vec<String> = names.chain([registry.to_owned(), "_default".to_owned()]).collect();
    for root in hosts_dir.into_iter().flat_map(|dirs| std::env::split_paths(dirs)) {
        for name in &names {
            let folder = root.join(name);
            match std::fs::metadata(&folder) {
                Ok(data) if data.is_dir() => return Ok(Some(folder)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::Hosts { path: folder, line: None, why: error.to_string() }),
            }
        }
    }
    Ok(None)
}

/// `*.crt` are CAs, `*.cert` with `*.key` a client's pair (docker's `certs.d`).
fn docker_style(folder: &Path) -> Result<Tls, Error> {
    let wrong = |error: io::Error| Error::Hosts { path: folder.to_owned(), line: None, why: error.to_string() };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)?.take(1000) {
        files.push(entry.map_err(wrong)?.path());
    }
    files.sort();
    let with = |extension: &str| {
        files.iter().filter(|file| file.extension().is_some_and(|e| e == extension)).cloned().collect()
    };
    let certificates: Vec<PathBuf> = with("cert");
    let client = certificates.into_iter().next().map(|file| (file.clone(), Some(file.with_extension("key"))));
    Ok(Tls { ca: with("crt"), client, skip_verify: false })
}

fn read(file: &Path) -> Result<Option<Vec<u8>>, Error> {
    match File::open(file).and_then(|open| read_all(open, FILE_LIMIT)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::Hosts { path: file.to_owned(), line: None, why: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(endpoints: &[Endpoint]) -> Vec<String> {
        endpoints.iter().map(|endpoint| endpoint.url("a/b", "manifests", "t").to_string()).collect()
    }

    #[test]
    fn without_configuration_the_registry_itself() {
        let table = [
            ("docker.io", "https://registry-1.docker.io/v2/a/b/manifests/t"),
            ("ghcr.io", "https://ghcr.io/v2/a/b/manifests/t"),
            ("localhost", "http://localhost/v2/a/b/manifests/t"),
            ("127.1.2.3:5000", "http://127.1.2.3:5000/v2/a/b/manifests/t"),
            ("[::1]:5000", "http://[::1]:5000/v2/a/b/manifests/t"),
            ("127.evil.example", "https://127.evil.example/v2/a/b/manifests/t"),
            ("localhost.evil.example", "https://localhost.evil.example/v2/a/b/manifests/t"),
            ("plain.example:80", "http://plain.example/v2/a/b/manifests/t"),
            ("plain.example:81", "https://plain.example:81/v2/a/b/manifests/t"),
            ("any.example:81", "http://any.example:81/v2/a/b/manifests/t"),
        ];
        let plain = ["plain.example:80".to_owned(), "any.example".to_owned()];
        for (registry, url) in table {
            assert_eq!(urls(&endpoints(None, &plain, registry).unwrap()), [url], "{registry}");
        }
    }

    #[test]
    fn mirrors_in_order_with_their_namespace() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("docker.io");
        std::fs::create_dir(&folder).unwrap();
        let text = "server = \"https://registry-1.docker.io\"\n[host.\"http://m.example:5000/x\"]\nca = \"ca.pem\"\n\
            [host.\"https://p.example/proxy\"]\noverride_path = true\ncapabilities = [\"pull\"]\n";
        std::fs::write(folder.join("hosts.toml"), text).unwrap();
        let found = endpoints(Some(root.path()), &[], "docker.io").unwrap();
        assert_eq!(
            urls(&found),
            [
                "http://m.example:5000/x/v2/a/b/manifests/t?ns=docker.io",
                "https://p.example/proxy/a/b/manifests/t?ns=docker.io",
                "https://registry-1.docker.io/v2/a/b/manifests/t",
            ]
        );
        assert_eq!(found[0].tls.ca, [folder.join("ca.pem")]);
        assert!(!found[1].resolve && found[1].pull);
    }

    #[test]
    fn default_and_port_folders_and_broken_files() {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in
            [("_default", "[host.\"http://127.0.0.1:1\"]"), ("q.example_5000_", ""), ("bad.example", "\nserver = 3")]
        {
            std::fs::create_dir(root.path().join(name)).unwrap();
            std::fs::write(root.path().join(name).join("hosts.toml"), text).unwrap();
        }
        let get = |registry| endpoints(Some(root.path()), &[], registry);
        assert_eq!(
            urls(&get("any.example").unwrap()),
            ["http://127.0.0.1:1/v2/a/b/manifests/t?ns=any.example", "https://any.example/v2/a/b/manifests/t"]
        );
        assert_eq!(urls(&get("q.example:5000").unwrap()), ["https://q.example:5000/v2/a/b/manifests/t"]);
        let error = get("bad.example").unwrap_err().to_string();
        assert!(error.contains("bad.example/hosts.toml:2: server is a string"), "{error}");
        std::fs::write(root.path().join("bad.example/hosts.toml"), "[host.\"ftp://x\"]").unwrap();
        assert!(get("bad.example").unwrap_err().to_string().contains("hosts.toml:1"));
        std::fs::remove_file(root.path().join("bad.example/hosts.toml")).unwrap();
        std::fs::create_dir(root.path().join("bad.example/hosts.toml")).unwrap();
        assert!(get("bad.example").is_err(), "an unreadable file is not a missing one");
    }

    #[test]
    fn docker_style_certificates() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("q.example");
        std::fs::create_dir(&folder).unwrap();
        for name in ["a.crt", "c.cert", "c.key"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let [only] = endpoints(Some(root.path()), &[], "q.example").unwrap().try_into().unwrap();
        assert_eq!(only.tls.ca, [folder.join("a.crt")]);
        assert_eq!(only.tls.client, Some((folder.join("c.cert"), Some(folder.join("c.key")))));
    }
}
