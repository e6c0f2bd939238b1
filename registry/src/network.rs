//! Which ports and files reading from one registry needs: for a process that keeps no others. Opens no connection.

use std::collections::BTreeSet;
use std::path::PathBuf;

use reqwest::Url;

use crate::client::Options;
use crate::endpoint::endpoints;
use crate::error::Error;
use crate::reference::{Place, Reference};

/// Names (over TCP where an answer is long), and https: token servers and the stores that registries redirect to.
const ALWAYS: [u16; 2] = [53, 443];
/// As reqwest reads them.
const PROXIES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// What one registry needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// TCP ports: of its servers, of the proxies in the environment, and those that every registry needs.
    pub ports: BTreeSet<u16>,
    /// The certificates and keys that `hosts.toml` names, wherever they lie.
    pub files: Vec<PathBuf>,
}

/// The ports and files of the registry that `reference` names; nothing for an OCI layout.
///
/// # Errors
/// [`Error::Hosts`] for a configuration that cannot be used.
pub fn network(options: &Options, reference: &Reference) -> Result<Network, Error> {
    let Place::Registry { host, .. } = reference.place() else { return Ok(Network::default()) };
    let mut network = Network { ports: ALWAYS.into(), files: Vec::new() };
    for endpoint in endpoints(options.hosts_dir.as_deref(), &options.plain_http, host)? {
        network.ports.extend(endpoint.base.port_or_known_default());
        network.files.extend(endpoint.tls.ca);
        if let Some((certificate, key)) = endpoint.tls.client {
            network.files.push(certificate);
            network.files.extend(key);
        }
    }
    if options.proxies {
        network.ports.extend(proxies().filter_map(|proxy| port(&proxy)));
    }
    Ok(network)
}

/// The proxies in the environment.
pub(crate) fn proxies() -> impl Iterator<Item = Url> {
    PROXIES.iter().filter_map(|name| std::env::var(name).ok()).filter_map(|text| proxy(&text))
}

/// A proxy, whose scheme may be missing.
fn proxy(text: &str) -> Option<Url> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    Url::parse(&with_scheme).ok()
}

fn port(proxy: &Url) -> Option<u16> {
    // The port that SOCKS has by custom (RFC 1928) is none that Url knows.
    proxy.port_or_known_default().or_else(|| proxy.scheme().starts_with("socks").then_some(1080))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_all_servers_and_files_wherever_they_lie() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("q.example");
        std::fs::create_dir(&folder).unwrap();
        let text = "[host.\"https://m.example:8443\"]\nca = \"/srv/ca.pem\"\nclient = [[\"c.pem\", \"k.pem\"]]\n";
        std::fs::write(folder.join("hosts.toml"), text).unwrap();
        let options = Options { hosts_dir: Some(root.path().to_owned()), proxies: false, ..Options::default() };
        let of = |reference: &str| network(&options, &Reference::parse(reference).unwrap());
        let mirrored = of("q.example/a/b:1").unwrap();
        assert_eq!(mirrored.ports, [53, 443, 8443].into());
        assert_eq!(mirrored.files, ["/srv/ca.pem".into(), folder.join("c.pem"), folder.join("k.pem")]);
        assert_eq!(of("127.0.0.1:5000/a:1").unwrap().ports, [53, 443, 5000].into());
        assert_eq!(of("localhost/a:1").unwrap().ports, [53, 80, 443].into());
        assert_eq!(of("oci:/srv/layout").unwrap(), Network::default());
        std::fs::write(folder.join("hosts.toml"), "server = 3").unwrap();
        assert!(of("q.example/a/b:1").is_err());
    }

    #[test]
    fn ports_of_proxies() {
        for (text, expected) in [
            ("http://p.example:3128", Some(3128)),
            ("p.example:3128", Some(3128)),
            ("p.example", Some(80)),
            ("https://u:p@p.example", Some(443)),
            ("socks5h://p.example", Some(1080)),
            ("", None),
        ] {
            assert_eq!(proxy(text).as_ref().and_then(port), expected, "{text}");
        }
    }
}
