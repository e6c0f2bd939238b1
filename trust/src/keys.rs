//! Owns public keys: reading them, their identity, and whether a signature is theirs. ECDSA and RSA are aws-lc's; Ed25519 is
//! ed25519-dalek's, because cosign signs with Ed25519ph (RFC 8032, 5.1), which aws-lc-rs does not offer.

use aws_lc_rs::signature::{self as aws, ParsedPublicKey, VerificationAlgorithm};
use bestfit_selector::digest::Digest;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use sha2::Sha512;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Reader, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfoRef;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const SECP521R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// Bits that an RSA key may have: below, it can be broken; above, verifying costs too much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    P256,
    P384,
    P521,
    Rsa,
    Ed25519,
}

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// How a signature is made of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// ECDSA, the signature in ASN.1: cosign, CMS.
    EcdsaAsn1(Hash),
    /// ECDSA with the hash of the curve, the signature as two numbers of fixed length: JOSE, COSE.
    EcdsaFixed,
    /// RSASSA-PKCS1-v1_5: cosign, CMS.
    RsaPkcs1(Hash),
    /// RSASSA-PSS with a salt as long as the hash: JOSE, COSE.
    RsaPss(Hash),
    /// Ed25519 over the message.
    Ed25519,
    /// Ed25519 over the message's SHA-512.
    Ed25519ph,
}

/// Why something is no key that signatures are verified with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("it is no PEM with one block \"PUBLIC KEY\"")]
    Pem,
    #[error("it has {0} keys: one entry is one key")]
    Several(usize),
    #[error("it is no SubjectPublicKeyInfo")]
    Spki,
    #[error("keys of the kind {0} are not supported: ECDSA P-256 and P-384, RSA, Ed25519 are")]
    Unsupported(String),
    #[error("an RSA key of {0} bits: 2048 to 8192 are accepted")]
    RsaBits(usize),
    #[error("its numbers make no valid key")]
    Invalid,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    algorithm: Algorithm,
    raw: Vec<u8>,
    id: Digest,
}

impl PublicKey {
    /// Reads a file as `cosign generate-key-pair` and `openssl pkey -pubout` write it: one key.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for key in SubjectPublicKeyInfoDer::pem_slice_iter(pem.as_bytes()) {
            keys.push(key.map_err(|_| KeyError::Pem)?);
        }
        match keys.as_slice() {
            [] => Err(KeyError::Pem),
            [key] => {
                let key = Self::from_spki(key.as_ref())?;
                if key.algorithm == Algorithm::P521 {
                    return Err(KeyError::Unsupported("ECDSA P-521".to_owned()));
                }
                Ok(key)
            }
            more => Err(KeyError::Several(more.len())),
        }
    }

    /// Reads the DER of a SubjectPublicKeyInfo (RFC 5280, 4.1).
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| KeyError::Spki)?;
        let raw = spki.subject_public_key.as_bytes().ok_or(KeyError::Spki)?;
        let algorithm = algorithm(&spki)?;
        let key = Self { algorithm, raw: raw.to_vec(), id: Digest::of(der) };
        key.check()?;
        Ok(key)
    }

    /// SHA-256 over the SubjectPublicKeyInfo, as cosign's hints and the list of revoked keys have it.
    pub(crate) fn id(&self) -> Digest {
        self.id
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The bits of an RSA key; `None` for another.
    pub(crate) fn rsa_bits(&self) -> Option<usize> {
        if self.algorithm == Algorithm::Rsa { rsa_bits(&self.raw) } else { None }
    }

    fn check(&self) -> Result<(), KeyError> {
        if self.algorithm == Algorithm::Rsa {
            let bits = rsa_bits(&self.raw).ok_or(KeyError::Invalid)?;
            if !RSA_BITS.contains(&bits) {
                return Err(KeyError::RsaBits(bits));
            }
        }
        if self.algorithm == Algorithm::Ed25519 {
            return self.ed25519().filter(|key| !key.is_weak()).map(drop).ok_or(KeyError::Invalid);
        }
        let scheme = self.schemes_of_cosign()[0];
        let parsed = aws_algorithm(self.algorithm, scheme).map(|known| ParsedPublicKey::new(known, &self.raw));
        parsed.and_then(Result::ok).map(drop).ok_or(KeyError::Invalid)
    }

    fn ed25519(&self) -> Option<ed25519_dalek::VerifyingKey> {
        let bytes = <&[u8; 32]>::try_from(self.raw.as_slice()).ok()?;
        ed25519_dalek::VerifyingKey::from_bytes(bytes).ok()
    }

    /// The ways in which cosign signs with such a key. Before version 3 it used SHA-256 with every curve, and Ed25519 over the
    /// message itself.
    fn schemes_of_cosign(&self) -> &'static [Scheme] {
        use Hash::{Sha256, Sha384, Sha512};
        match self.algorithm {
            Algorithm::P256 => &[Scheme::EcdsaAsn1(Sha256)],
            Algorithm::P384 => &[Scheme::EcdsaAsn1(Sha384), Scheme::EcdsaAsn1(Sha256)],
            Algorithm::P521 => &[Scheme::EcdsaAsn1(Sha512)],
            Algorithm::Rsa => &[Scheme::RsaPkcs1(Sha256)],
            Algorithm::Ed25519 => &[Scheme::Ed25519ph, Scheme::Ed25519],
        }
    }

    /// Whether `signature` is this key's over `message`, made as cosign makes it.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.schemes_of_cosign().iter().any(|scheme| self.verifies_with(*scheme, message, signature))
    }

    /// Whether `signature` is this key's over `message`, made in exactly one way.
    pub(crate) fn verifies_with(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        if matches!(scheme, Scheme::Ed25519 | Scheme::Ed25519ph) {
            return self.verifies_ed25519(scheme, message, signature);
        }
        let Some(known) = aws_algorithm(self.algorithm, scheme) else { return false };
        aws::UnparsedPublicKey::new(known, &self.raw).verify(message, signature).is_ok()
    }

    fn verifies_ed25519(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        use sha2::Digest as _;
        let key = (self.algorithm == Algorithm::Ed25519).then(|| self.ed25519()).flatten();
        let (Some(key), Ok(signature)) = (key, ed25519_dalek::Signature::from_slice(signature)) else { return false };
        match scheme {
            Scheme::Ed25519ph => {
                key.verify_prehashed_strict(Sha512::new_with_prefix(message), None, &signature).is_ok()
            }
            _ => key.verify_strict(message, &signature).is_ok(),
        }
    }
}

fn algorithm(spki: &SubjectPublicKeyInfoRef<'_>) -> Result<Algorithm, KeyError> {
    let unsupported = |what: &ObjectIdentifier| KeyError::Unsupported(what.to_string());
    match spki.algorithm.oid {
        EC => match spki.algorithm.parameters_oid().map_err(|_| KeyError::Spki)? {
            SECP256R1 => Ok(Algorithm::P256),
            SECP384R1 => Ok(Algorithm::P384),
            SECP521R1 => Ok(Algorithm::P521),
            curve => Err(unsupported(&curve)),
        },
        RSA => Ok(Algorithm::Rsa),
        ED25519 => Ok(Algorithm::Ed25519),
        other => Err(unsupported(&other)),
    }
}

/// The bits of the modulus of an RSAPublicKey (RFC 8017, A.1.1).
fn rsa_bits(raw: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(raw).ok()?;
    let modulus = reader
        .sequence(|fields| {
            let modulus = UintRef::decode(fields)?;
            UintRef::decode(fields)?;
            Ok(modulus)
        })
        .ok()?;
    reader.finish(()).ok()?;
    let bytes = modulus.as_bytes();
    bytes.first().map(|first| bytes.len() * 8 - first.leading_zeros() as usize)
}

fn aws_algorithm(key: Algorithm, scheme: Scheme) -> Option<&'static dyn VerificationAlgorithm> {
    use Hash::{Sha256, Sha384, Sha512};
    Some(match (key, scheme) {
        (Algorithm::P256, Scheme::EcdsaAsn1(Sha256)) => &aws::ECDSA_P256_SHA256_ASN1,
        (Algorithm::P256, Scheme::EcdsaAsn1(Sha384)) => &aws::ECDSA_P256_SHA384_ASN1,
        (Algorithm::P256, Scheme::EcdsaAsn1(Sha512)) => &aws::ECDSA_P256_SHA512_ASN1,
        (Algorithm::P384, Scheme::EcdsaAsn1(Sha256)) => &aws::ECDSA_P384_SHA256_ASN1,
        (Algorithm::P384, Scheme::EcdsaAsn1(Sha384)) => &aws::ECDSA_P384_SHA384_ASN1,
        (Algorithm::P384, Scheme::EcdsaAsn1(Sha512)) => &aws::ECDSA_P384_SHA512_ASN1,
        (Algorithm::P521, Scheme::EcdsaAsn1(Sha512)) => &aws::ECDSA_P521_SHA512_ASN1,
        (Algorithm::P256, Scheme::EcdsaFixed) => &aws::ECDSA_P256_SHA256_FIXED,
        (Algorithm::P384, Scheme::EcdsaFixed) => &aws::ECDSA_P384_SHA384_FIXED,
        (Algorithm::P521, Scheme::EcdsaFixed) => &aws::ECDSA_P521_SHA512_FIXED,
        (Algorithm::Rsa, Scheme::RsaPkcs1(Sha256)) => &aws::RSA_PKCS1_2048_8192_SHA256,
        (Algorithm::Rsa, Scheme::RsaPkcs1(Sha384)) => &aws::RSA_PKCS1_2048_8192_SHA384,
        (Algorithm::Rsa, Scheme::RsaPkcs1(Sha512)) => &aws::RSA_PKCS1_2048_8192_SHA512,
        (Algorithm::Rsa, Scheme::RsaPss(Sha256)) => &aws::RSA_PSS_2048_8192_SHA256,
        (Algorithm::Rsa, Scheme::RsaPss(Sha384)) => &aws::RSA_PSS_2048_8192_SHA384,
        (Algorithm::Rsa, Scheme::RsaPss(Sha512)) => &aws::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}
