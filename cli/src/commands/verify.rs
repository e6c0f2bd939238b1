//! `bestfit verify`: which artifacts about an image, and which parts of the image itself, somebody signed whom the site trusts.

use std::fmt::Write as _;

use bestfit_decider::{Gathered, Verifier, gather};
use bestfit_hostprobe::{HostRoot, host_platform};
use bestfit_registry::{Reference, Repository};
use bestfit_selector::decision::Evidence;
use bestfit_selector::digest::Digest;
use bestfit_selector::index::Index;
use bestfit_selector::trust::{ImageSigned, Standing, Trust, TrustMode};
use serde::Serialize;

use crate::arguments::Verify;
use crate::failure::{Exit, Failure};
use crate::output::{plain, print, print_json};
use crate::stages::image::{self, Image};
use crate::stages::{block_on, configuration, decision};

/// What was found about one image.
#[derive(Serialize)]
struct Report {
    image: String,
    index: Digest,
    /// The mode in force; signatures are looked at whatever it is.
    mode: TrustMode,
    /// The index first, then its candidates in their order.
    subjects: Vec<Subject>,
}

#[derive(Serialize)]
struct Subject {
    digest: Digest,
    /// The entry's position; none for the index.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
    platform: String,
    /// Who signed the index or the entry itself.
    signed: Signed,
    artifacts: Vec<Artifact>,
    /// Why its artifacts could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    unread: Option<String>,
}

#[derive(Serialize)]
struct Artifact {
    digest: Digest,
    #[serde(flatten)]
    signed: Signed,
}

#[derive(Serialize)]
struct Signed {
    standing: Standing,
    /// The manifests that hold signatures about it.
    signatures: Vec<Digest>,
    revoked: bool,
    /// Why an earlier list of what refers to it counts: the registry failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale: Option<String>,
}

pub(crate) fn run(arguments: &Verify) -> Result<Exit, Failure> {
    let reference = image::reference(&arguments.reference)?;
    let loaded = configuration::in_force(arguments.profile.as_deref())?;
    let trust = &loaded.config.selection.policy.trust;
    if trust.accept.is_empty() {
        return Err(Failure::new(Exit::Config, "this site trusts nobody: the configuration has no [[trust.accept]]")
            .hint("docs/signed-artifacts-only.md shows how to begin"));
    }
    let repository = image::client(&loaded)?.repository(&reference);
    let report = block_on(format!("reading {reference}"), async {
        let index = match image::resolve(&repository, &reference).await? {
            Image::Index(index) => index,
            Image::Single(single) => single.as_index(&repository, &reference).await?,
        };
        look(&repository, &reference, &index, trust).await
    })?;
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&text(&report))?;
    }
    Ok(exit(&report))
}

/// Looks at everything that could be signed, whatever the site asks for.
async fn look(repository: &Repository, reference: &Reference, index: &[u8], trust: &Trust) -> Result<Report, Failure> {
    let index = image::parse(reference, index)?;
    let all = Trust { mode: TrustMode::Enforce, image: ImageSigned::IndexOrEntry, ..trust.clone() };
    let verifier = Verifier { trust: &all, name: reference.name(), now: decision::now() };
    let gathered = gather(repository, &index, &host_platform(&HostRoot::running()), &verifier, false, None).await;
    let subjects = [(index.digest, None, "index".to_owned())].into_iter().chain(entries(&index));
    let subjects = subjects.filter(|(digest, ..)| gathered.evidence.contains_key(digest));
    let subjects = subjects.map(|(digest, position, platform)| subject(&gathered, trust, digest, position, platform));
    Ok(Report { image: reference.to_string(), index: index.digest, mode: trust.mode, subjects: subjects.collect() })
}

fn entries(index: &Index) -> impl Iterator<Item = (Digest, Option<usize>, String)> {
    index.entries.iter().map(|entry| {
        let platform = entry.platform.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        (entry.digest, Some(entry.position), platform)
    })
}

fn subject(gathered: &Gathered, trust: &Trust, digest: Digest, position: Option<usize>, platform: String) -> Subject {
    let signed = |digest: &Digest| {
        let nothing = || Standing::Unknown { why: "it was not looked at".to_owned() };
        Signed {
            standing: gathered.standings.get(digest).cloned().unwrap_or_else(nothing),
            signatures: gathered.signatures.get(digest).cloned().unwrap_or_default(),
            revoked: trust.revoked_digests.contains(digest),
            stale: gathered.stale.get(digest).cloned(),
        }
    };
    let (artifacts, unread) = match gathered.evidence.get(&digest) {
        Some(Evidence::Read { artifacts, .. }) => {
            let artifacts = artifacts.iter().map(|artifact| artifact.digest);
            (artifacts.map(|digest| Artifact { digest, signed: signed(&digest) }).collect(), None)
        }
        Some(Evidence::Unread { why }) => (Vec::new(), Some(why.clone())),
        None => (Vec::new(), None),
    };
    Subject { digest, position, platform, signed: signed(&digest), artifacts, unread }
}

/// Artifacts decide: an image without any is not verified, whoever signed it.
fn exit(report: &Report) -> Exit {
    let artifacts = || report.subjects.iter().flat_map(|subject| &subject.artifacts);
    let unknown = |artifact: &Artifact| matches!(artifact.signed.standing, Standing::Unknown { .. });
    let trusted = |artifact: &Artifact| artifact.signed.standing.signer().is_some() && !artifact.signed.revoked;
    if artifacts().any(|artifact| !trusted(artifact) && !unknown(artifact)) {
        return Exit::No;
    }
    if artifacts().any(unknown) || report.subjects.iter().any(|subject| subject.unread.is_some()) {
        return Exit::Undetermined;
    }
    if artifacts().next().is_some() { Exit::Done } else { Exit::No }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for subject in &report.subjects {
        let name = subject.position.map(|position| format!("entry {position} {}", subject.platform));
        let name = name.unwrap_or_else(|| subject.platform.clone());
        let _ = writeln!(text, "{} {}: {}", plain(&name), subject.digest.short(), words(&subject.signed));
        for artifact in &subject.artifacts {
            let _ = writeln!(text, "  artifact {}: {}", artifact.digest.short(), words(&artifact.signed));
        }
        match &subject.unread {
            Some(why) => drop(writeln!(text, "  its artifacts could not be read: {}", plain(why))),
            None if subject.artifacts.is_empty() => text.push_str("  no artifact\n"),
            None => {}
        }
    }
    text
}

fn words(signed: &Signed) -> String {
    let found = match signed.signatures.as_slice() {
        [] => String::new(),
        list => format!(" ({})", list.iter().map(Digest::short).collect::<Vec<_>>().join(", ")),
    };
    let revoked = if signed.revoked { "revoked; " } else { "" };
    let standing = match &signed.standing {
        Standing::Trusted(signer) => format!("signed by {:?}", signer.name),
        Standing::Untrusted { why } => format!("signed by nobody whom this site trusts: {}", why.join("; ")),
        Standing::Unknown { why } => format!("unknown: {why}"),
    };
    let stale = signed.stale.as_ref().map(|why| format!("; by an outdated list, as the registry failed: {why}"));
    plain(&format!("{revoked}{standing}{found}{}", stale.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bestfit_selector::trust::Signer;

    fn signed(standing: Standing) -> Signed {
        Signed { standing, signatures: vec![Digest::of(b"signature")], revoked: false, stale: None }
    }

    fn report(standings: Vec<Standing>) -> Report {
        let artifact = |standing| Artifact { digest: Digest::of(b"artifact"), signed: signed(standing) };
        let subject = Subject {
            digest: Digest::of(b"entry"),
            position: Some(1),
            platform: "linux/amd64".to_owned(),
            signed: Signed { signatures: Vec::new(), ..signed(untrusted()) },
            artifacts: standings.into_iter().map(artifact).collect(),
            unread: None,
        };
        let index = Digest::of(b"index");
        Report { image: "localhost/a:1".to_owned(), index, mode: TrustMode::Enforce, subjects: vec![subject] }
    }

    fn trusted() -> Standing {
        Standing::Trusted(Signer { rank: 1, name: "vendor".to_owned() })
    }

    fn untrusted() -> Standing {
        Standing::Untrusted { why: vec!["no signature was found".to_owned()] }
    }

    fn unknown() -> Standing {
        Standing::Unknown { why: "503".to_owned() }
    }

    #[test]
    fn all_artifacts_must_be_signed_and_one_must_be_there() {
        for (standings, expected) in [
            (vec![], Exit::No),
            (vec![trusted()], Exit::Done),
            (vec![trusted(), untrusted()], Exit::No),
            (vec![trusted(), unknown()], Exit::Undetermined),
            (vec![unknown(), untrusted()], Exit::No),
        ] {
            assert_eq!(exit(&report(standings.clone())), expected, "{standings:?}");
        }
        let mut revoked = report(vec![trusted()]);
        revoked.subjects[0].artifacts[0].signed.revoked = true;
        assert_eq!(exit(&revoked), Exit::No);
    }

    #[test]
    fn people_read_who_signed_what() {
        let artifact = Digest::of(b"artifact").short();
        let signature = Digest::of(b"signature").short();
        assert_eq!(
            text(&report(vec![trusted(), unknown()])),
            format!(
                "entry 1 linux/amd64 {}: signed by nobody whom this site trusts: no signature was found\n  \
                 artifact {artifact}: signed by \"vendor\" ({signature})\n  artifact {artifact}: unknown: 503 ({signature})\n",
                Digest::of(b"entry").short()
            )
        );
        assert!(text(&report(Vec::new())).ends_with("\n  no artifact\n"));
        let mut outdated = report(vec![trusted()]);
        outdated.subjects[0].artifacts[0].signed.stale = Some("referrers: HTTP 500".to_owned());
        let said = format!("({signature}); by an outdated list, as the registry failed: referrers: HTTP 500\n");
        assert!(text(&outdated).ends_with(&said), "{}", text(&outdated));
    }
}
