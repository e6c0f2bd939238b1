//! Owns what a shim answers to `start`, in its three forms: a plain address (containerd 1.6, 1.7), JSON (2.0 to 2.2) and
//! protobuf `BootstrapResult{version = 1, address = 2, protocol = 3}` (from 2.3; containerd
//! api/runtime/bootstrap/v1/bootstrap.proto); and what says on stdin that containerd is of the last kind.

use std::ops::Range;

use crate::toml::unescape;
use crate::wire;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Json,
    Protobuf,
}

/// A delegate's answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) form: Form,
    /// Version of the task service.
    pub(crate) version: u32,
    pub(crate) protocol: String,
    /// For example `unix:///run/containerd/s/…`.
    pub(crate) address: String,
    raw: Vec<u8>,
    /// Where the address stands in `raw`: the field in protobuf, the text between the quotes in JSON.
    place: Range<usize>,
}

impl Reply {
    /// Reads an answer as containerd does: protobuf, then JSON, then plain.
    pub(crate) fn parse(raw: Vec<u8>) -> Option<Self> {
        let parsed = protobuf(&raw).or_else(|| json(&raw)).or_else(|| plain(&raw));
        parsed.map(|reply| Self { raw, ..reply })
    }

    /// The same answer with another address.
    pub(crate) fn with_address(&self, address: &str) -> Vec<u8> {
        let mut new = Vec::new();
        match self.form {
            Form::Protobuf => wire::put_bytes(&mut new, 2, address.as_bytes()),
            Form::Json | Form::Plain => new.extend_from_slice(address.as_bytes()),
        }
        let mut out = self.raw.clone();
        out.splice(self.place.clone(), new);
        out
    }

    /// The answer in JSON, for a containerd that does not read protobuf.
    pub(crate) fn as_json(&self, address: &str) -> Vec<u8> {
        let Self { version, protocol, .. } = self;
        format!("{{\"version\":{version},\"address\":\"{address}\",\"protocol\":\"{protocol}\"}}").into_bytes()
    }

    /// The path of the delegate's socket, where it is one that frames can be relayed to.
    pub(crate) fn socket_path(&self) -> Option<&str> {
        self.unix_path().filter(|_| self.protocol == "ttrpc")
    }

    /// The path of the delegate's socket, whatever it speaks there.
    pub(crate) fn unix_path(&self) -> Option<&str> {
        self.address.strip_prefix("unix://").filter(|path| path.starts_with('/'))
    }
}

fn protobuf(raw: &[u8]) -> Option<Reply> {
    let version = wire::last(raw, 1).ok()??.varint()?;
    let address = wire::last(raw, 2).ok()??;
    let protocol = wire::last(raw, 3).ok()?.map_or(Some("ttrpc"), |field| field.text())?;
    Some(Reply {
        form: Form::Protobuf,
        version: u32::try_from(version).ok()?,
        protocol: protocol.to_owned(),
        address: address.text()?.to_owned(),
        raw: Vec::new(),
        place: address.span,
    })
}

fn plain(raw: &[u8]) -> Option<Reply> {
    let text = std::str::from_utf8(raw).ok()?;
    let address = text.trim();
    if address.is_empty() || address.contains(|c: char| c.is_whitespace() || c.is_control() || c == '{') {
        return None;
    }
    let start = text.find(address)?;
    Some(Reply {
        form: Form::Plain,
        version: 2,
        protocol: "ttrpc".to_owned(),
        address: address.to_owned(),
        raw: Vec::new(),
        place: start..start + address.len(),
    })
}

/// Reads an object whose values are all strings, numbers or words.
fn json(raw: &[u8]) -> Option<Reply> {
    let text = std::str::from_utf8(raw).ok()?;
    let mut at = skip_space(text, 0);
    at = expect(text, at, '{')?;
    let (mut version, mut address, mut protocol) = (0, None, None);
    loop {
        let (key, after) = json_string(text, skip_space(text, at))?;
        at = skip_space(text, expect(text, skip_space(text, after), ':')?);
        let (value, end) = json_value(text, at)?;
        match &text[key] {
            "version" => version = text[value].parse().ok()?,
            "address" => address = Some(value),
            "protocol" => protocol = Some(value),
            _ => {}
        }
        at = skip_space(text, end);
        match text[at..].chars().next()? {
            ',' => at += 1,
            '}' => break,
            _ => return None,
        }
    }
    let place = address?;
    let known = version >= 2 && text[at + 1..].trim().is_empty();
    Some(Reply {
        form: Form::Json,
        version,
        protocol: protocol.map_or(Some(String::new()), |place| unescape(&text[place]))?,
        address: unescape(&text[place.clone()])?,
        raw: Vec::new(),
        place,
    })
    .filter(|_| known)
}

fn skip_space(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start_matches([' ', '\t', '\n', '\r']).len()
}

fn expect(text: &str, at: usize, wanted: char) -> Option<usize> {
    text[at..].starts_with(wanted).then(|| at + wanted.len_utf8())
}

/// The inside of a string, and the place after it.
fn json_string(text: &str, at: usize) -> Option<(Range<usize>, usize)> {
    let start = expect(text, at, '"')?;
    let mut escaped = false;
    for (offset, c) in text[start..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some((start..start + offset, start + offset + 1)),
            _ => {}
        }
    }
    None
}

fn json_value(text: &str, at: usize) -> Option<(Range<usize>, usize)> {
    if text[at..].starts_with('"') {
        return json_string(text, at);
    }
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
    let end = at + text[at..].find(|c| !word(c))?;
    (end > at).then_some((at..end, end))
}

/// Whether stdin holds `BootstrapParams{instance_id = 1, namespace = 2}`: legacy options can parse as such, so both must
/// be those of the command line, as containerd's own shim wants it (pkg/shim/compat.go, 2.4).
pub(crate) fn is_bootstrap_params(stdin: &[u8], id: &str, namespace: &str) -> bool {
    let text = |number| wire::last(stdin, number).ok().flatten().and_then(|field| field.text());
    !id.is_empty() && text(1) == Some(id) && text(2) == Some(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    const JSON: &[u8] = br#"{"version":3,"address":"unix:///run/containerd/s/ab","protocol":"ttrpc"}"#;

    fn protobuf_reply() -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_number(&mut out, 1, 3);
        wire::put_bytes(&mut out, 2, b"unix:///run/containerd/s/ab");
        wire::put_bytes(&mut out, 3, b"ttrpc");
        wire::put_bytes(&mut out, 6, b"\x0a\x00");
        out
    }

    #[test]
    fn every_form_is_answered_in_its_own() {
        let mut new_protobuf = Vec::new();
        wire::put_number(&mut new_protobuf, 1, 3);
        wire::put_bytes(&mut new_protobuf, 2, b"unix:///x");
        wire::put_bytes(&mut new_protobuf, 3, b"ttrpc");
        wire::put_bytes(&mut new_protobuf, 6, b"\x0a\x00");
        for (raw, form, version, answer) in [
            (b"unix:///run/containerd/s/ab".to_vec(), Form::Plain, 2, b"unix:///x".to_vec()),
            (b"unix:///run/containerd/s/ab\n".to_vec(), Form::Plain, 2, b"unix:///x\n".to_vec()),
            (JSON.to_vec(), Form::Json, 3, br#"{"version":3,"address":"unix:///x","protocol":"ttrpc"}"#.to_vec()),
            (
                b" { \"x\" : true, \"protocol\":\"ttrpc\",\"address\" : \"unix:\\/\\/\\/run/containerd/s/ab\" , \"version\":2 }\n".to_vec(),
                Form::Json,
                2,
                b" { \"x\" : true, \"protocol\":\"ttrpc\",\"address\" : \"unix:///x\" , \"version\":2 }\n".to_vec(),
            ),
            (protobuf_reply(), Form::Protobuf, 3, new_protobuf),
        ] {
            let reply = Reply::parse(raw).unwrap();
            assert_eq!((reply.form, reply.version), (form, version));
            assert_eq!(reply.socket_path(), Some("/run/containerd/s/ab"));
            assert_eq!(reply.with_address("unix:///x"), answer);
        }
    }

    #[test]
    fn what_cannot_be_relayed_has_no_path() {
        for raw in [
            r#"{"version":3,"address":"unix:///s","protocol":"grpc"}"#,
            r#"{"version":3,"address":"vsock://2:10","protocol":"ttrpc"}"#,
            "tcp://127.0.0.1:1",
        ] {
            assert_eq!(Reply::parse(raw.into()).unwrap().socket_path(), None, "{raw}");
        }
    }

    #[test]
    fn nonsense_is_no_reply() {
        for raw in ["", "\n", "{}", "{\"version\":1}", "two words", "{\"version\":3,\"address\":{}}"] {
            assert_eq!(Reply::parse(raw.into()), None, "{raw}");
        }
    }

    #[test]
    fn bootstrap_params_are_told_from_options() {
        let mut params = Vec::new();
        wire::put_bytes(&mut params, 1, b"c1");
        wire::put_bytes(&mut params, 2, b"default");
        assert!(is_bootstrap_params(&params, "c1", "default"));
        assert!(!is_bootstrap_params(&params, "c2", "default"));
        assert!(!is_bootstrap_params(b"", "", ""));
        let mut any = Vec::new();
        wire::put_bytes(&mut any, 1, b"containerd.runc.v1.Options");
        wire::put_bytes(&mut any, 2, b"\x48\x01");
        assert!(!is_bootstrap_params(&any, "c1", "default"));
    }

    #[test]
    fn damaged_replies_never_panic() {
        let mut random = Random::new(9);
        for _ in 0..20_000 {
            for whole in [JSON, &protobuf_reply()] {
                if let Some(reply) = Reply::parse(random.damaged(whole)) {
                    let _ = reply.with_address("unix:///x");
                }
            }
        }
    }
}
