//! Owns what a site says about signatures, and what came of checking them. Vocabulary only: `bestfit-trust` verifies,
//! `crate::evidence` heeds the outcome. Keys and roots are here as bytes: who verifies has no files.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// `[trust]`: whose artifacts count, and what must be signed besides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trust {
    /// What an untrusted artifact is worth.
    pub mode: TrustMode,
    /// Whom the site trusts, the most trusted first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<Accept>,
    /// Artifacts, signatures and entries of an index that count for nothing any more, whoever signed them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revoked_digests: Vec<Digest>,
    /// Keys and certificates that count for nothing any more: SHA-256 over the DER of the public key
    /// (SubjectPublicKeyInfo), and for certificates over the DER of the certificate as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revoked_keys: Vec<Digest>,
    /// How old, in seconds, a signed artifact may be by its `org.opencontainers.image.created`; one without a date is then
    /// refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u64>,
    /// What of the image itself must be signed before another entry than the default may run.
    pub image: ImageSigned,
}

/// Whose artifacts count; the greater, the stricter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustMode {
    /// Everybody's; signatures are not looked at.
    #[default]
    Off,
    /// Everybody's; signatures are verified, and what `enforce` would ignore is reported.
    Warn,
    /// Those of signers that the site trusts; the others are as if they were not there, and are reported.
    Enforce,
    /// The same, and without a trusted artifact, and at every failure, the container is refused.
    Require,
}

/// What of the image must carry a trusted signature before anything is swapped; the greater, the stricter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSigned {
    /// Nothing.
    #[default]
    Off,
    /// The index, or else the entry that would run.
    IndexOrEntry,
    /// The index.
    Index,
}

/// One entry of the site's list: somebody who is trusted, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accept {
    /// What the record calls them: the configuration's `name`, else the name of the file of the key.
    pub name: String,
    /// Repositories that the entry speaks for, as `host/repository` with `*` for any text; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub scopes: Vec<String>,
    /// How their signatures are told.
    pub by: By,
}

/// How the signatures of a signer are told. PEM and JSON are as the files of the site have them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum By {
    /// A public key that cosign signs with.
    Key {
        /// SubjectPublicKeyInfo as PEM: ECDSA P-256 or P-384, RSA of at least 2048 bits, Ed25519.
        pem: String,
    },
    /// Certificates that cosign signs with, below roots of the site.
    Certificates {
        /// The roots as PEM, one or several.
        roots: String,
        /// Names in the certificate (URI, e-mail or DNS name), any of them, `*` for any text; empty: any certificate below
        /// the roots.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        identities: Vec<String>,
        /// Roots of time-stamping authorities as PEM. Without: the certificate must be valid now.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        tsa: Option<String>,
    },
    /// Keyless signatures: a short-lived certificate of a certificate authority that saw an identity.
    Keyless {
        /// The issuer of the identity, `*` for any text.
        issuer: String,
        /// The identity (URI or e-mail), `*` for any text.
        subject: String,
        /// Sigstore's `trusted_root.json`, read from the site's file; nothing is fetched.
        trusted_root: String,
        /// What must prove the time of signing.
        #[serde(default)]
        time: KeylessTime,
    },
    /// Notary Project signatures (JWS or COSE).
    Notation {
        /// The trust store: certificates as PEM.
        roots: String,
        /// `x509.subject` identities, as in notation's trust policy; empty: any below the roots.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        identities: Vec<String>,
        /// Roots of time-stamping authorities as PEM. Without: the chain must be valid now.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        tsa: Option<String>,
    },
}

/// What proves when a keyless signature was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeylessTime {
    /// An entry of a transparency log.
    #[default]
    Log,
    /// A time-stamping authority of the trusted root.
    Tsa,
}

/// Somebody whose signature was verified and whom the site trusts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signer {
    /// The place in the site's order, the more trusted the greater; from 1.
    pub rank: u32,
    /// The name of the site's trust entry.
    pub name: String,
}

/// What came of looking for signatures about one digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// A signature holds; of several, that of the most trusted signer.
    Trusted(Signer),
    /// No signature holds.
    Untrusted {
        /// Why: for each signature, and for each entry of the site that came near, what failed. Never empty.
        why: Vec<String>,
    },
    /// Signatures could not be read, so nobody knows.
    Unknown {
        /// What failed, for people.
        why: String,
    },
}

impl Trust {
    /// Whether anything must be verified.
    pub fn verifies(&self) -> bool {
        self.mode != TrustMode::Off || self.image != ImageSigned::Off
    }

    /// Whether all is as without a `[trust]` in the configuration.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The signer that the entry at `position` of [`Trust::accept`] stands for.
    pub fn signer(&self, position: usize) -> Option<Signer> {
        let accept = self.accept.get(position)?;
        let rank = u32::try_from(self.accept.len() - position).unwrap_or(u32::MAX);
        Some(Signer { rank, name: accept.name.clone() })
    }
}

impl TrustMode {
    /// Whether only trusted artifacts count.
    pub fn only_trusted(self) -> bool {
        self >= Self::Enforce
    }
}

impl Standing {
    /// The signer, where there is one.
    pub fn signer(&self) -> Option<&Signer> {
        match self {
            Self::Trusted(signer) => Some(signer),
            Self::Untrusted { .. } | Self::Unknown { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_ranks_highest() {
        let accept =
            |name: &str| Accept { name: name.to_owned(), scopes: Vec::new(), by: By::Key { pem: String::new() } };
        let trust = Trust { accept: vec![accept("vendor"), accept("lab")], ..Trust::default() };
        assert_eq!(trust.signer(0), Some(Signer { rank: 2, name: "vendor".to_owned() }));
        assert_eq!(trust.signer(1), Some(Signer { rank: 1, name: "lab".to_owned() }));
        assert_eq!(trust.signer(2), None);
    }

    #[test]
    fn modes_are_ordered_by_strictness() {
        let modes = [TrustMode::Off, TrustMode::Warn, TrustMode::Enforce, TrustMode::Require];
        assert!(modes.is_sorted());
        assert_eq!(modes.map(TrustMode::only_trusted), [false, false, true, true]);
    }
}
