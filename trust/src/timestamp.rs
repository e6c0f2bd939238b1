//! Owns RFC 3161 time stamps: a token over a signature, by an authority below the site's roots. Gives the proven time.

use aws_lc_rs::digest;
use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::attr::Attribute;
use x509_cert::der::asn1::{AnyRef, GeneralizedTime, ObjectIdentifier, OctetString, OctetStringRef, SetOfVec};
use x509_cert::der::{Decode, Encode, Reader, SliceReader, Tag, Tagged};
use x509_cert::ext::pkix::SubjectKeyIdentifier;
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::SKEW;
use crate::certificates::{Chain, Roots, Usage};
use crate::entry::Asked;
use crate::keys::{Algorithm, Hash, PublicKey, Scheme};
use crate::refusal::Refusal;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const WHAT: &str = "the time stamp";

/// A token that was read, not verified.
pub(crate) struct Token {
    signed: SignedData,
    /// The bytes that the authority signed about.
    info: Vec<u8>,
    imprint: (Hash, Vec<u8>),
    /// When it was made, in seconds since 1970 UTC.
    time: i64,
}

impl Token {
    /// Reads a TimeStampToken, or the TimeStampResp that carries one.
    pub(crate) fn read(der: &[u8]) -> Result<Self, Refusal> {
        let content = ContentInfo::from_der(der).or_else(|_| response(der)).map_err(malformed)?;
        if content.content_type != SIGNED_DATA {
            return Err(malformed("it is not signed"));
        }
        let signed: SignedData = content.content.decode_as().map_err(malformed)?;
        if signed.encap_content_info.econtent_type != TST_INFO {
            return Err(malformed("it stamps no time"));
        }
        let content = signed.encap_content_info.econtent.as_ref().ok_or_else(|| malformed("it is empty"))?;
        let info = content.decode_as::<OctetString>().map_err(malformed)?.into_bytes();
        let (imprint, time) = read_info(&info).map_err(malformed)?;
        let imprint = (hash(&imprint.0).ok_or_else(|| malformed("its hash is not SHA-2"))?, imprint.1);
        Ok(Self { signed, info, imprint, time })
    }

    /// The time that it proves for `signature`.
    pub(crate) fn verify(&self, signature: &[u8], roots: &Roots, asked: &Asked<'_>) -> Result<i64, Refusal> {
        if digest_of(self.imprint.0, signature) != self.imprint.1 {
            return Err(Refusal::Stamp("it is about another signature"));
        }
        let [signer] = self.signed.signer_infos.0.as_slice() else {
            return Err(Refusal::Stamp("it must have one signer"));
        };
        let chain = self.chain(signer, roots)?;
        let authority = roots.verify(&chain, Usage::Time, self.time, asked);
        let authority = authority.map_err(|refusal| Refusal::StampChain(Box::new(refusal)))?;
        self.check_signature(signer, &authority.key)?;
        if self.time > asked.now + SKEW {
            return Err(Refusal::Future { what: WHAT, time: self.time });
        }
        Ok(self.time)
    }

    /// The certificate that the token says it was signed with, and the others that it carries. cosign asks authorities for
    /// none, so that it may be the site's file that has it.
    fn chain(&self, signer: &SignerInfo, roots: &Roots) -> Result<Chain, Refusal> {
        let mut carried = Vec::new();
        for choice in self.signed.certificates.iter().flat_map(|certificates| certificates.0.iter()) {
            let CertificateChoices::Certificate(certificate) = choice else { continue };
            carried.push(CertificateDer::from(certificate.to_der().map_err(malformed)?));
        }
        let leaf = carried.iter().chain(roots.between()).find(|der| names(&signer.sid, der)).cloned();
        let leaf =
            leaf.ok_or(Refusal::Stamp("neither it nor the entry has the certificate that it was signed with"))?;
        carried.retain(|der| *der != leaf);
        Ok(Chain { leaf, others: carried })
    }

    /// RFC 5652, 5.4: the signature is over the signed attributes, which name the type and digest of the content.
    fn check_signature(&self, signer: &SignerInfo, key: &PublicKey) -> Result<(), Refusal> {
        let attributes = signer.signed_attrs.as_ref().ok_or(Refusal::Stamp("its signature has no attributes"))?;
        let hashed = hash(&signer.digest_alg.oid).ok_or_else(|| malformed("its hash is not SHA-2"))?;
        let kind = attribute::<ObjectIdentifier>(attributes, CONTENT_TYPE);
        let digest = attribute::<OctetString>(attributes, MESSAGE_DIGEST).map(OctetString::into_bytes);
        if kind != Some(TST_INFO) || digest != Some(digest_of(hashed, &self.info)) {
            return Err(Refusal::Stamp("its signature is about something else"));
        }
        let signed = attributes.to_der().map_err(malformed)?;
        let scheme = match key.algorithm() {
            Algorithm::Rsa => Scheme::RsaPkcs1(hashed),
            Algorithm::P256 | Algorithm::P384 | Algorithm::P521 => Scheme::EcdsaAsn1(hashed),
            Algorithm::Ed25519 => Scheme::Ed25519,
        };
        if key.verifies_with(scheme, &signed, signer.signature.as_bytes()) {
            return Ok(());
        }
        Err(Refusal::Stamp("its signature is not its authority's"))
    }
}

fn malformed(why: impl std::fmt::Display) -> Refusal {
    Refusal::malformed(WHAT, why)
}

/// The token in a TimeStampResp that was granted (RFC 3161, 2.4.2).
fn response(der: &[u8]) -> x509_cert::der::Result<ContentInfo> {
    let mut reader = SliceReader::new(der)?;
    let token = reader.sequence(|fields| {
        let status = fields.sequence(|status| {
            let code = u8::decode(status)?;
            while !status.is_finished() {
                AnyRef::decode(status)?;
            }
            Ok(code)
        })?;
        if status > 1 {
            return Err(fields.error(x509_cert::der::ErrorKind::Failed));
        }
        ContentInfo::decode(fields)
    })?;
    reader.finish(token)
}

/// The imprint and time of a TSTInfo (RFC 3161, 2.4.2): version, policy, imprint, serial number, time; the rest is optional.
fn read_info(der: &[u8]) -> x509_cert::der::Result<((ObjectIdentifier, Vec<u8>), i64)> {
    let mut reader = SliceReader::new(der)?;
    let found = reader.sequence(|fields| {
        u8::decode(fields)?;
        ObjectIdentifier::decode(fields)?;
        let imprint = fields.sequence(|imprint| {
            let algorithm = AlgorithmIdentifierOwned::decode(imprint)?;
            Ok((algorithm.oid, OctetStringRef::decode(imprint)?.as_bytes().to_vec()))
        })?;
        AnyRef::decode(fields)?;
        let time = time(fields)?;
        while !fields.is_finished() {
            AnyRef::decode(fields)?;
        }
        Ok((imprint, time))
    })?;
    reader.finish(found)
}

/// A GeneralizedTime in UTC, which may have fractions of a second here: they are cut off (RFC 3161, 2.4.2).
fn time<'a, R: Reader<'a>>(fields: &mut R) -> x509_cert::der::Result<i64> {
    let any = AnyRef::decode(fields)?;
    let text = if any.tag() == Tag::GeneralizedTime { any.value() } else { b"" };
    let whole = match (text.split_at_checked(14), text.ends_with(b"Z")) {
        (Some((whole, rest)), true) if rest.len() == 1 || rest.starts_with(b".") => [whole, b"Z"].concat(),
        _ => return Err(fields.error(x509_cert::der::ErrorKind::DateTime)),
    };
    let parsed = AnyRef::new(Tag::GeneralizedTime, &whole)?.decode_as::<GeneralizedTime>()?;
    i64::try_from(parsed.to_unix_duration().as_secs())
        .map_err(|_| x509_cert::der::Error::from(x509_cert::der::ErrorKind::DateTime))
}

fn names(signer: &SignerIdentifier, der: &CertificateDer<'_>) -> bool {
    let Ok(Certificate { tbs_certificate: tbs, .. }) = Certificate::from_der(der) else { return false };
    match signer {
        SignerIdentifier::IssuerAndSerialNumber(named) => {
            named.issuer == tbs.issuer && named.serial_number == tbs.serial_number
        }
        SignerIdentifier::SubjectKeyIdentifier(named) => {
            matches!(tbs.get::<SubjectKeyIdentifier>(), Ok(Some((_, found))) if found == *named)
        }
    }
}

/// The only value of the only attribute of this type.
fn attribute<T: for<'a> Decode<'a>>(attributes: &SetOfVec<Attribute>, oid: ObjectIdentifier) -> Option<T> {
    let mut found = attributes.iter().filter(|attribute| attribute.oid == oid);
    let (Some(attribute), None) = (found.next(), found.next()) else { return None };
    let [value] = attribute.values.as_slice() else { return None };
    T::from_der(&value.to_der().ok()?).ok()
}

fn hash(oid: &ObjectIdentifier) -> Option<Hash> {
    match *oid {
        SHA256 => Some(Hash::Sha256),
        SHA384 => Some(Hash::Sha384),
        SHA512 => Some(Hash::Sha512),
        _ => None,
    }
}

fn digest_of(hash: Hash, bytes: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
        Hash::Sha512 => &digest::SHA512,
    };
    digest::digest(algorithm, bytes).as_ref().to_vec()
}
