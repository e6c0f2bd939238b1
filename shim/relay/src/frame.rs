//! Owns ttrpc's frames (containerd/ttrpc, PROTOCOL.md): a header of 10 bytes, then the payload; and the few messages in
//! them that are written or read here.

use std::io::{self, Read};

use crate::wire;

/// Length (u32), stream id (u32), type (u8), flags (u8); big endian.
pub(crate) const HEADER: usize = 10;
/// The longest payload, in bytes (containerd/ttrpc, `messageLengthMax`).
pub(crate) const MAX_PAYLOAD: usize = 4 << 20;
/// A buffer that grew beyond this is given back after use.
const KEEP: usize = 4 << 10;

pub(crate) const REQUEST: u8 = 1;
pub(crate) const RESPONSE: u8 = 2;
pub(crate) const DATA: u8 = 3;
/// Flag of the last data frame of a stream (containerd/ttrpc, `flagRemoteClosed`).
const REMOTE_CLOSED: u8 = 1;

/// Status codes of google.rpc.Code.
pub(crate) const CANCELLED: u32 = 1;
pub(crate) const DEADLINE_EXCEEDED: u32 = 4;
pub(crate) const NOT_FOUND: u32 = 5;
const RESOURCE_EXHAUSTED: u32 = 8;
pub(crate) const FAILED_PRECONDITION: u32 = 9;

/// One frame, header and payload in one piece as they go over the wire.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    /// A frame of its own; the payload must not be longer than [`MAX_PAYLOAD`].
    pub(crate) fn new(stream: u32, kind: u8, payload: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(&[kind, 0]);
        bytes.extend_from_slice(payload);
        Self { bytes }
    }

    /// Reads the next frame into this one's buffer; false at the end of the stream. The payload of one that is too long is read
    /// and dropped: see [`Self::refusal`].
    pub(crate) fn read(&mut self, mut from: impl Read) -> io::Result<bool> {
        let mut header = [0; HEADER];
        loop {
            match from.read(&mut header[..1]) {
                Ok(0) => return Ok(false),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        from.read_exact(&mut header[1..])?;
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if length > MAX_PAYLOAD {
            self.bytes = header.to_vec();
            let dropped = io::copy(&mut from.take(length as u64), &mut io::sink())?;
            return if dropped == length as u64 { Ok(true) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if self.bytes.capacity() > KEEP && length < KEEP {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(&header);
        self.bytes.resize(HEADER + length, 0);
        from.read_exact(&mut self.bytes[HEADER..])?;
        Ok(true)
    }

    /// What to answer to a frame whose payload was dropped; none where it is there (containerd/ttrpc, `channel.go`, `recv`).
    pub(crate) fn refusal(&self) -> Option<Self> {
        let length = self.bytes.get(..4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes) as usize;
        let why = || format!("message length {length} exceed maximum message size of {MAX_PAYLOAD}");
        (length > MAX_PAYLOAD).then(|| failure(self.stream(), RESOURCE_EXHAUSTED, &why()))
    }

    pub(crate) fn stream(&self) -> u32 {
        self.bytes.get(4..8).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
    }

    pub(crate) fn kind(&self) -> u8 {
        self.bytes.get(8).copied().unwrap_or(0)
    }

    /// Whether a server says nothing more on the stream: a call that streams ends well without a response.
    pub(crate) fn ends_stream(&self) -> bool {
        let flags = self.bytes.get(9).copied().unwrap_or(0);
        self.kind() == RESPONSE || (self.kind() == DATA && flags & REMOTE_CLOSED != 0)
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }

    pub(crate) fn payload_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(HEADER..).unwrap_or_default()
    }

    /// The whole frame under another stream id.
    pub(crate) fn as_stream(&mut self, stream: u32) -> &[u8] {
        if let Some(place) = self.bytes.get_mut(4..8) {
            place.copy_from_slice(&stream.to_be_bytes());
        }
        &self.bytes
    }

    /// The same header over another payload.
    pub(crate) fn with_payload(&self, payload: &[u8]) -> Self {
        let mut frame = Self::new(self.stream(), self.kind(), payload);
        if let (Some(to), Some(from)) = (frame.bytes.get_mut(9), self.bytes.get(9)) {
            *to = *from;
        }
        frame
    }
}

/// A response that carries a `google.rpc.Status` (ttrpc.proto: `Response{status = 1}`, `Status{code = 1, message = 2}`).
pub(crate) fn failure(stream: u32, code: u32, message: &str) -> Frame {
    let mut status = Vec::new();
    wire::put_number(&mut status, 1, u64::from(code));
    wire::put_bytes(&mut status, 2, message.as_bytes());
    let mut response = Vec::new();
    wire::put_bytes(&mut response, 1, &status);
    Frame::new(stream, RESPONSE, &response)
}

/// The status code of a response's payload: 0 is success, and so is none.
pub(crate) fn status_code(response: &[u8]) -> u64 {
    let status = wire::last(response, 1).ok().flatten().and_then(|field| field.bytes());
    let code = status.and_then(|status| wire::last(status, 1).ok().flatten()).and_then(|field| field.varint());
    code.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let mut frame = Frame::default();
        let mut wire = b"\0\0\0\x03\0\0\0\x07\x01\x04abc".as_slice();
        assert!(frame.read(&mut wire).unwrap());
        assert_eq!((frame.stream(), frame.kind(), frame.payload()), (7, REQUEST, b"abc".as_slice()));
        assert_eq!(frame.with_payload(b"xy").as_stream(9), b"\0\0\0\x02\0\0\0\x09\x01\x04xy");
        assert_eq!(frame.as_stream(1), b"\0\0\0\x03\0\0\0\x01\x01\x04abc");
        assert!(!frame.read(&mut wire).unwrap());
    }

    #[test]
    fn a_frame_that_is_cut_off_is_an_error() {
        let mut frame = Frame::default();
        assert!(frame.read(b"\0\x40\0\x01\0\0\0\x01\x01\0".as_slice()).is_err());
        assert!(frame.read(b"\0\0\0\x05\0\0\0\x01\x01\0ab".as_slice()).is_err());
        assert!(frame.read(b"\0\0".as_slice()).is_err());
    }

    #[test]
    fn a_failure_carries_code_and_message() {
        let frame = failure(3, FAILED_PRECONDITION, "no");
        assert_eq!(frame.payload(), b"\x0a\x06\x08\x09\x12\x02no");
        assert_eq!(status_code(frame.payload()), 9);
        assert_eq!(status_code(b""), 0);
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = Random::new(11);
        let mut frame = Frame::default();
        for _ in 0..20_000 {
            let mut bytes = random.bytes(40);
            bytes.splice(0..0, [0, 0]);
            let _ = frame.read(bytes.as_slice());
            let _ = status_code(&bytes);
        }
    }
}
