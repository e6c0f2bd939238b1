//! Owns image references: `[host[:port]/]repository[:tag][@digest]` normalised as docker does (distribution/reference),
//! and `oci:DIR[:TAG]` or `oci:DIR@DIGEST` for an OCI layout on disk. Reads no file and asks no server.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use bestfit_selector::digest::Digest;

/// Longest reference text that is looked at, in bytes.
const TEXT_LIMIT: usize = 4096;
/// Longest `host/repository`, in bytes (distribution/reference, `NameTotalLengthMax`).
const NAME_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;

/// A validated image reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    place: Place,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Where a repository lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a registry: host with optional port (`docker.io`, `[::1]:5000`), and the repository's name.
    Registry {
        /// The host as the user means it: `docker.io`, not the server behind it.
        host: String,
        /// `library/busybox`
        repository: String,
    },
    /// In an OCI layout below this folder.
    Layout(PathBuf),
}

/// Which document of a repository is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Version {
    /// By tag.
    Tag(String),
    /// By digest.
    Digest(Digest),
    /// The only image of an OCI layout (`oci:DIR`); never for a registry.
    Only,
}

/// The text was no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no image reference: {why}; for example {example}")]
pub struct ReferenceError {
    given: String,
    why: String,
    example: &'static str,
}

impl Reference {
    /// Reads a reference; without host it is Docker Hub's, without tag and digest it is `latest`.
    ///
    /// # Errors
    /// Says what is wrong and shows a good one.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let wrong = |why: String| ReferenceError {
            given: text.chars().take(100).collect(),
            why,
            example: if text.starts_with("oci:") { "oci:./layout:v1" } else { "ghcr.io/owner/app:v1" },
        };
        if text.is_empty() {
            return Err(wrong("it is empty".into()));
        }
        if let Some((_, rest)) =
            text.rsplit_once('@').filter(|(user, rest)| rest.contains('/') && !user.starts_with("oci:"))
        {
            // A password may stand there, which is not repeated.
            let given = format!("…@{}", rest.chars().take(100).collect::<String>());
            return Err(ReferenceError { given, ..wrong("a reference has no user and no password".into()) });
        }
        if text.len() > TEXT_LIMIT {
            return Err(wrong(format!("it is longer than {TEXT_LIMIT} bytes")));
        }
        match text.strip_prefix("oci:") {
            Some(rest) => layout(rest),
            None => registry(text),
        }
        .map_err(wrong)
    }

    /// Where the repository lies.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// `host/repository`, or `oci:DIR`: what is the same for all of its versions.
    pub fn name(&self) -> String {
        match &self.place {
            Place::Registry { host, repository } => format!("{host}/{repository}"),
            Place::Layout(folder) => format!("oci:{}", folder.display()),
        }
    }

    /// The tag, if one was named or defaulted.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was named.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The document that is meant: a digest wins over a tag.
    pub fn version(&self) -> Version {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Version::Digest(*digest),
            (None, Some(tag)) => Version::Tag(tag.clone()),
            (None, None) => Version::Only,
        }
    }

    /// The same repository at another digest.
    pub fn at(&self, digest: Digest) -> Self {
        Self { place: self.place.clone(), tag: None, digest: Some(digest) }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Registry { host, repository } => write!(f, "{host}/{repository}")?,
            Place::Layout(folder) => write!(f, "oci:{}", folder.display())?,
        }
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
            Self::Only => f.write_str("the only image"),
        }
    }
}

fn layout(rest: &str) -> Result<Reference, String> {
    if rest.contains('\0') {
        return Err("the folder has a NUL byte".into());
    }
    let (rest, digest) = split_digest(rest)?;
    let (folder, tag) = match rest.rsplit_once(':') {
        // A colon before a slash belongs to the folder's name.
        Some((folder, tag)) if !tag.contains('/') => (folder, Some(checked_tag(tag)?)),
        _ => (rest, None),
    };
    if folder.is_empty() {
        return Err("the folder of the OCI layout is missing".into());
    }
    Ok(Reference { place: Place::Layout(folder.into()), tag, digest })
}

fn registry(text: &str) -> Result<Reference, String> {
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("a reference has no scheme, leave out {:?}", format!("{scheme}://")));
    }
    let (name, digest) = split_digest(text)?;
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(checked_tag(tag)?)),
        _ => (name, None),
    };
    let (host, repository) = split_host(name);
    check_host(host)?;
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    let repository = match host == "docker.io" && !repository.contains('/') {
        true => format!("library/{repository}"),
        false => repository.to_owned(),
    };
    check_repository(name, &repository)?;
    if host.len() + 1 + repository.len() > NAME_LIMIT {
        return Err(format!("host and repository are longer than {NAME_LIMIT} bytes"));
    }
    let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
    Ok(Reference { place: Place::Registry { host: host.to_owned(), repository }, tag, digest })
}

fn split_digest(text: &str) -> Result<(&str, Option<Digest>), String> {
    match text.split_once('@') {
        None => Ok((text, None)),
        Some((name, digest)) => Ok((name, Some(digest.parse::<Digest>().map_err(|error| error.to_string())?))),
    }
}

/// The first component is a host if it could be no repository component of Docker Hub.
fn split_host(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':', '['])
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => ("docker.io", name),
    }
}

fn check_host(host: &str) -> Result<(), String> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or("the IPv6 address lacks its \"]\"")?;
            let _: std::net::Ipv6Addr = address.parse().map_err(|_| format!("{address:?} is no IPv6 address"))?;
            ("", if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or("text after \"]\"")?) })
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let label_is_good = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !host.starts_with('[') && !name.split('.').all(label_is_good) {
        return Err(format!("{name:?} is no host name"));
    }
    if let Some(port) = port
        && (!port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().unwrap_or(0) == 0)
    {
        return Err(format!("{port:?} is no port"));
    }
    Ok(())
}

fn check_repository(given: &str, repository: &str) -> Result<(), String> {
    if repository.is_empty() || repository == "library/" {
        return Err("the repository's name is missing".into());
    }
    if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("a repository's name is lower case".into());
    }
    if given.len() == 64 && given.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("64 hex digits name no repository; write NAME@sha256:HEX".into());
    }
    match repository.split('/').find(|part| !component_is_good(part)) {
        Some(part) => Err(format!(
            "{part:?} is no part of a repository's name (letters and digits, between them \".\", \"_\", \"__\" or dashes)"
        )),
        None => Ok(()),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn component_is_good(part: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends_are_good =
        bytes.first().copied().is_some_and(alphanumeric) && bytes.last().copied().is_some_and(alphanumeric);
    ends_are_good
        && part
            .split(|c: char| alphanumeric(u8::try_from(c).unwrap_or(0)))
            .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

pub(crate) fn checked_tag(tag: &str) -> Result<String, String> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let good = tag.len() <= TAG_LIMIT
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-');
    match good {
        true => Ok(tag.to_owned()),
        false if tag.is_empty() => Err("the tag after \":\" is missing".into()),
        false => Err(format!(
            "{:?} is no tag (letters, digits, \"_\", \".\", \"-\"; at most {TAG_LIMIT})",
            tag.chars().take(40).collect::<String>()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_normalised_as_docker_does() {
        let table = [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("owner/app", "docker.io/owner/app:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("127.0.0.1:5000/a/b/c:t", "127.0.0.1:5000/a/b/c:t"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("ghcr.io/owner/app:V1.0_x-y", "ghcr.io/owner/app:V1.0_x-y"),
            ("UPPER/app", "UPPER/app:latest"),
            ("a__b/c--d/e.f", "docker.io/a__b/c--d/e.f:latest"),
            ("oci:/tmp/x", "oci:/tmp/x"),
            ("oci:/tmp/x:v1", "oci:/tmp/x:v1"),
            ("oci:a:b/c", "oci:a:b/c"),
            ("oci:..", "oci:.."),
        ];
        for (given, full) in table {
            assert_eq!(Reference::parse(given).unwrap().to_string(), full, "{given}");
            assert_eq!(Reference::parse(full).unwrap().to_string(), full, "{full} once more");
        }
        for (given, full) in [
            (format!("a@sha256:{HEX}"), format!("docker.io/library/a@sha256:{HEX}")),
            (format!("q.io/a:t@sha256:{HEX}"), format!("q.io/a:t@sha256:{HEX}")),
            (format!("oci:d@sha256:{HEX}"), format!("oci:d@sha256:{HEX}")),
        ] {
            let reference = Reference::parse(&given).unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.version(), Version::Digest(format!("sha256:{HEX}").parse().unwrap()));
        }
        assert_eq!(Reference::parse("oci:d").unwrap().version(), Version::Only);
    }

    #[test]
    fn bad_references_say_what_is_wrong() {
        let table = [
            ("", "it is empty"),
            ("https://ghcr.io/a/b", "has no scheme"),
            ("ghcr.io/Owner/app", "lower case"),
            ("ghcr.io/", "name is missing"),
            ("ghcr.io//app", "\"\" is no part"),
            ("ghcr.io/a/../b", "\"..\" is no part"),
            ("a:", "tag after \":\" is missing"),
            ("a:-t", "is no tag"),
            ("a b", "is no part"),
            ("a@sha256:00", "is no digest"),
            ("a@sha512:00", "is no digest"),
            ("host.example:99999/a", "is no port"),
            ("host.example:0/a", "is no port"),
            ("-bad.example/a", "is no host name"),
            ("bad..example/a", "is no host name"),
            ("[::1/a", "lacks its \"]\""),
            ("[zz]/a", "is no IPv6"),
            ("user@host.example/a", "no user and no password"),
            ("ä/b", "is no part"),
            ("oci:", "folder of the OCI layout is missing"),
            ("oci:d:", "tag after"),
            ("oci:d@x", "is no digest"),
            (HEX, "64 hex digits"),
        ];
        for (given, why) in table {
            let error = Reference::parse(given).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("for example"), "{given}: {error}");
        }
        assert!(Reference::parse(&format!("q.io/{}", "a".repeat(300))).is_err());
        assert!(Reference::parse(&"a/".repeat(1 << 20)).is_err());
    }

    proptest! {
        #[test]
        fn never_panics_and_what_is_taken_is_stable(text in "(oci:)?[a-zA-Z0-9:/@._\\[\\]-]{0,60}|.{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                let full = reference.to_string();
                prop_assert_eq!(Reference::parse(&full).unwrap().to_string(), full);
            }
        }
    }
}
