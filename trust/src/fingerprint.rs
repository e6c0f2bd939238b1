//! Owns by what a certificate can be revoked: the digests of its key and of itself, however its signature is written.

use bestfit_selector::digest::Digest;
use x509_cert::Certificate;
use x509_cert::der::asn1::{AnyRef, BitString, UintRef};
use x509_cert::der::{Decode, Encode, Reader, SliceReader, Tag};

use crate::certificates::spki;
use crate::refusal::Refusal;

/// The orders of the curves P-256, P-384 and P-521 (SEC 2).
const ORDERS: [&[u8]; 3] = [
    b"\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xc7\x63\x4d\x81\xf4\x37\x2d\xdf\
      \x58\x1a\x0d\xb2\x48\xb0\xa7\x7a\xec\xec\x19\x6a\xcc\xc5\x29\x73",
    b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
      \xff\xfa\x51\x86\x87\x83\xbf\x2f\x96\x6b\x7f\xcc\x01\x48\xf7\x09\xa5\xd0\x3b\xb5\xc9\xb8\x89\x9c\x47\xae\xbb\x6f\xb7\x1e\x91\x38\x64\x09",
];

/// The digests of the key, of the certificate, and of the same certificate with its ECDSA signature in the other form: whoever
/// holds (r, s) can write (r, n - s), too, which is as valid.
pub(crate) fn ids(certificate: &Certificate, der: &[u8]) -> Result<Vec<Digest>, Refusal> {
    let signature = certificate.signature.raw_bytes();
    // Which curve it is the issuer's key says, which is not at hand: a form of another curve is nobody's.
    let others = ORDERS.iter().filter_map(|order| other_form(signature, order));
    let others = others.filter_map(|signature| with_signature(certificate, der, &signature));
    let known = [Digest::of(&spki(certificate)?), Digest::of(der)];
    Ok(known.into_iter().chain(others.map(|der| Digest::of(&der))).collect())
}

/// (r, n - s) of an ECDSA signature (RFC 3279, 2.2.3); `None` where it is none, or none of this curve.
fn other_form(signature: &[u8], order: &[u8]) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(signature).ok()?;
    let (r, s) = reader.sequence(|fields| Ok((UintRef::decode(fields)?, UintRef::decode(fields)?))).ok()?;
    reader.finish(()).ok()?;
    let mut numbers = r.to_der().ok()?;
    UintRef::new(&difference(order, s.as_bytes())?).ok()?.encode_to_vec(&mut numbers).ok()?;
    sequence(&numbers)
}

/// `from - number`, both with the highest byte first; `None` where that is below zero.
fn difference(from: &[u8], number: &[u8]) -> Option<Vec<u8>> {
    let number = std::iter::repeat_n(&0, from.len().checked_sub(number.len())?).chain(number);
    let mut borrow = false;
    let mut bytes: Vec<u8> = Vec::with_capacity(from.len());
    for (from, number) in from.iter().rev().zip(number.collect::<Vec<_>>().into_iter().rev()) {
        let (rest, first) = from.overflowing_sub(*number);
        let (rest, second) = rest.overflowing_sub(u8::from(borrow));
        borrow = first || second;
        bytes.push(rest);
    }
    bytes.reverse();
    (!borrow).then_some(bytes)
}

/// The certificate with another signature: what is signed stays byte for byte, and the signature comes last (RFC 5280, 4.1).
fn with_signature(certificate: &Certificate, der: &[u8], signature: &[u8]) -> Option<Vec<u8>> {
    let content = AnyRef::from_der(der).ok()?.value();
    let old = usize::try_from(certificate.signature.encoded_len().ok()?).ok()?;
    let mut content = content.get(..content.len().checked_sub(old)?)?.to_vec();
    BitString::from_bytes(signature).ok()?.encode_to_vec(&mut content).ok()?;
    sequence(&content)
}

fn sequence(content: &[u8]) -> Option<Vec<u8>> {
    AnyRef::new(Tag::Sequence, content).ok()?.to_der().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{read, read_pem};

    #[test]
    fn the_other_form_leads_back() {
        let der = &read_pem(include_str!("../testdata/certificates/leaf.crt")).unwrap()[0];
        let certificate = read(der).unwrap();
        let other = other_form(certificate.signature.raw_bytes(), ORDERS[0]).unwrap();
        let other = with_signature(&certificate, der, &other).unwrap();
        assert_ne!(other, der.to_vec());
        assert!(ids(&certificate, der).unwrap().contains(&Digest::of(&other)));
        assert!(ids(&read(&other).unwrap(), &other).unwrap().contains(&Digest::of(der)));
    }

    #[test]
    fn only_numbers_of_the_curve_have_another_form() {
        let [small, .., large] = ORDERS;
        let signature = |s: &[u8]| {
            let mut numbers = UintRef::new(&[1]).unwrap().to_der().unwrap();
            UintRef::new(s).unwrap().encode_to_vec(&mut numbers).unwrap();
            sequence(&numbers).unwrap()
        };
        assert_eq!(other_form(&signature(&[1]), small), Some(signature(&difference(small, &[1]).unwrap())));
        assert_eq!(difference(&[1, 0, 0], &[1]), Some(vec![0, 255, 255]));
        assert_eq!((other_form(&signature(large), small), other_form(b"\x05\x00", small)), (None, None));
        assert_eq!(other_form(&[signature(&[1]), vec![0]].concat(), small), None, "something follows");
    }
}
