//! Owns the command line, which only the relay, `bestfit ps` and `bestfit doctor` write.

use std::path::PathBuf;

use crate::create::Call;

/// containerd's own default socket.
const ADDRESS: &str = "/run/containerd/containerd.sock";

pub(crate) const USAGE: &str = "bestfit-worker: the privileged half of bestfit, started by containerd-shim-bestfit-v1.
Usage:
  bestfit-worker create  --namespace NS --address SOCKET --id ID --bundle DIR [--runtime PROFILE]
  bestfit-worker recover --namespace NS --address SOCKET --id ID --bundle DIR [--runtime PROFILE]
  bestfit-worker list    [--address SOCKET] [--namespace NS]
  bestfit-worker node    [--address SOCKET]
  bestfit-worker --version
create and recover speak with the relay on stdin and stdout. list and node print JSON; see also: bestfit ps,
bestfit doctor";

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Version,
    Create(Call),
    Recover(Call),
    List { address: String, namespace: Option<String> },
    Node { address: String },
}

/// Reads the command line.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut arguments = arguments;
    let command = arguments.next().unwrap_or_default();
    let (mut namespace, mut address, mut id, mut bundle, mut runtime) = (None, None, None, None, None);
    while let Some(flag) = arguments.next() {
        let place = match flag.as_str() {
            "--namespace" => &mut namespace,
            "--address" => &mut address,
            "--id" => &mut id,
            "--bundle" => &mut bundle,
            "--runtime" => &mut runtime,
            other => return Err(format!("unknown argument {other:?}")),
        };
        *place = Some(arguments.next().ok_or_else(|| format!("{flag} without a value"))?);
    }
    let from_environment = || std::env::var("CONTAINERD_ADDRESS").unwrap_or_else(|_| ADDRESS.to_owned());
    let call = |address: Option<String>| -> Result<Call, String> {
        let needed = |value: Option<String>, flag: &str| {
            value.filter(|v| !v.is_empty()).ok_or_else(|| format!("{flag} is missing"))
        };
        Ok(Call {
            namespace: identifier(needed(namespace.clone(), "--namespace")?)?,
            address: needed(address, "--address")?,
            id: identifier(needed(id.clone(), "--id")?)?,
            bundle: PathBuf::from(needed(bundle.clone(), "--bundle")?),
            profile: runtime.clone().filter(|profile| !profile.is_empty()),
        })
    };
    match command.as_str() {
        "create" => Ok(Command::Create(call(address)?)),
        "recover" => Ok(Command::Recover(call(address)?)),
        "list" => Ok(Command::List { address: address.unwrap_or_else(from_environment), namespace }),
        "node" => Ok(Command::Node { address: address.unwrap_or_else(from_environment) }),
        "--help" | "-h" | "help" => Ok(Command::Help),
        "--version" => Ok(Command::Version),
        other => Err(format!("unknown command {other:?}")),
    }
}

/// containerd's rule for names (containerd, `pkg/identifiers`): they become file names here.
pub(crate) fn identifier(name: String) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let sound = (1..=76).contains(&name.len()) && name.chars().all(good) && !name.starts_with('.');
    if sound { Ok(name) } else { Err(format!("{name:?} is no containerd identifier")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn names_become_file_names_only_if_they_are_names() {
        let line = |id: &str| format!("create --namespace n --address /s --id {id} --bundle /b");
        assert!(matches!(parsed(&line("a-b_c.1")), Ok(Command::Create(_))));
        for bad in ["../x", "a/b", ".x", "a\u{e4}"] {
            assert!(parsed(&line(bad)).unwrap_err().contains("no containerd identifier"), "{bad}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(parsed("create --namespace n --address /s --id a").unwrap_err(), "--bundle is missing");
        assert_eq!(parsed("create --id").unwrap_err(), "--id without a value");
        assert_eq!(parsed("create --what x").unwrap_err(), "unknown argument \"--what\"");
        assert!(matches!(parsed("list --namespace n"), Ok(Command::List { .. })));
    }
}
