//! Where credentials go, and where not; and which servers may be asked at all on a registry's word.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in what it calls")]

#[allow(dead_code, reason = "each file uses a part of it")]
mod server;

use std::time::Duration;

use bestfit_registry::client::BackOff;
use bestfit_registry::{Client, Error, Options, Reference, Repository};
use bestfit_selector::digest::Digest;
use server::{Answer, Server, ok, redirect, status};

fn options() -> Options {
    Options { stall_timeout: Duration::from_secs(20), proxies: false, ..Options::default() }
}

fn repository(client: &Client, host: &str) -> Repository {
    client.repository(&Reference::parse(&format!("{host}/a/b:t")).unwrap())
}

fn logins(logins: &[(&str, &str)]) -> Option<Vec<u8>> {
    let auths: serde_json::Map<_, _> = logins
        .iter()
        .map(|(host, password)| (host.to_string(), serde_json::json!({"username": "user", "password": password})))
        .collect();
    Some(serde_json::json!({ "auths": auths }).to_string().into_bytes())
}

fn unauthorized(challenge: impl Into<String>) -> Answer {
    Answer::Plain(401, vec![("www-authenticate", challenge.into())], Vec::new())
}

#[test]
fn references_with_a_user_are_refused() {
    for text in ["user:hunter2@q.example/a/b:t", "https://user:hunter2@q.example/a/b:t", "user@q.example/a:t"] {
        let error = Reference::parse(text).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn each_server_sees_its_own_login_and_no_other() {
    let body = b"blob".to_vec();
    let digest = Digest::of(&body);
    let mirror = Server::start(|request| match request.authorization {
        None => unauthorized("Basic realm=m"),
        Some(_) => status(404),
    });
    let origin = Server::start(move |request| match request.authorization {
        None => unauthorized("Basic realm=o"),
        Some(_) => ok("application/octet-stream", body.clone()),
    });
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("q.example")).unwrap();
    let text = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", origin.host(), mirror.host());
    std::fs::write(root.path().join("q.example/hosts.toml"), text).unwrap();
    let docker_config =
        logins(&[(&mirror.host(), "of-mirror"), (&origin.host(), "of-origin"), ("q.example", "of-name")]);
    let client = Client::new(Options { hosts_dir: Some(root.path().to_owned()), docker_config, ..options() });
    assert_eq!(repository(&client, "q.example").blob(&digest, 100).await.unwrap(), b"blob");
    let sent =
        |server: &Server| server.requests().into_iter().filter_map(|request| request.authorization).collect::<Vec<_>>();
    assert_eq!(sent(&mirror), ["Basic dXNlcjpvZi1taXJyb3I="]);
    assert_eq!(sent(&origin), ["Basic dXNlcjpvZi1vcmlnaW4="]);
}

#[tokio::test]
async fn a_failed_login_is_not_tried_again() {
    let basic = || Server::start(|_| unauthorized("Basic realm=r"));
    let bearer = || {
        let own = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
        let to = own.clone();
        let server = Server::start(move |_| {
            unauthorized(format!("Bearer realm=\"http://{}/token\"", to.get().map_or("", String::as_str)))
        });
        own.set(server.host()).unwrap();
        server
    };
    for server in [basic(), bearer()] {
        let client = Client::new(Options { docker_config: logins(&[(&server.host(), "hunter2")]), ..options() });
        let repository = repository(&client, &server.host());
        let ask = async |name: &str| repository.manifest(&Digest::of(name.as_bytes())).await.unwrap_err();
        let (one, other, third) = tokio::join!(ask("1"), ask("2"), ask("3"));
        for error in [one, other, third, ask("4").await] {
            assert!(error.is_denied() && !error.to_string().contains("hunter2"), "{error}");
        }
        let with_login = server.requests().into_iter().filter(|request| request.authorization.is_some());
        assert_eq!(with_login.count(), 1);
    }
}

#[tokio::test]
async fn a_server_elsewhere_cannot_send_us_back_with_credentials() {
    let digest = Digest::of(b"blob");
    let back = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let to = back.clone();
    let elsewhere = Server::start(move |_| redirect(format!("http://{}/v2/secret", to.get().unwrap())));
    let away = elsewhere.host();
    let registry = Server::start(move |request| match (&request.authorization, request.target.as_str()) {
        (_, "/v2/secret") => ok("application/octet-stream", "blob"),
        (None, _) => unauthorized("Basic realm=r"),
        _ => redirect(format!("http://{away}/x")),
    });
    back.set(registry.host()).unwrap();
    let client = Client::new(Options { docker_config: logins(&[(&registry.host(), "hunter2")]), ..options() });
    assert_eq!(repository(&client, &registry.host()).blob(&digest, 100).await.unwrap(), b"blob");
    let requests = registry.requests();
    let last = requests.last().unwrap();
    assert_eq!((last.target.as_str(), &last.authorization), ("/v2/secret", &None));
    assert_eq!(elsewhere.requests()[0].authorization, None);
}

#[tokio::test]
async fn only_ports_that_are_left_are_connected_to() {
    let digest = Digest::of(b"blob");
    let other = Server::start(|_| ok("application/json", r#"{"token":"abc"}"#));
    for (answer, words) in [
        (redirect(format!("http://{}/x", other.host())), "redirect to"),
        (unauthorized(format!("Bearer realm=\"http://{}/token\"", other.host())), "token server"),
    ] {
        let registry = Server::start(move |_| answer.clone());
        let get = async |ports| {
            let client = Client::new(Options { ports, ..options() });
            repository(&client, &registry.host()).blob(&digest, 100).await.unwrap_err()
        };
        let error = get(Some([registry.address.port()].into())).await.to_string();
        assert!(error.contains(words) && error.contains("registries.ports"), "{error}");
        assert!(other.requests().is_empty());
    }
    let registry = Server::start(move |_| redirect(format!("http://{}/x", other.host())));
    let client = Client::new(Options { ports: None, ..options() });
    let error = repository(&client, &registry.host()).blob(&digest, 100).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "any port where none is said: {error}");
}

#[tokio::test]
async fn token_servers_in_private_networks_are_not_asked() {
    for realm in ["https://169.254.169.254/latest", "https://10.0.0.1:6443/t", "https://[fd00::1]/t"] {
        let server = Server::start(move |_| unauthorized(format!("Bearer realm=\"{realm}\"")));
        let client = Client::new(options());
        let error = repository(&client, &server.host()).manifest(&Digest::of(b"x")).await.unwrap_err();
        assert!(matches!(error, Error::Realm { .. }), "{error}");
        assert_eq!(client.requests(), 1, "{realm}");
    }
}

#[tokio::test]
async fn a_trickle_is_ended_by_the_callers_deadline_and_not_asked_again() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Answer::Trickle);
    let back_off = BackOff { patience: Duration::from_millis(50), ..BackOff::default() };
    let options = Options { cache: Some(cache.path().join("c")), back_off, ..options() };
    let client = Client::new(options.clone());
    let reading = repository(&client, &server.host());
    let digest = Digest::of(b"x");
    let read = tokio::time::timeout(Duration::from_millis(500), reading.manifest(&digest)).await;
    assert!(read.is_err(), "each byte comes in time, and they have no end");
    let again = repository(&Client::new(options), &server.host()).manifest(&digest).await.unwrap_err();
    assert!(matches!(again, Error::Unavailable { .. }), "{again}");
}

#[tokio::test]
async fn documents_that_parsers_disagree_about_are_errors() {
    let index = "application/vnd.oci.image.index.v1+json";
    let deep = format!(r#"{{"schemaVersion":2,"manifests":[{}{}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let twice = r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#.to_owned();
    for body in [deep, twice] {
        let server = Server::start(move |_| ok(index, body.clone()));
        let found = repository(&Client::new(options()), &server.host()).referrers(&Digest::of(b"s"), &["k"]).await;
        assert!(matches!(found, Err(Error::Malformed { .. })));
    }
}
