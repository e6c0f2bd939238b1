//! Owns whether systemd runs the host, and its version, which a file's name tells.

use bestfit_selector::facts::Facts;

use super::triplet;
use crate::HOST;
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;

/// sd_booted(3): this directory is there where systemd runs the system.
const BOOTED: &str = "/run/systemd/system";
const LIBRARY: &str = "libsystemd-shared-";

pub(super) fn probe(root: &HostRoot, architecture: Option<&str>, facts: &mut Facts) {
    let booted = root.seen_there(BOOTED, "/run");
    let (version, source) = match &booted {
        Seen::Known(_) => version(root, architecture),
        Seen::Absent => (Seen::Absent, BOOTED.to_owned()),
        Seen::Unknown(why) => (Seen::Unknown(why.clone()), BOOTED.to_owned()),
    };
    facts.set(HOST, "systemd.version", version.fact(source));
    facts.set(HOST, "systemd", booted.fact(BOOTED));
}

fn version(root: &HostRoot, architecture: Option<&str>) -> (Seen<String>, String) {
    let multiarch = architecture.and_then(triplet).map(|triplet| format!("/usr/lib/{triplet}/systemd"));
    let dirs = ["/usr/lib/systemd".to_owned(), "/usr/lib64/systemd".to_owned(), "/lib/systemd".to_owned()];
    for dir in multiarch.into_iter().chain(dirs) {
        match root.names(&dir) {
            Ok(names) => {
                let library = names.iter().find_map(|name| Some((name, numeric(name.strip_prefix(LIBRARY)?)?)));
                if let Some((name, version)) = library {
                    return (Seen::Known(version.to_owned()), format!("{dir}/{name}"));
                }
            }
            Err(ReadError::Missing(_)) => {}
            Err(error) => return (Seen::Unknown(error.to_string()), dir),
        }
    }
    (Seen::Unknown(format!("no {LIBRARY}*.so at any usual place")), "/usr/lib/systemd".to_owned())
}

/// The version at the beginning of `256.4-1.fc41.so`.
fn numeric(text: &str) -> Option<&str> {
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let version = text.get(..end)?.trim_matches('.');
    (!version.is_empty()).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Names of Debian 12, Rocky 9 and Fedora 41.
    #[test]
    fn versions_stand_in_names() {
        for (name, version) in
            [("252.so", Some("252")), ("252.so.0", Some("252")), ("256.4-1.fc41.so", Some("256.4")), ("core", None)]
        {
            assert_eq!(numeric(name), version, "{name}");
        }
    }
}
