//! Owns which of docker's logins the decider gets: those of the image's registry, and of the servers that `hosts.toml` names for it.
//! A decider that was taken over knows no others.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value, json};

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The names of Docker Hub in docker's file.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// The part of docker's file that is about the registry of `reference`; none where there is no file, or where it cannot be read.
pub(crate) fn logins_for(reference: &str, docker_config: &Path, hosts_dir: &Path) -> Option<Vec<u8>> {
    let all = read(docker_config)?;
    let host = reference.split('/').next().unwrap_or_default();
    Some(only(&all, host, &servers(host, hosts_dir)))
}

/// The text of all files in which containerd's `certs.d` can name servers for a registry.
fn servers(host: &str, hosts_dir: &Path) -> String {
    let with_port = host.rsplit_once(':').map(|(name, port)| format!("{name}_{port}_"));
    let folders = [host.to_owned(), "_default".to_owned()].into_iter().chain(with_port);
    let folders: Vec<String> = folders.collect();
    let files = std::env::split_paths(hosts_dir)
        .flat_map(|root| folders.iter().map(move |folder| root.join(folder).join("hosts.toml")).collect::<Vec<_>>());
    files.filter_map(|file| String::from_utf8(read(&file)?).ok()).collect()
}

/// What is no such file is passed on as it is: the decider says what is wrong with it.
fn only(docker_config: &[u8], host: &str, servers: &str) -> Vec<u8> {
    let Ok(Value::Object(mut config)) = serde_json::from_slice::<Value>(docker_config) else {
        return docker_config.to_vec();
    };
    let Some(Value::Object(auths)) = config.remove("auths") else { return b"{}".to_vec() };
    let kept: Map<String, Value> = auths.into_iter().filter(|(name, _)| concerns(name, host, servers)).collect();
    json!({ "auths": kept }).to_string().into_bytes()
}

/// Whether a login is one of this registry or its servers; docker writes hosts with and without scheme and path.
fn concerns(name: &str, host: &str, servers: &str) -> bool {
    let bare = name.split_once("://").map_or(name, |(_, rest)| rest);
    let login = bare.split('/').next().unwrap_or_default();
    let same = |one: &str, other: &str| one.eq_ignore_ascii_case(other) || (HUB.contains(&one) && HUB.contains(&other));
    !login.is_empty() && (same(login, host) || servers.contains(login))
}

fn read(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(MAX_FILE + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MAX_FILE).then_some(bytes)
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
            "https://index.docker.io/v1/": {"auth": "4"}, "": {"auth": "5"}}, "credsStore": "x", "HttpHeaders": {"Authorization": "6"}}"#;
        let config = write("config.json", logins);
        write("certs.d/q.example_5000_/hosts.toml", "[host.\"https://m.example\"]\n");
        let dir = root.path().join("certs.d");
        let of = |reference: &str| String::from_utf8(logins_for(reference, &config, &dir).unwrap()).unwrap();
        let both = r#"{"auths":{"q.example:5000":{"auth":"1"},"https://m.example/v1/":{"auth":"2"}}}"#;
        assert_eq!(of("q.example:5000/a/b:1"), both);
        assert_eq!(of("docker.io/library/a:1"), r#"{"auths":{"https://index.docker.io/v1/":{"auth":"4"}}}"#);
        assert_eq!(of("q.example/a:1"), r#"{"auths":{}}"#);
        assert_eq!(logins_for("a/b", &root.path().join("none"), &dir), None);
        write("config.json", "{broken");
        assert_eq!(of("q.example/a:1"), "{broken");
    }
}
