//! Owns certificates: a signer's chain to the roots of the site at one point in time, what its leaf may do, whom it names, and
//! which certificates are revoked. The path is webpki's; nothing is fetched, so no revocation list is asked.

use bestfit_selector::policy::covers;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, VerifiedPath};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, SubjectAltName};

use crate::entry::Asked;
use crate::fingerprint;
use crate::keys::PublicKey;
use crate::refusal::{Refusal, shown};

/// Certificates that a signature may bring along, and that a file of the site may hold.
const MAX_OFFERED: usize = 8;
const MAX_ROOTS: usize = 64;
const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

/// What a certificate must be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    /// Signing code.
    Code,
    /// Signing as Notary Project has it: any purpose where none is named, and the key's use is named (signature-specification.md,
    /// "Certificate Requirements").
    Notation,
    /// Stamping times, and nothing else (RFC 3161, 2.3).
    Time,
}

/// The certificate of a signer, and those that came along to lead to a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) leaf: CertificateDer<'static>,
    pub(crate) others: Vec<CertificateDer<'static>>,
}

impl Chain {
    /// The first is the signer's; `None` where there is none.
    pub(crate) fn of(certificates: Vec<CertificateDer<'static>>) -> Option<Self> {
        let mut certificates = certificates.into_iter();
        Some(Self { leaf: certificates.next()?, others: certificates.collect() })
    }
}

/// A file of the site: roots, and the certificates between them and the signers where signatures do not bring them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roots {
    anchors: Vec<CertificateDer<'static>>,
    between: Vec<CertificateDer<'static>>,
}

/// A certificate whose path to a root holds.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) certificate: Certificate,
    pub(crate) key: PublicKey,
    /// The last second at which no certificate of the path has expired.
    until: i64,
}

impl Signer {
    /// The last second at which the path still holds: for ever, where the time of signing is proven.
    pub(crate) fn until(&self, proven: Option<i64>) -> i64 {
        proven.map_or(self.until, |_| i64::MAX)
    }
}

/// Reads all certificates of a PEM; there may be none.
pub(crate) fn read_pem(pem: &str) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let malformed = |why: &dyn std::fmt::Display| Refusal::malformed("the PEM with certificates", why);
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        found.push(certificate.map_err(|error| malformed(&error))?);
        if found.len() > MAX_ROOTS {
            return Err(malformed(&format_args!("it has more than {MAX_ROOTS}")));
        }
    }
    Ok(found)
}

/// Reads one certificate (RFC 5280, 4.1).
pub(crate) fn read(der: &[u8]) -> Result<Certificate, Refusal> {
    Certificate::from_der(der).map_err(|error| Refusal::malformed("the certificate", error))
}

impl Roots {
    /// Reads the site's file. Certificates that issued themselves are roots; the others only lead there.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, Refusal> {
        let (mut anchors, mut between) = (Vec::new(), Vec::new());
        for der in read_pem(pem)? {
            let tbs = read(&der)?.tbs_certificate;
            webpki::anchor_from_trusted_cert(&der).map_err(|error| Refusal::malformed("the certificate", error))?;
            if tbs.subject == tbs.issuer { anchors.push(der) } else { between.push(der) }
        }
        if anchors.is_empty() {
            return Err(Refusal::NoRoot);
        }
        Ok(Self { anchors, between })
    }

    /// Reads a trust store of Notary Project: every certificate of it is trusted, not only those that issued themselves.
    pub(crate) fn trust_store(pem: &str) -> Result<Self, Refusal> {
        let anchors = read_pem(pem)?;
        for der in &anchors {
            read(der)?;
            webpki::anchor_from_trusted_cert(der).map_err(|error| Refusal::malformed("the certificate", error))?;
        }
        if anchors.is_empty() { Err(Refusal::EmptyStore) } else { Ok(Self { anchors, between: Vec::new() }) }
    }

    /// The certificates of the file that are no roots.
    pub(crate) fn between(&self) -> &[CertificateDer<'static>] {
        &self.between
    }

    /// The signer at the end of `chain`, if it led to one of these roots at `time`, for `usage`, by certificates that nobody
    /// has revoked.
    pub(crate) fn verify(&self, chain: &Chain, usage: Usage, time: i64, asked: &Asked<'_>) -> Result<Signer, Refusal> {
        if chain.others.len() > MAX_OFFERED {
            return Err(Refusal::ChainLength(chain.others.len()));
        }
        let certificate = read(&chain.leaf)?;
        // First its own dates: webpki would only say that there is no path.
        let mut until = check_dates(&certificate, time)?;
        for der in self.path(chain, usage, time)? {
            let link = read(&der)?;
            until = until.min(check_dates(&link, time)?);
            check_revoked(&link, &der, asked)?;
        }
        check_usage(&certificate, usage)?;
        let key = PublicKey::from_spki(&spki(&certificate)?).map_err(Refusal::Key)?;
        Ok(Signer { certificate, key, until })
    }

    /// The certificates of the path: leaf, those between, root.
    fn path(&self, chain: &Chain, usage: Usage, time: i64) -> Result<Vec<CertificateDer<'static>>, Refusal> {
        let no_path = |error: webpki::Error| match error {
            webpki::Error::RequiredEkuNotFoundContext(_) => Refusal::Usage(usage),
            error => Refusal::NoPath(shown(&error.to_string())),
        };
        let anchors: Vec<(TrustAnchor<'_>, &CertificateDer<'static>)> = self
            .anchors
            .iter()
            .map(|der| webpki::anchor_from_trusted_cert(der).map(|anchor| (anchor, der)))
            .collect::<Result<_, _>>()
            .map_err(no_path)?;
        let trusted: Vec<TrustAnchor<'_>> = anchors.iter().map(|(anchor, _)| anchor.clone()).collect();
        let between: Vec<CertificateDer<'_>> = chain.others.iter().chain(&self.between).cloned().collect();
        let leaf = EndEntityCert::try_from(&chain.leaf).map_err(no_path)?;
        let seconds = u64::try_from(time).unwrap_or_default();
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        // Intermediates often name no purpose at all; the leaf's is checked apart.
        let purpose = webpki::KeyUsage::required_if_present(usage.oid().as_bytes());
        let known = webpki::ALL_VERIFICATION_ALGS;
        let path: VerifiedPath<'_> =
            leaf.verify_for_usage(known, &trusted, &between, at, purpose, None, None).map_err(no_path)?;
        let root = anchors.iter().find(|(anchor, _)| anchor == path.anchor()).map(|(_, der)| (*der).clone());
        let links = path.intermediate_certificates().map(|link| link.der().into_owned());
        Ok(std::iter::once(chain.leaf.clone()).chain(links).chain(root).collect())
    }
}

impl Usage {
    fn oid(self) -> &'static ObjectIdentifier {
        match self {
            Self::Code | Self::Notation => &CODE_SIGNING,
            Self::Time => &TIME_STAMPING,
        }
    }
}

/// The DER of a certificate's SubjectPublicKeyInfo.
pub(crate) fn spki(certificate: &Certificate) -> Result<Vec<u8>, Refusal> {
    let spki = &certificate.tbs_certificate.subject_public_key_info;
    spki.to_der().map_err(|error| Refusal::malformed("the certificate", error))
}

/// The last second at which the certificate is valid, as it is at `time`.
fn check_dates(certificate: &Certificate, time: i64) -> Result<i64, Refusal> {
    let validity = &certificate.tbs_certificate.validity;
    let seconds = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    let (from, until) = (seconds(validity.not_before), seconds(validity.not_after));
    if (from..=until).contains(&time) {
        return Ok(until);
    }
    let name = shown(&certificate.tbs_certificate.subject.to_string());
    Err(if time < from { Refusal::NotYetValid { name, from, time } } else { Refusal::Expired { name, until, time } })
}

/// Refuses a certificate that the site has revoked, by itself or by its key.
pub(crate) fn check_revoked(certificate: &Certificate, der: &[u8], asked: &Asked<'_>) -> Result<(), Refusal> {
    fingerprint::ids(certificate, der)?.into_iter().try_for_each(|id| crate::entry::not_revoked(id, asked))
}

/// What the leaf says that it is made for, whatever the certificates above it say.
fn check_usage(leaf: &Certificate, usage: Usage) -> Result<(), Refusal> {
    let malformed = |error| Refusal::malformed("the certificate", error);
    let tbs = &leaf.tbs_certificate;
    let signs = match (usage, tbs.get::<KeyUsage>().map_err(malformed)?) {
        (Usage::Notation, Some((critical, found))) => critical && found.digital_signature(),
        (Usage::Notation, None) => false,
        (Usage::Code | Usage::Time, found) => found.is_none_or(|(_, found)| found.digital_signature()),
    };
    let extended = tbs.get::<ExtendedKeyUsage>().map_err(malformed)?;
    let purposes = extended.as_ref().map(|(critical, purposes)| (*critical, purposes.0.as_slice()));
    let made_for_it = match (usage, purposes) {
        (Usage::Notation, None) => true,
        (_, None) => false,
        (Usage::Code | Usage::Notation, Some((_, purposes))) => purposes.contains(&CODE_SIGNING),
        (Usage::Time, Some((critical, purposes))) => critical && *purposes == [TIME_STAMPING],
    };
    if signs && made_for_it { Ok(()) } else { Err(Refusal::Usage(usage)) }
}

/// The names of a certificate: URIs, e-mail addresses, DNS names.
pub(crate) fn names(certificate: &Certificate) -> Result<Vec<String>, Refusal> {
    let names = certificate.tbs_certificate.get::<SubjectAltName>();
    let names = names.map_err(|error| Refusal::malformed("the certificate", error))?;
    let names = names.into_iter().flat_map(|(_, names)| names.0);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(name)
            | GeneralName::Rfc822Name(name)
            | GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
            _ => None,
        })
        .collect())
}

/// Whether one of the certificate's names is one of `identities`; none of these means any certificate.
pub(crate) fn check_identity(certificate: &Certificate, identities: &[String]) -> Result<(), Refusal> {
    let names = names(certificate)?;
    let taken = |name: &String| identities.iter().any(|identity| covers(identity, name));
    if identities.is_empty() || names.iter().any(taken) {
        return Ok(());
    }
    Err(Refusal::OtherIdentity(shown(&names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
    const PURPOSES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");

    #[test]
    fn what_a_leaf_must_be_made_for() {
        let pem = include_str!("../testdata/certificates/leaf.crt");
        let leaf = read(&read_pem(pem).unwrap()[0]).unwrap();
        let without = |gone: ObjectIdentifier| {
            let mut leaf = leaf.clone();
            leaf.tbs_certificate.extensions.as_mut().unwrap().retain(|extension| extension.extn_id != gone);
            leaf
        };
        let mut loose = leaf.clone();
        for extension in loose.tbs_certificate.extensions.iter_mut().flatten() {
            extension.critical = false;
        }
        for (leaf, code, notation) in [
            (&leaf, true, true),
            (&without(PURPOSES), false, true),
            (&without(KEY_USAGE), true, false),
            (&loose, true, false),
        ] {
            assert_eq!(check_usage(leaf, Usage::Code).is_ok(), code);
            assert_eq!(check_usage(leaf, Usage::Notation).is_ok(), notation);
            assert!(check_usage(leaf, Usage::Time).is_err());
        }
    }
}
