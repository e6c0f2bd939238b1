//! Reads docker's `config.json` for what it says about logging in. Secrets never show in `Debug`, and nothing here runs
//! a program: `helper` does, where the options allow it.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

/// Bytes of configuration that are read.
const CONFIG_LIMIT: usize = 1 << 20;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// For the wire only.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// How to log in to one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Login {
    Password {
        user: String,
        password: Secret,
    },
    /// An OAuth2 refresh token.
    Identity(Secret),
    /// A token that goes to the registry as it is.
    Bearer(Secret),
}

/// docker's configuration, as far as it is about registries.
#[derive(Debug, Default)]
pub(crate) struct DockerConfig {
    logins: BTreeMap<String, Result<Login, &'static str>>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    auths: BTreeMap<String, RawLogin>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawLogin {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl DockerConfig {
    /// Reads the bytes of a `config.json`.
    ///
    /// # Errors
    /// In words that quote nothing of the file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > CONFIG_LIMIT {
            return Err(format!("docker's configuration is larger than {CONFIG_LIMIT} bytes"));
        }
        // serde's own message can quote a value, and values are secrets here.
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| {
            format!("docker's configuration is broken at line {} column {}", error.line(), error.column())
        })?;
        let mut logins = BTreeMap::new();
        for (server, login) in raw.auths {
            if let Some(login) = login.into_login().transpose() {
                logins.entry(host_of(&server)).or_insert(login);
            }
        }
        let helpers = raw.helpers.into_iter().map(|(server, helper)| (host_of(&server), helper)).collect();
        Ok(Self { logins, helpers, store: raw.store.filter(|store| !store.is_empty()) })
    }

    /// The stored login for a host with port, as the user names it.
    pub(crate) fn login(&self, host: &str) -> Result<Option<Login>, String> {
        self.logins.get(&host_of(host)).cloned().transpose().map_err(str::to_owned)
    }

    /// The program that keeps the login for a host: its suffix after `docker-credential-`.
    pub(crate) fn helper(&self, host: &str) -> Option<&str> {
        self.helpers.get(&host_of(host)).or(self.store.as_ref()).map(String::as_str)
    }
}

impl RawLogin {
    fn into_login(self) -> Result<Option<Login>, &'static str> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Login::Identity(Secret(self.identitytoken))));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Login::Bearer(Secret(self.registrytoken))));
        }
        let (user, password) = match self.auth.is_empty() {
            true => (self.username, self.password),
            false => {
                let text = self.auth.trim().trim_end_matches('=');
                let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| "\"auth\" is no base64")?;
                let pair = String::from_utf8(bytes).map_err(|_| "\"auth\" is no text")?;
                let (user, password) = pair.split_once(':').ok_or("\"auth\" lacks the colon after the user")?;
                (user.to_owned(), password.trim_end_matches('\0').to_owned())
            }
        };
        match (user.as_str(), password.is_empty()) {
            // Docker writes empty entries for hosts whose login a helper keeps.
            ("", true) | ("", false) => Ok(None),
            ("<token>", false) => Ok(Some(Login::Identity(Secret(password)))),
            _ => Ok(Some(Login::Password { user, password: Secret(password) })),
        }
    }
}

/// `Basic` header value of a login.
pub(crate) fn basic(user: &str, password: &Secret) -> Secret {
    Secret(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.0))))
}

/// docker's `ConvertToHostname`, with the three names of Docker Hub made one.
fn host_of(server: &str) -> String {
    let bare = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    let host = bare.split('/').next().unwrap_or_default().to_ascii_lowercase();
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_found_under_every_name_of_the_host() {
        let config = DockerConfig::parse(
            br#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpwOnE="}, "q.example:5000": {"username": "a", "password": "b"},
                 "id.example": {"auth": "AA==", "identitytoken": "t"}, "empty.example": {}, "bad.example": {"auth": "!"}},
                 "credHelpers": {"h.example": "ecr-login"}, "credsStore": "desktop", "HttpHeaders": {"x": "y"}}"#,
        )
        .unwrap();
        let hub = Login::Password { user: "u".into(), password: Secret::new("p:q") };
        for name in ["docker.io", "registry-1.docker.io", "index.docker.io"] {
            assert_eq!(config.login(name).unwrap(), Some(hub.clone()));
        }
        assert!(matches!(config.login("q.example:5000"), Ok(Some(Login::Password { .. }))));
        assert_eq!(config.login("id.example").unwrap(), Some(Login::Identity(Secret::new("t"))));
        assert_eq!(config.login("empty.example").unwrap(), None);
        assert_eq!(config.login("q.example").unwrap(), None);
        assert!(config.login("bad.example").unwrap_err().contains("base64"));
        assert_eq!((config.helper("h.example"), config.helper("o.example")), (Some("ecr-login"), Some("desktop")));
    }

    #[test]
    fn secrets_do_not_show() {
        let config = DockerConfig::parse(br#"{"auths": {"a": {"username": "u", "password": "hunter2"}}}"#).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let error = DockerConfig::parse(br#"{"auths": {"a": {"username": "u", "password": hunter2}}}"#).unwrap_err();
        assert!(error.contains("line 1") && !error.contains("hunter2"), "{error}");
        let error = DockerConfig::parse(br#"{"auths": "hunter2"}"#).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
