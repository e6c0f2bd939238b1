//! Owns looking for the signatures about one digest, and holding them against the site's list. Three rounds of requests: lists
//! and tags, manifests, blobs; what could not be read is never "not signed".

use std::collections::BTreeMap;
use std::time::Duration;

use bestfit_registry::{Descriptor, Error, Referrers, Repository};
use bestfit_selector::digest::Digest;
use bestfit_selector::json::plain;
use bestfit_selector::trust::{ImageSigned, Standing, Trust, TrustMode};
use bestfit_trust::{ARTIFACT_TYPES, Candidate, MAX_BLOB, MAX_SIGNATURES, judge_until, wanted};
use futures_util::future::join;
use futures_util::stream::{self, StreamExt};

/// Manifests, and then blobs, that are fetched at the same time for one subject.
const AT_ONCE: usize = 8;
/// The longest reason that is kept, in characters.
const MAX_WHY: usize = 300;

/// Who checks signatures in one repository.
#[derive(Debug)]
pub struct Verifier<'a> {
    /// What the site asks for.
    pub trust: &'a Trust,
    /// `host/repository`, which scopes are held against.
    pub name: String,
    /// Seconds since 1970 UTC.
    pub now: i64,
}

/// What came of looking for signatures about one digest.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) standing: Standing,
    /// The manifests that hold them.
    pub(crate) signatures: Vec<Digest>,
    /// Why a list of them counts that is outdated.
    pub(crate) stale: Option<String>,
    /// How long the same look has the same outcome; none where something could not be read, or a certificate begins or ends
    /// to be valid before the lists are read again.
    pub(crate) fresh: Option<Duration>,
    /// How long the signature that counts does so, whatever is signed meanwhile.
    pub(crate) lasts: Duration,
}

impl Looked {
    /// Nobody can say whether it is signed.
    pub(crate) fn unknown(why: String) -> Self {
        let (signatures, stale, fresh, lasts) = (Vec::new(), None, None, Duration::ZERO);
        Self { standing: Standing::Unknown { why }, signatures, stale, fresh, lasts }
    }
}

impl Verifier<'_> {
    /// Whether signatures about artifacts are looked at.
    pub(crate) fn of_artifacts(&self) -> bool {
        self.trust.mode != TrustMode::Off
    }

    /// Whether signatures about the index are looked at; `carries` says that artifacts lie in it.
    pub(crate) fn of_index(&self, carries: bool) -> bool {
        self.trust.image != ImageSigned::Off || (carries && self.of_artifacts())
    }

    /// Whether signatures about entries are looked at.
    pub(crate) fn of_entries(&self) -> bool {
        self.trust.image == ImageSigned::IndexOrEntry
    }

    /// The time, some time from now.
    fn after(&self, time: Duration) -> i64 {
        self.now.saturating_add(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
    }

    /// Looks for signatures about `subject`.
    pub(crate) async fn look(&self, repository: &Repository, subject: &Digest) -> Looked {
        if self.trust.accept.is_empty() {
            let standing = Standing::Untrusted { why: vec!["this site trusts nobody".to_owned()] };
            let (signatures, stale, fresh, lasts) = (Vec::new(), None, Some(Duration::MAX), Duration::MAX);
            return Looked { standing, signatures, stale, fresh, lasts };
        }
        let mut lists = Lists { found: Vec::new(), failed: Vec::new(), stale: None, fresh: Some(Duration::MAX) };
        let listed = repository.referrers(subject, &ARTIFACT_TYPES);
        let (listed, tagged) = join(listed, repository.signatures_by_tag(subject)).await;
        lists.take(listed);
        lists.take(tagged);
        if lists.found.len() > MAX_SIGNATURES {
            let number = lists.found.len();
            lists.failed.push(format!("{number} signatures about {subject}, at most {MAX_SIGNATURES} are looked at"));
            lists.found.clear();
        }
        let candidates = candidates(repository, subject, &mut lists).await;
        let unread = candidates.iter().any(|candidate| candidate.blobs.values().any(Result::is_err));
        let judged = |now| judge_until(self.trust, subject, &self.name, &candidates, now);
        let (standing, until) = judged(self.now);
        let lasts = Duration::from_secs(u64::try_from(until.saturating_sub(self.now)).unwrap_or(0));
        let fresh = lists.fresh.filter(|_| lists.failed.is_empty() && !unread);
        // Certificates have dates: a verdict that is another one when the lists expire must not be kept until then.
        let fresh = fresh.filter(|fresh| judged(self.after(*fresh)).0.signer() == standing.signer());
        let standing = match standing {
            Standing::Untrusted { .. } if !lists.failed.is_empty() => {
                Standing::Unknown { why: plain(&lists.failed.join("; "), MAX_WHY) }
            }
            standing => standing,
        };
        let fresh = fresh.filter(|_| !matches!(standing, Standing::Unknown { .. }));
        let signatures = candidates.into_iter().map(|candidate| candidate.digest).collect();
        Looked { standing, signatures, stale: lists.stale, fresh, lasts }
    }
}

/// What lists and tags lead to.
struct Lists {
    found: Vec<Digest>,
    failed: Vec<String>,
    stale: Option<String>,
    fresh: Option<Duration>,
}

impl Lists {
    fn take(&mut self, list: Result<Referrers, Error>) {
        match list {
            Ok(referrers) => {
                self.fresh = self.fresh.zip(referrers.fresh).map(|(one, other)| one.min(other));
                // What was signed since is not in it: what it has counts, what it has not says nothing.
                let stale = referrers.stale.iter();
                self.failed.extend(stale.map(|why| format!("only an outdated list of signatures: {why}")));
                self.stale = self.stale.take().or(referrers.stale);
                for Descriptor { digest, .. } in referrers.manifests {
                    if !self.found.contains(&digest) {
                        self.found.push(digest);
                    }
                }
            }
            Err(error) => {
                self.fresh = None;
                self.failed.push(error.to_string());
            }
        }
    }
}

/// Opens the manifests, and fetches what they hold: at most [`MAX_SIGNATURES`] blobs of all of them, counted before the first
/// is asked for.
async fn candidates(repository: &Repository, subject: &Digest, lists: &mut Lists) -> Vec<Candidate> {
    let manifests = lists.found.iter().map(|digest| async { (*digest, repository.manifest(digest).await) });
    let manifests: Vec<_> = stream::iter(manifests).buffered(AT_ONCE).collect().await;
    let (mut candidates, mut blobs) = (Vec::new(), Vec::new());
    for (digest, manifest) in manifests {
        match manifest {
            Ok(manifest) => {
                let Some(wanted) = wanted(&manifest) else { continue };
                blobs.extend(wanted.blobs.into_iter().map(|blob| (candidates.len(), blob)));
                candidates.push(Candidate { digest, manifest, blobs: BTreeMap::new() });
            }
            Err(error) => lists.failed.push(error.to_string()),
        }
    }
    if blobs.len() > MAX_SIGNATURES {
        let number = blobs.len();
        lists.failed.push(format!("{number} signatures about {subject}, at most {MAX_SIGNATURES} are looked at"));
        blobs.truncate(MAX_SIGNATURES);
    }
    let blobs = blobs
        .into_iter()
        .map(|(of, (digest, size))| async move { (of, digest, blob(repository, &digest, size).await) });
    let mut blobs = stream::iter(blobs).buffered(AT_ONCE);
    while let Some((of, digest, blob)) = blobs.next().await {
        candidates[of].blobs.insert(digest, blob);
    }
    candidates
}

async fn blob(repository: &Repository, digest: &Digest, size: u64) -> Result<Vec<u8>, String> {
    if size > MAX_BLOB {
        return Err(format!("said to have {size} bytes, at most {MAX_BLOB} are read"));
    }
    repository.blob(digest, MAX_BLOB).await.map_err(|error| error.to_string())
}
