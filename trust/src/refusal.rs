//! Owns the words for why a signature does not count. Every text is for people: what was foreign in it is cleaned and short.

use bestfit_selector::digest::Digest;
use bestfit_selector::json::plain;
use bestfit_selector::time::Time;

use crate::certificates::Usage;
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
    #[error("it was signed for {0}, which the entry's scopes do not cover")]
    SignedFor(String),
    #[error("there is no root among its certificates: no certificate that issued itself")]
    NoRoot,
    #[error("there is no certificate in the trust store")]
    EmptyStore,
    #[error("it brings {0} certificates besides its own; 8 are accepted")]
    ChainLength(usize),
    #[error("its certificate leads to none of the roots: {0}")]
    NoPath(String),
    #[error("the certificate {name:?} was to be valid from {}, and the time is {}", date(*from), date(*time))]
    NotYetValid { name: String, from: i64, time: i64 },
    #[error("the certificate {name:?} was valid until {}, and the time is {}", date(*until), date(*time))]
    Expired { name: String, until: i64, time: i64 },
    #[error("it was signed by {0:?}, which is not how its key signs")]
    Algorithm(String),
    #[error("the signature was valid until {}, and the time is {}", date(*until), date(*time))]
    SignatureExpired { until: i64, time: i64 },
    #[error("the identity {text:?}: {why}")]
    Identity { text: String, why: String },
    #[error("its certificate is not made for {}", purpose(*.0))]
    Usage(Usage),
    #[error("its certificate is for {0:?}, none of the entry's identities")]
    OtherIdentity(String),
    #[error("its time stamp: {0}")]
    Stamp(&'static str),
    #[error("its time stamp: {0}")]
    StampChain(Box<Refusal>),
    #[error("keyless: {0}")]
    Keyless(String),
    #[error("it was signed by {subject:?} as {issuer:?} says, not by the entry's identity")]
    OtherSigner { subject: String, issuer: String },
    #[error("{what} is of {}, which is in the future", date(*time))]
    Future { what: &'static str, time: i64 },
    #[error("{what} is of {}, and this machine's clock is not there yet", date(*time))]
    Early { what: &'static str, time: i64 },
    #[error("it holds, but the entry's scopes do not cover {0}")]
    OutOfScope(String),
    #[error("no entry of the list takes signatures by {0}")]
    NobodyTakes(&'static str),
}

fn purpose(usage: Usage) -> &'static str {
    match usage {
        Usage::Code | Usage::Notation => "signing code",
        Usage::Time => "stamping times alone",
    }
}

/// Seconds since 1970 as people read them.
fn date(seconds: i64) -> String {
    Time { seconds, nanos: 0 }.to_string()
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
