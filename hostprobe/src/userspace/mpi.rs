//! Owns the MPI libraries of the host: which implementations and binary interfaces, and their versions. Four places tell:
//! the loader's cache by SONAME, pkg-config files, module files, and vendors' trees below `/opt`. Runs no `mpirun`.

use std::collections::{BTreeMap, BTreeSet};

use bestfit_selector::facts::{Fact, Facts, Value};
use bestfit_selector::version::Version;

use super::ldcache::{self, LdCache};
use super::{pkgconfig, triplet};
use crate::HOST;
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;

const OPENMPI: &str = "openmpi";
const MPICH: &str = "mpich";
const INTEL: &str = "intel-mpi";
const CRAY: &str = "cray-mpich";
const MVAPICH: &str = "mvapich";
/// The implementations that are told apart.
const IMPLEMENTATIONS: [&str; 5] = [OPENMPI, MPICH, INTEL, CRAY, MVAPICH];

/// Libraries of one implementation, by how their names begin, and the binary interface that they have.
const LIBRARIES: [(&str, Option<&str>, Option<&str>); 6] = [
    ("libmpi.so.40", Some(OPENMPI), Some(OPENMPI_ABI)),
    // Open MPI 2; its programs do not run with later ones.
    ("libmpi.so.20", Some(OPENMPI), None),
    ("libmpi_abi.so.", None, Some("mpi-abi")),
    // Debian's name of MPICH.
    ("libmpich.so.12", Some(MPICH), None),
    ("libmpi_cray.so.12", Some(CRAY), Some(MPICH_ABI)),
    ("libmpi_gnu", Some(CRAY), Some(MPICH_ABI)),
];

/// The library of MPICH 3.1 and all that keep its interface; Open MPI 1 used the same name.
const MPICH_LIBRARY: &str = "libmpi.so.12";
const MPICH_ABI: &str = "mpich-abi";
const OPENMPI_ABI: &str = "openmpi-abi";

/// Whose that library is, by a part of its path. The first counts.
const OWNERS: [(&str, &str); 7] = [
    ("openmpi", OPENMPI),
    ("mvapich", MVAPICH),
    ("oneapi", INTEL),
    ("intel", INTEL),
    ("impi", INTEL),
    ("cray", CRAY),
    ("mpich", MPICH),
];

const PC_FILES: [(&str, &str); 5] =
    [("ompi.pc", OPENMPI), ("mpich.pc", MPICH), ("mvapich2.pc", MVAPICH), ("mvapich.pc", MVAPICH), ("impi.pc", INTEL)];

/// Where distributions and `make install` put pkg-config files.
const PC_DIRS: [&str; 8] = [
    "/usr/lib64/pkgconfig",
    "/usr/lib/pkgconfig",
    "/usr/share/pkgconfig",
    "/usr/local/lib/pkgconfig",
    "/usr/local/lib64/pkgconfig",
    "/usr/lib64/openmpi/lib/pkgconfig",
    "/usr/lib64/mpich/lib/pkgconfig",
    "/usr/lib64/mvapich2/lib/pkgconfig",
];

/// Module files of distributions, named after implementation and architecture.
const MODULE_FILES: [&str; 2] = ["/usr/share/modulefiles/mpi", "/etc/modulefiles/mpi"];

/// Vendors' trees: a directory for each version.
const TREES: [(&str, &str); 2] = [("/opt/cray/pe/mpich", CRAY), ("/opt/intel/oneapi/mpi", INTEL)];

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    /// Implementations and interfaces.
    names: BTreeSet<String>,
    /// By implementation: versions, and where each was read.
    versions: BTreeMap<&'static str, (BTreeSet<String>, String)>,
    /// Where something was found.
    sources: BTreeSet<String>,
    /// Why a place that is there could not be looked at.
    failed: Option<String>,
}

pub(super) fn probe(root: &HostRoot, architecture: Option<&str>, cache: &Seen<LdCache>, facts: &mut Facts) {
    let mut found = Found::default();
    match cache {
        Seen::Known(cache) => {
            let libraries = cache.native(architecture);
            libraries.for_each(|library| found.library(&library.soname, &library.path));
        }
        Seen::Absent => {}
        Seen::Unknown(why) => found.failed = Some(why.clone()),
    }
    found.pc_files(root, architecture);
    found.module_files(root);
    found.trees(root);
    found.record(root, facts);
}

impl Found {
    fn add(&mut self, names: &[&str], source: &str) {
        self.names.extend(names.iter().map(|name| (*name).to_owned()));
        self.sources.insert(source.to_owned());
    }

    fn version(&mut self, implementation: &'static str, version: String, source: &str) {
        let (versions, sources) = self.versions.entry(implementation).or_default();
        if versions.insert(version) {
            let separator = if sources.is_empty() { "" } else { ", " };
            sources.push_str(separator);
            sources.push_str(source);
        }
    }

    /// A library of the loader's cache. Only names of MPI count.
    fn library(&mut self, soname: &str, path: &str) {
        if soname == MPICH_LIBRARY {
            let owner = OWNERS.iter().find(|(part, _)| path.contains(part)).map(|(_, owner)| *owner);
            match owner {
                Some(OPENMPI) => self.add(&[OPENMPI], path),
                Some(owner) => self.add(&[owner, MPICH_ABI], path),
                None => self.add(&[MPICH_ABI], path),
            }
            return;
        }
        let known = LIBRARIES.iter().find(|(name, ..)| {
            soname.strip_prefix(name).is_some_and(|rest| {
                rest.is_empty() || !rest.starts_with(|c: char| c.is_ascii_digit()) || name.ends_with('.')
            })
        });
        if let Some((_, implementation, abi)) = known {
            let names: Vec<&str> = implementation.iter().chain(abi).copied().collect();
            self.add(&names, path);
        }
    }

    fn pc_files(&mut self, root: &HostRoot, architecture: Option<&str>) {
        let multiarch = architecture.and_then(triplet).map(|triplet| format!("/usr/lib/{triplet}/pkgconfig"));
        for dir in PC_DIRS.into_iter().chain(multiarch.as_deref()) {
            match root.exists(dir) {
                Ok(true) => {
                    PC_FILES.iter().for_each(|(file, whose)| self.pc_file(root, &format!("{dir}/{file}"), whose))
                }
                Ok(false) => {}
                Err(error) => self.fail(&error),
            }
        }
    }

    fn pc_file(&mut self, root: &HostRoot, path: &str, whose: &'static str) {
        match root.text(path) {
            Ok(text) => {
                let version = pkgconfig::version(&text);
                let abi = version.as_deref().and_then(|version| interface(whose, version));
                self.add(&[whose].into_iter().chain(abi).collect::<Vec<_>>(), path);
                if let Some(version) = version {
                    self.version(whose, version, path);
                }
            }
            Err(ReadError::Missing(_)) => {}
            Err(error) => self.fail(&error),
        }
    }

    fn module_files(&mut self, root: &HostRoot) {
        for dir in MODULE_FILES {
            for name in self.names_in(root, dir) {
                let whose = IMPLEMENTATIONS.iter().find(|whose| name.starts_with(**whose));
                if let Some(whose) = whose {
                    self.add(&[whose], &format!("{dir}/{name}"));
                }
            }
        }
    }

    fn trees(&mut self, root: &HostRoot) {
        for (dir, whose) in TREES {
            // Besides the versions there are links such as "latest".
            let versions =
                self.names_in(root, dir).into_iter().filter(|name| name.starts_with(|c: char| c.is_ascii_digit()));
            for version in versions.collect::<Vec<_>>() {
                let path = format!("{dir}/{version}");
                self.add(&[whose, MPICH_ABI], &path);
                self.version(whose, version, &path);
            }
        }
    }

    fn names_in(&mut self, root: &HostRoot, dir: &str) -> Vec<String> {
        match root.names(dir) {
            Ok(names) => names,
            Err(ReadError::Missing(_)) => Vec::new(),
            Err(error) => {
                self.fail(&error);
                Vec::new()
            }
        }
    }

    fn fail(&mut self, error: &ReadError) {
        self.failed.get_or_insert(error.to_string());
    }

    /// A part of what is there is not passed off as all of it.
    fn record(self, root: &HostRoot, facts: &mut Facts) {
        let names = match self.failed {
            Some(why) => Seen::Unknown(why),
            None if self.names.is_empty() => root.seen(Err(ReadError::Missing(ldcache::PATH.to_owned())), "/usr"),
            None => Seen::Known(self.names),
        };
        let sources: Vec<String> = self.sources.into_iter().collect();
        let source = if sources.is_empty() { ldcache::PATH.to_owned() } else { sources.join(", ") };
        for whose in IMPLEMENTATIONS {
            let key = format!("mpi.{whose}.version");
            let fact = match (&names, self.versions.get(whose)) {
                (Seen::Unknown(why), _) => Fact::unknown(why, &source),
                (Seen::Known(_), Some((versions, source))) => Fact::known(Value::Set(versions.clone()), source),
                (Seen::Known(names), None) if names.contains(whose) => {
                    Fact::unknown("neither a pkg-config file nor a directory tells its version", &source)
                }
                (Seen::Known(_) | Seen::Absent, _) => Fact::absent(ldcache::PATH),
            };
            facts.set(HOST, key, fact);
        }
        facts.set(HOST, "mpi.implementation", names.fact(source));
    }
}

/// The binary interface of an implementation of this version. libmpi.so.40 began with Open MPI 3.0; MPICH's ABI initiative
/// (https://www.mpich.org/abi/) with MPICH 3.1, MVAPICH2 2.0 and Intel MPI 5.0.
fn interface(implementation: &str, version: &str) -> Option<&'static str> {
    let (since, abi) = match implementation {
        OPENMPI => ("3.0", OPENMPI_ABI),
        MPICH => ("3.1", MPICH_ABI),
        MVAPICH => ("2.0", MPICH_ABI),
        INTEL => ("5.0", MPICH_ABI),
        _ => return None,
    };
    let (since, version): (Version, Version) = (since.parse().ok()?, version.parse().ok()?);
    (version >= since).then_some(abi)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_goes_by_the_version() {
        for (implementation, version, expected) in [
            (OPENMPI, "4.1.6", Some(OPENMPI_ABI)),
            (OPENMPI, "2.1.1", None),
            (OPENMPI, "1.10.7", None),
            (MPICH, "4.2.0", Some(MPICH_ABI)),
            (MPICH, "3.0.4", None),
            (MVAPICH, "2.3.7", Some(MPICH_ABI)),
            (INTEL, "2021.11", Some(MPICH_ABI)),
            (CRAY, "8.1.29", None),
            (MPICH, "weird", None),
        ] {
            assert_eq!(interface(implementation, version), expected, "{implementation} {version}");
        }
    }

    #[test]
    fn libraries_tell_implementation_and_interface() {
        let cases: [(&str, &str, &[&str]); 12] = [
            ("libmpi.so.40", "/usr/lib/x86_64-linux-gnu/libmpi.so.40", &["openmpi", "openmpi-abi"]),
            ("libmpi.so.20", "/usr/lib64/openmpi/lib/libmpi.so.20", &["openmpi"]),
            ("libmpi.so.12", "/usr/lib64/openmpi/lib/libmpi.so.12", &["openmpi"]),
            ("libmpi.so.12", "/usr/lib64/mpich/lib/libmpi.so.12", &["mpich", "mpich-abi"]),
            ("libmpi.so.12", "/opt/intel/oneapi/mpi/2021.11/lib/libmpi.so.12", &["intel-mpi", "mpich-abi"]),
            ("libmpi.so.12", "/opt/cray/pe/lib64/libmpi.so.12", &["cray-mpich", "mpich-abi"]),
            ("libmpi.so.12", "/usr/lib64/mvapich2/lib/libmpi.so.12", &["mpich-abi", "mvapich"]),
            ("libmpi.so.12", "/usr/local/lib/libmpi.so.12", &["mpich-abi"]),
            ("libmpich.so.12", "/usr/lib/x86_64-linux-gnu/libmpich.so.12", &["mpich"]),
            ("libmpi_abi.so.0", "/usr/lib/libmpi_abi.so.0", &["mpi-abi"]),
            ("libmpi_gnu_91.so.12", "/opt/cray/pe/lib64/libmpi_gnu_91.so.12", &["cray-mpich", "mpich-abi"]),
            ("libmpi.so.400", "/usr/lib/libmpi.so.400", &[]),
        ];
        for (soname, path, expected) in cases {
            let mut found = Found::default();
            found.library(soname, path);
            assert_eq!(found.names.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{path}");
        }
    }
}
