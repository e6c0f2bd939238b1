//! Owns the form of an index: its own digest, then when its facts stand, what they rest on, and their digest.

use bestfit_selector::digest::Digest;

use super::compact::{Reader, Writer};
use super::evidence::Asked;

/// The bytes of a digest.
const DIGEST: usize = 32;

/// What an index says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Index<'a> {
    /// Seconds since 1970: the facts stand from the first until before the second.
    pub(super) since: u64,
    pub(super) until: u64,
    pub(super) evidence: Digest,
    pub(super) facts: Digest,
    pub(super) asked: Vec<Asked<'a>>,
}

impl<'a> Index<'a> {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.long(self.since);
        writer.long(self.until);
        writer.text(&self.evidence.to_string());
        writer.text(&self.facts.to_string());
        writer.count(self.asked.len());
        for Asked { question, path, held } in &self.asked {
            writer.text(question);
            writer.text(path);
            writer.count(*held);
        }
        let said = writer.into_bytes();
        [&Digest::of(&said).bytes()[..], &said].concat()
    }

    /// Fails on bytes that this program did not write.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let Some((own, said)) = bytes.split_first_chunk::<DIGEST>() else { return Err("no whole digest") };
        if *Digest::of(said).bytes() != *own {
            return Err("the bytes do not have the digest that they begin with");
        }
        Self::said(said).ok_or("not the form that an index has")
    }

    fn said(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::of(bytes)?;
        let (since, until) = (reader.long()?, reader.long()?);
        let (evidence, facts) = (reader.text()?.parse().ok()?, reader.text()?.parse().ok()?);
        let asked = reader
            .list(|reader| Some(Asked { question: reader.text()?, path: reader.text()?, held: reader.length()? }))?;
        Some(Self { since, until, evidence, facts, asked })
    }
}
