//! Owns distinguished names: the `x509.subject` identities of Notary Project's trust policy, and the subjects of certificates
//! (Notary Project specifications, "trust-store-trust-policy.md", "Trusted identities"; RFC 4514).

use std::collections::BTreeMap;

use x509_cert::Certificate;
use x509_cert::der::{Tag, Tagged};

use crate::refusal::{Refusal, shown};

/// What an identity may begin with, as in a trust policy.
const PREFIX: &str = "x509.subject:";
/// What an identity must name at least.
const REQUIRED: [&str; 3] = ["C", "ST", "O"];
/// The attributes that are known, by their object identifiers.
const KNOWN: [(&str, &str); 8] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
];

/// Attributes that a certificate's subject must have, each with exactly this value; it may have more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity(BTreeMap<String, String>);

impl Identity {
    /// Reads `x509.subject: C=US, ST=WA, O=example.com`.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let bad = |why: &str| Refusal::Identity { text: shown(text), why: why.to_owned() };
        let mut attributes = BTreeMap::new();
        for part in split(text.strip_prefix(PREFIX).unwrap_or(text), ',') {
            let (name, value) = part.split_once('=').ok_or_else(|| bad("each part is NAME=VALUE"))?;
            let name = match name.trim().to_ascii_uppercase() {
                name if name == "S" => "ST".to_owned(),
                name => name,
            };
            if !KNOWN.iter().any(|(_, known)| *known == name) {
                return Err(bad(&format!("{name} is not known: CN, OU, O, STREET, L, ST, C, SERIALNUMBER are")));
            }
            if attributes.insert(name, plain(value.trim())).is_some() {
                return Err(bad("each name may stand there once"));
            }
        }
        if REQUIRED.iter().any(|name| !attributes.contains_key(*name)) {
            return Err(bad("it must have C, ST and O"));
        }
        Ok(Self(attributes))
    }

    /// Whether the subject of `certificate` is one of `identities`.
    pub(crate) fn check(identities: &[Self], certificate: &Certificate) -> Result<(), Refusal> {
        let name = || shown(&certificate.tbs_certificate.subject.to_string());
        let subject = subject(certificate).ok_or_else(|| Refusal::OtherIdentity(name()))?;
        let has = |identity: &Self| identity.0.iter().all(|(name, value)| subject.get(name) == Some(value));
        if identities.iter().any(has) { Ok(()) } else { Err(Refusal::OtherIdentity(name())) }
    }
}

/// The known attributes of a subject; `None` where one stands there twice or is no text: then it is not clear what it says.
fn subject(certificate: &Certificate) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let attributes = certificate.tbs_certificate.subject.0.iter().flat_map(|relative| relative.0.iter());
    for attribute in attributes {
        let oid = attribute.oid.to_string();
        let Some((_, name)) = KNOWN.iter().find(|(known, _)| *known == oid) else { continue };
        if !matches!(attribute.value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String) {
            return None;
        }
        let value = std::str::from_utf8(attribute.value.value()).ok()?.to_owned();
        if found.insert((*name).to_owned(), value).is_some() {
            return None;
        }
    }
    Some(found)
}

/// Splits at `mark` where no backslash stands before it.
fn split(text: &str, mark: char) -> Vec<&str> {
    let (mut parts, mut begin, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        if c == mark && !escaped {
            parts.push(&text[begin..at]);
            begin = at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(&text[begin..]);
    parts
}

/// A value without its backslashes.
fn plain(value: &str) -> String {
    let mut escaped = false;
    let kept = value.chars().filter(|c| {
        escaped = *c == '\\' && !escaped;
        !escaped
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_as_trust_policies_write_them() {
        let parse = |text: &str| Identity::parse(text).map_err(|refusal| refusal.to_string());
        let of = |pairs: &[(&str, &str)]| {
            Ok(Identity(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()))
        };
        let lab = [("C", "DE"), ("ST", "BE"), ("O", "Lab")];
        assert_eq!(parse("x509.subject: C=DE, ST=BE, O=Lab"), of(&lab));
        assert_eq!(parse("c=DE,S=BE,O=Lab"), of(&lab));
        assert_eq!(parse(r"C=DE, ST=BE, O=Lab\, Ltd\\"), of(&[("C", "DE"), ("ST", "BE"), ("O", r"Lab, Ltd\")]));
        let error = |text: &str, why: &str| assert_eq!(parse(text), Err(format!("the identity {text:?}: {why}")));
        error("C=DE, O=Lab", "it must have C, ST and O");
        error("C=DE, ST=BE, O=Lab, O=Other", "each name may stand there once");
        error("C=DE, ST=BE, O=Lab, DC=x", "DC is not known: CN, OU, O, STREET, L, ST, C, SERIALNUMBER are");
        error("", "each part is NAME=VALUE");
    }
}
