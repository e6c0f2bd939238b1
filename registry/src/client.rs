//! Owns the options and the state that all repositories share. Making a client opens the cache's folders and nothing
//! else: connections, TLS and configuration of hosts wait until something must be asked.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::Auth;
pub use crate::backoff::BackOff;
use crate::backoff::Hosts;
use crate::cache::Cache;
use crate::http::Http;
use crate::reference::{Place, Reference};
use crate::repository::Repository;

/// How registries are read.
#[derive(Clone)]
pub struct Options {
    /// containerd's `certs.d`, or several of them with `:` between.
    pub hosts_dir: Option<PathBuf>,
    /// Hosts (`name` or `name:port`) that are asked by plain http; loopback is anyway.
    pub plain_http: Vec<String>,
    /// The bytes of docker's `config.json`.
    pub docker_config: Option<Vec<u8>>,
    /// Whether programs that the configuration names may be run for credentials.
    pub allow_credential_helpers: bool,
    /// Folder of the on-disk cache; none means no cache and no memory of dead hosts.
    pub cache: Option<PathBuf>,
    /// Bytes that the cache may take, roughly; 0 keeps nothing.
    pub cache_max_bytes: u64,
    /// How long a list of referrers is believed, give or take a tenth.
    pub referrers_lifetime: Duration,
    /// How long an outdated list is used while the registry fails.
    pub stale_limit: Duration,
    /// When a host that failed is asked again.
    pub back_off: BackOff,
    /// Whether hosts that failed are kept in the cache, for the processes that come after this one.
    pub remember_failures: bool,
    /// For one connection; below the caller's own deadline.
    pub connect_timeout: Duration,
    /// For an answer to begin, and for each next piece of it.
    pub stall_timeout: Duration,
    /// The only TCP ports to which redirects and token servers may lead; none where any may.
    pub ports: Option<BTreeSet<u16>>,
    /// Hosts (`name` or `name:port`) that redirects may lead to although they lie in networks that are not public.
    pub redirects: Vec<String>,
    /// Whether `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` of the environment hold.
    pub proxies: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hosts_dir: None,
            plain_http: Vec::new(),
            docker_config: None,
            allow_credential_helpers: false,
            cache: None,
            cache_max_bytes: 64 << 20,
            referrers_lifetime: Duration::from_secs(600),
            stale_limit: Duration::from_secs(24 * 3600),
            back_off: BackOff::default(),
            remember_failures: true,
            connect_timeout: Duration::from_secs(2),
            stall_timeout: Duration::from_secs(10),
            ports: None,
            redirects: Vec::new(),
            proxies: true,
        }
    }
}

/// docker's configuration holds secrets: it is not printed.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("hosts_dir", &self.hosts_dir)
            .field("plain_http", &self.plain_http)
            .field("docker_config", &self.docker_config.as_ref().map(|_| "<secret>"))
            .field("allow_credential_helpers", &self.allow_credential_helpers)
            .field("cache", &self.cache)
            .field("cache_max_bytes", &self.cache_max_bytes)
            .field("referrers_lifetime", &self.referrers_lifetime)
            .finish_non_exhaustive()
    }
}

/// Reads from registries and layouts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

/// What the repositories of one client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) http: Http,
    pub(crate) auth: Auth,
    pub(crate) cache: Option<Cache>,
    warnings: Vec<String>,
}

impl Client {
    /// A client with these options. A cache that cannot be used is left out: see [`Client::warnings`].
    pub fn new(mut options: Options) -> Self {
        let opened = options.cache.as_deref().map(|path| Cache::open(path, options.cache_max_bytes)).transpose();
        let (opened, warnings) = match opened {
            Ok(opened) => (opened, Vec::new()),
            Err(warning) => (None, vec![warning]),
        };
        let (cache, hosts) = opened.map_or((None, None), |(cache, hosts)| (Some(cache), Some(hosts)));
        let hosts = Hosts::new(options.back_off, hosts.filter(|_| options.remember_failures));
        let http = Http::new(hosts, &options);
        let auth = Auth::new(options.docker_config.take().as_deref(), options.allow_credential_helpers);
        Self { shared: Arc::new(Shared { options, http, auth, cache, warnings }) }
    }

    /// The repository of a reference; asks nobody.
    pub fn repository(&self, reference: &Reference) -> Repository {
        match reference.place() {
            Place::Registry { host, repository } => Repository::remote(self.shared.clone(), host, repository),
            Place::Layout(folder) => Repository::layout(folder.clone()),
        }
    }

    /// HTTP requests sent so far, token requests and redirects included.
    pub fn requests(&self) -> u64 {
        self.shared.http.requests()
    }

    /// What was left out when the client was made, in words for a log.
    pub fn warnings(&self) -> &[String] {
        &self.shared.warnings
    }
}
