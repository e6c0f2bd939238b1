//! Owns runtime options: CRI gives every runtime type but `io.containerd.runc.v2` the generic
//! `runtimeoptions.v1.Options` (a TOML text, or the path of one), which the runc shim rejects; here they become
//! `containerd.runc.v1.Options` (containerd api/types/runc/options/oci.proto). runc's own options are never touched.

use std::io::Read;

use crate::toml::{self, Value};
use crate::wire::{self, Malformed};

const GENERIC: &str = "runtimeoptions.v1.Options";
const RUNC: &str = "containerd.runc.v1.Options";
/// The longest options file that is read, in bytes.
const MAX_FILE: u64 = 256 << 10;
/// runc's option names in CRI's configuration with their field numbers and kinds; 8 and 12 to 13 are of older and newer
/// containerd and ignored by the others.
const FIELDS: [(&str, u32, Kind); 13] = [
    ("NoPivotRoot", 1, Kind::Bool),
    ("NoNewKeyring", 2, Kind::Bool),
    ("ShimCgroup", SHIM_CGROUP, Kind::Text),
    ("IoUid", 4, Kind::Number),
    ("IoGid", 5, Kind::Number),
    ("BinaryName", 6, Kind::Text),
    ("Root", 7, Kind::Text),
    ("CriuPath", 8, Kind::Text),
    ("SystemdCgroup", 9, Kind::Bool),
    ("CriuImagePath", 10, Kind::Text),
    ("CriuWorkPath", 11, Kind::Text),
    ("TaskApiAddress", 12, Kind::Text),
    ("TaskApiVersion", 13, Kind::Number),
];
const SHIM_CGROUP: u32 = 3;

#[derive(Clone, Copy)]
enum Kind {
    Bool,
    Text,
    Number,
}

/// What became of options.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Converted {
    /// They are not of the generic kind.
    Unneeded,
    /// The new message around or instead of them.
    Into(Vec<u8>),
    /// They are generic and cannot be converted, with the reason: they go on unchanged.
    Not(String),
}

/// Converts a `google.protobuf.Any` (type_url = 1, value = 2).
pub(crate) fn any(message: &[u8]) -> Converted {
    let Ok((Some(url), value)) = any_parts(message) else { return Converted::Unneeded };
    let (prefix, name) = url.rfind('/').map_or(("", url), |at| url.split_at(at + 1));
    if name != GENERIC {
        return Converted::Unneeded;
    }
    match runc_options(value) {
        Ok(options) => {
            let mut out = Vec::new();
            wire::put_bytes(&mut out, 1, format!("{prefix}{RUNC}").as_bytes());
            if !options.is_empty() {
                wire::put_bytes(&mut out, 2, &options);
            }
            Converted::Into(out)
        }
        Err(reason) => Converted::Not(reason),
    }
}

/// Converts what stands on the stdin of `start`: an Any, or `BootstrapParams` with extensions around one.
pub(crate) fn stdin(message: &[u8], bootstrap: bool) -> Converted {
    if !bootstrap {
        return any(message);
    }
    // BootstrapParams{extensions = 8: Extension{value = 1: Any}}
    inside(message, 8, &|extension| inside(extension, 1, &any))
}

/// Converts the options of a CreateTaskRequest (field 10).
pub(crate) fn create(message: &[u8]) -> Converted {
    inside(message, 10, &any)
}

/// The cgroup that runc's options name for the shim, in an Any or in `BootstrapParams`.
pub(crate) fn shim_cgroup(message: &[u8], bootstrap: bool) -> Option<String> {
    if bootstrap {
        let extensions = wire::fields(message).filter_map(Result::ok).filter(|field| field.number == 8);
        let mut anys = extensions.filter_map(|field| wire::last(field.bytes()?, 1).ok()??.bytes());
        return anys.find_map(|any| shim_cgroup(any, false));
    }
    let (url, value) = any_parts(message).ok()?;
    if url?.rsplit('/').next() != Some(RUNC) {
        return None;
    }
    let cgroup = wire::last(value, SHIM_CGROUP).ok()??.text()?;
    (!cgroup.is_empty()).then(|| cgroup.to_owned())
}

/// Applies `convert` to every field of a number and puts the results in their place.
fn inside(message: &[u8], number: u32, convert: &dyn Fn(&[u8]) -> Converted) -> Converted {
    let (mut changed, mut refused) = (false, None);
    let rewritten = wire::rewrite(message, |field, out| {
        let Some(bytes) = field.bytes().filter(|_| field.number == number) else { return false };
        match convert(bytes) {
            Converted::Into(new) => {
                wire::put_bytes(out, number, &new);
                changed = true;
                true
            }
            Converted::Not(reason) => {
                refused = Some(reason);
                false
            }
            Converted::Unneeded => false,
        }
    });
    match (rewritten, refused) {
        (Ok(new), None) if changed => Converted::Into(new),
        (Ok(_), Some(reason)) => Converted::Not(reason),
        _ => Converted::Unneeded,
    }
}

fn any_parts(message: &[u8]) -> Result<(Option<&str>, &[u8]), Malformed> {
    let url = wire::last(message, 1)?.and_then(|field| field.text());
    let value = wire::last(message, 2)?.and_then(|field| field.bytes());
    Ok((url, value.unwrap_or_default()))
}

/// `runtimeoptions.v1.Options{type_url = 1, config_path = 2, config_body = 3}` to runc's options.
fn runc_options(generic: &[u8]) -> Result<Vec<u8>, String> {
    let field = |number| wire::last(generic, number).map_err(|Malformed| "they are no protobuf message".to_owned());
    let path = field(2)?.and_then(|field| field.text()).unwrap_or_default();
    if !path.is_empty() {
        return from_toml(&read(path).map_err(|error| format!("{path}: {error}"))?);
    }
    let body = field(3)?.map_or(Some(""), |field| field.text());
    from_toml(body.ok_or("config_body is not UTF-8")?)
}

fn read(path: &str) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// The options named in a flat TOML text. Names match without regard to case, as in containerd's reader; unknown ones are
/// ignored, as there.
fn from_toml(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for (key, value) in toml::flat(text) {
        let Some((name, number, kind)) = FIELDS.iter().find(|(name, ..)| name.eq_ignore_ascii_case(&key)) else {
            continue;
        };
        match (kind, value) {
            (Kind::Bool, Value::Bool(false)) => {}
            (Kind::Bool, Value::Bool(true)) => wire::put_number(&mut out, *number, 1),
            (Kind::Text, Value::Text(text)) => {
                if !text.is_empty() {
                    wire::put_bytes(&mut out, *number, text.as_bytes());
                }
            }
            (Kind::Number, Value::Integer(value)) if u32::try_from(value).is_ok() => {
                wire::put_number(&mut out, *number, value.unsigned_abs());
            }
            _ => return Err(format!("{name} has a value of another kind")),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Folder, Random};

    const BODY: &[u8] = b"BinaryName = \"/usr/bin/crun\"\nSystemdCgroup = true\nunknown = 1\n";
    const RUNC_BODY: &[u8] = b"\x32\x0d/usr/bin/crun\x48\x01";

    fn message(parts: &[(u32, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, bytes) in parts {
            wire::put_bytes(&mut out, *number, bytes);
        }
        out
    }

    fn generic(url: &str, parts: &[(u32, &[u8])]) -> Vec<u8> {
        message(&[(1, url.as_bytes()), (2, &message(parts))])
    }

    #[test]
    fn generic_options_become_runc_options() {
        let folder = Folder::new();
        let path = folder.write("runc.toml", "systemdcgroup = true\nIoUid = 7\n");
        let path = path.to_str().unwrap().as_bytes();
        type Case<'a> = (&'a str, &'a [(u32, &'a [u8])], &'a str, &'a [u8]);
        let cases: [Case; 5] = [
            (GENERIC, &[(3, BODY)], RUNC, RUNC_BODY),
            (
                "types.googleapis.com/runtimeoptions.v1.Options",
                &[(3, BODY)],
                "types.googleapis.com/containerd.runc.v1.Options",
                RUNC_BODY,
            ),
            (GENERIC, &[(1, b"x"), (2, path), (3, BODY)], RUNC, b"\x48\x01\x20\x07"),
            (GENERIC, &[], RUNC, b""),
            (GENERIC, &[(3, b"SystemdCgroup = false\nRoot = \"\"\n")], RUNC, b""),
        ];
        for (url, parts, new_url, value) in cases {
            let mut expected = message(&[(1, new_url.as_bytes())]);
            if !value.is_empty() {
                wire::put_bytes(&mut expected, 2, value);
            }
            assert_eq!(any(&generic(url, parts)), Converted::Into(expected), "{url} {parts:?}");
        }
    }

    #[test]
    fn other_options_stay() {
        assert_eq!(any(&message(&[(1, RUNC.as_bytes()), (2, RUNC_BODY)])), Converted::Unneeded);
        assert_eq!(any(b""), Converted::Unneeded);
        assert_eq!(any(b"\xff"), Converted::Unneeded);
        for parts in [[(3, b"SystemdCgroup = \"yes\"".as_slice())], [(2, b"/nonexistent/x.toml")], [(3, b"\xff")]] {
            assert!(matches!(any(&generic(GENERIC, &parts)), Converted::Not(_)), "{parts:?}");
        }
    }

    #[test]
    fn options_are_found_where_containerd_puts_them() {
        let old = generic(GENERIC, &[(3, BODY)]);
        let new = message(&[(1, RUNC.as_bytes()), (2, RUNC_BODY)]);
        let around = |any: &[u8]| message(&[(1, b"c1"), (2, b"/b"), (10, any), (99, b"later")]);
        assert_eq!(create(&around(&old)), Converted::Into(around(&new)));
        assert_eq!(create(&around(&new)), Converted::Unneeded);
        assert_eq!(stdin(&old, false), Converted::Into(new.clone()));
        let params = |any: &[u8]| message(&[(1, b"c1"), (2, b"ns"), (8, &message(&[(1, any)])), (8, b"")]);
        assert_eq!(stdin(&params(&old), true), Converted::Into(params(&new)));
        assert_eq!(stdin(&params(&new), true), Converted::Unneeded);
    }

    #[test]
    fn the_shims_cgroup_is_found() {
        let any = message(&[(1, RUNC.as_bytes()), (2, &message(&[(3, b"/shims")]))]);
        assert_eq!(shim_cgroup(&any, false).as_deref(), Some("/shims"));
        let params = message(&[(1, b"c1"), (8, &message(&[(1, &any)]))]);
        assert_eq!(shim_cgroup(&params, true).as_deref(), Some("/shims"));
        assert_eq!(shim_cgroup(&message(&[(1, RUNC.as_bytes())]), false), None);
        assert_eq!(shim_cgroup(b"", false), None);
    }

    #[test]
    fn damaged_messages_never_panic() {
        let mut random = Random::new(5);
        let whole = message(&[(1, b"c1"), (8, &message(&[(1, &generic(GENERIC, &[(3, BODY)]))]))]);
        for _ in 0..20_000 {
            let bytes = random.damaged(&whole);
            let _ = (stdin(&bytes, true), stdin(&bytes, false), create(&bytes), shim_cgroup(&bytes, true));
        }
    }
}
