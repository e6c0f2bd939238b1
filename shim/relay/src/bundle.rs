//! Owns what a bundle says: `address` (where its shim listens: read by containerd 1.6 on restart, and by the delegate, which
//! unlinks what it names); `bestfit-delegate`, which `delete` needs after a relay was killed; whether a worker that is dead
//! by now was at it; the container's role in a pod.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const RECORD: &str = "bestfit-delegate";
/// There while a worker re-bases the container (`shim/worker/src/rebase.rs`).
const REBASE: &str = "bestfit-rebase";
const ADDRESS: &str = "address";
/// Where runc's shim keeps the path of the runtime once it has a Create.
const RUNTIME: &str = "runtime";
/// The longest record that is read, in bytes.
const MAX_RECORD: u64 = 4096;

/// What `delete` needs to end a delegate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Path of the delegate's socket.
    pub(crate) delegate: PathBuf,
    /// Version of the task service that the delegate speaks.
    pub(crate) version: u32,
    /// Path of the relay's socket.
    pub(crate) relay: PathBuf,
}

impl Record {
    /// Writes the record into a bundle.
    pub(crate) fn write(&self, bundle: &Path) -> io::Result<()> {
        replace(&bundle.join(RECORD), &self.to_text())
    }

    /// One line each: the delegate's path, its version, the relay's path.
    pub(crate) fn to_text(&self) -> String {
        let Self { delegate, version, relay } = self;
        format!("{}\n{version}\n{}\n", delegate.display(), relay.display())
    }

    /// Writes the record where a bundle has none: containerd 2.x starts no shim for the app containers of a pod; or another one:
    /// after an upgrade, `start` says the version of the delegate that is installed, not of the pod's that runs.
    pub(crate) fn add(&self, bundle: &Path) -> io::Result<()> {
        if Self::read(bundle).as_ref() == Some(self) { Ok(()) } else { self.write(bundle) }
    }

    /// Reads a bundle's record; none where there is none or where it is not ours.
    pub(crate) fn read(bundle: &Path) -> Option<Self> {
        let mut text = String::new();
        fs::File::open(bundle.join(RECORD)).ok()?.take(MAX_RECORD).read_to_string(&mut text).ok()?;
        Self::parse(&text)
    }

    /// Reads what [`Self::to_text`] wrote; lines after it are passed over.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (delegate, version, relay) = (lines.next()?, lines.next()?.parse().ok()?, lines.next()?);
        let absolute = delegate.starts_with('/') && relay.starts_with('/');
        absolute.then(|| Self { delegate: delegate.into(), version, relay: relay.into() })
    }
}

/// Puts our address in place of the delegate's, where the delegate wrote one or where containerd may look for it: the 1.x
/// line gets a plain address, and reads it from there after a restart.
pub(crate) fn replace_address(bundle: &Path, address: &str, plain: bool) -> io::Result<()> {
    let path = bundle.join(ADDRESS);
    if plain || fs::exists(&path)? { replace(&path, address) } else { Ok(()) }
}

/// Makes the delegate's `delete` work for a container whose Create never came to it: the one of the 1.x line fails without this
/// file (containerd 1.7, runtime/v2/runc/util.go, `ReadRuntime`), and then the bundle stays and stops the next start. Empty
/// means the default runtime, which has no container to delete.
pub(crate) fn never_created(bundle: &Path) -> io::Result<()> {
    fs::File::options().append(true).create(true).open(bundle.join(RUNTIME)).map(drop)
}

/// Whether a worker began to re-base the container, and has not said that it was done.
pub(crate) fn is_half_rebased(bundle: &Path) -> bool {
    bundle.join(REBASE).exists()
}

/// What a container is to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It belongs to none, as far as can be told.
    Alone,
    /// It runs the pause image, and is left alone.
    Sandbox,
    /// One of the pod's own containers, which share the sandbox's shim.
    Member,
}

/// The role that a bundle's `config.json` gives.
pub(crate) fn role(bundle: &Path) -> Role {
    match annotation(bundle, "\"io.kubernetes.cri.container-type\"").as_deref() {
        Some("sandbox") => Role::Sandbox,
        Some("container") => Role::Member,
        _ => Role::Alone,
    }
}

/// The Kubernetes namespace of the pod that a bundle belongs to.
pub(crate) fn kubernetes_namespace(bundle: &Path) -> Option<String> {
    annotation(bundle, "\"io.kubernetes.cri.sandbox-namespace\"")
}

/// The value of an annotation, whose name comes in its quotes. The text is not parsed: inside other strings the quotes would
/// be escaped.
fn annotation(bundle: &Path, key: &str) -> Option<String> {
    const MAX_CONFIG: u64 = 16 << 20;
    let file = fs::File::open(bundle.join("config.json")).ok()?;
    let mut config = Vec::new();
    file.take(MAX_CONFIG).read_to_end(&mut config).ok()?;
    let at = config.windows(key.len()).position(|window| window == key.as_bytes())?;
    let value = config[at + key.len()..].trim_ascii_start().strip_prefix(b":")?;
    let value = value.trim_ascii_start().strip_prefix(b"\"")?;
    let value = &value[..value.iter().position(|byte| *byte == b'"')?];
    String::from_utf8(value.to_vec()).ok()
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.bestfit"));
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn a_record_is_read_as_written_and_replaced_where_it_is_another() {
        let folder = Folder::new();
        assert_eq!(Record::read(folder.path()), None);
        let record = Record { delegate: "/run/d".into(), version: 3, relay: "/run/r".into() };
        for version in [3, 3, 2] {
            let record = Record { version, ..record.clone() };
            record.add(folder.path()).unwrap();
            assert_eq!(Record::read(folder.path()), Some(record));
        }
        folder.write(RECORD, "x\n3\ny\n");
        assert_eq!(Record::read(folder.path()), None);
    }

    #[test]
    fn a_runtime_is_left_as_it_is_and_an_empty_one_is_made() {
        let folder = Folder::new();
        never_created(folder.path()).unwrap();
        assert_eq!(fs::read(folder.path().join(RUNTIME)).unwrap(), b"");
        folder.write(RUNTIME, "/usr/bin/crun");
        never_created(folder.path()).unwrap();
        assert_eq!(fs::read(folder.path().join(RUNTIME)).unwrap(), b"/usr/bin/crun");
        assert!(never_created(&folder.path().join("gone")).is_err());
    }

    #[test]
    fn an_address_is_replaced_where_there_is_one_or_containerd_looks() {
        let folder = Folder::new();
        replace_address(folder.path(), "unix:///new", false).unwrap();
        assert!(!folder.path().join(ADDRESS).exists());
        folder.write(ADDRESS, "unix:///old");
        replace_address(folder.path(), "unix:///new", false).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(ADDRESS)).unwrap(), "unix:///new");
        replace_address(folder.path(), "unix:///newer", true).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(ADDRESS)).unwrap(), "unix:///newer");
    }

    #[test]
    fn a_sandbox_is_told_from_what_only_looks_like_one() {
        let folder = Folder::new();
        assert_eq!(role(folder.path()), Role::Alone);
        for (config, expected) in [
            (r#"{"annotations":{"io.kubernetes.cri.container-type":"sandbox"}}"#, Role::Sandbox),
            ("{\"annotations\": {\n  \"io.kubernetes.cri.container-type\" : \"sandbox\"}}", Role::Sandbox),
            (r#"{"annotations":{"io.kubernetes.cri.container-type":"container"}}"#, Role::Member),
            (r#"{"env":["A=\"io.kubernetes.cri.container-type\":\"sandbox\""]}"#, Role::Alone),
            (r#"{"annotations":{"io.kubernetes.cri.container-type"#, Role::Alone),
            ("{}", Role::Alone),
        ] {
            folder.write("config.json", config);
            assert_eq!(role(folder.path()), expected, "{config}");
        }
    }
}
