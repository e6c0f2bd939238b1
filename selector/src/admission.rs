//! Owns which artifacts count, and what of the image must be signed: what came of looking for signatures, held against what
//! the site asks for. Signatures come first: an artifact that does not count is never parsed.

use crate::artifact::Parsed;
use crate::decision::Inputs;
use crate::digest::Digest;
use crate::json;
use crate::trust::{ImageSigned, Signer, Standing, Trust, TrustMode};

/// How long the reasons of one artifact may be in a note, in characters.
const MAX_WHY: usize = 600;

/// Whether an artifact counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It does; with what has to be said about that.
    Counts(Option<Signer>, Option<String>),
    /// It is as if it were not there, for this reason.
    Ignored(String),
    /// Nobody knows: its signatures could not be read.
    Unknown(String),
}

/// Whether the artifact with this digest counts; `signed` is what its signatures are about: itself, or the index that
/// carries it.
pub(crate) fn admit(inputs: &Inputs, artifact: &Digest, signed: &Digest) -> Admission {
    let trust = &inputs.policy.trust;
    let name = format!("artifact {}", artifact.short());
    if trust.revoked_digests.contains(artifact) {
        return Admission::Ignored(format!("{name}: revoked by this site: ignored"));
    }
    if trust.mode == TrustMode::Off {
        return Admission::Counts(None, None);
    }
    let nobody = match signed == artifact {
        true => "signed by nobody whom this site trusts",
        false => "the index that carries it is signed by nobody whom this site trusts",
    };
    match inputs.standings.get(signed) {
        Some(Standing::Trusted(signer)) => Admission::Counts(Some(signer.clone()), None),
        _ if trust.mode == TrustMode::Warn => {
            let text = format!("{name}: {nobody}: it counts only because trust.mode is \"warn\"");
            Admission::Counts(None, Some(text + &because(inputs.standings.get(signed))))
        }
        Some(Standing::Unknown { why }) => {
            Admission::Unknown(format!("{name}: its signatures could not be read: {}", json::plain(why, MAX_WHY)))
        }
        standing => Admission::Ignored(format!("{name}: {nobody}: ignored{}", because(standing))),
    }
}

fn because(standing: Option<&Standing>) -> String {
    let why = match standing {
        Some(Standing::Untrusted { why }) => why.join("; "),
        Some(Standing::Unknown { why }) => why.clone(),
        Some(Standing::Trusted(_)) | None => String::new(),
    };
    if why.is_empty() { why } else { format!(" ({})", json::plain(&why, MAX_WHY)) }
}

/// Why a signed artifact is too old to count, if it is.
pub(crate) fn outdated(trust: &Trust, parsed: &Parsed, now: i64) -> Option<String> {
    let limit = trust.max_age.filter(|_| parsed.signer.is_some())?;
    let name = format!("artifact {}", parsed.digest.short());
    let Some(created) = parsed.created else {
        return Some(format!("{name}: it has no date, and this site sets a limit (trust.max_age)"));
    };
    let age = u64::try_from(now.saturating_sub(created.seconds)).unwrap_or(0);
    (age > limit).then(|| format!("{name}: {} days old, more than this site allows (trust.max_age)", age / 86_400))
}

/// The second from which on a signed artifact, which is not too old yet, is too old.
pub(crate) fn outdated_from(trust: &Trust, parsed: &Parsed) -> Option<i64> {
    let limit = trust.max_age.filter(|_| parsed.signer.is_some())?;
    Some(parsed.created?.seconds.saturating_add(i64::try_from(limit).unwrap_or(i64::MAX)).saturating_add(1))
}

/// Why nothing may be swapped.
pub(crate) struct Unsigned {
    pub(crate) why: String,
    /// Signatures could not be read.
    pub(crate) unread: bool,
}

/// The entries of `preferred` that may run by what is signed of the image.
pub(crate) fn swappable(inputs: &Inputs, index: &Digest, preferred: &[Digest]) -> Result<Vec<Digest>, Unsigned> {
    let trust = &inputs.policy.trust;
    if trust.revoked_digests.contains(index) {
        return Err(Unsigned { why: "the index is revoked by this site".to_owned(), unread: false });
    }
    let signed = |digest: &Digest| inputs.standings.get(digest).and_then(Standing::signer).is_some();
    if trust.image == ImageSigned::Off || signed(index) {
        return Ok(preferred.to_vec());
    }
    let entries: Vec<Digest> = match trust.image {
        ImageSigned::IndexOrEntry => preferred.iter().copied().filter(signed).collect(),
        ImageSigned::Off | ImageSigned::Index => Vec::new(),
    };
    if !entries.is_empty() {
        return Ok(entries);
    }
    let what = match trust.image {
        ImageSigned::IndexOrEntry => "neither the index nor an entry that fits is",
        ImageSigned::Off | ImageSigned::Index => "the index is not",
    };
    let asked = [index].into_iter().chain(preferred.iter().filter(|_| trust.image == ImageSigned::IndexOrEntry));
    let unread = asked.filter_map(|digest| inputs.standings.get(digest));
    let unread = unread.filter(|standing| matches!(standing, Standing::Unknown { .. })).count() > 0;
    let why = format!("{what} signed by anybody whom this site trusts{}", because(inputs.standings.get(index)));
    Err(Unsigned { why, unread })
}
