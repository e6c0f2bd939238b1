//! Owns what is installed on the host besides the kernel: C library, MPI, PMI, init system, Spack. Nothing is executed, and
//! the environment of this program, which is its caller's and not the host's, is not asked.
//!
//! - [`ldcache`]: libraries by name; [`elf`]: the version of a C library; [`pkgconfig`]: versions of packages
//! - [`glibc`], [`mpi`], [`pmi`]: the facts of these; [`init`]: systemd

mod elf;
mod glibc;
mod init;
mod ldcache;
mod mpi;
mod pkgconfig;
mod pmi;

use bestfit_selector::facts::Facts;

use crate::cpu::cpuinfo::CpuInfo;
use crate::root::HostRoot;
use crate::seen::Seen;
use crate::{HOST, platform};

/// Where Spack's documentation puts an installation for all users.
const SPACK: &str = "/opt/spack";

/// How the names of the libraries begin that are asked about.
const LIBRARIES: [&str; 3] = [glibc::LIBRARY, "libmpi", "libpmi"];

pub(crate) fn probe(root: &HostRoot, info: &Seen<CpuInfo>, facts: &mut Facts) {
    let architecture = platform::architecture(root, info);
    let cache = ldcache::LdCache::load(root, &LIBRARIES);
    glibc::probe(root, architecture, &cache, facts);
    mpi::probe(root, architecture, &cache, facts);
    pmi::probe(root, architecture, &cache, facts);
    init::probe(root, architecture, facts);
    facts.set(HOST, "spack", root.seen_there(SPACK, "/opt").fact(SPACK));
}

/// The directory of libraries of an architecture, where a system holds those of several (Debian).
fn triplet(architecture: &str) -> Option<&'static str> {
    Some(match architecture {
        "amd64" => "x86_64-linux-gnu",
        "386" => "i386-linux-gnu",
        "arm64" => "aarch64-linux-gnu",
        "ppc64le" => "powerpc64le-linux-gnu",
        "s390x" => "s390x-linux-gnu",
        "riscv64" => "riscv64-linux-gnu",
        _ => return None,
    })
}
