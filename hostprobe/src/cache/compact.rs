//! Owns the form in which the cache keeps facts: it is read in a fraction of the time that JSON takes. Counts and lengths stand
//! in one list of numbers, all text in one piece behind it, both in the order of the fields. The same facts give the same bytes.
//! No other version reads this form (`super::INDEX`).

use std::collections::{BTreeMap, BTreeSet};

use bestfit_selector::facts::{Fact, Facts, State, Value};
use bestfit_selector::features::{Elements, Features, Instance, Packed};

/// The byte that stands before a number of four bytes; smaller numbers, which most are, are a byte themselves.
const LONG: u8 = u8::MAX;

/// How a state or a value begins.
mod tag {
    pub(super) const ABSENT: u32 = 0;
    pub(super) const UNKNOWN: u32 = 1;
    pub(super) const BOOL: u32 = 2;
    pub(super) const INT: u32 = 3;
    pub(super) const TEXT: u32 = 4;
    pub(super) const SET: u32 = 5;
}

/// The bytes of `facts`.
pub(super) fn write(facts: &Facts) -> Vec<u8> {
    let mut writer = Writer::default();
    let Facts { facts, features: Features { flags, attributes, instances, unknown }, devices } = facts;
    writer.map(facts, |writer, keys| writer.map(keys, Writer::fact));
    writer.map(flags, |writer, flags| writer.packed(&flags.elements));
    writer.map(attributes, |writer, attributes| writer.packed(&attributes.elements));
    writer.map(instances, |writer, instances| {
        writer.count(instances.elements.len());
        instances.elements.iter().for_each(|instance| writer.texts(&instance.attributes));
    });
    writer.texts(unknown);
    // Few, and of many fields. Maps with text for keys: this does not fail.
    writer.text(&serde_json::to_string(devices).unwrap_or_default());
    writer.into_bytes()
}

/// The facts in `bytes`; None where these are not the bytes of any.
pub(super) fn read(bytes: &[u8]) -> Option<Facts> {
    let mut reader = Reader::of(bytes)?;
    let facts = reader.map(|reader| reader.map(Reader::fact))?;
    let flags = reader.map(|reader| elements(reader.packed()))?;
    let attributes = reader.map(|reader| elements(reader.packed()))?;
    let instances =
        reader.map(|reader| elements(reader.list(|reader| Some(Instance { attributes: reader.texts()? }))))?;
    let unknown = reader.texts()?;
    let devices = serde_json::from_str(reader.text()?).ok()?;
    Some(Facts { facts, features: Features { flags, attributes, instances, unknown }, devices })
}

fn elements<T: Default>(elements: Option<T>) -> Option<Elements<T>> {
    Some(Elements { elements: elements? })
}

#[derive(Default)]
pub(super) struct Writer {
    numbers: Vec<u8>,
    text: String,
}

impl Writer {
    fn number(&mut self, number: u32) {
        match u8::try_from(number) {
            Ok(byte) if byte != LONG => self.numbers.push(byte),
            _ => {
                self.numbers.push(LONG);
                self.numbers.extend(number.to_le_bytes());
            }
        }
    }

    pub(super) fn long(&mut self, number: u64) {
        self.numbers.extend(number.to_le_bytes());
    }

    /// What is longer than 4 GiB is longer than any file that is read.
    pub(super) fn count(&mut self, count: usize) {
        self.number(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.count(text.len());
        self.text.push_str(text);
    }

    fn map<T>(&mut self, map: &BTreeMap<String, T>, mut value: impl FnMut(&mut Self, &T)) {
        self.count(map.len());
        for (key, one) in map {
            self.text(key);
            value(self, one);
        }
    }

    fn texts(&mut self, map: &BTreeMap<String, String>) {
        self.map(map, |writer, text| writer.text(text));
    }

    fn packed<const N: usize>(&mut self, packed: &Packed<N>) {
        self.count(packed.lengths().len());
        packed.lengths().for_each(|length| self.count(length));
        self.text.push_str(packed.text());
    }

    fn fact(&mut self, fact: &Fact) {
        match &fact.state {
            State::Absent => self.number(tag::ABSENT),
            State::Unknown { why } => {
                self.number(tag::UNKNOWN);
                self.text(why);
            }
            State::Known { value } => self.value(value),
        }
        self.text(&fact.source);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(is) => [tag::BOOL, u32::from(*is)].into_iter().for_each(|number| self.number(number)),
            Value::Int(number) => {
                self.number(tag::INT);
                self.long(number.cast_unsigned());
            }
            Value::Text(text) => {
                self.number(tag::TEXT);
                self.text(text);
            }
            Value::Set(set) => {
                self.number(tag::SET);
                self.count(set.len());
                set.iter().for_each(|text| self.text(text));
            }
        }
    }

    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        let count = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        let mut bytes = count.to_le_bytes().to_vec();
        bytes.append(&mut self.numbers);
        bytes.extend(self.text.into_bytes());
        bytes
    }
}

pub(super) struct Reader<'a> {
    numbers: &'a [u8],
    text: &'a str,
}

impl<'a> Reader<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (numbers, text) = rest.split_at_checked(count)?;
        Some(Self { numbers, text: std::str::from_utf8(text).ok()? })
    }

    fn number(&mut self) -> Option<u32> {
        let (first, rest) = self.numbers.split_first()?;
        self.numbers = rest;
        if *first == LONG { self.chunk().map(u32::from_le_bytes) } else { Some(u32::from(*first)) }
    }

    pub(super) fn long(&mut self) -> Option<u64> {
        self.chunk().map(u64::from_le_bytes)
    }

    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.numbers.split_first_chunk()?;
        self.numbers = rest;
        Some(*chunk)
    }

    pub(super) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    /// How many follow: each of them has a number of its own, so that nothing is set aside for what is not there.
    fn count(&mut self) -> Option<usize> {
        self.length().filter(|count| *count <= self.numbers.len())
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        let (text, rest) = self.text.split_at_checked(length)?;
        self.text = rest;
        Some(text)
    }

    pub(super) fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count()?;
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(one(self)?);
        }
        Some(list)
    }

    fn map<T>(&mut self, mut value: impl FnMut(&mut Self) -> Option<T>) -> Option<BTreeMap<String, T>> {
        // In order already: a map is made of them at once.
        self.list(|reader| Some((reader.text()?.to_owned(), value(reader)?))).map(BTreeMap::from_iter)
    }

    fn texts(&mut self) -> Option<BTreeMap<String, String>> {
        self.map(|reader| reader.text().map(str::to_owned))
    }

    fn packed<const N: usize>(&mut self) -> Option<Packed<N>> {
        let count = self.count()?;
        let (mut ends, mut end) = (Vec::with_capacity(count), 0_usize);
        for _ in 0..count {
            end = end.checked_add(self.length()?)?;
            ends.push(end);
        }
        let (text, rest) = self.text.split_at_checked(end)?;
        self.text = rest;
        Packed::of(text, ends)
    }

    fn fact(&mut self) -> Option<Fact> {
        let state = match self.number()? {
            tag::ABSENT => State::Absent,
            tag::UNKNOWN => State::Unknown { why: self.text()?.to_owned() },
            other => State::Known { value: self.value(other)? },
        };
        Some(Fact { state, source: self.text()?.to_owned() })
    }

    fn value(&mut self, tag: u32) -> Option<Value> {
        Some(match tag {
            tag::BOOL => Value::Bool(self.number()? != 0),
            tag::INT => Value::Int(self.long()?.cast_signed()),
            tag::TEXT => Value::Text(self.text()?.to_owned()),
            tag::SET => Value::Set(BTreeSet::from_iter(self.list(|reader| reader.text().map(str::to_owned))?)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::HostRoot;

    fn facts() -> Facts {
        let mut facts = crate::probe(&HostRoot::running());
        for (key, value) in [
            ("negative", Value::Int(-3)),
            ("large", Value::Int(i64::MAX)),
            ("set", Value::Set(["ä".to_owned(), String::new()].into())),
            ("no", Value::Bool(false)),
        ] {
            facts.set("x", key, Fact::known(value, "/x"));
        }
        facts.set("x", "absent", Fact::absent(""));
        facts.set("x", "unknown", Fact::unknown("EACCES", "/y"));
        facts.features.set_instances("x.y", [Instance { attributes: [("a".to_owned(), "1".to_owned())].into() }]);
        facts
    }

    #[test]
    fn facts_come_back() {
        let facts = facts();
        assert_eq!(read(&write(&facts)), Some(facts));
        assert_eq!(read(&write(&Facts::default())), Some(Facts::default()));
    }

    #[test]
    fn devices_come_back() {
        let devices = r#"{"facts":{},"devices":[{"kind":"nvidia","address":"0000:1b:00.0","index":0,
            "facts":{"nvidia.mig":{"state":"absent","source":"/proc"}}}]}"#;
        let facts: Facts = serde_json::from_str(devices).unwrap();
        assert_eq!(read(&write(&facts)), Some(facts));
    }

    #[test]
    fn other_bytes_are_no_facts() {
        let good = write(&facts());
        for length in (0..good.len()).step_by(97) {
            assert_eq!(read(&good[..length]), None, "the first {length} bytes");
        }
        for at in 0..good.len().min(4000) {
            let mut bytes = good.clone();
            bytes[at] ^= 0x80;
            // Some are facts again, and none of them is a panic.
            let _ = read(&bytes);
        }
        assert_eq!(read(&[0xff; 64]), None);
    }
}
