//! A repository in a registry: asks its servers in order, verifies what comes, keeps small things in the cache.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bestfit_selector::digest::Digest;
use bestfit_selector::json::plain;
use reqwest::Url;

use crate::MANIFEST_LIMIT;
use crate::auth::Ask;
use crate::cache::StoredList;
use crate::client::Shared;
use crate::document::{ACCEPT, Descriptor, OCI_INDEX, RawIndex, described, media_type};
use crate::endpoint::{Endpoint, endpoints};
use crate::error::Error;
use crate::http::{Reply, same_origin, shown};
use crate::listing::{SIGNATURE_TAG, keep, signature_tag};
use crate::reference::{Version, checked_tag};
use crate::repository::{Referrers, Resolved, Source};
use crate::stream::BlobStream;

const PAGES_LIMIT: usize = 4;
/// Bytes of a refusal that are read for its words.
const REFUSAL_LIMIT: u64 = 16 << 10;
const ANY: &str = "application/octet-stream, */*";

/// A repository of a registry.
#[derive(Debug)]
pub(crate) struct Remote {
    shared: Arc<Shared>,
    host: String,
    repository: String,
    endpoints: OnceLock<Vec<Endpoint>>,
}

/// What a server says when it is asked for a list by the Referrers API.
enum Api {
    /// The pages' bytes in a row, and the pages.
    Pages(Vec<u8>, Vec<RawIndex>),
    /// It has no such API.
    Missing,
    /// Something else that does not claim to be a list: it has no such API, or lies.
    Unread(Error),
}

impl Remote {
    pub(crate) fn new(shared: Arc<Shared>, host: &str, repository: &str) -> Self {
        Self { shared, host: host.to_owned(), repository: repository.to_owned(), endpoints: OnceLock::new() }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    pub(crate) async fn resolve(&self, version: &Version) -> Result<Resolved, Error> {
        let (digest, tag) = match version {
            Version::Digest(digest) => (Some(*digest), digest.to_string()),
            Version::Tag(tag) => {
                let tag = checked_tag(tag).map_err(|why| Error::Malformed { what: self.name(), why })?;
                (None, tag)
            }
            Version::Only => {
                let why = "a tag or a digest is missing".into();
                return Err(Error::Malformed { what: self.name(), why });
            }
        };
        let cached = digest.and_then(|digest| self.cached(&digest, MANIFEST_LIMIT));
        let (bytes, header) = match cached {
            Some(bytes) => (bytes, None),
            None => self.fetch_manifest(&tag, digest).await?,
        };
        let descriptor = described(&bytes, media_type(&bytes, header.as_deref()));
        Ok(Resolved { descriptor, bytes })
    }

    pub(crate) async fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        match self.cached(digest, MANIFEST_LIMIT) {
            Some(bytes) => Ok(bytes),
            None => Ok(self.fetch_manifest(&digest.to_string(), Some(*digest)).await?.0),
        }
    }

    pub(crate) async fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, Error> {
        if let Some(bytes) = self.cached(digest, limit) {
            return Ok(bytes);
        }
        let what = self.what("blob", digest);
        let bytes = self
            .first(
                &what,
                |endpoint| endpoint.pull,
                async |endpoint| {
                    let url = endpoint.url(&self.repository, "blobs", &digest.to_string());
                    let bytes = self.ask(endpoint, url, ANY, &what).await?.bytes(limit, &what).await?;
                    verified(bytes, digest, &what)
                },
            )
            .await?;
        self.keep(digest, &bytes);
        Ok(bytes)
    }

    pub(crate) async fn blob_stream(&self, digest: &Digest, size: u64) -> Result<BlobStream, Error> {
        let what = self.what("blob", digest);
        self.first(
            &what,
            |endpoint| endpoint.pull,
            async |endpoint| {
                let url = endpoint.url(&self.repository, "blobs", &digest.to_string());
                let mut reply = self.ask(endpoint, url, ANY, &what).await?;
                reply.finished();
                BlobStream::network(reply, *digest, size, what.clone())
            },
        )
        .await
    }

    pub(crate) async fn referrers(&self, subject: &Digest, kinds: &[&str]) -> Result<Referrers, Error> {
        self.listed(subject, &kinds.join(" "), self.fetch_referrers(subject, kinds)).await
    }

    /// What the tag `sha256-<hex>.sig` leads to, as a list of one or none, kept like other lists.
    pub(crate) async fn signatures_by_tag(&self, subject: &Digest) -> Result<Referrers, Error> {
        self.listed(subject, SIGNATURE_TAG, self.fetch_tagged(subject)).await
    }

    /// A list from the cache while it is fresh, else as `fetch` gives it, else from the cache although it is outdated.
    async fn listed(
        &self,
        subject: &Digest,
        kind: &str,
        fetch: impl Future<Output = Result<(Option<Digest>, Vec<Descriptor>, Source), Error>>,
    ) -> Result<Referrers, Error> {
        let cache = self.shared.cache.as_ref();
        let stored = cache.and_then(|cache| cache.list(&self.host, &self.repository, subject, kind));
        let lifetime = lifetime(self.shared.options.referrers_lifetime, subject);
        if let Some(list) = &stored
            && let Some(fresh) = lifetime.checked_sub(list.age()).filter(|left| !left.is_zero())
        {
            return Ok(Referrers { fresh: Some(fresh), ..from_cache(list.clone(), None) });
        }
        match fetch.await {
            Ok((list, manifests, source)) => {
                let list = StoredList::new(kind, list, source, manifests);
                if let Some(cache) = cache {
                    cache.keep_list(&self.host, &self.repository, subject, &list);
                }
                let fresh = Some(lifetime);
                Ok(Referrers { list: list.list, manifests: list.manifests, source, stale: None, fresh })
            }
            // Outdated "there is none" is no absence: something may have been attached since.
            Err(error) => {
                match stored.filter(|list| !list.manifests.is_empty() && list.age() < self.shared.options.stale_limit) {
                    Some(list) => Ok(from_cache(list, Some(error.to_string()))),
                    None => Err(error),
                }
            }
        }
    }

    async fn fetch_tagged(&self, subject: &Digest) -> Result<(Option<Digest>, Vec<Descriptor>, Source), Error> {
        match self.fetch_manifest(&signature_tag(subject), None).await {
            Ok((bytes, header)) => {
                let descriptor = described(&bytes, media_type(&bytes, header.as_deref()));
                Ok((None, vec![descriptor], Source::Tag))
            }
            Err(error) if error.is_absence() => Ok((None, Vec::new(), Source::Tag)),
            Err(error) => Err(error),
        }
    }

    async fn fetch_manifest(&self, id: &str, digest: Option<Digest>) -> Result<(Vec<u8>, Option<String>), Error> {
        let what = self.what("manifest", id);
        let can = |endpoint: &Endpoint| if digest.is_some() { endpoint.pull } else { endpoint.resolve };
        let (bytes, header) = self
            .first(&what, can, async |endpoint| {
                let url = endpoint.url(&self.repository, "manifests", id);
                let reply = self.ask(endpoint, url, ACCEPT, &what).await?;
                let header = reply.header("content-type").map(str::to_owned);
                let claimed = reply.header("docker-content-digest").and_then(|claimed| claimed.parse::<Digest>().ok());
                let bytes = reply.bytes(MANIFEST_LIMIT, &what).await?;
                // Also for a digest that was asked for: a registry that contradicts itself is not believed.
                let bytes = match claimed {
                    Some(claimed) => verified(bytes, &claimed, &what)?,
                    None => bytes,
                };
                let bytes = match digest {
                    Some(digest) => verified(bytes, &digest, &what)?,
                    None => bytes,
                };
                Ok((bytes, header))
            })
            .await?;
        self.keep(&Digest::of(&bytes), &bytes);
        Ok((bytes, header))
    }

    /// The first list with something in it; "none" only when every server that may answer says so.
    async fn fetch_referrers(
        &self,
        subject: &Digest,
        kinds: &[&str],
    ) -> Result<(Option<Digest>, Vec<Descriptor>, Source), Error> {
        let what = self.what("referrers of", subject);
        let mut empty = None;
        let mut failure = None;
        for endpoint in self.endpoints()?.iter().filter(|endpoint| endpoint.referrers) {
            match self.referrers_from(endpoint, subject, kinds, &what).await {
                Ok(found) if !found.1.is_empty() => return Ok(found),
                Ok(found) => empty = Some(found),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match (failure, empty) {
            (Some(error), _) => Err(error),
            (None, Some(found)) => Ok(found),
            (None, None) => Err(self.nobody(&what)),
        }
    }

    async fn referrers_from(
        &self,
        endpoint: &Endpoint,
        subject: &Digest,
        kinds: &[&str],
        what: &str,
    ) -> Result<(Option<Digest>, Vec<Descriptor>, Source), Error> {
        let unread = match self.api_pages(endpoint, subject, kinds, what).await? {
            Api::Pages(bytes, pages) => {
                let mut all = RawIndex { schema_version: 2, media_type: None, manifests: Vec::new() };
                all.manifests = pages.into_iter().flat_map(|page| page.manifests).collect();
                return Ok((Some(Digest::of(&bytes)), keep(all, kinds, false, what)?, Source::Api));
            }
            Api::Missing => None,
            Api::Unread(error) => Some(error),
        };
        let url = endpoint.url(&self.repository, "manifests", &format!("sha256-{}", subject.hex()));
        let reply = match self.ask(endpoint, url, OCI_INDEX, what).await {
            Ok(reply) => reply,
            Err(error) if error.is_absence() => {
                return unread.map_or(Ok((None, Vec::new(), Source::TagFallback)), Err);
            }
            Err(error) => return Err(error),
        };
        let bytes = reply.bytes(MANIFEST_LIMIT, what).await?;
        let index = RawIndex::parse(&bytes).map_err(|why| Error::Malformed { what: what.to_owned(), why })?;
        Ok((Some(Digest::of(&bytes)), keep(index, kinds, true, what)?, Source::TagFallback))
    }

    async fn api_pages(&self, endpoint: &Endpoint, subject: &Digest, kinds: &[&str], what: &str) -> Result<Api, Error> {
        let mut url = endpoint.url(&self.repository, "referrers", &subject.to_string());
        if let [kind] = kinds {
            url.query_pairs_mut().append_pair("artifactType", kind);
        }
        let (mut all, mut pages) = (Vec::new(), Vec::new());
        loop {
            let reply = match self.ask(endpoint, url.clone(), OCI_INDEX, what).await {
                Ok(reply) => reply,
                Err(error) if error.is_absence() && pages.is_empty() => return Ok(Api::Missing),
                // A page that vanishes is a failure, not an end.
                Err(error) if error.is_absence() => {
                    return Err(Error::Malformed { what: what.to_owned(), why: "its next page is not there".into() });
                }
                Err(error) => return Err(error),
            };
            let kind = reply.header("content-type").unwrap_or_default().trim().to_owned();
            let next = reply.next().map_err(|why| Error::Malformed { what: what.to_owned(), why: why.to_owned() })?;
            let bytes = reply.bytes(MANIFEST_LIMIT, what).await?;
            match RawIndex::parse(&bytes) {
                Ok(page) => pages.push(page),
                // A page for people: whoever made it knows no such API.
                Err(_) if pages.is_empty() && kind.starts_with("text/html") => return Ok(Api::Missing),
                Err(why) => {
                    let error = Error::Malformed { what: what.to_owned(), why };
                    let declared = kind.starts_with(OCI_INDEX) || !pages.is_empty();
                    return if declared { Err(error) } else { Ok(Api::Unread(error)) };
                }
            }
            all.extend_from_slice(&bytes);
            let Some(next) = next else { return Ok(Api::Pages(all, pages)) };
            if pages.len() >= PAGES_LIMIT {
                return Err(Error::TooMany { what: what.to_owned(), limit: PAGES_LIMIT, unit: "pages" });
            }
            url = next_page(&url, &next, what)?;
        }
    }

    /// Asks the servers that can in order; what is reported is the first failure that is more than "not there".
    async fn first<T>(
        &self,
        what: &str,
        can: impl Fn(&Endpoint) -> bool,
        ask: impl AsyncFn(&Endpoint) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut failure: Option<Error> = None;
        for endpoint in self.endpoints()?.iter().filter(|endpoint| can(endpoint)) {
            match ask(endpoint).await {
                Ok(found) => return Ok(found),
                Err(error) => failure = Some(failure.filter(|first| !first.is_absence()).unwrap_or(error)),
            }
        }
        Err(failure.unwrap_or_else(|| self.nobody(what)))
    }

    /// One answer with status 200; everything else is the error that says so.
    async fn ask(&self, endpoint: &Endpoint, url: Url, accept: &'static str, what: &str) -> Result<Reply, Error> {
        let ask = Ask { endpoint, repository: &self.repository, what };
        let reply = self.shared.auth.get(&self.shared.http, &ask, url, accept).await?;
        match reply.status() {
            200 => Ok(reply),
            _ => Err(refusal(reply, what).await),
        }
    }

    fn endpoints(&self) -> Result<&[Endpoint], Error> {
        if let Some(known) = self.endpoints.get() {
            return Ok(known);
        }
        let options = &self.shared.options;
        let found = endpoints(options.hosts_dir.as_deref(), &options.plain_http, &self.host)?;
        Ok(self.endpoints.get_or_init(|| found))
    }

    fn cached(&self, digest: &Digest, limit: u64) -> Option<Vec<u8>> {
        self.shared.cache.as_ref()?.blob(digest, limit)
    }

    fn keep(&self, digest: &Digest, bytes: &[u8]) {
        if let Some(cache) = &self.shared.cache {
            cache.keep_blob(digest, bytes);
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    fn what(&self, kind: &str, id: impl std::fmt::Display) -> String {
        format!("{kind} {id} in {}", self.name())
    }

    fn nobody(&self, what: &str) -> Error {
        Error::Malformed { what: what.to_owned(), why: "no host in hosts.toml has the capability for it".into() }
    }
}

fn verified(bytes: Vec<u8>, digest: &Digest, what: &str) -> Result<Vec<u8>, Error> {
    let got = Digest::of(&bytes);
    match got == *digest {
        true => Ok(bytes),
        false => Err(Error::DigestMismatch { what: what.to_owned(), expected: *digest, got }),
    }
}

async fn refusal(mut reply: Reply, what: &str) -> Error {
    reply.finished();
    let (status, host) = (reply.status(), reply.host().to_owned());
    let what = format!("{what} ({host})");
    if status == 404 && reply.own {
        return Error::NotFound { what };
    }
    let body = reply.bytes(REFUSAL_LIMIT, &what).await.unwrap_or_default();
    let detail = detail_of(&body);
    match status {
        401 | 403 => Error::Denied { what, status, detail },
        _ => Error::Status { what, status, detail },
    }
}

/// The first code and message of a registry's error document, as `: CODE message`.
fn detail_of(body: &[u8]) -> String {
    let document: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let first = document.as_ref().and_then(|document| document.pointer("/errors/0"));
    let text = |key: &str| first.and_then(|first| first.get(key)).and_then(|value| value.as_str()).unwrap_or_default();
    let words = plain(format!("{} {}", text("code"), text("message")).trim(), 200);
    if words.is_empty() { words } else { format!(": {words}") }
}

fn next_page(from: &Url, next: &str, what: &str) -> Result<Url, Error> {
    let malformed =
        || Error::Malformed { what: what.to_owned(), why: "its link to the next page is no address".into() };
    let target = from.join(next).map_err(|_| malformed())?;
    match same_origin(from, &target) && target.username().is_empty() && target.password().is_none() {
        true => Ok(target),
        false => {
            let why = "the next page of a list lies on the same server";
            Err(Error::Redirect { what: what.to_owned(), to: shown(&target), why })
        }
    }
}

fn from_cache(list: StoredList, stale: Option<String>) -> Referrers {
    Referrers { list: list.list, manifests: list.manifests, source: Source::Cache, stale, fresh: None }
}

/// Nine to eleven tenths of the lifetime by the subject's digest, so that lists fetched together do not end together.
fn lifetime(base: Duration, subject: &Digest) -> Duration {
    let byte = subject.hex().get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
    base.mul_f64(0.9 + 0.2 * f64::from(byte) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_differ_by_at_most_a_tenth() {
        let base = Duration::from_secs(600);
        let all: Vec<_> = (0..50u8).map(|n| lifetime(base, &Digest::of(&[n])).as_secs()).collect();
        assert!(all.iter().all(|seconds| (540..=660).contains(seconds)));
        assert!(all.iter().max() > all.iter().min());
    }

    #[test]
    fn next_pages_stay_on_the_server() {
        let from = Url::parse("https://r.example/v2/a/referrers/x?artifactType=k").unwrap();
        assert_eq!(
            next_page(&from, "/v2/a/referrers/x?n=2", "w").unwrap().as_str(),
            "https://r.example/v2/a/referrers/x?n=2"
        );
        for bad in
            ["https://evil.example/x", "http://r.example/x", "//r.example:444/x", "https://u@r.example/x", "http://["]
        {
            assert!(next_page(&from, bad, "w").is_err(), "{bad}");
        }
    }

    #[test]
    fn words_of_a_refusal_are_cleaned() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m\nway"}]}"#;
        assert_eq!(detail_of(body), ": DENIED no\u{fffd}[31m\u{fffd}way");
        assert_eq!(detail_of(b"<html>"), "");
    }
}
