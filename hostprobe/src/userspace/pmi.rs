//! Owns how processes of a parallel job find each other on this host: PMI libraries, and what Slurm starts jobs with.

use std::collections::BTreeSet;

use bestfit_selector::facts::Facts;

use super::ldcache::{self, LdCache};
use crate::HOST;
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;

const LIBRARIES: [(&str, &str); 3] = [("libpmix.so.2", "pmix"), ("libpmi2.so.0", "pmi2"), ("libpmi.so.0", "pmi1")];

/// Where Slurm's configuration lies; the second is Debian's former place.
const SLURM: [&str; 2] = ["/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf"];

pub(super) fn probe(root: &HostRoot, architecture: Option<&str>, cache: &Seen<LdCache>, facts: &mut Facts) {
    let libraries = cache.as_ref().and_then(|cache| {
        let of = |soname: &str| LIBRARIES.iter().find(|(name, _)| *name == soname).map(|(_, pmi)| (*pmi).to_owned());
        let found: BTreeSet<String> = cache.native(architecture).filter_map(|library| of(&library.soname)).collect();
        if found.is_empty() { Seen::Absent } else { Seen::Known(found) }
    });
    facts.set(HOST, "pmi", libraries.fact(ldcache::PATH));

    let (mut text, mut source) = (root.text(SLURM[0]), SLURM[0]);
    if matches!(text, Err(ReadError::Missing(_))) {
        (text, source) = (root.text(SLURM[1]), SLURM[1]);
    }
    let default = root.seen(text, "/etc").and_then(|text| mpi_default(&text).map_or(Seen::Absent, Seen::Known));
    facts.set(HOST, "pmi.default", default.fact(source));
}

/// `MpiDefault` of slurm.conf(5), whose names are written in any case; `none` is none.
fn mpi_default(text: &str) -> Option<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut words = lines.flat_map(str::split_whitespace).filter_map(|word| word.split_once('='));
    let value = words.rfind(|(name, _)| name.eq_ignore_ascii_case("MpiDefault"))?.1.to_lowercase();
    (!value.is_empty() && value != "none").then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_of_slurm_is_read() {
        let cases = [
            ("ClusterName=x\nMpiDefault=pmix\n", Some("pmix")),
            ("mpidefault=PMIX_v4 # newer\n", Some("pmix_v4")),
            ("MpiDefault=pmi2\nMpiDefault=pmix\n", Some("pmix")),
            ("#MpiDefault=pmix\n", None),
            ("MpiDefault=none\n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(mpi_default(text).as_deref(), expected, "{text}");
        }
    }
}
