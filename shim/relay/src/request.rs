//! Owns what is read of a ttrpc request (`Request{service = 1, method = 2, payload = 3, timeout_nano = 4, metadata = 5}`)
//! and of a task's Create in it (`CreateTaskRequest`, the same field numbers in containerd.task.v2 and v3), and the
//! splicing of what changes. Nothing is decoded and encoded again: unknown fields stay.

use std::ops::Range;

use crate::wire::{self, Malformed};

const SERVICE_V2: &str = "containerd.task.v2.Task";
const SERVICE_V3: &str = "containerd.task.v3.Task";
/// Where the version's digit stands in the service's name.
const DIGIT: usize = "containerd.task.v".len();

/// A request as it stands in a frame's payload.
#[derive(Debug, PartialEq)]
pub(crate) struct Request<'a> {
    pub(crate) payload: &'a [u8],
    /// Nanoseconds, 0 for none.
    pub(crate) timeout: u64,
    pub(crate) call: Call,
    service: Range<usize>,
    /// It is for version 2 of the task service.
    pub(crate) version_2: bool,
}

/// The calls that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    /// Delete, Kill and Shutdown: a Create for the same container that has not gone on must never do so.
    End,
    Other,
}

impl<'a> Request<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let (mut service, mut method, mut payload, mut timeout) = (None, None, b"".as_slice(), 0);
        for field in wire::fields(message) {
            let field = field?;
            match field.number {
                1 => service = Some(field),
                2 => method = field.text(),
                3 => payload = field.bytes().unwrap_or_default(),
                4 => timeout = field.varint().unwrap_or(0),
                _ => {}
            }
        }
        let service = service.ok_or(Malformed)?;
        let name = service.text();
        let call = match (name, method) {
            (Some(SERVICE_V2 | SERVICE_V3), Some("Create")) => Call::Create,
            (Some(SERVICE_V2 | SERVICE_V3), Some("Delete" | "Kill" | "Shutdown")) => Call::End,
            _ => Call::Other,
        };
        // A negative timeout (int64) is none.
        let timeout = if timeout > i64::MAX as u64 { 0 } else { timeout };
        Ok(Self { payload, timeout, call, service: service.content(), version_2: name == Some(SERVICE_V2) })
    }

    /// Where a byte must become `3` for a delegate that speaks version 3 only.
    pub(crate) fn bridge_place(&self) -> Option<usize> {
        self.version_2.then_some(self.service.start + DIGIT)
    }

    /// The container whose init process a [`Call::End`] is for; empty where it is for all of them.
    pub(crate) fn ended_container(&self) -> Option<&'a str> {
        let exec = wire::last(self.payload, 2).ok()?.and_then(|field| field.bytes());
        let id = wire::last(self.payload, 1).ok()?.map_or(Some(""), |field| field.text())?;
        // Delete and Kill name an exec in field 2; in Shutdown it is a number.
        exec.is_none_or(<[u8]>::is_empty).then_some(id)
    }
}

/// What a Create says that matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Create<'a> {
    pub(crate) id: &'a str,
    pub(crate) bundle: &'a str,
}

impl<'a> Create<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut create = Self { id: "", bundle: "" };
        for field in wire::fields(message) {
            let field = field?;
            match field.number {
                1 => create.id = field.text().ok_or(Malformed)?,
                2 => create.bundle = field.text().ok_or(Malformed)?,
                _ => {}
            }
        }
        Ok(create)
    }
}

/// Puts encoded `rootfs` fields (3) in the place of the first of a Create's, and removes its others.
pub(crate) fn with_rootfs(create: &[u8], rootfs: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut placed = false;
    let mut new = wire::rewrite(create, |field, out| {
        if field.number != 3 {
            return false;
        }
        if !std::mem::replace(&mut placed, true) {
            out.extend_from_slice(rootfs);
        }
        true
    })?;
    if !placed {
        new.extend_from_slice(rootfs);
    }
    Ok(new)
}

/// Whether bytes are encoded `rootfs` fields and nothing else.
pub(crate) fn is_rootfs(bytes: &[u8]) -> bool {
    let mount = |bytes| wire::fields(bytes).all(|field| field.is_ok());
    wire::fields(bytes).all(|field| field.is_ok_and(|field| field.number == 3 && field.bytes().is_some_and(mount)))
}

/// The request with another payload, and with another timeout where it had one.
pub(crate) fn rebuild(request: &[u8], payload: &[u8], timeout: Option<u64>) -> Result<Vec<u8>, Malformed> {
    wire::rewrite(request, |field, out| {
        match (field.number, timeout) {
            (3, _) => wire::put_bytes(out, 3, payload),
            (4, Some(timeout)) => wire::put_number(out, 4, timeout),
            _ => return false,
        }
        true
    })
}

/// Builds a request to a delegate's task service.
pub(crate) fn task_request(version: u32, method: &str, payload: &[u8], timeout: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let service = if version >= 3 { SERVICE_V3 } else { SERVICE_V2 };
    wire::put_bytes(&mut out, 1, service.as_bytes());
    wire::put_bytes(&mut out, 2, method.as_bytes());
    wire::put_bytes(&mut out, 3, payload);
    wire::put_number(&mut out, 4, timeout);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn create() -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_bytes(&mut out, 1, b"c1");
        wire::put_bytes(&mut out, 2, b"/run/b/c1");
        wire::put_bytes(&mut out, 3, b"\x0a\x07overlay");
        wire::put_number(&mut out, 4, 1);
        wire::put_bytes(&mut out, 3, b"\x0a\x04bind");
        wire::put_bytes(&mut out, 77, b"unknown");
        out
    }

    #[test]
    fn a_request_is_read() {
        for (version, method, call) in [
            (2, "Create", Call::Create),
            (3, "Create", Call::Create),
            (3, "Kill", Call::End),
            (2, "Shutdown", Call::End),
            (2, "Delete", Call::End),
            (2, "State", Call::Other),
        ] {
            let payload = create();
            let message = task_request(version, method, &payload, 5);
            let request = Request::parse(&message).unwrap();
            assert_eq!((request.call, request.timeout, request.payload), (call, 5, payload.as_slice()));
            match request.bridge_place() {
                Some(place) => assert_eq!((version, message[place]), (2, b'2')),
                None => assert_eq!(version, 3),
            }
        }
        let mut other = Vec::new();
        wire::put_bytes(&mut other, 1, b"containerd.task.v2.TaskX");
        wire::put_bytes(&mut other, 2, b"Create");
        wire::put_number(&mut other, 4, u64::MAX);
        let request = Request::parse(&other).unwrap();
        assert_eq!((request.call, request.timeout, request.bridge_place()), (Call::Other, 0, None));
        assert_eq!(Request::parse(b""), Err(Malformed));
    }

    #[test]
    fn only_the_end_of_the_init_process_counts() {
        for (payload, expected) in [
            (b"\x0a\x02c1".as_slice(), Some("c1")),
            (b"\x0a\x02c1\x10\x01", Some("c1")),
            (b"\x0a\x02c1\x12\x00", Some("c1")),
            (b"\x0a\x02c1\x12\x01e", None),
            (b"", Some("")),
            (b"\xff", None),
        ] {
            let message = task_request(2, "Kill", payload, 0);
            assert_eq!(Request::parse(&message).unwrap().ended_container(), expected, "{payload:?}");
        }
    }

    #[test]
    fn create_is_read_and_spliced() {
        let message = create();
        assert_eq!(Create::parse(&message).unwrap(), Create { id: "c1", bundle: "/run/b/c1" });

        let mut expected = Vec::new();
        wire::put_bytes(&mut expected, 1, b"c1");
        wire::put_bytes(&mut expected, 2, b"/run/b/c1");
        expected.extend_from_slice(b"\x1a\x03\x0a\x01n");
        wire::put_number(&mut expected, 4, 1);
        wire::put_bytes(&mut expected, 77, b"unknown");
        assert_eq!(with_rootfs(&message, b"\x1a\x03\x0a\x01n").unwrap(), expected);
        assert_eq!(with_rootfs(b"\x0a\x01a", b"\x1a\x00").unwrap(), b"\x0a\x01a\x1a\x00");
        for (bytes, good) in [
            (b"".as_slice(), true),
            (b"\x1a\x03\x0a\x01n\x1a\x00", true),
            (b"\x0a\x01a", false),
            (b"\x1a\x01\x0a", false),
            (b"\x18\x01", false),
        ] {
            assert_eq!(is_rootfs(bytes), good, "{bytes:?}");
        }
    }

    #[test]
    fn a_rebuilt_request_keeps_the_rest() {
        let mut message = task_request(3, "Create", b"old", 1000);
        wire::put_bytes(&mut message, 5, b"\x0a\x01k");
        let mut expected = task_request(3, "Create", b"newer", 7);
        wire::put_bytes(&mut expected, 5, b"\x0a\x01k");
        assert_eq!(rebuild(&message, b"newer", Some(7)).unwrap(), expected);
        assert_eq!(rebuild(&message, b"old", None).unwrap(), message);
    }

    #[test]
    fn damaged_requests_never_panic() {
        let mut random = Random::new(13);
        let whole = task_request(2, "Create", &create(), 1);
        for _ in 0..20_000 {
            let bytes = random.damaged(&whole);
            if let Ok(request) = Request::parse(&bytes) {
                let _ = (request.ended_container(), Create::parse(request.payload), with_rootfs(request.payload, b""));
                assert!(request.bridge_place().is_none_or(|place| bytes[place] == b'2'));
                let _ = (rebuild(&bytes, b"x", Some(1)), is_rootfs(&bytes));
            }
        }
    }
}
