//! Owns what the worker reads of a Create request (containerd api/runtime/task/v2 and v3, `CreateTaskRequest`; the fields
//! read here have the same numbers in both), and the answer that goes back to the relay.

use containerd_client::types::Mount;
use prost::Message;

/// The fields of `CreateTaskRequest` that matter here.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CreateTaskRequest {
    /// The container's id.
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    /// The bundle directory.
    #[prost(string, tag = "2")]
    pub(crate) bundle: String,
    /// The mounts of the root filesystem.
    #[prost(message, repeated, tag = "3")]
    pub(crate) rootfs: Vec<Mount>,
    /// A checkpoint to restore from.
    #[prost(string, tag = "8")]
    pub(crate) checkpoint: String,
    /// The checkpoint before that.
    #[prost(string, tag = "9")]
    pub(crate) parent_checkpoint: String,
}

/// What the relay is told; the bytes are described in `shim/relay`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// Forward the request as it is.
    Leave,
    /// Forward it with these mounts instead.
    Mounts(Vec<Mount>),
    /// Do not forward it; tell the client why.
    Deny(String),
}

/// Holds the rootfs field alone, to encode it with its tag.
#[derive(Clone, PartialEq, Message)]
struct Rootfs {
    #[prost(message, repeated, tag = "3")]
    rootfs: Vec<Mount>,
}

impl Reply {
    /// The frame for the relay: a letter, then for all but `L` a length (u32, big endian) and a payload.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (letter, payload) = match self {
            Self::Leave => return vec![b'L'],
            Self::Mounts(mounts) => (b'M', Rootfs { rootfs: mounts.clone() }.encode_to_vec()),
            Self::Deny(why) => (b'D', why.clone().into_bytes()),
        };
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&[letter], &length[..], &payload].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_the_bytes_that_the_relay_reads() {
        assert_eq!(Reply::Leave.encode(), b"L");
        assert_eq!(Reply::Deny("no".to_owned()).encode(), b"D\0\0\0\x02no");
        let mount = Mount { r#type: "overlay".to_owned(), ..Default::default() };
        // Field 3, length-delimited, 9 bytes; inside it field 1, length-delimited, 7 bytes.
        assert_eq!(Reply::Mounts(vec![mount]).encode(), b"M\0\0\0\x0b\x1a\x09\x0a\x07overlay");
    }

    #[test]
    fn a_request_is_read_past_fields_that_are_not_known() {
        let bytes = b"\x0a\x01c\x12\x02/b\x20\x01\x42\x03/cp\x9a\x06\x01x";
        let request = CreateTaskRequest::decode(&bytes[..]).unwrap();
        assert_eq!((request.id.as_str(), request.bundle.as_str(), request.checkpoint.as_str()), ("c", "/b", "/cp"));
    }
}
