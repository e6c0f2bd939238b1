//! Owns the platform of a host in OCI (GOOS, GOARCH) spelling.

use bestfit_selector::decision::HostPlatform;

use crate::cpu::cpuinfo::CpuInfo;
use crate::root::HostRoot;
use crate::seen::Seen;

/// The architecture of a root whose `/proc/cpuinfo` does not tell: no entry of an index has it, so none can run there.
const UNKNOWN: &str = "unknown";

/// Operating system and architecture of the host. Of the running machine it is what this program was built for; elsewhere
/// the shape of `/proc/cpuinfo` tells, and "unknown" where it does not.
pub fn host_platform(root: &HostRoot) -> HostPlatform {
    let info = if root.has_machine() { Seen::Absent } else { CpuInfo::load(root) };
    let architecture = architecture(root, &info).unwrap_or(UNKNOWN);
    HostPlatform { os: "linux".to_owned(), architecture: architecture.to_owned() }
}

/// The architecture of the host in GOARCH spelling, by the same rule; `None` where it is not known.
pub(crate) fn architecture(root: &HostRoot, info: &Seen<CpuInfo>) -> Option<&'static str> {
    if root.has_machine() {
        return root.architecture();
    }
    match info {
        Seen::Known(info) => info.architecture(),
        Seen::Absent | Seen::Unknown(_) => None,
    }
}

/// A GOARCH that was recorded, if it is one that is known here.
pub(crate) fn known(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 9] = ["386", "amd64", "arm", "arm64", "loong64", "ppc64", "ppc64le", "riscv64", "s390x"];
    NAMES.into_iter().find(|known| *known == name)
}

/// The architecture this program was built for, in GOARCH spelling.
pub(crate) fn this_architecture() -> &'static str {
    goarch(std::env::consts::ARCH)
}

/// GOARCH for Rust's name of the architecture this program was built for.
fn goarch(arch: &'static str) -> &'static str {
    match arch {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        same => same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_names_become_goarch() {
        for (rust, go) in [("x86_64", "amd64"), ("x86", "386"), ("aarch64", "arm64"), ("riscv64", "riscv64")] {
            assert_eq!(goarch(rust), go);
        }
    }
}
