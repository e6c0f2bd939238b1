//! Owns one entry of the site's list, made ready: its keys and roots are parsed once per judgement.

use bestfit_selector::digest::Digest;
use bestfit_selector::policy::covers;
use bestfit_selector::trust::{Accept, By};
use sigstore_verify::types::VerificationMaterialContent;

use crate::bundle::Bundle;
use crate::keys::PublicKey;
use crate::refusal::Refusal;

/// A signature that was read, not verified.
pub(crate) enum Signature {
    Bundle(Box<Bundle>),
}

/// What a signature is held against besides the entry.
pub(crate) struct Asked<'a> {
    /// The digest that must be signed.
    pub(crate) subject: &'a Digest,
    /// `host/repository` that it is asked about.
    pub(crate) repository: &'a str,
    /// Seconds since 1970 UTC.
    #[expect(dead_code, reason = "keys have no dates")]
    pub(crate) now: i64,
    /// Keys and certificates that count for nothing any more.
    pub(crate) revoked: &'a [Digest],
}

/// By what signatures of an entry are told.
enum Means {
    Key(PublicKey),
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
        Some(match &self.means {
            Ok(means) => means.verify(signature, asked),
            Err(problem) => Err(problem.clone()),
        })
    }
}

impl Means {
    fn verify(&self, signature: &Signature, asked: &Asked<'_>) -> Result<(), Refusal> {
        match (self, signature) {
            (Self::Key(key), Signature::Bundle(bundle)) => {
                bundle.check_key(key)?;
                not_revoked(key.id(), asked)
            }
        }
    }
}

/// Refuses a key or certificate that the site has revoked.
pub(crate) fn not_revoked(id: Digest, asked: &Asked<'_>) -> Result<(), Refusal> {
    if asked.revoked.contains(&id) { Err(Refusal::RevokedKey(id)) } else { Ok(()) }
}

impl Signature {
    /// By what it was made, for people.
    pub(crate) fn maker(&self) -> &'static str {
        match self {
            Self::Bundle(bundle) => match bundle.material() {
                VerificationMaterialContent::PublicKey(_) => "a public key",
                _ => "a certificate",
            },
        }
    }
}

fn takes(by: &By, signature: &Signature) -> bool {
    let Signature::Bundle(bundle) = signature;
    let key = matches!(bundle.material(), VerificationMaterialContent::PublicKey(_));
    match by {
        By::Key { .. } => key,
        By::Certificates { .. } | By::Keyless { .. } => !key,
        By::Notation { .. } => false,
    }
}

fn means(by: &By) -> Result<Means, Refusal> {
    match by {
        By::Key { pem } => PublicKey::from_pem(pem).map(Means::Key).map_err(Refusal::Key),
        By::Certificates { .. } | By::Keyless { .. } | By::Notation { .. } => {
            Err(Refusal::Malformed("the entry", "such signatures are not verified yet".to_owned()))
        }
    }
}
