//! Owns one entry of the site's list, made ready: its keys and roots are parsed once per judgement.

use bestfit_selector::digest::Digest;
use bestfit_selector::policy::covers;
use bestfit_selector::trust::{Accept, By};
use sigstore_verify::types::VerificationMaterialContent;

use crate::bundle::Bundle;
use crate::certificates::{self, Chain, Roots, Usage};
use crate::keys::PublicKey;
use crate::refusal::Refusal;
use crate::simple::Simple;
use crate::timestamp::Token;

/// Time stamps of one signature that are looked at.
const MAX_STAMPS: usize = 4;

/// A signature that was read, not verified.
pub(crate) enum Signature {
    Bundle(Box<Bundle>),
    Simple(Box<Simple>),
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
    Certificates { roots: Roots, identities: Vec<String>, tsa: Option<Roots> },
}

/// One entry of the list.
pub(crate) struct Entry<'a> {
    /// Its place in the list.
    pub(crate) position: usize,
    accept: &'a Accept,
    means: Result<Means, Refusal>,
}

impl<'a> Entry<'a> {
    pub(crate) fn new(position: usize, accept: &'a Accept) -> Self {
        Self { position, accept, means: means(&accept.by) }
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

    /// Whether the signature is one of this entry's; `None` where it is of a kind that the entry has nothing to do with.
    pub(crate) fn verify(&self, signature: &Signature, asked: &Asked<'_>) -> Option<Result<(), Refusal>> {
        if !takes(&self.accept.by, signature) {
            return None;
        }
        let means = match &self.means {
            Ok(means) => means,
            Err(problem) => return Some(Err(problem.clone())),
        };
        Some(means.verify(signature, asked).and_then(|()| self.check_reference(signature)))
    }

    /// Of all forms only the older one of cosign names a repository. Where an entry speaks for some alone, a signature made
    /// for another does not count there; cosign itself would take it.
    fn check_reference(&self, signature: &Signature) -> Result<(), Refusal> {
        match signature {
            Signature::Simple(simple) if !self.covers(&simple.repository()) => {
                Err(Refusal::SignedFor(crate::refusal::shown(&simple.reference)))
            }
            _ => Ok(()),
        }
    }
}

impl Means {
    fn verify(&self, signature: &Signature, asked: &Asked<'_>) -> Result<(), Refusal> {
        match self {
            Self::Key(key) => {
                signature.check_key(key)?;
                not_revoked(key.id(), asked)
            }
            Self::Certificates { roots, identities, tsa } => {
                let chain = signature.chain().ok_or(Refusal::NobodyTakes(signature.maker()))?;
                let time = proven_time(signature.stamps(), signature.signature(), tsa.as_ref(), asked)?;
                let signer = roots.verify(&chain, Usage::Code, time, asked)?;
                certificates::check_identity(&signer.certificate, identities)?;
                signature.check_key(&signer.key)
            }
        }
    }
}

/// When a signature was made, as far as that is proven: by its time stamps where the site knows an authority, of which all must
/// hold; else only now is known, and certificates must be valid now.
pub(crate) fn proven_time<'s>(
    stamps: impl Iterator<Item = &'s [u8]>,
    signature: &[u8],
    tsa: Option<&Roots>,
    asked: &Asked<'_>,
) -> Result<i64, Refusal> {
    let Some(tsa) = tsa else { return Ok(asked.now) };
    let mut proven = None;
    for (count, stamp) in stamps.enumerate() {
        if count == MAX_STAMPS {
            return Err(Refusal::Stamp("there are more than 4"));
        }
        let time = Token::read(stamp)?.verify(signature, tsa, asked)?;
        proven = Some(proven.map_or(time, |latest: i64| latest.max(time)));
    }
    Ok(proven.unwrap_or(asked.now))
}

/// Refuses a key or certificate that the site has revoked.
pub(crate) fn not_revoked(id: Digest, asked: &Asked<'_>) -> Result<(), Refusal> {
    if asked.revoked.contains(&id) { Err(Refusal::RevokedKey(id)) } else { Ok(()) }
}

impl Signature {
    /// By what it was made, for people.
    pub(crate) fn maker(&self) -> &'static str {
        if self.by_key() { "a public key" } else { "a certificate" }
    }

    fn by_key(&self) -> bool {
        match self {
            Self::Bundle(bundle) => matches!(bundle.material(), VerificationMaterialContent::PublicKey(_)),
            Self::Simple(simple) => simple.chain.is_none(),
        }
    }

    fn chain(&self) -> Option<Chain> {
        match self {
            Self::Bundle(bundle) => bundle.chain(),
            Self::Simple(simple) => simple.chain.clone(),
        }
    }

    fn check_key(&self, key: &PublicKey) -> Result<(), Refusal> {
        match self {
            Self::Bundle(bundle) => bundle.check_key(key),
            Self::Simple(simple) => simple.check_key(key),
        }
    }

    fn signature(&self) -> &[u8] {
        match self {
            Self::Bundle(bundle) => bundle.signature(),
            Self::Simple(simple) => simple.signature(),
        }
    }

    /// Time stamps are read of bundles alone.
    fn stamps(&self) -> impl Iterator<Item = &[u8]> {
        let bundle = match self {
            Self::Bundle(bundle) => Some(bundle),
            Self::Simple(_) => None,
        };
        bundle.into_iter().flat_map(|bundle| bundle.stamps())
    }
}

fn takes(by: &By, signature: &Signature) -> bool {
    match by {
        By::Key { .. } => signature.by_key(),
        By::Certificates { .. } | By::Keyless { .. } => !signature.by_key(),
        By::Notation { .. } => false,
    }
}

fn means(by: &By) -> Result<Means, Refusal> {
    match by {
        By::Key { pem } => PublicKey::from_pem(pem).map(Means::Key).map_err(Refusal::Key),
        By::Certificates { roots, identities, tsa } => {
            let tsa = tsa.as_deref().map(Roots::from_pem).transpose()?;
            Ok(Means::Certificates { roots: Roots::from_pem(roots)?, identities: identities.clone(), tsa })
        }
        By::Keyless { .. } | By::Notation { .. } => {
            Err(Refusal::Malformed("the entry", "such signatures are not verified yet".to_owned()))
        }
    }
}
