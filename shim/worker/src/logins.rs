//! Owns which of docker's logins the decider gets: those of the image's registry, and of the servers that `hosts.toml` names for it.
//! A decider that was taken over knows no others.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The names of Docker Hub in docker's file.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// docker's file of logins cannot be used: nobody knows which logins there are.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {cause}")]
pub(crate) struct LoginsError {
    file: PathBuf,
    cause: io::Error,
}

/// The part of docker's file that is about the registry of `reference`; None where there is no file.
pub(crate) fn logins_for(
    reference: &str,
    docker_config: &Path,
    hosts_dir: &Path,
) -> Result<Option<Vec<u8>>, LoginsError> {
    let failed = |cause| LoginsError { file: docker_config.to_owned(), cause };
    let all = match read(docker_config) {
        Ok(all) => all,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let host = reference.split('/').next().unwrap_or_default();
    only(&all, host, &servers(host, hosts_dir)).map(Some).map_err(|error| failed(error.into()))
}

/// The text of all files in which containerd's `certs.d` can name servers for a registry. One that cannot be read names none: the
/// decider, which needs it too, says what is wrong with it.
fn servers(host: &str, hosts_dir: &Path) -> String {
    let with_port = host.rsplit_once(':').map(|(name, port)| format!("{name}_{port}_"));
    let folders = [host.to_owned(), "_default".to_owned()].into_iter().chain(with_port);
    let folders: Vec<String> = folders.collect();
    let files = std::env::split_paths(hosts_dir)
        .flat_map(|root| folders.iter().map(move |folder| root.join(folder).join("hosts.toml")).collect::<Vec<_>>());
    files.filter_map(|file| String::from_utf8(read(&file).ok()?).ok()).collect::<Vec<_>>().join("\n")
}

fn only(docker_config: &[u8], host: &str, servers: &str) -> serde_json::Result<Vec<u8>> {
    let mut config: Map<String, Value> = serde_json::from_slice(docker_config)?;
    let Some(Value::Object(auths)) = config.remove("auths") else { return Ok(b"{}".to_vec()) };
    let kept: Map<String, Value> = auths.into_iter().filter(|(name, _)| concerns(name, host, servers)).collect();
    serde_json::to_vec(&json!({ "auths": kept }))
}

/// Whether a login is one of this registry or its servers; docker writes hosts with and without scheme and path.
fn concerns(name: &str, host: &str, servers: &str) -> bool {
    let bare = name.split_once("://").map_or(name, |(_, rest)| rest);
    let login = bare.split('/').next().unwrap_or_default();
    let same = |one: &str, other: &str| one.eq_ignore_ascii_case(other) || (HUB.contains(&one) && HUB.contains(&other));
    !login.is_empty() && (same(login, host) || named(servers).any(|server| server.eq_ignore_ascii_case(login)))
}

/// The words of `hosts.toml` that may be hosts, whole and without its comments.
fn named(servers: &str) -> impl Iterator<Item = &str> {
    let code = servers.lines().map(|line| line.split('#').next().unwrap_or_default());
    code.flat_map(|code| code.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.:[]".contains(c)))
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 <= MAX_FILE {
        true => Ok(bytes),
        false => Err(io::Error::other(format!("longer than {MAX_FILE} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logins_of_the_registry_and_its_servers_are_passed_on() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = root.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, text).unwrap();
            file
        };
        let logins = r#"{"auths": {"q.example:5000": {"auth": "1"}, "https://m.example/v1/": {"auth": "2"}, "other.example": {"auth": "3"},
            "example": {"auth": "7"}, "m.exampl": {"auth": "8"}, "old.example": {"auth": "9"}, "https://index.docker.io/v1/": {"auth": "4"}, "": {"auth": "5"}}, "credsStore": "x", "HttpHeaders": {"Authorization": "6"}}"#;
        let config = write("config.json", logins);
        write("certs.d/q.example_5000_/hosts.toml", "# was https://old.example\n[host.\"https://m.example\"]\n");
        let dir = root.path().join("certs.d");
        let of = |reference: &str| String::from_utf8(logins_for(reference, &config, &dir).unwrap().unwrap()).unwrap();
        let both = r#"{"auths":{"q.example:5000":{"auth":"1"},"https://m.example/v1/":{"auth":"2"}}}"#;
        assert_eq!(of("q.example:5000/a/b:1"), both);
        assert_eq!(of("docker.io/library/a:1"), r#"{"auths":{"https://index.docker.io/v1/":{"auth":"4"}}}"#);
        assert_eq!(of("q.example/a:1"), r#"{"auths":{}}"#);
        assert_eq!(logins_for("a/b", &root.path().join("none"), &dir).unwrap(), None);
        let long = format!("{{}}{}", " ".repeat(MAX_FILE as usize));
        for (text, why) in
            [("{\n \"auths\": {},\n}", "line 3 column 1"), ("[]", "expected a map"), (&long, "longer than")]
        {
            let error = logins_for("q.example/a:1", &write("config.json", text), &dir).unwrap_err().to_string();
            assert!(error.contains("config.json: ") && error.contains(why), "{error}");
        }
        assert!(logins_for("q.example/a:1", root.path(), &dir).is_err(), "what cannot be read is not \"no logins\"");
    }
}
