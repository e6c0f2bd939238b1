//! Owns the files and the TCP ports that are left, held by Landlock: what name resolution and TLS read, the files that
//! `hosts.toml` names, the cache, and the ports of the hosts that the site or the image named.

use std::collections::BTreeSet;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, Scope, path_beneath_rules,
};

/// The newest version of Landlock whose rights were tried here; what a kernel adds later is not asked for.
const TRIED: ABI = ABI::V6;
/// The first version that knows ports.
const PORTS: ABI = ABI::V4;

/// What the C library reads to resolve names: its configuration, and plugins where it has them in files.
const NAMES: &[&str] = &[
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
];
/// Where distributions keep the certificates of authorities, and what links in these directories lead to.
const AUTHORITIES: &[&str] = &[
    "/etc/ca-certificates",
    "/etc/certs",
    "/etc/openssl",
    "/etc/pki",
    "/etc/ssl",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/share/pki",
    "/usr/share/ssl",
    "/var/lib/ca-certificates",
];
const RANDOM: &str = "/dev/urandom";

/// What is left to read, to write and to connect to.
#[derive(Debug, Default)]
pub struct Places {
    /// Files and directories to read besides those of name resolution and the authorities' certificates.
    pub read: Vec<PathBuf>,
    /// Directories in which files may be made, changed and removed.
    pub write: Vec<PathBuf>,
    /// TCP ports, on any address.
    pub ports: BTreeSet<u16>,
}

impl Places {
    /// Leaves this thread, and every thread that it starts, these places and no others. Paths that are not there are passed over.
    /// Returns what this kernel could not enforce.
    pub fn restrict(&self) -> Vec<String> {
        match self.landlock() {
            Ok(status) => unenforced(status),
            Err(error) => vec![format!("files and TCP ports are not limited: {error}")],
        }
    }

    fn landlock(&self) -> Result<LandlockStatus, RulesetError> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        // No links, sockets, pipes or devices: whoever looks into the cache finds files and directories.
        let write: BitFlags<AccessFs> = read
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::MakeDir
            | AccessFs::RemoveFile
            | AccessFs::RemoveDir;
        let fixed = NAMES.iter().chain(AUTHORITIES).chain([&RANDOM]).map(PathBuf::from);
        let ports = self.ports.iter().map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::ConnectTcp)));
        let status = Ruleset::default()
            .handle_access(AccessFs::from_all(TRIED))?
            .handle_access(AccessNet::from_all(TRIED))?
            .scope(Scope::from_all(TRIED))?
            .create()?
            .add_rules(path_beneath_rules(fixed.chain(self.read.iter().cloned()), read))?
            .add_rules(path_beneath_rules(&self.write, write))?
            .add_rules(ports)?
            .restrict_self()?;
        Ok(status.landlock)
    }
}

/// In words; nothing where all was enforced.
fn unenforced(status: LandlockStatus) -> Vec<String> {
    match status {
        LandlockStatus::NotImplemented => {
            vec!["files and TCP ports are not limited: this kernel has no Landlock".into()]
        }
        LandlockStatus::NotEnabled => {
            vec!["files and TCP ports are not limited: Landlock is not enabled (boot parameter lsm=)".into()]
        }
        LandlockStatus::Available { effective_abi, .. } if effective_abi < PORTS => {
            vec![format!("TCP ports are not limited: this kernel has Landlock {effective_abi}, ports need {PORTS}")]
        }
        LandlockStatus::Available { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_older_kernels_cannot_is_said() {
        let available = |effective_abi| LandlockStatus::Available { effective_abi, kernel_abi: None };
        for (status, words) in [
            (LandlockStatus::NotImplemented, "files and TCP ports are not limited: this kernel has no Landlock"),
            (
                LandlockStatus::NotEnabled,
                "files and TCP ports are not limited: Landlock is not enabled (boot parameter lsm=)",
            ),
            (available(ABI::V2), "TCP ports are not limited: this kernel has Landlock 2, ports need 4"),
        ] {
            assert_eq!(unenforced(status), [words]);
        }
        assert!(unenforced(available(PORTS)).is_empty() && unenforced(available(ABI::V10)).is_empty());
    }
}
