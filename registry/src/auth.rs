//! Logs in to a registry: answers a `Bearer` or `Basic` challenge with docker's credentials, or anonymously (distribution,
//! "Token Authentication Specification"). Decides which token server may see what. Tokens live in memory only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;

use crate::challenge::{self, Challenge};
use crate::credentials::{DockerConfig, Login, Secret, basic};
use crate::endpoint::{Endpoint, is_loopback};
use crate::error::Error;
use crate::helper;
use crate::http::{Content, Http, Reply, literal, shown};
use crate::zone::{Reach, Zone};

const ANSWER_LIMIT: u64 = 64 << 10;
/// What is said of a token server that lies where it may not.
const INWARD: &str = "it leads into a network in which the registry does not lie";
/// Token servers in another domain than their registry, which may see its credentials.
const KNOWN: [(&str, &str); 2] =
    [("registry-1.docker.io", "auth.docker.io"), ("registry.connect.redhat.com", "sso.redhat.com")];
/// Domains below which each customer has a registry of its own, whose token server is that registry.
const CUSTOMERS: [&str; 7] =
    ["amazonaws.com", "amazonaws.com.cn", "azurecr.cn", "azurecr.io", "azurecr.us", "jfrog.io", "tencentcloudcr.com"];
/// Second-level names below which strangers register (`example.co.uk`).
const SHARED: [&str; 12] = ["ac", "co", "com", "edu", "gob", "gov", "go", "ne", "net", "nom", "or", "org"];

type Slot = Arc<tokio::sync::Mutex<Session>>;

/// What came of logging in at one endpoint for one repository.
#[derive(Debug, Default)]
struct Session {
    /// The header that is sent.
    header: Option<Secret>,
    /// Why there is none. It is not tried again: many failed logins lock an account.
    failed: Option<Error>,
}

/// The header that a login leads to.
enum Header {
    /// A token, which was made for this client.
    Token(Secret),
    /// What docker's configuration has: the same each time.
    Stored(Secret),
}

/// What is known about logging in.
#[derive(Debug)]
pub(crate) struct Auth {
    docker: Result<DockerConfig, String>,
    helpers: bool,
    /// One per endpoint and repository; the lock is held while somebody logs in, so that it is done once.
    slots: Mutex<HashMap<(String, String), Slot>>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// Who asks for what, where.
pub(crate) struct Ask<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) repository: &'a str,
    pub(crate) what: &'a str,
}

impl Auth {
    pub(crate) fn new(docker_config: Option<&[u8]>, helpers: bool) -> Self {
        let docker = docker_config.map_or_else(|| Ok(DockerConfig::default()), DockerConfig::parse);
        Self { docker, helpers, slots: Mutex::default() }
    }

    /// GET, logging in when the registry asks for it; a 401 that remains is the caller's to report.
    pub(crate) async fn get(&self, http: &Http, ask: &Ask<'_>, url: Url, accept: &'static str) -> Result<Reply, Error> {
        let slot = self.slot(ask);
        let known = slot.lock().await.header.clone();
        let reply = http.get(ask.endpoint, url.clone(), accept, known.as_ref(), ask.what).await?;
        if reply.status() != 401 || !reply.own {
            return Ok(reply);
        }
        let mut session = slot.lock().await;
        if let Some(error) = &session.failed {
            return Err(error.clone());
        }
        if session.header == known {
            match self.log_in(http, ask, &reply).await {
                Ok(Some(Header::Token(token))) => session.header = Some(token),
                Ok(Some(Header::Stored(stored))) if known.as_ref() != Some(&stored) => {
                    // The others wait until it is known whether it is right.
                    let reply = http.get(ask.endpoint, url, accept, Some(&stored), ask.what).await?;
                    match reply.status() == 401 && reply.own {
                        true => session.failed = Some(refused(ask)),
                        false => session.header = Some(stored),
                    }
                    return Ok(reply);
                }
                Ok(_) => return Ok(reply),
                Err(error) => {
                    session.failed = Some(error.clone());
                    return Err(error);
                }
            }
        }
        let header = session.header.clone();
        drop(session);
        http.get(ask.endpoint, url, accept, header.as_ref(), ask.what).await
    }

    fn slot(&self, ask: &Ask<'_>) -> Slot {
        let key = (ask.endpoint.authority.clone(), ask.repository.to_owned());
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
    }

    async fn log_in(&self, http: &Http, ask: &Ask<'_>, reply: &Reply) -> Result<Option<Header>, Error> {
        let headers = reply.headers("www-authenticate");
        let challenges: Vec<Challenge> = headers.iter().take(8).flat_map(|header| challenge::parse(header)).collect();
        let find = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let login = self.login(ask.endpoint).await?;
        if let Some(bearer) = find("bearer") {
            return match login {
                Some(Login::Bearer(token)) => Ok(Some(Header::Stored(bearer_header(&token)))),
                login => Ok(Some(Header::Token(fetch_token(http, ask, reply.zone(), bearer, login).await?))),
            };
        }
        Ok(match (find("basic"), login) {
            (Some(_), Some(Login::Password { user, password })) => Some(Header::Stored(basic(&user, &password))),
            _ => None,
        })
    }

    async fn login(&self, endpoint: &Endpoint) -> Result<Option<Login>, Error> {
        let host = endpoint.authority.clone();
        let wrong = |why: String| Error::Credentials { host: host.clone(), why };
        let docker = self.docker.as_ref().map_err(|why| wrong(why.clone()))?;
        match docker.helper(&host) {
            Some(name) if self.helpers => {
                let server = if host == "registry-1.docker.io" { "https://index.docker.io/v1/" } else { &host };
                let (name, server) = (name.to_owned(), server.to_owned());
                let asked = tokio::task::spawn_blocking(move || helper::ask(&name, &server)).await;
                match asked.map_err(|error| wrong(error.to_string()))?.map_err(wrong)? {
                    Some(login) => Ok(Some(login)),
                    None => docker.login(&host).map_err(wrong),
                }
            }
            _ => docker.login(&host).map_err(wrong),
        }
    }
}

/// What the requests after the first hear of credentials that were refused.
fn refused(ask: &Ask<'_>) -> Error {
    let host = ask.endpoint.authority.clone();
    Error::Credentials { host, why: "the registry refused them, they are not sent again".into() }
}

/// A token from the server that the registry, which lies in `zone`, names.
async fn fetch_token(
    http: &Http,
    ask: &Ask<'_>,
    zone: Zone,
    bearer: &Challenge,
    login: Option<Login>,
) -> Result<Secret, Error> {
    let endpoint = ask.endpoint;
    let realm = bearer.parameter("realm").and_then(|realm| Url::parse(realm).ok());
    let Some(mut realm) = realm else {
        return Err(Error::Malformed {
            what: ask.what.to_owned(),
            why: "its Bearer challenge has no usable realm".into(),
        });
    };
    let rules =
        realm_rule(endpoint, &realm, login.is_some(), zone).and_then(|reach| http.port_rule(&realm).map(|()| reach));
    let host = || endpoint.authority.clone();
    let refused = |realm: &Url, why| Error::Realm { host: host(), realm: shown(realm), why };
    let reach = rules.map_err(|why| refused(&realm, why))?;
    let service = bearer.parameter("service").unwrap_or_default();
    let scope = scope(bearer.parameter("scope"), ask.repository);
    let mut content = Content::default();
    match &login {
        Some(Login::Identity(token)) => content.form = Some(refresh_form(service, &scope, token)),
        other => {
            realm.query_pairs_mut().append_pair("service", service).append_pair("scope", &scope);
            if let Some(Login::Password { user, password }) = other {
                let mut value = HeaderValue::from_str(basic(user, password).expose()).map_err(|_| {
                    Error::Credentials { host: endpoint.authority.clone(), why: "they cannot be sent".into() }
                })?;
                value.set_sensitive(true);
                content.headers.insert(AUTHORIZATION, value);
            }
        }
    }
    let own = realm.host_str() == endpoint.base.host_str();
    let tls = if own { endpoint.tls.clone() } else { endpoint.tls.for_others() };
    let what = format!("token for {} from {}", ask.repository, shown(&realm));
    let reply = http.send(endpoint, realm, content, &tls, (reach, &|realm: &Url| refused(realm, INWARD))).await?;
    let status = reply.status();
    let bytes = reply.bytes(ANSWER_LIMIT, &what).await?;
    match status {
        200 => token_of(&bytes).map(|token| bearer_header(&token)).map_err(|why| Error::Malformed { what, why }),
        401 | 403 => Err(Error::Denied { what, status, detail: String::new() }),
        _ => Err(Error::Status { what, status, detail: String::new() }),
    }
}

/// Whether a token server may be asked, and where it may lie: where the registry may, or beside it.
fn realm_rule(endpoint: &Endpoint, realm: &Url, with_login: bool, zone: Zone) -> Result<Reach, &'static str> {
    let (Some(registry), Some(host)) = (endpoint.base.host_str(), realm.host_str()) else {
        return Err("it has no host");
    };
    if !realm.username().is_empty() || realm.password().is_some() {
        return Err("its address carries a user");
    }
    let same_machine = registry == host || (is_loopback(registry) && is_loopback(host));
    match realm.scheme() {
        "https" => {}
        "http" if endpoint.is_plain() && same_machine => {}
        _ => return Err("it is not https"),
    }
    if same_machine {
        return Ok(Reach::Named);
    }
    let known = related(registry, host) || KNOWN.contains(&(registry, host));
    // Names are checked where they are resolved; an address needs no resolving.
    let reach = Reach::Beside(if known { zone } else { Zone::Public });
    match literal(realm) {
        _ if with_login && !known => Err("credentials would go to another domain"),
        Some(address) if !reach.allows(address) => Err(INWARD),
        _ => Ok(reach),
    }
}

/// Whether both names lie below one registrable domain: that of the registry's parent.
fn related(registry: &str, host: &str) -> bool {
    let is_address = registry.starts_with('[') || registry.parse::<std::net::Ipv4Addr>().is_ok();
    let below =
        |name: &str, domain: &str| name == domain || name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    if is_address || !registry.contains('.') {
        return false;
    }
    if below(host, registry) {
        return true;
    }
    let parent = registry.split_once('.').map_or("", |(_, parent)| parent);
    let labels: Vec<&str> = parent.split('.').collect();
    let registrable = match labels.as_slice() {
        _ if CUSTOMERS.iter().any(|shared| below(parent, shared)) => false,
        [] | [_] => false,
        [second, top] => !(top.len() == 2 && SHARED.contains(second)),
        _ => true,
    };
    registrable && below(host, parent)
}

/// Pull only, of our repository or (behind a proxying path) of one whose name ends with ours.
fn scope(offered: Option<&str>, repository: &str) -> String {
    let name = offered
        .and_then(|scope| scope.strip_prefix("repository:"))
        .and_then(|rest| rest.rsplit_once(':'))
        .map(|(name, _)| name)
        .filter(|name| name.strip_suffix(repository).is_some_and(|rest| rest.is_empty() || rest.ends_with('/')))
        .filter(|name| name.len() <= 512 && !name.contains([' ', ':', ',']));
    format!("repository:{}:pull", name.unwrap_or(repository))
}

fn refresh_form(service: &str, scope: &str, token: &Secret) -> String {
    let mut form = String::new();
    let pairs = [
        ("grant_type", "refresh_token"),
        ("service", service),
        ("scope", scope),
        ("client_id", "bestfit"),
        ("refresh_token", token.expose()),
    ];
    for (name, value) in pairs {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => form.push(char::from(byte)),
                _ => form.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    form
}

fn token_of(bytes: &[u8]) -> Result<Secret, String> {
    // serde's own message can quote the token.
    let answer: Answer = serde_json::from_slice(bytes).map_err(|_| "the answer is no token".to_owned())?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token).unwrap_or_default();
    match !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Secret::new(token)),
        false => Err("the answer has no usable token".into()),
    }
}

fn bearer_header(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_token_server_may_see_what() {
        let rule = |registry: &str, realm: &str, with_login| {
            let [endpoint] =
                crate::endpoint::endpoints(None, &["plain.example".into()], registry).unwrap().try_into().unwrap();
            realm_rule(&endpoint, &Url::parse(realm).unwrap(), with_login, Zone::Private)
        };
        let (named, beside) = (Reach::Named, Reach::Beside(Zone::Private));
        for (registry, realm, reach) in [
            ("docker.io", "https://auth.docker.io/token", beside),
            ("ghcr.io", "https://ghcr.io/token", named),
            ("registry.gitlab.com", "https://gitlab.com/jwt/auth", beside),
            ("docker.elastic.co", "https://docker-auth.elastic.co/auth", beside),
            ("registry.corp.example", "https://gitlab.corp.example/jwt/auth", beside),
            ("q.example", "https://auth.q.example/t", beside),
            ("a.azurecr.io", "https://a.azurecr.io/oauth2/token", named),
            ("a.azurecr.io", "https://auth.a.azurecr.io/token", beside),
            ("127.0.0.1:5000", "http://localhost:5001/t", named),
            ("plain.example:5000", "http://plain.example:5001/t", named),
        ] {
            assert_eq!(rule(registry, realm, true), Ok(reach), "{registry} {realm}");
        }
        for (registry, realm) in [
            ("ghcr.io", "http://ghcr.io/token"),
            ("ghcr.io", "https://evil.example/token"),
            ("ghcr.io", "https://evilghcr.io/token"),
            ("ghcr.io", "https://other.io/token"),
            ("reg.co.uk", "https://evil.co.uk/token"),
            ("a.azurecr.io", "https://evil.azurecr.io/token"),
            ("1.dkr.ecr.us-east-1.amazonaws.com", "https://2.dkr.ecr.us-east-1.amazonaws.com/token"),
            ("a.com", "https://b.com/token"),
            ("10.0.0.1", "https://20.0.0.1/token"),
            ("127.0.0.1:5000", "http://evil.example/t"),
            ("ghcr.io", "https://u:p@ghcr.io/token"),
            ("plain.example:5000", "http://evil.example/t"),
        ] {
            assert!(rule(registry, realm, true).is_err(), "{registry} {realm}");
        }
        assert_eq!(rule("lscr.io", "https://ghcr.io/token", false), Ok(Reach::Beside(Zone::Public)));
        for realm in ["http://ghcr.io/token", "https://169.254.169.254/t", "https://10.0.0.1/t", "https://[::1]/t"] {
            assert!(rule("lscr.io", realm, false).is_err(), "{realm}");
        }
    }

    #[test]
    fn scopes_are_never_wider_than_pull_of_ours() {
        assert_eq!(scope(None, "a/b"), "repository:a/b:pull");
        assert_eq!(scope(Some("repository:proxy/a/b:pull,push,delete"), "a/b"), "repository:proxy/a/b:pull");
        assert_eq!(scope(Some("repository:xa/b:pull"), "a/b"), "repository:a/b:pull");
        assert_eq!(scope(Some("repository:other:pull"), "a/b"), "repository:a/b:pull");
        assert_eq!(scope(Some("repository:c:pull repository:a/b:pull"), "a/b"), "repository:a/b:pull");
        assert_eq!(scope(Some("registry:catalog:*"), "a/b"), "repository:a/b:pull");
    }

    #[test]
    fn tokens_are_checked_and_not_quoted() {
        assert_eq!(token_of(br#"{"token":"abc","expires_in":300}"#).unwrap().expose(), "abc");
        assert_eq!(token_of(br#"{"access_token":"x.y"}"#).unwrap().expose(), "x.y");
        for bad in [r#"{"token":"hunter2\r\nx: y"}"#, r#"{"token":5,"access_token":"hunter2"}"#, "{}", "hunter2"] {
            let error = token_of(bad.as_bytes()).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(refresh_form("s", "r:a/b:pull", &Secret::new("a&b=c")).ends_with("&refresh_token=a%26b%3Dc"));
    }
}
