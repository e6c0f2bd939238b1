//! Owns the snapshot of a host: every question that the probe asked, with its answer, as one JSON document. A replay gives
//! the same answers and reads nothing else. It opens no file.

use std::collections::BTreeMap;

use bestfit_selector::json::{self, JsonError};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::cpu::cpuid::{Cpuid, Registers};
use crate::root::ReadError;

/// The longest snapshot that is read, in bytes.
pub const MAX_SNAPSHOT: usize = 64 << 20;

const VERSION: u32 = 1;

/// What was asked of a host, and what it answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The version of this form.
    #[serde(rename = "bestfit.snapshot")]
    version: u32,
    /// When it was made, in seconds since 1970: what is read of some answers depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) made: Option<i64>,
    /// Of the running machine only: what is no file.
    pub(crate) machine: Option<Machine>,
    /// When an answer may mean something else, in seconds since 1970: not recorded, because it is asked of the answers.
    #[serde(skip)]
    pub(crate) until: Option<i64>,
    /// By path and question.
    reads: BTreeMap<String, BTreeMap<String, Answer>>,
}

/// What only instructions and calls tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    /// In GOARCH spelling.
    pub(crate) architecture: String,
    /// By "LEAF.SUBLEAF" in hexadecimal digits: EAX, EBX, ECX, EDX. None where there is no such instruction.
    pub(crate) cpuid: Option<BTreeMap<String, [u32; 4]>>,
    pub(crate) xcr0: Option<u64>,
    /// What calls returned, or their errno(3), negative.
    pub(crate) calls: BTreeMap<String, i64>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    Text(String),
    /// What is no UTF-8.
    #[serde(with = "in_base64")]
    Base64(Vec<u8>),
    Names(Vec<String>),
    Is(bool),
    Missing,
    /// An errno(3).
    Errno(i32),
    Unreadable(String),
}

impl Answer {
    pub(crate) fn bytes(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|error| Self::Base64(error.into_bytes()), Self::Text)
    }

    /// What a failed call says about what was asked for.
    pub(crate) fn of_errno(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT | Errno::ENOTDIR => Self::Missing,
            errno => Self::Errno(errno as i32),
        }
    }

    /// The answer itself, or the error that it stands for.
    pub(crate) fn told(self, path: &str) -> Result<Self, ReadError> {
        match self {
            Self::Missing => Err(ReadError::Missing(path.to_owned())),
            Self::Errno(errno) => Err(ReadError::Failed(path.to_owned(), Errno::from_raw(errno))),
            Self::Unreadable(why) => Err(ReadError::Unreadable(path.to_owned(), why)),
            told => Ok(told),
        }
    }

    pub(crate) fn into_bytes(self, path: &str) -> Result<Vec<u8>, ReadError> {
        match self.told(path)? {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Base64(bytes) => Ok(bytes),
            _ => Err(other(path, "not the kind of answer that was asked for")),
        }
    }

    pub(crate) fn into_names(self, path: &str) -> Result<Vec<String>, ReadError> {
        match self.told(path)? {
            Self::Names(names) => Ok(names),
            _ => Err(other(path, "not the kind of answer that was asked for")),
        }
    }

    pub(crate) fn into_is(self, path: &str) -> Result<bool, ReadError> {
        match self.told(path)? {
            Self::Is(is) => Ok(is),
            _ => Err(other(path, "not the kind of answer that was asked for")),
        }
    }
}

/// Bytes as text.
mod in_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(de::Error::custom)
    }
}

fn other(path: &str, why: &str) -> ReadError {
    ReadError::Unreadable(path.to_owned(), format!("the snapshot: {why}"))
}

impl Snapshot {
    pub(crate) fn new(machine: Option<Machine>) -> Self {
        Self { version: VERSION, made: None, machine, until: None, reads: BTreeMap::new() }
    }

    /// Reads a snapshot; an error has its line and column.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let snapshot: Self = json::read(bytes, MAX_SNAPSHOT)?;
        if snapshot.version == VERSION {
            return Ok(snapshot);
        }
        let message = format!("version {} of snapshots is not known, only {VERSION}", snapshot.version);
        Err(JsonError::Malformed { line: 1, column: 1, message })
    }

    pub(crate) fn get(&self, path: &str, question: &str) -> Option<Answer> {
        self.reads.get(path)?.get(question).cloned()
    }

    /// Every question with its answer, in the order of paths: path, question, answer.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (&str, &str, &Answer)> {
        self.reads.iter().flat_map(|(path, answers)| {
            answers.iter().map(move |(question, answer)| (path.as_str(), question.as_str(), answer))
        })
    }

    pub(crate) fn put(&mut self, path: &str, question: &str, answer: Answer) {
        self.reads.entry(path.to_owned()).or_default().insert(question.to_owned(), answer);
    }
}

impl Cpuid for Machine {
    fn registers(&self, leaf: u32, subleaf: u32) -> Option<Registers> {
        let [eax, ebx, ecx, edx] = *self.cpuid.as_ref()?.get(&leaf_name(leaf, subleaf))?;
        Some(Registers { eax, ebx, ecx, edx })
    }

    fn xcr0(&self) -> Option<u64> {
        self.xcr0
    }
}

pub(crate) fn leaf_name(leaf: u32, subleaf: u32) -> String {
    format!("{leaf:x}.{subleaf:x}")
}
