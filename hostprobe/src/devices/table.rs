//! Owns the data files: what a device id, or a driver's version, means. They are compiled in; a test reads every line.

/// Drivers of NVIDIA by branch.
const DRIVERS: &str = include_str!("../../data/nvidia-drivers.tsv");
const NVIDIA: &str = include_str!("../../data/nvidia-chips.tsv");
const INTEL: &str = include_str!("../../data/intel-gpus.tsv");
const ACCELERATORS: &str = include_str!("../../data/accelerators.tsv");

/// The chip of an NVIDIA GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chip {
    pub(super) family: &'static str,
    pub(super) capability: &'static str,
}

/// A CUDA version that a branch of drivers supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cuda {
    pub(super) branch: u64,
    pub(super) version: &'static str,
}

fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect())
}

/// Whether `id` lies between the two, all in hexadecimal.
fn between(first: &str, id: &str, last: &str) -> bool {
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    matches!((number(first), number(id), number(last)), (Some(first), Some(id), Some(last)) if (first..=last).contains(&id))
}

/// The chip of an NVIDIA GPU, by its PCI device id.
pub(super) fn nvidia_chip(device: &str) -> Option<Chip> {
    rows(NVIDIA).find_map(|row| match row[..] {
        [first, last, _, family, capability] if between(first, device, last) => Some(Chip { family, capability }),
        _ => None,
    })
}

/// The highest CUDA version by a driver's branch: that of the branch, else of the nearest older one that is listed.
pub(super) fn cuda(branch: u64) -> Option<Cuda> {
    let listed = rows(DRIVERS).filter_map(|row| match row[..] {
        ["cuda", branch, version] => Some(Cuda { branch: branch.parse().ok()?, version }),
        _ => None,
    });
    listed.filter(|listed| listed.branch <= branch).max_by_key(|listed| listed.branch)
}

/// Whether a driver's branch came after all that are listed.
pub(super) fn is_newer_than_all(branch: u64) -> bool {
    cuda(u64::MAX).is_none_or(|newest| newest.branch < branch)
}

/// Major versions of CUDA of which every minor one runs, each with the first driver of which that holds; the newest last.
pub(super) fn compatible_majors() -> impl Iterator<Item = (&'static str, &'static str)> {
    rows(DRIVERS).filter_map(|row| match row[..] {
        ["compat", driver, major] => Some((driver, major)),
        _ => None,
    })
}

/// The family of an Intel GPU, by its PCI device id.
pub(super) fn intel_family(device: &str) -> Option<&'static str> {
    rows(INTEL).find_map(|row| match row[..] {
        [first, last, family] if between(first, device, last) => Some(family),
        _ => None,
    })
}

/// What another accelerator is, by its PCI vendor and device id.
pub(super) fn accelerator(vendor: &str, device: &str) -> Option<&'static str> {
    rows(ACCELERATORS).find_map(|row| match row[..] {
        [its, first, last, kind] if its == vendor && between(first, device, last) => Some(kind),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bestfit_selector::schema::Schemas;

    use super::*;

    #[test]
    fn device_ids_lead_to_chips() {
        // Ids of P100, V100, T4, A100, A10, H100, L40S, B200, RTX 5090, GB10, B300; a K80 is too old.
        for (id, capability) in [
            ("15f9", Some("6.0")),
            ("1db6", Some("7.0")),
            ("1eb8", Some("7.5")),
            ("20b0", Some("8.0")),
            ("2236", Some("8.6")),
            ("2330", Some("9.0")),
            ("26b9", Some("8.9")),
            ("2901", Some("10.0")),
            ("2b85", Some("12.0")),
            ("2e12", Some("12.1")),
            ("3182", Some("10.3")),
            ("102d", None),
            ("ffff", None),
            ("", None),
        ] {
            assert_eq!(nvidia_chip(id).map(|chip| chip.capability), capability, "{id}");
        }
        assert_eq!(intel_family("0bd5"), Some("pvc"));
        assert_eq!(accelerator("1da3", "1020"), Some("gaudi2"));
        assert_eq!(accelerator("8086", "1020"), None);
    }

    #[test]
    fn branches_lead_to_cuda() {
        for (branch, expected) in
            [(550, Some((550, "12.4"))), (600, Some((590, "13.1"))), (999, Some((615, "13.4"))), (340, None)]
        {
            assert_eq!(cuda(branch).map(|cuda| (cuda.branch, cuda.version)), expected, "{branch}");
        }
    }

    /// A line that no reader understands would be passed over in silence.
    #[test]
    fn every_line_is_understood_and_known_to_the_schema() {
        let host = Schemas::builtin().group("host").unwrap();
        let values = |key: &str| -> BTreeSet<String> {
            host.key(key).unwrap().1.values.as_ref().unwrap().names().map(str::to_owned).collect()
        };
        for row in rows(DRIVERS) {
            let [kind, version, value] = row[..] else { panic!("{row:?}") };
            assert!(
                ["cuda", "compat"].contains(&kind) && version.parse::<f64>().is_ok() | version.contains('.'),
                "{row:?}"
            );
            assert!(value.parse::<f64>().is_ok(), "{row:?}");
        }
        for row in rows(NVIDIA) {
            let [first, last, _, family, capability] = row[..] else { panic!("{row:?}") };
            assert!(between(first, first, last) && capability.parse::<f64>().is_ok(), "{row:?}");
            assert!(values("nvidia.gpu.family").contains(family), "{row:?}");
        }
        for row in rows(INTEL) {
            let [first, last, family] = row[..] else { panic!("{row:?}") };
            assert!(between(first, first, last) && values("intel.gpu.family").contains(family), "{row:?}");
        }
        for row in rows(ACCELERATORS) {
            let [_, first, last, kind] = row[..] else { panic!("{row:?}") };
            assert!(between(first, first, last) && values("accelerator.kind").contains(kind), "{row:?}");
        }
    }
}
