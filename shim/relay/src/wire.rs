//! Owns protobuf's wire format as far as it is needed to look at a message and to replace single fields: everything that
//! is not replaced stays byte for byte (https://protobuf.dev/programming-guides/encoding). Groups are refused.

use std::ops::Range;

/// The bytes are not a protobuf message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    /// 4 or 8 bytes.
    Fixed,
    Bytes(&'a [u8]),
}

/// One field as it stands in the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) value: Value<'a>,
    /// Where the field stands, tag included.
    pub(crate) span: Range<usize>,
}

impl<'a> Field<'a> {
    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&'a str> {
        self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    pub(crate) fn varint(&self) -> Option<u64> {
        match self.value {
            Value::Varint(value) => Some(value),
            _ => None,
        }
    }

    /// Where the content of a length-delimited field stands in the message.
    pub(crate) fn content(&self) -> Range<usize> {
        let length = self.bytes().map_or(0, <[u8]>::len);
        self.span.end - length..self.span.end
    }
}

/// The fields of a message, in its order; ends after the first error.
pub(crate) fn fields(message: &[u8]) -> Fields<'_> {
    Fields { message, at: 0, failed: false }
}

pub(crate) struct Fields<'a> {
    message: &'a [u8],
    at: usize,
    failed: bool,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.at == self.message.len() {
            return None;
        }
        let field = self.read();
        self.failed = field.is_none();
        Some(field.ok_or(Malformed))
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<Field<'a>> {
        let start = self.at;
        let tag = u32::try_from(self.varint()?).ok()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.skip(8)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let end = self.at.checked_add(length)?;
                let bytes = self.message.get(self.at..end)?;
                self.at = end;
                Value::Bytes(bytes)
            }
            5 => self.skip(4)?,
            _ => return None,
        };
        let number = tag >> 3;
        (number > 0).then_some(Field { number, value, span: start..self.at })
    }

    fn skip(&mut self, count: usize) -> Option<Value<'a>> {
        self.message.get(self.at..self.at + count)?;
        self.at += count;
        Some(Value::Fixed)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.message.get(self.at)?;
            self.at += 1;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// The last field of a number, which is the one that counts; `Ok(None)` where there is none.
pub(crate) fn last(message: &[u8], number: u32) -> Result<Option<Field<'_>>, Malformed> {
    let mut found = None;
    for field in fields(message) {
        let field = field?;
        if field.number == number {
            found = Some(field);
        }
    }
    Ok(found)
}

/// The message with some fields replaced: `edit` gets each field with the output and says whether it wrote something in
/// its place (`true`) or whether the field stays (`false`).
pub(crate) fn rewrite<'a>(
    message: &'a [u8],
    mut edit: impl FnMut(&Field<'a>, &mut Vec<u8>) -> bool,
) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(message.len() + 64);
    for field in fields(message) {
        let field = field?;
        if !edit(&field, &mut out) {
            out.extend_from_slice(&message[field.span]);
        }
    }
    Ok(out)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a varint field.
pub(crate) fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, value);
}

/// Appends a length-delimited field.
pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn fields_are_read_as_they_stand() {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, b"id");
        put_number(&mut message, 4, 300);
        message.extend_from_slice(b"\x2d\x01\x02\x03\x04");
        message.extend_from_slice(b"\x31\x01\x02\x03\x04\x05\x06\x07\x08");
        let all: Vec<_> = fields(&message).map(|f| f.map(|f| (f.number, f.value, f.span))).collect();
        assert_eq!(
            all,
            [
                Ok((1, Value::Bytes(b"id".as_slice()), 0..4)),
                Ok((4, Value::Varint(300), 4..7)),
                Ok((5, Value::Fixed, 7..12)),
                Ok((6, Value::Fixed, 12..21)),
            ]
        );
        let first = last(&message, 1).unwrap().unwrap();
        assert_eq!(&message[first.content()], b"id");
    }

    #[test]
    fn broken_messages_are_refused() {
        for bytes in [
            b"\x0a".as_slice(),
            b"\x0a\x05ab",
            b"\x0b",
            b"\x08",
            b"\x00\x01",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x2d\x01",
            b"{\"version\":3}",
        ] {
            assert!(fields(bytes).any(|f| f.is_err()), "{bytes:?}");
        }
    }

    #[test]
    fn rewriting_keeps_the_other_bytes() {
        // A varint that is longer than it need be must survive.
        let message = b"\x0a\x01a\x18\x85\x80\x00\x1a\x01x\x1a\x01y\x9a\x06\x01z";
        let same = rewrite(message, |_, _| false).unwrap();
        assert_eq!(same, message);
        let edited = rewrite(message, |field, out| {
            if field.number == 3 && field.bytes().is_some() {
                if field.bytes() == Some(b"x") {
                    put_bytes(out, 3, b"new");
                }
                return true;
            }
            false
        });
        assert_eq!(edited.unwrap(), b"\x0a\x01a\x18\x85\x80\x00\x1a\x03new\x9a\x06\x01z");
    }

    #[test]
    fn random_bytes_never_panic_and_what_parses_survives() {
        let mut random = Random::new(7);
        for _ in 0..50_000 {
            let bytes = random.bytes(24);
            if let Ok(same) = rewrite(&bytes, |_, _| false) {
                assert_eq!(same, bytes);
            }
        }
    }
}
