//! Owns the command line as containerd writes it: Go's `flag` style (one or two dashes, `-k v` or `-k=v`, booleans without
//! a value), then the action. The internal `serve` uses the same style.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What the caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Start,
    Delete,
    /// The process that stays behind (internal).
    Serve,
    Info,
    Version,
    Help,
    /// Anything else belongs to the delegate.
    Other,
}

/// The flags that matter here; `args` keeps all of them byte-exact for the delegate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Flags {
    pub(crate) action: Action,
    /// argv\[0\], which names the profile.
    pub(crate) program: OsString,
    /// Everything after argv\[0\].
    pub(crate) args: Vec<OsString>,
    pub(crate) namespace: String,
    /// containerd's gRPC address.
    pub(crate) address: String,
    pub(crate) publish_binary: String,
    pub(crate) id: String,
    pub(crate) bundle: String,
    pub(crate) debug: bool,
    /// Internal: the delegate wants runc's options.
    pub(crate) convert: bool,
    /// Internal: a worker is to look at the container before its Create comes.
    pub(crate) ahead: bool,
}

impl Flags {
    /// Parses argv. Never fails: what is not known is the delegate's to judge.
    pub(crate) fn parse(argv: &[OsString]) -> Self {
        let mut flags = Self::empty(argv);
        let mut rest = argv.iter().skip(1);
        while let Some(arg) = rest.next() {
            let Some(name) = flag_name(arg) else {
                // `-v` and `-info` win over an action, as in containerd's shims.
                if flags.action == Action::Other {
                    flags.action = action(arg);
                }
                break;
            };
            let (name, inline) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            if flags.switch(name, inline.as_deref()) {
                continue;
            }
            if let Some(slot) = flags.text(name) {
                *slot = inline.or_else(|| rest.next().map(|v| v.to_string_lossy().into_owned())).unwrap_or_default();
            }
        }
        if argv.len() <= 1 {
            flags.action = Action::Help;
        }
        flags
    }

    fn empty(argv: &[OsString]) -> Self {
        Self {
            action: Action::Other,
            program: argv.first().cloned().unwrap_or_default(),
            args: argv.iter().skip(1).cloned().collect(),
            namespace: String::new(),
            address: String::new(),
            publish_binary: String::new(),
            id: String::new(),
            bundle: String::new(),
            debug: false,
            convert: false,
            ahead: false,
        }
    }

    /// Takes a boolean flag; false where the name is none.
    fn switch(&mut self, name: &str, value: Option<&str>) -> bool {
        let on = !matches!(value, Some("false" | "0" | "f" | "F" | "FALSE" | "False"));
        match name {
            "debug" => self.debug = on,
            "convert" => self.convert = on,
            "ahead" => self.ahead = on,
            "v" | "version" if on => self.action = Action::Version,
            "info" if on => self.action = Action::Info,
            "h" | "help" if on => self.action = Action::Help,
            "v" | "version" | "info" | "h" | "help" => {}
            _ => return false,
        }
        true
    }

    fn text(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "namespace" => &mut self.namespace,
            "address" => &mut self.address,
            "publish-binary" => &mut self.publish_binary,
            "id" => &mut self.id,
            "bundle" => &mut self.bundle,
            _ => return None,
        })
    }

    /// The profile in a link's name (`containerd-shim-bestfit-<profile>-v1`), empty for the plain name.
    pub(crate) fn profile(&self) -> String {
        let name = self.program.as_bytes().rsplit(|b| *b == b'/').next().unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        let middle = name.strip_prefix("containerd-shim-bestfit-").and_then(|n| n.strip_suffix("-v1"));
        middle.filter(|m| !m.starts_with('.')).unwrap_or_default().to_owned()
    }
}

/// The name behind one or two dashes; none for `-`, `--` and arguments that are no flags.
fn flag_name(arg: &OsStr) -> Option<&str> {
    let text = arg.to_str()?;
    let name = text.strip_prefix("--").or_else(|| text.strip_prefix('-'))?;
    (!name.is_empty() && !name.starts_with('-')).then_some(name)
}

fn action(arg: &OsStr) -> Action {
    match arg.as_bytes() {
        b"start" => Action::Start,
        b"delete" => Action::Delete,
        b"serve" => Action::Serve,
        b"help" => Action::Help,
        _ => Action::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Flags {
        Flags::parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn containerd_calls_are_understood() {
        for line in [
            "x -namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id c1 start",
            "x --namespace=k8s.io --address=/run/c.sock --publish-binary=/usr/bin/containerd --id=c1 -debug=false start",
        ] {
            let flags = parse(line);
            assert_eq!(flags.action, Action::Start, "{line}");
            assert_eq!((flags.namespace.as_str(), flags.id.as_str(), flags.debug), ("k8s.io", "c1", false), "{line}");
            assert_eq!((flags.address.as_str(), flags.publish_binary.as_str()), ("/run/c.sock", "/usr/bin/containerd"));
        }
        let flags = parse("x -namespace d -id c -bundle /b -debug delete");
        assert_eq!((flags.action, flags.bundle.as_str(), flags.debug), (Action::Delete, "/b", true));
    }

    #[test]
    fn the_action_ends_the_flags_and_unknown_things_are_the_delegates() {
        for (line, action) in [
            ("x", Action::Help),
            ("x --help", Action::Help),
            ("x -v", Action::Version),
            ("x -info", Action::Info),
            ("x -v start", Action::Version),
            ("x start -v", Action::Start),
            ("x -id", Action::Other),
            ("x -unknown start", Action::Start),
            ("x wait", Action::Other),
            ("x - start", Action::Other),
        ] {
            assert_eq!(parse(line).action, action, "{line}");
        }
    }

    #[test]
    fn a_link_names_a_profile() {
        for (program, profile) in [
            ("/usr/bin/containerd-shim-bestfit-v1", ""),
            ("containerd-shim-bestfit-signed-v1", "signed"),
            ("/opt/containerd-shim-bestfit-a-b-v1", "a-b"),
            ("containerd-shim-bestfit-..-v1", ""),
            ("something", ""),
        ] {
            assert_eq!(parse(&format!("{program} start")).profile(), profile, "{program}");
        }
    }
}
