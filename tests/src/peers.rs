//! Owns where the programs of others lie: what `make setup` unpacked below `target/peers`, else what is installed.

use std::path::{Path, PathBuf};

/// A line of containerd, as some Debian release ships it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Containerd {
    /// 1.6, Debian 12.
    V1_6,
    /// 1.7, Debian 13.
    V1_7,
    /// 2.1, after Debian 13.
    V2_1,
    /// 2.3, built from its module: the first whose `start` is answered in protobuf.
    V2_3,
    /// Whatever the machine has installed, or its distribution offers.
    System,
}

/// The lines that every scenario runs on: three that Debian ships, and 2.3 where `tests/setup/go.sh containerd` has built it.
pub fn lines() -> Vec<Containerd> {
    let built = Containerd::V2_3.program("containerd").map(|_| Containerd::V2_3);
    [Containerd::V1_6, Containerd::V1_7, Containerd::V2_1].into_iter().chain(built).collect()
}

/// The lines that have containerd 2's configuration, client and CRI plugins.
pub const SECOND: [Containerd; 2] = [Containerd::V2_1, Containerd::V2_3];

impl Containerd {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_6 => "containerd 1.6",
            Self::V1_7 => "containerd 1.7",
            Self::V2_1 => "containerd 2.1",
            Self::V2_3 => "containerd 2.3",
            Self::System => "the system's containerd",
        }
    }

    /// The path of one of its programs: `containerd`, `ctr`, `containerd-shim-runc-v2`.
    pub fn program(self, name: &str) -> Option<PathBuf> {
        match self {
            Self::V1_6 => unpacked("bookworm", name),
            Self::V1_7 => unpacked("trixie", name),
            Self::V2_1 => unpacked("forky", name),
            Self::V2_3 => unpacked("go", name),
            Self::System => installed(name).or_else(|| unpacked("system", name)),
        }
    }

    /// The version of the configuration file it reads.
    pub fn config_version(self) -> u32 {
        match self {
            Self::V2_1 | Self::V2_3 => 3,
            // Every later line still reads version 2.
            Self::V1_6 | Self::V1_7 | Self::System => 2,
        }
    }
}

/// The containerd that a demonstration runs on: the installed one, else the oldest that was unpacked.
pub fn any_containerd() -> Option<Containerd> {
    let known = [Containerd::System, Containerd::V1_6, Containerd::V1_7, Containerd::V2_1];
    known
        .into_iter()
        .find(|line| ["containerd", "ctr", "containerd-shim-runc-v2"].iter().all(|p| line.program(p).is_some()))
}

/// A program that is no part of containerd: `runc`, `oras`, `crane`, `docker-registry`, `ferro-oci-server`, `busybox`,
/// `cosign`, `notation`, `criu`, `crictl`.
pub fn program(name: &str) -> Option<PathBuf> {
    let own = peers_dir().join("bin").join(name);
    // The newest oras first, the oldest runc first: a newer one needs a newer libc than bookworm's.
    let suites = if name == "oras" {
        ["forky", "trixie", "bookworm", "system"]
    } else {
        ["bookworm", "trixie", "forky", "system"]
    };
    Some(own)
        .filter(|path| path.exists())
        .or_else(|| suites.iter().find_map(|suite| unpacked(suite, name)))
        .or_else(|| installed(name))
}

/// A directory of the unpacked packages, such as `usr/lib/cni`.
pub fn directory(suite: &str, path: &str) -> Option<PathBuf> {
    Some(peers_dir().join(suite).join("root").join(path)).filter(|dir| dir.is_dir())
}

/// The directory of our own release binaries.
pub fn our_bin() -> PathBuf {
    std::env::var_os("BESTFIT_BIN").map_or_else(|| target_dir().join("release"), PathBuf::from)
}

/// cargo's target directory: the one that this program was built in.
pub fn target_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("own executable");
    let profile = exe.ancestors().skip(1).find(|dir| !dir.ends_with("deps")).expect("target/<profile>/");
    profile.parent().expect("target/").to_owned()
}

/// Where `make setup` unpacks the programs of others.
pub fn peers_dir() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers");
    std::env::var_os("BESTFIT_PEERS").map_or_else(beside, PathBuf::from)
}

fn unpacked(suite: &str, name: &str) -> Option<PathBuf> {
    let root = peers_dir().join(suite).join("root");
    ["usr/bin", "usr/sbin", "bin", "sbin"].iter().map(|dir| root.join(dir).join(name)).find(|path| path.exists())
}

fn installed(name: &str) -> Option<PathBuf> {
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists())
}
