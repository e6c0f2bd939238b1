//! Owns the delegate: which shim runs the container, where it is, and how it is called.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use crate::flags::Flags;
use crate::log;
use crate::options::{self, Converted};
use crate::site::{self, Site};
use crate::sys;
use crate::toml::{self, Value};

const DEFAULT: &str = "containerd-shim-runc-v2";
/// The longest output that is taken from a delegate, in bytes.
const MAX_READ: u64 = 1 << 20;
/// The longest stdin that is taken from containerd, in bytes (as its own shim takes it).
pub(crate) const MAX_STDIN: u64 = 10 << 20;

/// The shim that runs containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delegate {
    pub(crate) path: PathBuf,
    /// It takes runc's options only; other shims (runsc, kata) read the generic ones themselves.
    pub(crate) wants_runc_options: bool,
}

/// What a call of the delegate left.
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Delegate {
    /// The configured delegate, or the default one.
    pub(crate) fn find(flags: &Flags) -> io::Result<Self> {
        let name = configured(&Site::of(flags));
        let path = locate(&name, &folders(&flags.publish_binary)).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("the delegate {name} is not in PATH, beside containerd or here"),
            )
        })?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self { wants_runc_options: file.contains("runc"), path })
    }

    /// Runs the delegate and waits for it. Its output goes to files in memory: nothing of it can reach our own output,
    /// and processes that it leaves behind with the descriptors open hold nobody up.
    pub(crate) fn call(&self, args: &[OsString], stdin: &[u8]) -> io::Result<Output> {
        let mut stdout = sys::memory_file(c"stdout")?;
        let mut stderr = sys::memory_file(c"stderr")?;
        let mut command = Command::new(&self.path);
        command.args(args).stdin(with_content(stdin)?).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        let status = command.status()?;
        Ok(Output { status, stdout: content(&mut stdout)?, stderr: content(&mut stderr)? })
    }
}

fn with_content(bytes: &[u8]) -> io::Result<File> {
    let mut file = sys::memory_file(c"stdin")?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn content(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(MAX_READ).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What stands on our stdin; nothing where a person sits at it.
pub(crate) fn read_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if !io::IsTerminal::is_terminal(&io::stdin()) {
        io::stdin().lock().take(MAX_STDIN).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Becomes the delegate with our own arguments, and with other bytes on stdin where there are some.
pub(crate) fn become_delegate(flags: &Flags, stdin: Option<&[u8]>) -> ExitCode {
    let run = || -> io::Result<()> {
        let delegate = Delegate::find(flags)?;
        let mut command = Command::new(&delegate.path);
        if let Some(bytes) = stdin {
            command.stdin(with_content(bytes)?);
        }
        Err(command.args(&flags.args).exec())
    };
    if let Err(error) = run() {
        eprintln!("containerd-shim-bestfit-v1: {error}");
    }
    ExitCode::FAILURE
}

/// `-info`: the delegate's answer to options that it understands.
pub(crate) fn info(flags: &Flags) -> ExitCode {
    let stdin = read_stdin().unwrap_or_default();
    let wanted = Delegate::find(flags).is_ok_and(|delegate| delegate.wants_runc_options);
    let converted = if wanted { options::any(&stdin) } else { Converted::Unneeded };
    become_delegate(flags, Some(&converted.or_unchanged(stdin)))
}

impl Converted {
    /// The converted bytes; none where they stay as they are, with a line in the log where they should have been converted.
    pub(crate) fn changed(self) -> Option<Vec<u8>> {
        match self {
            Self::Into(new) => Some(new),
            Self::Unneeded => None,
            Self::Not(reason) => {
                log::warn(&format!("runtime options go on as they are, because they cannot be converted: {reason}"));
                None
            }
        }
    }

    /// The converted bytes, or the given ones.
    pub(crate) fn or_unchanged(self, bytes: Vec<u8>) -> Vec<u8> {
        self.changed().unwrap_or(bytes)
    }
}

/// The last `delegate` in the configuration's files, the profile's among them.
fn configured(site: &Site) -> String {
    let files = site.files().unwrap_or_else(|_| vec![site.file.clone()]).into_iter().chain(site.profile_file());
    files.filter_map(|file| delegate_in(&file)).next_back().unwrap_or_else(|| DEFAULT.to_owned())
}

fn delegate_in(path: &Path) -> Option<String> {
    let text = site::text(path).ok()??;
    toml::flat(&text).into_iter().find_map(|(key, value)| match value {
        // A name or an absolute path, as `bestfit config check` wants it.
        Value::Text(name)
            if key == "delegate" && !name.is_empty() && (name.starts_with('/') || !name.contains('/')) =>
        {
            Some(name)
        }
        _ => None,
    })
}

/// Where a delegate's name is looked up: PATH, as containerd does; then beside the containerd that started us; then
/// beside ourselves.
fn folders(publish_binary: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
    let parent = fs::read_link(format!("/proc/{}/exe", std::os::unix::process::parent_id()));
    let programs = [parent.ok(), Some(publish_binary.into()), std::env::current_exe().ok()];
    folders.extend(programs.iter().flatten().filter_map(|program| program.parent().map(Path::to_owned)));
    folders
}

/// The first program of a name that is not this one under another name.
fn locate(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let own = fs::metadata("/proc/self/exe").ok().map(|meta| (meta.dev(), meta.ino()));
    let usable = |path: &PathBuf| {
        fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0 && own != Some((meta.dev(), meta.ino())))
    };
    if name.starts_with('/') {
        return Some(PathBuf::from(name)).filter(usable);
    }
    folders.iter().map(|folder| folder.join(name)).find(usable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_last_file_that_names_a_delegate_counts() {
        let folder = Folder::new();
        let config = folder.path().join("config.toml");
        assert_eq!(configured(&Site::at(&config, "")), DEFAULT);
        for (file, text, profile, expected) in [
            ("config.toml", "mode = \"off\"\ndelegate = \"a\"\n", "", "a"),
            ("conf.d/10.toml", "delegate = \"b\"\n", "", "b"),
            ("conf.d/20.toml", "delegate = \"/usr/bin/c\"\n", "", "/usr/bin/c"),
            ("conf.d/30.toml.bak", "delegate = \"no\"\n", "", "/usr/bin/c"),
            ("conf.d/40.toml", "delegate = \"not/this\"\n[x]\ndelegate = \"no\"\n", "", "/usr/bin/c"),
            ("profiles/p.toml", "delegate = \"d\"\n", "", "/usr/bin/c"),
            ("profiles/p.toml", "delegate = \"d\"\n", "p", "d"),
            ("profiles/p.toml", "\u{0}", "p", "/usr/bin/c"),
        ] {
            folder.write(file, text);
            assert_eq!(configured(&Site::at(&config, profile)), expected, "{file} {text}");
        }
    }

    #[test]
    fn a_delegate_is_a_program_and_not_ourselves() {
        let folder = Folder::new();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        folder.write("first/shim", "");
        let program = folder.write("second/shim", "");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::hard_link(std::env::current_exe().unwrap(), first.join("own")).ok();
        let folders = [first, second];
        assert_eq!(locate("shim", &folders), Some(program.clone()));
        assert_eq!(locate(program.to_str().unwrap(), &[]), Some(program));
        assert_eq!(locate("own", &folders), None);
        assert_eq!(locate("/nonexistent/shim", &folders), None);
    }

    #[test]
    fn a_call_returns_what_the_delegate_said() {
        let delegate = Delegate { path: "/bin/sh".into(), wants_runc_options: false };
        let args = ["-c", "cat; echo $1 >&2; exit 3", "sh", "err"].map(OsString::from);
        let output = delegate.call(&args, b"in").unwrap();
        assert_eq!((output.status.code(), output.stdout, output.stderr), (Some(3), b"in".to_vec(), b"err\n".to_vec()));
    }
}
