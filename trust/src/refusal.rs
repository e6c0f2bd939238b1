//! Owns the words for why a signature does not count. Every text is for people: what was foreign in it is cleaned and short.

use bestfit_selector::digest::Digest;
use bestfit_selector::json::plain;

use crate::keys::KeyError;

/// Foreign text in a refusal, in characters.
const SHOWN: usize = 160;

/// Why a signature does not count, or not for one entry of the site's list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0} is revoked")]
    Revoked(Digest),
    #[error("its manifest is about {}", about(.0.as_ref()))]
    OtherSubject(Option<Digest>),
    #[error("it has {0} bytes, more than the {limit} that are accepted", limit = crate::MAX_BLOB)]
    TooLong(u64),
    #[error("{0} cannot be read: {1}")]
    Malformed(&'static str, String),
    #[error("the bundle signs a blob: what is signed must be a statement about an image (DSSE)")]
    NoStatement,
    #[error("the type of the payload is {0:?}, not {expected:?}", expected = crate::statement::PAYLOAD_TYPE)]
    PayloadType(String),
    #[error("the statement is of the type {0:?}, not {expected:?}", expected = crate::statement::STATEMENT_TYPE)]
    StatementType(String),
    #[error("an attestation is no signature: the predicate is {0:?}, not {expected:?}", expected = crate::statement::PREDICATE_TYPE)]
    PredicateType(String),
    #[error("the statement is about {0} subjects, not one")]
    Subjects(usize),
    #[error("it was made for {0}")]
    OtherDigest(String),
    #[error("it was made by another key")]
    OtherKey,
    #[error("it names this key, and is not its signature over these bytes")]
    BadSignature,
    #[error("the key {0} is revoked")]
    RevokedKey(Digest),
    #[error("the key cannot be used: {0}")]
    Key(KeyError),
    #[error("it holds, but the entry's scopes do not cover {0}")]
    OutOfScope(String),
    #[error("no entry of the list takes signatures by {0}")]
    NobodyTakes(&'static str),
}

fn about(subject: Option<&Digest>) -> String {
    subject.map_or_else(|| "nothing".to_owned(), Digest::to_string)
}

impl Refusal {
    /// What could not be read, and why.
    pub(crate) fn malformed(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Malformed(what, shown(&why.to_string()))
    }
}

/// Foreign text, fit for a refusal.
pub(crate) fn shown(text: &str) -> String {
    plain(text, SHOWN)
}
