//! Owns what both forms of cosign have in common: a signature by a plain key or by a certificate, perhaps with time stamps.

use sigstore_verify::types::VerificationMaterialContent;

use crate::bundle::Bundle;
use crate::certificates::{self, Chain, Roots, Usage};
use crate::entry::{Asked, proven_time};
use crate::keys::PublicKey;
use crate::refusal::Refusal;
use crate::simple::Simple;

/// A signature of cosign that was read, not verified.
pub(crate) enum Sigstore {
    Bundle(Bundle),
    Simple(Simple),
}

impl Sigstore {
    /// Whether it was made by a plain key.
    pub(crate) fn by_key(&self) -> bool {
        match self {
            Self::Bundle(bundle) => matches!(bundle.material(), VerificationMaterialContent::PublicKey(_)),
            Self::Simple(simple) => simple.chain.is_none(),
        }
    }

    /// Whether it is `key`'s signature.
    pub(crate) fn check_key(&self, key: &PublicKey) -> Result<(), Refusal> {
        match self {
            Self::Bundle(bundle) => bundle.check_key(key),
            Self::Simple(simple) => simple.check_key(key),
        }
    }

    fn chain(&self) -> Option<Chain> {
        match self {
            Self::Bundle(bundle) => bundle.chain(),
            Self::Simple(simple) => simple.chain.clone(),
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
        bundle.into_iter().flat_map(Bundle::stamps)
    }
}

/// Certificates that cosign signs with, below roots of the site.
pub(crate) struct Authority {
    pub(crate) roots: Roots,
    pub(crate) identities: Vec<String>,
    pub(crate) tsa: Option<Roots>,
}

impl Authority {
    /// Whether the signature is by somebody below these roots, and the last second at which it is.
    pub(crate) fn verify(&self, signature: &Sigstore, asked: &Asked<'_>) -> Result<i64, Refusal> {
        let chain = signature.chain().ok_or(Refusal::OtherKey)?;
        let proven = proven_time(signature.stamps(), signature.signature(), self.tsa.as_ref(), asked)?;
        let signer = self.roots.verify(&chain, Usage::Code, proven.unwrap_or(asked.now), asked)?;
        certificates::check_identity(&signer.certificate, &self.identities)?;
        signature.check_key(&signer.key)?;
        Ok(signer.until(proven))
    }
}
