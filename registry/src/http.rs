//! Owns one exchange with a server: connections set up when first needed, time limits, redirects by our rules, bodies
//! counted while they are read. Knows nothing of registries but that one host is asked on behalf of another.

use std::collections::{BTreeSet, HashMap};
use std::error::Error as _;
use std::fs::File;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bestfit_selector::json::plain;
use nix::errno::Errno;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LINK, LOCATION, RETRY_AFTER,
};
use reqwest::{Method, Url};

use crate::backoff::{Hosts, Watch};
use crate::client::Options;
use crate::credentials::Secret;
use crate::endpoint::{Endpoint, Tls};
use crate::error::Error;
use crate::folder::read_all;
use crate::listing::next_link;
use crate::names::{Guarded, Names, Outside};
use crate::zone::{Reach, Zone};

const REDIRECTS_LIMIT: usize = 3;
/// What is said of an address that is neither public nor the registry's.
pub(crate) const INWARD: &str =
    "it leads into a network that is not public, to another host than the registry or those in registries.redirects";
const PEM_LIMIT: u64 = 1 << 20;
const AGENT: &str = concat!("bestfit/", env!("CARGO_PKG_VERSION"));

/// Connections, counters and time limits that all requests share.
#[derive(Debug)]
pub(crate) struct Http {
    clients: Mutex<HashMap<Key, reqwest::Client>>,
    pub(crate) hosts: Arc<Hosts>,
    requests: AtomicU64,
    /// How many requests may be sent in all.
    limit: AtomicU64,
    connect: Duration,
    stall: Duration,
    ports: Option<BTreeSet<u16>>,
    /// Hosts that redirects may lead to wherever they lie.
    redirects: Vec<String>,
    /// Whether `HTTPS_PROXY` and its like hold for hosts other than this one.
    proxies: bool,
    names: Arc<Names>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// `None` for plain http, which needs no certificates on the system.
    tls: Option<Tls>,
    reach: Reach,
    proxies: bool,
}

/// An answer whose body is not read yet.
pub(crate) struct Reply {
    response: reqwest::Response,
    watch: Watch,
    host: String,
    stall: Duration,
    hosts: Arc<Hosts>,
    /// The server's own address, where it is known.
    address: Option<IpAddr>,
    /// Whether the asked host itself answers, not one that it redirected to.
    pub(crate) own: bool,
}

/// What is sent besides the address.
#[derive(Default)]
pub(crate) struct Content {
    pub(crate) headers: HeaderMap,
    /// A form, for POST.
    pub(crate) form: Option<String>,
}

impl Http {
    pub(crate) fn new(hosts: Hosts, options: &Options) -> Self {
        let Options { connect_timeout: connect, stall_timeout: stall, proxies, .. } = *options;
        let (clients, requests, limit) = (Mutex::default(), AtomicU64::new(0), AtomicU64::new(u64::MAX));
        let (ports, redirects) = (options.ports.clone(), options.redirects.clone());
        let names = Arc::new(Names::new(proxies));
        Self { clients, hosts: Arc::new(hosts), requests, limit, connect, stall, ports, redirects, proxies, names }
    }

    /// Whether an address that a server named has one of the ports that are left.
    pub(crate) fn port_rule(&self, url: &Url) -> Result<(), &'static str> {
        match (&self.ports, url.port_or_known_default()) {
            (Some(ports), Some(port)) if !ports.contains(&port) => Err("its port is not among registries.ports"),
            _ => Ok(()),
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// From now on at most so many requests are sent; none: any number.
    pub(crate) fn at_most(&self, more: Option<u64>) {
        let limit = more.map_or(u64::MAX, |more| self.requests().saturating_add(more));
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Counts a request, where it may still be sent.
    fn count(&self, host: &str) -> Result<(), Error> {
        let limit = self.limit.load(Ordering::Relaxed);
        let counted = |sent| (sent < limit).then_some(sent + 1);
        let before = self.requests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
        before.map(drop).map_err(|sent| Error::Exhausted { host: host.to_owned(), sent })
    }

    /// GET from an endpoint, following redirects: at most three, never with credentials to another origin or back from one, never
    /// from https to http, and into networks that are not public only to the endpoint's own host or address, or to a host that
    /// the site names.
    pub(crate) async fn get(
        &self,
        endpoint: &Endpoint,
        url: Url,
        accept: &'static str,
        authorization: Option<&Secret>,
        what: &str,
    ) -> Result<Reply, Error> {
        let first = url.clone();
        let (mut url, mut reach, mut own) = (url, Reach::Named, true);
        let mut address = None;
        for _ in 0..=REDIRECTS_LIMIT {
            own = own && same_origin(&url, &first);
            let mut content = Content::default();
            if own {
                content.headers = endpoint.headers.clone();
                if let Some(secret) = authorization {
                    content.headers.insert(AUTHORIZATION, sensitive(secret, endpoint)?);
                }
            }
            content.headers.insert(ACCEPT, HeaderValue::from_static(accept));
            let tls = if own { endpoint.tls.clone() } else { endpoint.tls.for_others() };
            let outside = |url: &Url| Error::Redirect { what: what.to_owned(), to: shown(url), why: INWARD };
            let mut reply = self.send(endpoint, url.clone(), content, &tls, (reach, &outside)).await?;
            reply.own = own;
            if !matches!(reply.status(), 301 | 302 | 303 | 307 | 308) {
                return Ok(reply);
            }
            if own {
                address = reply.address;
            }
            let target = reply.target(&url, what)?;
            reach = self.reach(&first, &target, address);
            if let Err(why) = redirect_rule(&first, &target, reach) {
                return Err(Error::Redirect { what: what.to_owned(), to: shown(&target), why });
            }
            url = target;
            if let Err(why) = self.port_rule(&url) {
                return Err(Error::Redirect { what: what.to_owned(), to: shown(&url), why });
            }
            reply.finished();
        }
        Err(Error::Redirect { what: what.to_owned(), to: shown(&url), why: "more than 3 redirects" })
    }

    /// Where a redirect may lead: anywhere if the site has named the host, or if it is the endpoint's; else its address decides.
    fn reach(&self, first: &Url, target: &Url, own: Option<IpAddr>) -> Reach {
        let host = target.host_str().unwrap_or_default();
        let with_port = format!("{host}:{}", target.port_or_known_default().unwrap_or_default());
        let named = self.redirects.iter().any(|named| *named == host || *named == with_port);
        if named || first.host_str() == target.host_str() { Reach::Named } else { Reach::At(own) }
    }

    /// One request on behalf of an endpoint, which is held responsible for failures; not for where a name leads, of which
    /// `outside` makes the error.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        url: Url,
        content: Content,
        tls: &Tls,
        (reach, outside): (Reach, &impl Fn(&Url) -> Error),
    ) -> Result<Reply, Error> {
        let host = endpoint.authority.clone();
        self.hosts.check(&host)?;
        if reach != Reach::Named && self.names.is_proxy(&url) {
            return Err(outside(&url));
        }
        let client = self.client(&url, tls, reach, &host)?;
        let asked = url.clone();
        let method = if content.form.is_some() { Method::POST } else { Method::GET };
        let mut request = client.request(method, url).headers(content.headers).header(ACCEPT_ENCODING, "identity");
        if let Some(form) = content.form {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        }
        self.count(&host)?;
        let mut watch = Watch::start(self.hosts.clone(), host.clone());
        let response = match tokio::time::timeout(self.stall, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if Outside::caused(&error) => {
                watch.ended();
                return Err(outside(&asked));
            }
            Ok(Err(error)) => {
                let ours = is_ours(&error);
                let why = words(error);
                if ours {
                    watch.ended();
                } else {
                    watch.failed(&why);
                }
                return Err(Error::Unreachable { host, why });
            }
            Err(_) => {
                watch.failed("no answer");
                return Err(Error::Stalled { host, limit: self.stall });
            }
        };
        watch.ended();
        self.hosts.heard(&host);
        self.mind_retry_after(&host, &response);
        let address = self.names.address(&asked, response.remote_addr().map(|address| address.ip()));
        Ok(Reply { response, watch, host, stall: self.stall, hosts: self.hosts.clone(), address, own: true })
    }

    fn mind_retry_after(&self, host: &str, response: &reqwest::Response) {
        let status = response.status().as_u16();
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(retry_after);
        match (status, wait) {
            (429 | 503, Some(wait)) => self.hosts.asked_for(host, wait, &format!("HTTP {status} with Retry-After")),
            (429, None) => self.hosts.asked_for(host, self.hosts.first(), "HTTP 429"),
            _ => {}
        }
    }

    fn client(&self, url: &Url, tls: &Tls, reach: Reach, host: &str) -> Result<reqwest::Client, Error> {
        let proxies = self.proxies && !url.host_str().is_some_and(crate::endpoint::is_loopback);
        let key = Key { tls: (url.scheme() == "https").then(|| tls.clone()), reach, proxies };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(&key).map_err(|why| Error::Tls { host: host.to_owned(), why })?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn build(&self, key: &Key) -> Result<reqwest::Client, String> {
        let mut builder = reqwest::Client::builder()
            .user_agent(AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(self.connect)
            .dns_resolver(Guarded::new(key.reach, self.names.clone()));
        if !key.proxies {
            builder = builder.no_proxy();
        }
        builder = match &key.tls {
            None => builder.tls_certs_only([]),
            Some(tls) => with_tls(builder.https_only(true), tls)?,
        };
        builder.build().map_err(words)
    }
}

fn with_tls(mut builder: reqwest::ClientBuilder, tls: &Tls) -> Result<reqwest::ClientBuilder, String> {
    let pem = |file: &Path| {
        let bytes = File::open(file).and_then(|open| read_all(open, PEM_LIMIT));
        bytes.map_err(|error| format!("{}: {error}", file.display()))
    };
    for file in &tls.ca {
        let found = reqwest::Certificate::from_pem_bundle(&pem(file)?).map_err(words)?;
        if found.is_empty() {
            return Err(format!("{}: no certificate in it", file.display()));
        }
        builder = builder.tls_certs_merge(found);
    }
    if let Some((certificate, key)) = &tls.client {
        let mut both = pem(certificate)?;
        if let Some(key) = key {
            both.push(b'\n');
            both.extend(pem(key)?);
        }
        let identity = reqwest::Identity::from_pem(&both)
            .map_err(|error| format!("{}: {}", certificate.display(), words(error)))?;
        builder = builder.identity(identity);
    }
    Ok(builder.tls_danger_accept_invalid_certs(tls.skip_verify))
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The first value of a header, where it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// All values of a header, where they are text.
    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        self.response.headers().get_all(name).iter().filter_map(|value| Some(value.to_str().ok()?.to_owned())).collect()
    }

    /// Where the next page of a list lies, still relative; `None` where no `Link` says that there is one.
    pub(crate) fn next(&self) -> Result<Option<String>, &'static str> {
        let links = self.response.headers().get_all(LINK).iter();
        let texts = links.map(|link| link.to_str().map_err(|_| "its Link header is no text"));
        for link in texts {
            if let Some(next) = next_link(link?)? {
                return Ok(Some(next.to_owned()));
            }
        }
        Ok(None)
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The size that the server declares.
    pub(crate) fn declared(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next piece of the body.
    pub(crate) async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, Error> {
        match tokio::time::timeout(self.stall, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => {
                self.watch.ended();
                Err(Error::Unreachable { host: self.host.clone(), why: words(error) })
            }
            Err(_) => {
                self.watch.failed("it stopped sending");
                Err(Error::Stalled { host: self.host.clone(), limit: self.stall })
            }
        }
    }

    /// The whole body, never more than `limit` bytes of it.
    pub(crate) async fn bytes(mut self, limit: u64, what: &str) -> Result<Vec<u8>, Error> {
        let too_large = || Error::TooLarge { what: what.to_owned(), limit };
        if self.declared().is_some_and(|declared| declared > limit) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        self.watch.goes_on();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() as u64 + chunk.len() as u64 > limit {
                self.watch.ended();
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        self.finished();
        Ok(bytes)
    }

    /// The host did its part.
    pub(crate) fn finished(&mut self) {
        self.watch.ended();
        self.hosts.answered(&self.host);
    }

    /// The network that the server lies in; a public one, from which nothing follows, where that is not known.
    pub(crate) fn zone(&self) -> Zone {
        self.address.map_or(Zone::Public, Zone::of)
    }

    /// Where it redirects to.
    fn target(&self, from: &Url, what: &str) -> Result<Url, Error> {
        let nowhere = |why| Error::Redirect { what: what.to_owned(), to: "nowhere".to_owned(), why };
        let location = self.header(LOCATION.as_str()).ok_or_else(|| nowhere("it has no Location"))?;
        from.join(location).map_err(|_| nowhere("its Location is no address"))
    }
}

/// Addresses are checked once more when names are resolved ([`Guarded`]).
fn redirect_rule(first: &Url, target: &Url, reach: Reach) -> Result<(), &'static str> {
    if !matches!(target.scheme(), "http" | "https") {
        return Err("it is neither http nor https");
    }
    if target.scheme() == "http" && first.scheme() != "http" {
        return Err("it leads from https to http");
    }
    if !target.username().is_empty() || target.password().is_some() {
        return Err("it carries a user");
    }
    match literal(target) {
        Some(address) if !reach.allows(address) => Err(INWARD),
        _ => Ok(()),
    }
}

/// The address, where the host is written as one.
pub(crate) fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Scheme, host and path: a query can hold a signature that gives access.
pub(crate) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    plain(&format!("{}://{host}{port}{}", url.scheme(), url.path()), 300)
}

fn sensitive(secret: &Secret, endpoint: &Endpoint) -> Result<HeaderValue, Error> {
    let wrong = |_| Error::Credentials { host: endpoint.authority.clone(), why: "they cannot be sent".into() };
    let mut value = HeaderValue::from_str(secret.expose()).map_err(wrong)?;
    value.set_sensitive(true);
    Ok(value)
}

/// An error and its causes without the address, whose query can be secret.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    plain(&text, 300)
}

/// Seconds; the form with a date is answered with a minute, whatever the date.
fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    match value.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => value.ends_with("GMT").then(|| Duration::from_secs(60)),
    }
}

/// Whether this machine, not the other one, is why a request failed: it has no more descriptors, ports or memory.
fn is_ours(error: &(dyn std::error::Error + 'static)) -> bool {
    const OURS: [Errno; 5] = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS, Errno::EADDRNOTAVAIL];
    let code = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    code.is_some_and(|code| OURS.contains(&Errno::from_raw(code))) || error.source().is_some_and(is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::Zone;

    #[tokio::test]
    async fn a_name_out_of_reach_and_a_proxys_are_not_asked_and_not_the_registrys_failure() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://localhost:{}/", listener.local_addr().unwrap().port())).unwrap();
        let [endpoint] = crate::endpoint::endpoints(None, &[], "127.0.0.1:1").unwrap().try_into().unwrap();
        for (reach, proxy) in [(Reach::Beside(Zone::Public), ""), (Reach::Beside(Zone::Loopback), "localhost")] {
            let mut http = Http::new(Hosts::new(Options::default().back_off, None), &Options::default());
            http.names = Arc::new(Names::with_proxy(proxy));
            let outside = |url: &Url| Error::Malformed { what: shown(url), why: "outside".into() };
            let tls = endpoint.tls.clone();
            let reply = http.send(&endpoint, url.clone(), Content::default(), &tls, (reach, &outside)).await;
            assert!(reply.is_err_and(|error| error.to_string().ends_with("/: outside")), "{reach:?}");
            assert!(http.hosts.check(&endpoint.authority).is_ok(), "{reach:?}");
        }
        let came = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(came.is_err(), "somebody connected");
    }

    #[test]
    fn redirects_by_the_rules() {
        let options =
            Options { redirects: vec!["10.7.7.7".to_owned(), "s3.lan:9000".to_owned()], ..Options::default() };
        let http = Http::new(Hosts::new(options.back_off, None), &options);
        let table = [
            ("https://r.example/v2", "https://cdn.example/x", "1.1.1.1", true),
            ("https://r.example/v2", "http://cdn.example/x", "1.1.1.1", false),
            ("https://r.example/v2", "http://r.example/x", "1.1.1.1", false),
            ("https://r.example/v2", "https://169.254.169.254/x", "1.1.1.1", false),
            ("https://r.example/v2", "https://[::ffff:10.0.0.1]/x", "1.1.1.1", false),
            ("https://r.example/v2", "https://2130706433/x", "1.1.1.1", false),
            ("https://r.lan/v2", "https://10.0.0.1:9000/x", "10.0.0.1", true),
            ("https://r.lan/v2", "https://10.0.0.2/x", "10.0.0.1", false),
            ("https://r.lan/v2", "https://10.7.7.7/x", "10.0.0.1", true),
            ("http://127.0.0.1:5000/v2", "http://169.254.169.254/x", "127.0.0.1", false),
            ("http://127.0.0.1:5000/v2", "http://127.0.0.2:1/x", "127.0.0.1", false),
            ("http://127.0.0.1:5000/v2", "http://127.0.0.1:1/x", "127.0.0.1", true),
            ("http://169.254.1.1:5000/v2", "http://169.254.1.1:5000/x", "169.254.1.1", true),
            ("https://r.example/v2", "https://u:p@cdn.example/x", "1.1.1.1", false),
            ("https://r.example/v2", "file:///etc/passwd", "1.1.1.1", false),
        ];
        for (first, target, own, allowed) in table {
            let (first, target) = (Url::parse(first).unwrap(), Url::parse(target).unwrap());
            let reach = http.reach(&first, &target, own.parse().ok());
            assert_eq!(redirect_rule(&first, &target, reach).is_ok(), allowed, "{first} {target}");
        }
        let reach =
            |target: &str| http.reach(&Url::parse("https://r.lan/v2").unwrap(), &Url::parse(target).unwrap(), None);
        assert_eq!(reach("https://s3.lan:9000/x"), Reach::Named);
        assert_eq!(reach("https://s3.lan/x"), Reach::At(None), "another port than the one that is named");
    }

    #[test]
    fn what_fails_here_is_not_the_hosts_fault() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        for (code, ours) in [(Errno::EMFILE, true), (Errno::ENOMEM, true), (Errno::ECONNREFUSED, false)] {
            let error = Outer(std::io::Error::from_raw_os_error(code as i32));
            assert_eq!(is_ours(&error), ours, "{code}");
        }
    }

    #[test]
    fn what_is_shown_has_no_query() {
        let url = Url::parse("https://u:p@h.example:1/a?sig=secret#x").unwrap();
        assert_eq!(shown(&url), "https://h.example:1/a");
    }
}
