//! Turns foreign lists of referrers into descriptors worth opening, and reads `Link` headers (RFC 8288). Pure.

use bestfit_selector::digest::Digest;

use crate::REFERRERS_LIMIT;
use crate::challenge::{token, value_of};
use crate::document::{Descriptor, OCI_MANIFEST, RawIndex};
use crate::error::Error;

/// Artifact types that tools write into tag-fallback lists where they do not know better (cosign, oras).
const GENERIC: [&str; 3] = [
    "application/vnd.oci.empty.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.unknown.artifact.v1",
];

/// The end of the tag under which cosign put signatures before there were referrers.
pub(crate) const SIGNATURE_TAG: &str = ".sig";

/// That tag for one subject.
pub(crate) fn signature_tag(subject: &Digest) -> String {
    format!("sha256-{}{SIGNATURE_TAG}", subject.hex())
}

/// The manifests of a list that may be of one of `kinds`; the caller opens them to know. A registry's own list leaves out other
/// kinds; a list by tag is written by clients and is believed less.
pub(crate) fn keep(index: RawIndex, kinds: &[&str], by_tag: bool, what: &str) -> Result<Vec<Descriptor>, Error> {
    let mut kept: Vec<Descriptor> = Vec::new();
    for raw in index.manifests {
        let typed = raw.media_type.as_deref() == Some(OCI_MANIFEST);
        let wanted = match raw.artifact_type.as_deref() {
            None | Some("") => true,
            Some(given) => kinds.contains(&given) || (by_tag && GENERIC.contains(&given)),
        };
        if !typed || !wanted {
            continue;
        }
        let descriptor = raw.checked().map_err(|why| Error::Malformed { what: what.to_owned(), why })?;
        if !kept.iter().any(|known| known.digest == descriptor.digest) {
            if kept.len() >= REFERRERS_LIMIT {
                return Err(Error::TooMany { what: what.to_owned(), limit: REFERRERS_LIMIT, unit: "referrers" });
            }
            kept.push(descriptor);
        }
    }
    Ok(kept)
}

/// The target of the `rel="next"` link, still relative. A header that cannot be read does not say that there is none.
pub(crate) fn next_link(header: &str) -> Result<Option<&str>, &'static str> {
    const UNREADABLE: &str = "its Link header cannot be read";
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Ok(None);
        }
        let (target, after) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or(UNREADABLE)?;
        let (is_next, after) = parameters(after).ok_or(UNREADABLE)?;
        if is_next {
            return Ok(Some(target));
        }
        rest = after;
    }
}

/// Whether the parameters of a link have the relation `next`, and what follows them.
fn parameters(text: &str) -> Option<(bool, &str)> {
    let (mut rest, mut is_next) = (text.trim_start(), false);
    while let Some(after) = rest.strip_prefix(';') {
        let (name, after) = token(after.trim_start());
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('=').map(str::trim_start) {
            Some(quoted) if quoted.starts_with('"') => value_of(quoted)?,
            // Without quotes there should be no more than a word, and often is (`type=font/woff2`).
            Some(word) => {
                let (word, after) = word.split_at(word.find([';', ',', ' ', '\t']).unwrap_or(word.len()));
                (word.to_owned(), after)
            }
            None => (String::new(), after),
        };
        is_next |= name.eq_ignore_ascii_case("rel") && value.split(' ').any(|rel| rel.eq_ignore_ascii_case("next"));
        rest = after.trim_start();
    }
    (rest.is_empty() || rest.starts_with(',')).then_some((is_next, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn links() {
        let table = [
            ("</v2/a/referrers/x?n=2>; rel=\"next\"", Ok(Some("/v2/a/referrers/x?n=2"))),
            ("</a>; rel=prev, </b>; title=\"x\"; REL=\"last next\"", Ok(Some("/b"))),
            ("</a>; title=\"a, b; \\\"c\"; rel=next", Ok(Some("/a"))),
            ("</a>;crossorigin;;rel = next ,", Ok(Some("/a"))),
            ("</a>; rel=\"nextone\"", Ok(None)),
            ("</a>", Ok(None)),
            ("", Ok(None)),
            ("</a; rel=next", Err(())),
            ("/a; rel=next", Err(())),
            ("</a>; title=\"open; rel=next", Err(())),
            ("</a>; type=font/woff2; rel=next", Ok(Some("/a"))),
            ("</a> rel=next", Err(())),
        ];
        for (header, next) in table {
            assert_eq!(next_link(header).map_err(drop), next, "{header}");
        }
        let long = format!("<{}>; rel=prev, </b>; rel=next", "a".repeat(1 << 14));
        assert_eq!(next_link(&long), Ok(Some("/b")));
    }

    fn list(entries: &[(&str, Option<&str>, &str)]) -> RawIndex {
        let manifests: Vec<_> = entries
            .iter()
            .map(|(media, kind, digest)| serde_json::json!({"mediaType": media, "artifactType": kind, "digest": digest, "size": 1}))
            .collect();
        let text = serde_json::json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        RawIndex::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn lists_by_tag_are_believed_less() {
        let digests: Vec<String> = (0..5).map(|n| format!("sha256:{n:064}")).collect();
        let entries = [
            (OCI_MANIFEST, Some("ours"), digests[0].as_str()),
            (OCI_MANIFEST, Some("theirs"), "sha512:not-looked-at"),
            (OCI_MANIFEST, Some(GENERIC[0]), &digests[1]),
            (OCI_MANIFEST, None, &digests[2]),
            ("application/json", Some("ours"), &digests[3]),
            (OCI_MANIFEST, Some("ours"), &digests[0]),
        ];
        assert_eq!(keep(list(&entries), &["ours"], false, "x").unwrap().len(), 2);
        assert_eq!(keep(list(&entries), &["ours"], true, "x").unwrap().len(), 3);
        assert!(keep(list(&[(OCI_MANIFEST, Some("ours"), "sha512:00")]), &["ours"], false, "x").is_err());
    }

    #[test]
    fn floods_and_other_documents_are_errors() {
        let digests: Vec<String> = (0..=REFERRERS_LIMIT).map(|n| format!("sha256:{n:064}")).collect();
        let all: Vec<_> = digests.iter().map(|digest| (OCI_MANIFEST, Some("ours"), digest.as_str())).collect();
        assert!(keep(list(&all[1..]), &["ours"], false, "x").is_ok());
        assert!(matches!(keep(list(&all), &["ours"], false, "x"), Err(Error::TooMany { .. })));
        for text in [
            "{}",
            "[]",
            r#"{"schemaVersion":2}"#,
            r#"{"schemaVersion":1,"manifests":[]}"#,
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#,
            r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#,
        ] {
            assert!(RawIndex::parse(text.as_bytes()).is_err(), "{text}");
        }
        let deep =
            format!(r#"{{"schemaVersion":2,"manifests":[],"x":{}1{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
        let _ = RawIndex::parse(deep.as_bytes());
    }

    proptest! {
        #[test]
        fn link_headers_never_panic(text in r#"(<|>|;|,|rel=|next|"|\PC){0,30}"#) {
            let _ = next_link(&text);
        }
    }
}
