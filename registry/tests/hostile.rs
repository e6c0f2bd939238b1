//! Reads from servers that lie, drip, flood, redirect and omit: each attack of the threat table that concerns reading.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in what it calls")]

#[allow(dead_code, reason = "each file uses a part of it")]
mod server;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bestfit_registry::client::BackOff;
use bestfit_registry::{Client, Error, Options, Reference, Repository, Source, Version};
use bestfit_selector::digest::Digest;
use server::{Answer, Server, ok, redirect, status};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const KIND: &str = "application/vnd.example.ours+json";

fn options() -> Options {
    Options { stall_timeout: Duration::from_secs(20), proxies: false, ..Options::default() }
}

fn repository(client: &Client, server: &Server) -> Repository {
    client.repository(&Reference::parse(&format!("{}/a/b:t", server.host())).unwrap())
}

fn entry(digest: &Digest, kind: &str) -> serde_json::Value {
    serde_json::json!({"mediaType": MANIFEST, "digest": digest, "size": 1, "artifactType": kind})
}

fn list(entries: &[serde_json::Value]) -> String {
    serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string()
}

fn is_api(target: &str) -> bool {
    target.contains("/referrers/")
}

#[tokio::test]
async fn tags_digests_and_blobs_are_verified() {
    let body = list(&[]);
    let (digest, other) = (Digest::of(body.as_bytes()), Digest::of(b"other"));
    let answer = body.clone();
    let server = Server::start(move |request| match request.target.as_str() {
        "/v2/a/b/manifests/t" => ok(INDEX, answer.clone()),
        "/v2/a/b/manifests/lie" => {
            Answer::Plain(200, vec![("docker-content-digest", Digest::of(b"x").to_string())], answer.clone().into())
        }
        target if target.starts_with("/v2/a/b/") && !target.ends_with("/gone") => ok(INDEX, answer.clone()),
        _ => status(404),
    });
    let client = Client::new(options());
    let repository = repository(&client, &server);
    let resolved = repository.resolve(&Version::Tag("t".into())).await.unwrap();
    assert_eq!((resolved.descriptor.digest, resolved.descriptor.media_type.as_str()), (digest, INDEX));
    assert_eq!(repository.resolve(&Version::Digest(digest)).await.unwrap().bytes, body.as_bytes());
    assert_eq!(repository.blob(&digest, 1000).await.unwrap(), body.as_bytes());
    for error in [
        repository.resolve(&Version::Tag("lie".into())).await.unwrap_err(),
        repository.manifest(&other).await.unwrap_err(),
        repository.blob(&other, 1000).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    }
    assert!(matches!(repository.blob(&digest, 5).await, Err(Error::TooLarge { limit: 5, .. })));
    assert!(repository.resolve(&Version::Tag("gone".into())).await.unwrap_err().is_absence());
    assert!(repository.resolve(&Version::Only).await.is_err());
    let asked = client.requests();
    assert!(repository.resolve(&Version::Tag("../../_catalog".into())).await.is_err());
    assert_eq!(client.requests(), asked);
    assert_eq!(client.requests() as usize, server.requests().len());
}

#[tokio::test]
async fn only_404_and_an_empty_list_are_absence() {
    let subject = Digest::of(b"subject");
    let get = async |api: Answer, tag: Answer| {
        let server = Server::start(move |request| if is_api(&request.target) { api.clone() } else { tag.clone() });
        let found = repository(&Client::new(options()), &server).referrers(&subject, &[KIND]).await;
        (found, server.targets())
    };
    let (found, targets) = get(status(404), status(404)).await;
    let found = found.unwrap();
    assert!(found.manifests.is_empty() && found.list.is_none() && found.source == Source::TagFallback);
    let wanted = "artifactType=application%2Fvnd.example.ours%2Bjson";
    assert_eq!(
        targets,
        [format!("/v2/a/b/referrers/{subject}?{wanted}"), format!("/v2/a/b/manifests/sha256-{}", subject.hex())]
    );
    assert!(get(ok(INDEX, list(&[])), status(500)).await.0.unwrap().manifests.is_empty());
    for code in [400, 401, 403, 405, 418, 429, 500, 502, 503, 204, 304] {
        let (found, _) = get(status(code), status(404)).await;
        let error = found.unwrap_err();
        assert!(!error.is_absence(), "{code}: {error}");
        assert!(get(status(404), status(code)).await.0.is_err(), "{code} for the tag");
    }
    for body in ["", "{", "{}", "[]", r#"{"schemaVersion":2,"manifests":null}"#] {
        assert!(get(ok(INDEX, body), status(404)).await.0.is_err(), "{body:?} from the API");
        assert!(get(status(404), ok(INDEX, body)).await.0.is_err(), "{body:?} by tag");
    }
    for kind in ["application/json", "text/plain", ""] {
        for body in ["", "{", "{}", r#"{"errors":[]}"#] {
            assert!(get(ok(kind, body), status(404)).await.0.is_err(), "{kind:?} {body:?} from the API, no tag");
            assert_eq!(get(ok(kind, body), ok(INDEX, list(&[]))).await.0.unwrap().source, Source::TagFallback);
        }
    }
    let (found, _) = get(ok("text/html", "<html>log in"), status(404)).await;
    assert_eq!(found.unwrap().source, Source::TagFallback);
    assert!(get(ok("text/html", "<html>"), ok("text/html", "<html>")).await.0.is_err());
}

#[tokio::test]
async fn a_redirect_to_a_name_in_another_network_is_not_the_registrys_failure() {
    let inside = Server::start(|_| status(200));
    let to = format!("http://localhost:{}/x", inside.address.port());
    let registry = Server::at("127.0.0.2:0", move |request| match request.target.contains("/blobs/") {
        true => redirect(to.clone()),
        false => status(404),
    });
    let client = Client::new(options());
    let repository = repository(&client, &registry);
    let error = repository.blob(&Digest::of(b"x"), 10).await.unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
    assert!(inside.requests().is_empty());
    let next = repository.manifest(&Digest::of(b"x")).await.unwrap_err();
    assert!(next.is_absence(), "the registry is asked as before: {next}");
}

#[tokio::test]
async fn a_link_that_cannot_be_read_is_no_last_page() {
    for (link, is_read) in [("</x>; rel=prev", true), ("/x; rel=next", false), ("</x>; title=ä; rel=next", false)] {
        let server = Server::start(move |_| {
            let headers = vec![("content-type", INDEX.to_owned()), ("link", link.to_owned())];
            Answer::Plain(200, headers, list(&[]).into_bytes())
        });
        let found = repository(&Client::new(options()), &server).referrers(&Digest::of(b"s"), &[KIND]).await;
        assert_eq!(found.is_ok(), is_read, "{link}: {found:?}");
        assert!(found.err().is_none_or(|error| matches!(error, Error::Malformed { .. })), "{link}");
    }
}

#[tokio::test]
async fn no_more_requests_are_sent_than_may_be() {
    let server = Server::start(|_| status(404));
    let client = Client::new(options());
    let repository = repository(&client, &server);
    let ask = async || repository.manifest(&Digest::of(b"x")).await.unwrap_err();
    assert!(ask().await.is_absence());
    let bound = repository.at_most(2);
    assert!(ask().await.is_absence() && ask().await.is_absence());
    let error = ask().await;
    assert!(matches!(error, Error::Exhausted { sent: 3, .. }), "{error}");
    drop(bound);
    assert!(ask().await.is_absence());
    assert_eq!((client.requests(), server.requests().len()), (4, 4));
}

#[tokio::test]
async fn lists_are_filtered_by_us() {
    let (ours, theirs) = (Digest::of(b"ours"), Digest::of(b"theirs"));
    let entries = [entry(&ours, KIND), entry(&theirs, "application/vnd.oci.empty.v1+json")];
    let body = list(&entries);
    let api = body.clone();
    let server = Server::start(move |_| ok(INDEX, api.clone()));
    let found = repository(&Client::new(options()), &server).referrers(&ours, &[KIND]).await.unwrap();
    assert_eq!(found.manifests.iter().map(|d| d.digest).collect::<Vec<_>>(), [ours]);
    assert_eq!((found.source, found.list), (Source::Api, Some(Digest::of(body.as_bytes()))));
    let server = Server::start(move |r| if is_api(&r.target) { status(404) } else { ok(INDEX, body.clone()) });
    let found = repository(&Client::new(options()), &server).referrers(&ours, &[KIND]).await.unwrap();
    assert_eq!(found.manifests.len(), 2, "cosign writes wrong types into lists by tag");
}

#[tokio::test]
async fn pages_are_few_and_on_one_server() {
    let subject = Digest::of(b"subject");
    let get = async |pages: usize, link: fn(usize) -> String, gone: Option<usize>| {
        let server = Server::start(move |request| {
            let page = request.target.split("page=").nth(1).map_or(1, |n| n.parse().unwrap());
            if gone == Some(page) {
                return status(404);
            }
            let mut headers = vec![("content-type", INDEX.to_owned())];
            if page < pages {
                headers.push(("link", format!("<{}>; rel=\"next\"", link(page + 1))));
            }
            Answer::Plain(200, headers, list(&[entry(&Digest::of(&[page as u8]), KIND)]).into())
        });
        repository(&Client::new(options()), &server).referrers(&subject, &[KIND]).await
    };
    let near: fn(usize) -> String = |page| format!("/v2/a/b/referrers/x?page={page}");
    assert_eq!(get(4, near, None).await.unwrap().manifests.len(), 4);
    assert!(matches!(get(5, near, None).await, Err(Error::TooMany { limit: 4, .. })));
    assert!(matches!(
        get(2, |page| format!("http://127.0.0.1:1/x?page={page}"), None).await,
        Err(Error::Redirect { .. })
    ));
    assert!(get(3, near, Some(2)).await.is_err(), "a page that is gone is no end");
}

#[tokio::test]
async fn oversized_answers_are_cut_off() {
    let digest = Digest::of(b"x");
    let server = Server::start(|_| Answer::Declared(1 << 30, Vec::new()));
    let large = repository(&Client::new(options()), &server);
    assert!(matches!(large.manifest(&digest).await, Err(Error::TooLarge { .. })));
    assert!(matches!(large.referrers(&digest, &[KIND]).await, Err(Error::TooLarge { .. })));
    assert!(matches!(large.blob_stream(&digest, 5).await, Err(Error::WrongSize { .. })));
    let server = Server::start(|_| Answer::Flood);
    let flood = repository(&Client::new(options()), &server);
    assert!(matches!(flood.manifest(&digest).await, Err(Error::TooLarge { .. })));
    assert!(matches!(flood.referrers(&digest, &[KIND]).await, Err(Error::TooLarge { .. })));
    let mut stream = flood.blob_stream(&digest, 100_000).await.unwrap();
    let error = loop {
        match stream.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a flood has no end"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::WrongSize { .. }), "{error}");
    let sent = server.flooded.load(SeqCst);
    assert!(sent < 100 << 20, "{sent} bytes were taken");
}

#[tokio::test]
async fn streams_end_well_only_with_all_bytes_and_the_digest() {
    let body: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    let digest = Digest::of(&body);
    let answer = body.clone();
    let server = Server::start(move |request| match request.target.split('/').nth(3) {
        Some("short") => Answer::Declared(300_000, answer[..1000].to_vec()),
        _ => ok("application/octet-stream", answer.clone()),
    });
    let client = Client::new(options());
    let get = async |name: &str, digest: Digest, size| -> Result<Vec<u8>, Error> {
        let reference = Reference::parse(&format!("{}/a/{name}", server.host())).unwrap();
        let mut stream = client.repository(&reference).blob_stream(&digest, size).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    assert_eq!(get("whole", digest, 300_000).await.unwrap(), body);
    assert!(matches!(get("whole", Digest::of(b""), 300_000).await, Err(Error::DigestMismatch { .. })));
    assert!(matches!(get("whole", digest, 300_001).await, Err(Error::WrongSize { .. })));
    assert!(get("short", digest, 300_000).await.is_err());
}

/// Without a cache a host is forgotten with its client; with one the next process does not wait for it again.
async fn second_client_does_not_ask(server: &Server, cache: &Path, patience: Duration) -> Error {
    let options = Options {
        cache: Some(cache.to_owned()),
        stall_timeout: Duration::from_millis(200),
        back_off: BackOff { patience, ..BackOff::default() },
        ..options()
    };
    let digest = Digest::of(b"x");
    let first = Client::new(options.clone());
    let asked = repository(&first, server);
    let wait = tokio::time::timeout(Duration::from_millis(150), asked.manifest(&digest));
    let error = match wait.await {
        Ok(result) => result.unwrap_err(),
        Err(_) if patience.is_zero() => Error::NotFound { what: "given up".into() },
        Err(_) => asked.manifest(&digest).await.unwrap_err(),
    };
    let second = Client::new(options);
    let again = repository(&second, server).referrers(&digest, &[KIND]).await.unwrap_err();
    assert!(matches!(again, Error::Unavailable { .. }) && again.is_unavailable(), "{again}");
    assert_eq!(second.requests(), 0);
    error
}

#[tokio::test]
async fn dead_hosts_are_left_alone_by_the_next_process() {
    let minute = Duration::from_secs(60);
    for answer in [Answer::Silence, Answer::Drip] {
        let cache = tempfile::tempdir().unwrap();
        let server = Server::start(move |_| answer.clone());
        let error = second_client_does_not_ask(&server, &cache.path().join("c"), minute).await;
        assert!(matches!(error, Error::Stalled { .. }), "{error}");
    }
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Answer::Silence);
    second_client_does_not_ask(&server, &cache.path().join("given-up-by-the-caller"), Duration::ZERO).await;
    let cache = tempfile::tempdir().unwrap();
    let mut server = Server::start(|_| Answer::Silence);
    server.address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = second_client_does_not_ask(&server, &cache.path().join("refused"), minute).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    for (code, header) in [(429, Some("120")), (503, Some("120")), (429, None)] {
        let server = Server::start(move |_| {
            Answer::Plain(code, header.map(|value| ("retry-after", value.to_owned())).into_iter().collect(), Vec::new())
        });
        let client = Client::new(options());
        let repository = repository(&client, &server);
        let error = repository.manifest(&Digest::of(b"x")).await.unwrap_err();
        assert!(matches!(error, Error::Status { .. }) && error.is_unavailable(), "{error}");
        let Err(Error::Unavailable { until, .. }) = repository.manifest(&Digest::of(b"y")).await else {
            panic!("{code}")
        };
        let left = until.duration_since(std::time::SystemTime::now()).unwrap();
        assert!(left > Duration::from_secs(if header.is_some() { 100 } else { 20 }));
        assert_eq!(client.requests(), 1);
    }
    let server = Server::start(|_| status(500));
    let client = Client::new(options());
    for _ in 0..2 {
        assert!(matches!(
            repository(&client, &server).manifest(&Digest::of(b"x")).await,
            Err(Error::Status { status: 500, .. })
        ));
    }
}

fn docker_config(host: &str) -> Option<Vec<u8>> {
    Some(serde_json::json!({"auths": {host: {"username": "user", "password": "hunter2"}}}).to_string().into_bytes())
}

#[tokio::test]
async fn redirects_carry_no_credentials_and_do_not_reach_everywhere() {
    let body = b"blob".to_vec();
    let digest = Digest::of(&body);
    let elsewhere = Server::start(move |_| ok("application/octet-stream", body.clone()));
    let target = elsewhere.host();
    let server = Server::start(move |request| {
        if request.authorization.is_none() {
            return Answer::Plain(401, vec![("www-authenticate", "Basic realm=\"x\"".into())], Vec::new());
        }
        match request.target.split('/').nth(3).unwrap() {
            "other" => redirect(format!("http://{target}/signed?x-signature=hunter3")),
            "meta" => redirect("http://169.254.169.254/latest/meta-data?x-signature=hunter3"),
            "private" => redirect("http://10.1.2.3/"),
            "neighbour" => redirect("http://127.0.0.2:1/"),
            "loop" => redirect(request.target.clone()),
            _ => redirect("file:///etc/passwd"),
        }
    });
    let client = Client::new(Options { docker_config: docker_config(&server.host()), ..options() });
    let get = async |name: &str| {
        let reference = Reference::parse(&format!("{}/a/{name}", server.host())).unwrap();
        client.repository(&reference).blob(&digest, 100).await
    };
    assert_eq!(get("other").await.unwrap(), b"blob");
    assert_eq!(elsewhere.requests()[0].authorization, None);
    for name in ["meta", "private", "neighbour", "loop", "file"] {
        let error = get(name).await.unwrap_err();
        assert!(matches!(error, Error::Redirect { .. }), "{error}");
        assert!(!error.to_string().contains("hunter"), "{error}");
    }
    assert!(!format!("{client:?}").contains("hunter"));
}

/// Runs itself again with a proxy in the environment: the proxy lies on this machine, which no registry behind it may reach.
#[tokio::test]
async fn a_proxy_lends_its_network_to_nobody() {
    const BEHIND: &str = "BESTFIT_TEST_BEHIND_PROXY";
    let body = b"blob".to_vec();
    let digest = Digest::of(&body);
    if std::env::var_os(BEHIND).is_some() {
        let plain_http = vec!["r.example".to_owned()];
        let client = Client::new(Options { proxies: true, plain_http, ..options() });
        let get = async |name: &str| {
            let reference = Reference::parse(&format!("r.example/a/{name}")).unwrap();
            client.repository(&reference).blob(&digest, 100).await
        };
        assert_eq!(get("direct").await.unwrap(), b"blob");
        assert_eq!(get("other").await.unwrap(), b"blob");
        let error = get("inside").await.unwrap_err();
        assert!(matches!(error, Error::Redirect { .. }), "{error}");
        return;
    }
    let inside = Server::start(|_| status(404));
    let target = inside.host();
    let proxy = Server::start(move |request| match request.target.split('/').nth(5) {
        Some("other") => redirect("http://cdn.example/b/l/o/b"),
        Some("inside") => redirect(format!("http://{target}/")),
        _ => ok("application/octet-stream", body.clone()),
    });
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "a_proxy_lends_its_network_to_nobody"]).env(BEHIND, "1");
    for name in ["NO_PROXY", "no_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy", "REQUEST_METHOD"] {
        again.env_remove(name);
    }
    let out = again.env("http_proxy", format!("http://localhost:{}", proxy.address.port())).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    assert!(inside.requests().is_empty(), "{:?}", inside.targets());
    assert!(proxy.targets().iter().any(|target| target == "http://cdn.example/b/l/o/b"), "{:?}", proxy.targets());
}

#[tokio::test]
async fn tokens_are_fetched_once_and_for_pull_only() {
    let server = Server::start(|_| ok("application/json", r#"{"token":"abc"}"#));
    let realm = server.host();
    let front = Server::start(move |request| match request.authorization.as_deref() {
        Some("Bearer abc") => ok(INDEX, list(&[])),
        _ => {
            let challenge =
                format!(r#"Bearer realm="http://{realm}/token",service="s",scope="repository:a/b:pull,push""#);
            Answer::Plain(401, vec![("www-authenticate", challenge)], Vec::new())
        }
    });
    let client = Client::new(Options { docker_config: docker_config(&front.host()), ..options() });
    let repository = repository(&client, &front);
    let subjects: Vec<_> = (0..5u8).map(|n| Digest::of(&[n])).collect();
    let (a, b, c) = tokio::join!(
        repository.referrers(&subjects[0], &[KIND]),
        repository.referrers(&subjects[1], &[KIND]),
        repository.referrers(&subjects[2], &[KIND])
    );
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    let tokens = server.requests();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].target, "/token?service=s&scope=repository%3Aa%2Fb%3Apull");
    assert_eq!(tokens[0].authorization.as_deref(), Some("Basic dXNlcjpodW50ZXIy"));
}

#[tokio::test]
async fn foreign_realms_and_refusals_are_errors() {
    let get = async |challenge: &'static str, login: bool| {
        let server =
            Server::start(move |_| Answer::Plain(401, vec![("www-authenticate", challenge.into())], Vec::new()));
        let config = docker_config(&server.host()).filter(|_| login);
        let client = Client::new(Options { docker_config: config, ..options() });
        let error = repository(&client, &server).referrers(&Digest::of(b"x"), &[KIND]).await.unwrap_err();
        assert!(!error.is_absence() && !error.to_string().contains("hunter2"), "{error}");
        (error, client.requests())
    };
    for login in [true, false] {
        let (error, requests) = get(r#"Bearer realm="http://evil.example/t",service="s""#, login).await;
        assert!(matches!(error, Error::Realm { .. }) && requests == 1, "{error}");
    }
    let (error, requests) = get(r#"Bearer realm="https://evil.example/t",service="s""#, true).await;
    assert!(matches!(error, Error::Realm { .. }) && error.is_denied() && requests == 1, "{error}");
    assert!(matches!(get("Bearer service=x", true).await.0, Error::Malformed { .. }));
    assert!(matches!(get("Basic realm=x", true).await, (Error::Denied { status: 401, .. }, 2)));
    assert!(matches!(get("Basic realm=x", false).await, (Error::Denied { status: 401, .. }, 1)));
    assert!(matches!(get("Negotiate", true).await.0, Error::Denied { .. }));
    let broken = Client::new(Options { docker_config: Some(b"{hunter2".to_vec()), ..options() });
    let server = Server::start(|_| Answer::Plain(401, vec![("www-authenticate", "Basic realm=x".into())], Vec::new()));
    let error = repository(&broken, &server).manifest(&Digest::of(b"x")).await.unwrap_err();
    assert!(matches!(error, Error::Credentials { .. }) && !error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn what_is_cached_is_not_asked_for_and_poison_is_fetched_anew() {
    let root = tempfile::tempdir().unwrap();
    let cache = root.path().join("cache");
    let options = Options { cache: Some(cache.clone()), ..options() };
    let body = list(&[entry(&Digest::of(b"ours"), KIND)]);
    let digest = Digest::of(body.as_bytes());
    let answer = body.clone();
    let server = Server::start(move |_| ok(INDEX, answer.clone()));
    let ask = async || {
        let client = Client::new(options.clone());
        let repository = repository(&client, &server);
        assert_eq!(repository.manifest(&digest).await.unwrap(), body.as_bytes());
        assert_eq!(repository.resolve(&Version::Digest(digest)).await.unwrap().descriptor.media_type, INDEX);
        let found = repository.referrers(&digest, &[KIND]).await.unwrap();
        assert_eq!(found.manifests.len(), 1);
        (client.requests(), found)
    };
    assert_eq!(ask().await.0, 2);
    let (requests, found) = ask().await;
    assert_eq!((requests, found.source, found.stale), (0, Source::Cache, None));
    std::fs::write(cache.join("blobs/sha256").join(digest.hex()), "poison").unwrap();
    assert_eq!(ask().await.0, 1);
    assert_eq!(ask().await.0, 0);
}

/// A registry with this list, and the switch that makes it fail.
fn answering_until_it_fails(list: String) -> (Server, Arc<AtomicBool>) {
    let failing = Arc::new(AtomicBool::new(false));
    let switch = failing.clone();
    let server = Server::start(move |_| match switch.load(SeqCst) {
        true => status(500),
        false => ok(INDEX, list.clone()),
    });
    (server, failing)
}

#[tokio::test]
async fn outdated_lists_serve_while_the_registry_fails_and_say_so() {
    let root = tempfile::tempdir().unwrap();
    let (server, failing) = answering_until_it_fails(list(&[entry(&Digest::of(b"ours"), KIND)]));
    failing.store(true, SeqCst);
    let subject = Digest::of(b"subject");
    let get = async |stale_limit| {
        let cache = Some(root.path().join("cache"));
        let client = Client::new(Options { cache, referrers_lifetime: Duration::ZERO, stale_limit, ..options() });
        repository(&client, &server).referrers(&subject, &[KIND]).await
    };
    let day = Duration::from_secs(86_400);
    assert!(get(day).await.is_err(), "nothing is known yet");
    failing.store(false, SeqCst);
    assert_eq!(get(day).await.unwrap().source, Source::Api, "the error was not kept as absence");
    failing.store(true, SeqCst);
    let stale = get(day).await.unwrap();
    assert_eq!((stale.manifests.len(), stale.source), (1, Source::Cache));
    assert!(stale.stale.unwrap().contains("HTTP 500"));
    assert!(get(Duration::ZERO).await.is_err());
}

#[tokio::test]
async fn an_outdated_empty_list_is_no_absence() {
    let root = tempfile::tempdir().unwrap();
    let (server, failing) = answering_until_it_fails(list(&[]));
    let cache = Some(root.path().join("cache"));
    let client = Client::new(Options { cache, referrers_lifetime: Duration::ZERO, ..options() });
    let get = async || repository(&client, &server).referrers(&Digest::of(b"subject"), &[KIND]).await;
    assert!(get().await.unwrap().manifests.is_empty());
    failing.store(true, SeqCst);
    let error = get().await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 500, .. }), "{error}");
}

#[tokio::test]
async fn mirrors_are_asked_in_order_and_never_hide_the_origin() {
    let root = tempfile::tempdir().unwrap();
    let body = list(&[entry(&Digest::of(b"ours"), KIND)]);
    let digest = Digest::of(body.as_bytes());
    let run = async |mirror: Answer, origin: Answer| {
        let (mirror, origin) = (Server::start(move |_| mirror.clone()), Server::start(move |_| origin.clone()));
        let folder = root.path().join("q.example");
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", origin.host(), mirror.host());
        std::fs::write(folder.join("hosts.toml"), text).unwrap();
        let client = Client::new(Options { hosts_dir: Some(root.path().to_owned()), ..options() });
        let repository = client.repository(&Reference::parse("q.example/a/b").unwrap());
        let manifest = repository.manifest(&digest).await;
        (manifest, repository.referrers(&digest, &[KIND]).await, mirror.targets(), origin.targets())
    };
    let good = || ok(INDEX, body.clone());
    let empty = || ok(INDEX, list(&[]));
    let (manifest, referrers, mirror, origin) = run(good(), status(500)).await;
    assert!(manifest.is_ok() && referrers.is_ok() && origin.is_empty());
    assert!(mirror[0].ends_with("?ns=q.example"), "{mirror:?}");
    for answer in [status(404), status(500), status(403), ok(INDEX, "lies"), redirect("http://10.0.0.1/")] {
        let (manifest, referrers, ..) = run(answer, good()).await;
        assert!(manifest.is_ok());
        assert_eq!(referrers.unwrap().manifests.len(), 1);
    }
    let (manifest, referrers, ..) = run(status(500), status(404)).await;
    assert!(!manifest.unwrap_err().is_absence());
    assert!(referrers.is_err(), "what the mirror knows is not known");
    assert!(run(empty(), status(500)).await.1.is_err(), "a mirror's empty list says nothing of the origin");
    assert_eq!(run(empty(), empty()).await.1.unwrap().manifests.len(), 0);
    let (manifest, referrers, ..) = run(status(404), status(404)).await;
    assert!(manifest.unwrap_err().is_absence() && referrers.unwrap().manifests.is_empty());
}
