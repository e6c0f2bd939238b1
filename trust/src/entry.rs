//! Owns one entry of the site's list, made ready: its keys and roots are parsed once per judgement.

use bestfit_selector::digest::Digest;
use bestfit_selector::policy::covers;
use bestfit_selector::trust::{Accept, By};

use crate::certificates::Roots;
use crate::distinguished::Identity;
use crate::keyless::Keyless;
use crate::keys::PublicKey;
use crate::notation::{Envelope, Store};
use crate::refusal::{Refusal, shown};
use crate::sigstore::{Authority, Sigstore};
use crate::timestamp::Token;

/// Time stamps of one signature that are looked at.
pub(crate) const MAX_STAMPS: usize = 4;

/// A signature that was read, not verified.
pub(crate) enum Signature {
    Sigstore(Box<Sigstore>),
    Notation(Box<Envelope>),
}

/// What a signature is held against besides the entry.
pub(crate) struct Asked<'a> {
    /// The digest that must be signed.
    pub(crate) subject: &'a Digest,
    /// `host/repository` that it is asked about.
    pub(crate) repository: &'a str,
    /// Seconds since 1970 UTC.
    pub(crate) now: i64,
    /// Keys and certificates that count for nothing any more.
    pub(crate) revoked: &'a [Digest],
}

/// By what signatures of an entry are told.
enum Means {
    Key(PublicKey),
    Certificates(Authority),
    Keyless(Box<Keyless>),
    Notation(Store),
}

/// One entry of the list.
pub(crate) struct Entry<'a> {
    /// Its place in the list.
    pub(crate) position: usize,
    accept: &'a Accept,
    means: Result<Means, Refusal>,
}

impl<'a> Entry<'a> {
    /// Makes an entry ready. What of it is in `revoked` counts for nothing.
    pub(crate) fn new(position: usize, accept: &'a Accept, revoked: &[Digest]) -> Self {
        Self { position, accept, means: means(&accept.by, revoked) }
    }

    pub(crate) fn name(&self) -> &'a str {
        &self.accept.name
    }

    /// What is wrong with its keys and roots.
    pub(crate) fn problem(&self) -> Option<&Refusal> {
        self.means.as_ref().err()
    }

    /// Whether it speaks for `repository`.
    pub(crate) fn covers(&self, repository: &str) -> bool {
        self.accept.scopes.is_empty() || self.accept.scopes.iter().any(|scope| covers(scope, repository))
    }

    /// Whether the signature is one of this entry's, and until when (the last second) it stays so; `None` where it is of a kind
    /// that the entry has nothing to do with.
    pub(crate) fn verify(&self, signature: &Signature, asked: &Asked<'_>) -> Option<Result<i64, Refusal>> {
        let means = match &self.means {
            Ok(means) => means,
            Err(problem) => return Some(Err(problem.clone())),
        };
        Some(means.verify(signature, asked)?.and_then(|until| self.check_reference(signature).map(|()| until)))
    }

    /// Of all forms only the older one of cosign names a repository. Where an entry speaks for some alone, a signature made
    /// for another does not count there; cosign itself would take it.
    fn check_reference(&self, signature: &Signature) -> Result<(), Refusal> {
        let Signature::Sigstore(signature) = signature else { return Ok(()) };
        match signature.as_ref() {
            Sigstore::Simple(simple) if !self.covers(&simple.repository()) => {
                Err(Refusal::SignedFor(shown(&simple.reference)))
            }
            _ => Ok(()),
        }
    }
}

impl Means {
    fn verify(&self, signature: &Signature, asked: &Asked<'_>) -> Option<Result<i64, Refusal>> {
        match (self, signature) {
            (Self::Key(key), Signature::Sigstore(signature)) if signature.by_key() => {
                Some(signature.check_key(key).and_then(|()| not_revoked(key.id(), asked)).map(|()| i64::MAX))
            }
            (Self::Certificates(authority), Signature::Sigstore(signature)) if !signature.by_key() => {
                Some(authority.verify(signature, asked))
            }
            (Self::Keyless(keyless), Signature::Sigstore(signature)) if !signature.by_key() => {
                Some(keyless.verify(signature, asked).map(|()| i64::MAX))
            }
            (Self::Notation(store), Signature::Notation(envelope)) => Some(store.verify(envelope, asked)),
            _ => None,
        }
    }
}

/// When a signature was made, if that is proven: by its time stamps where the site knows an authority, of which all must hold.
/// Else only now is known, and certificates must be valid now.
pub(crate) fn proven_time<'s>(
    stamps: impl Iterator<Item = &'s [u8]>,
    signature: &[u8],
    tsa: Option<&Roots>,
    asked: &Asked<'_>,
) -> Result<Option<i64>, Refusal> {
    let Some(tsa) = tsa else { return Ok(None) };
    let mut proven = None;
    for (count, stamp) in stamps.enumerate() {
        if count == MAX_STAMPS {
            return Err(Refusal::Stamp("there are more than 4"));
        }
        let time = Token::read(stamp)?.verify(signature, tsa, asked)?;
        proven = Some(proven.map_or(time, |latest: i64| latest.max(time)));
    }
    Ok(proven)
}

/// Refuses a key or certificate that the site has revoked.
pub(crate) fn not_revoked(id: Digest, asked: &Asked<'_>) -> Result<(), Refusal> {
    if asked.revoked.contains(&id) { Err(Refusal::RevokedKey(id)) } else { Ok(()) }
}

impl Signature {
    /// By what it was made, for people.
    pub(crate) fn maker(&self) -> &'static str {
        match self {
            Self::Sigstore(signature) if signature.by_key() => "a public key",
            Self::Sigstore(_) => "a certificate",
            Self::Notation(_) => "Notary Project's certificates",
        }
    }
}

fn means(by: &By, revoked: &[Digest]) -> Result<Means, Refusal> {
    let authorities = |tsa: &Option<String>| tsa.as_deref().map(Roots::from_pem).transpose();
    match by {
        By::Key { pem } => PublicKey::from_pem(pem).map(Means::Key).map_err(Refusal::Key),
        By::Certificates { roots, identities, tsa } => {
            let (roots, identities) = (Roots::from_pem(roots)?, identities.clone());
            Ok(Means::Certificates(Authority { roots, identities, tsa: authorities(tsa)? }))
        }
        By::Notation { roots, identities, tsa } => {
            // A lone `*` is how a trust policy says any.
            let any = identities.as_slice() == ["*"];
            let named = identities.iter().filter(|_| !any);
            let identities = named.map(|text| Identity::parse(text)).collect::<Result<_, _>>()?;
            Ok(Means::Notation(Store { roots: Roots::trust_store(roots)?, identities, tsa: authorities(tsa)? }))
        }
        By::Keyless { issuer, subject, trusted_root, time } => {
            let keyless = Keyless::new(trusted_root, issuer, subject, *time, revoked)?;
            Ok(Means::Keyless(Box::new(keyless)))
        }
    }
}
