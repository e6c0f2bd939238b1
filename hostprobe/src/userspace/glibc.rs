//! Owns the host's C library: glibc's version, read from its file and never asked of this program, and musl. It matters
//! where libraries of the host are put into the container: those need a glibc that is as new.

use bestfit_selector::facts::{Fact, Facts};

use super::elf::{self, ElfError};
use super::ldcache::LdCache;
use crate::HOST;
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;

pub(super) const LIBRARY: &str = "libc.so.6";

/// Where distributions keep it, where the loader's cache does not say.
const PLACES: [&str; 9] = [
    "/lib64/libc.so.6",
    "/usr/lib64/libc.so.6",
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib/aarch64-linux-gnu/libc.so.6",
    "/lib/powerpc64le-linux-gnu/libc.so.6",
    "/lib/s390x-linux-gnu/libc.so.6",
    "/lib/riscv64-linux-gnu/libc.so.6",
    "/lib/libc.so.6",
    "/usr/lib/libc.so.6",
];

pub(super) fn probe(root: &HostRoot, architecture: Option<&str>, cache: &Seen<LdCache>, facts: &mut Facts) {
    let (version, source) = version(root, architecture, cache);
    facts.set(HOST, "glibc.version", version.fact(source));
    facts.set(HOST, "musl", musl(root, architecture));
}

fn version(root: &HostRoot, architecture: Option<&str>, cache: &Seen<LdCache>) -> (Seen<String>, String) {
    let cached = match cache {
        Seen::Known(cache) => cache.native(architecture).find(|library| library.soname == LIBRARY),
        Seen::Absent | Seen::Unknown(_) => None,
    };
    for path in cached.map(|library| library.path.as_str()).into_iter().chain(PLACES) {
        match elf::glibc_version(&mut |offset, length| root.part(path, offset, length)) {
            Ok(version) => return (Seen::Known(version), path.to_owned()),
            Err(ElfError::Read(ReadError::Missing(_))) => {}
            Err(ElfError::Read(error)) => return (Seen::Unknown(error.to_string()), path.to_owned()),
            Err(error @ ElfError::Shape(_)) => return (Seen::Unknown(format!("{path}: {error}")), path.to_owned()),
        }
    }
    // A system that has a root file system at all says so in /etc.
    let missing: Seen<String> = match cache {
        Seen::Unknown(why) => Seen::Unknown(why.clone()),
        Seen::Absent => root.seen(Err(ReadError::Missing(PLACES[0].to_owned())), "/etc/os-release"),
        Seen::Known(_) => Seen::Unknown(format!("{LIBRARY}: not at the place that the loader's cache names")),
    };
    (missing, PLACES[0].to_owned())
}

/// musl's loader is also its library.
fn musl(root: &HostRoot, architecture: Option<&str>) -> Fact {
    let name = match architecture {
        Some("amd64") => "x86_64",
        Some("386") => "i386",
        Some("arm64") => "aarch64",
        Some("arm") => "armhf",
        Some("ppc64le") => "powerpc64le",
        Some(other) => other,
        None => return Fact::unknown("the architecture is not known", "/lib/ld-musl-*.so.1"),
    };
    let path = format!("/lib/ld-musl-{name}.so.1");
    root.seen_there(&path, "/lib").fact(path)
}
