//! Owns in-toto statements as cosign signs them: about exactly one digest, of exactly one type. An attestation is none of
//! them (reference: trust.md, "What cosign 3 writes").

use std::collections::BTreeMap;

use bestfit_selector::digest::Digest;
use bestfit_selector::json;
use serde::Deserialize;

use crate::MAX_BLOB;
use crate::refusal::{Refusal, shown};

/// What the payload of the envelope must be.
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The type of the statement (in-toto attestation framework, "Statement layer specification", v1).
pub(crate) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The predicate of `cosign sign`.
pub(crate) const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: BTreeMap<String, String>,
}

/// Whether `payload` says that exactly `subject` is signed.
pub(crate) fn check(payload_type: &str, payload: &[u8], subject: &Digest) -> Result<(), Refusal> {
    if payload_type != PAYLOAD_TYPE {
        return Err(Refusal::PayloadType(shown(payload_type)));
    }
    let limit = usize::try_from(MAX_BLOB).unwrap_or(usize::MAX);
    let statement: Statement =
        json::read(payload, limit).map_err(|error| Refusal::malformed("the statement", error))?;
    if statement.predicate_type != PREDICATE_TYPE {
        return Err(Refusal::PredicateType(shown(&statement.predicate_type)));
    }
    if statement.kind != STATEMENT_TYPE {
        return Err(Refusal::StatementType(shown(&statement.kind)));
    }
    let [only] = statement.subject.as_slice() else { return Err(Refusal::Subjects(statement.subject.len())) };
    let said: Vec<String> = only.digest.iter().map(|(algorithm, value)| format!("{algorithm}:{value}")).collect();
    match said.as_slice() {
        [digest] if *digest == subject.to_string() => Ok(()),
        said => Err(Refusal::OtherDigest(shown(&said.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: &str = "27c1c7226ecf2a63b086b4e30993d44a71c7c278680a2b4f2c3bd364feb31792";

    fn refused(payload: &str) -> String {
        let subject = format!("sha256:{SUBJECT}").parse().unwrap();
        check(PAYLOAD_TYPE, payload.as_bytes(), &subject).map_or_else(|refusal| refusal.to_string(), |()| String::new())
    }

    #[test]
    fn exactly_one_subject_type_and_predicate() {
        let subject = format!(r#"{{"digest":{{"sha256":"{SUBJECT}"}}}}"#);
        let statement = |kind: &str, subjects: &str, predicate: &str| {
            refused(&format!(
                r#"{{"_type":"{kind}","subject":[{subjects}],"predicateType":"{predicate}","predicate":{{}}}}"#
            ))
        };
        let good = |subjects: &str| statement(STATEMENT_TYPE, subjects, PREDICATE_TYPE);
        assert_eq!(good(&subject), "");
        assert_eq!(good(""), "the statement is about 0 subjects, not one");
        assert_eq!(good(&format!("{subject},{subject}")), "the statement is about 2 subjects, not one");
        assert_eq!(good(r#"{"digest":{}}"#), "it was made for ");
        assert_eq!(good(r#"{"digest":{"sha256":"00"}}"#), "it was made for sha256:00");
        assert_eq!(
            good(&format!(r#"{{"digest":{{"sha256":"{SUBJECT}","sha512":"00"}}}}"#)),
            format!("it was made for sha256:{SUBJECT}, sha512:00")
        );
        assert_eq!(
            statement(STATEMENT_TYPE, &subject, "https://slsa.dev/provenance/v1"),
            "an attestation is no signature: the predicate is \"https://slsa.dev/provenance/v1\", not \
             \"https://sigstore.dev/cosign/sign/v1\""
        );
        assert_eq!(
            statement("https://in-toto.io/Statement/v0.1", &subject, PREDICATE_TYPE),
            "the statement is of the type \"https://in-toto.io/Statement/v0.1\", not \"https://in-toto.io/Statement/v1\""
        );
        assert_eq!(
            refused(r#"{"_type":"a","_type":"b"}"#),
            "the statement cannot be read: line 1 column 20: the key \"_type\" stands there twice"
        );
        let subject = format!("sha256:{SUBJECT}").parse().unwrap();
        assert_eq!(
            check("text/plain", b"", &subject).unwrap_err().to_string(),
            "the type of the payload is \"text/plain\", not \"application/vnd.in-toto+json\""
        );
    }
}
