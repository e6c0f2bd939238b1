//! Owns NVIDIA's driver: its version and flavor, and the CUDA versions that it supports.

use std::collections::BTreeSet;

use bestfit_selector::facts::{Fact, Facts};
use bestfit_selector::value::OR_NEWER;
use bestfit_selector::version::Version;

use super::super::{set_others, table};
use crate::HOST;
use crate::root::HostRoot;
use crate::seen::Seen;

const MODULE: &str = "/sys/module/nvidia/version";
const PROC: &str = "/proc/driver/nvidia/version";

const VERSION: &str = "nvidia.driver.version";
const FLAVOR: &str = "nvidia.driver.flavor";
const CUDA: &str = "nvidia.cuda";
const COMPATIBLE: &str = "nvidia.cuda.min_compat";

/// Sets what is known of the driver, and says whether it is there.
pub(super) fn probe(root: &HostRoot, facts: &mut Facts) -> Seen<()> {
    let line = root.seen(root.text(PROC), "/proc/sys").map(|text| text.lines().next().unwrap_or_default().to_owned());
    let (version, source) = version(root, &line);
    let flavor = match (&version, line) {
        (Seen::Known(_), Seen::Known(line)) => flavor(&line),
        (Seen::Known(_), Seen::Absent) => Seen::Unknown(format!("{PROC}: not there, though the module is")),
        (Seen::Known(_), Seen::Unknown(why)) => Seen::Unknown(why),
        (Seen::Unknown(why), _) => Seen::Unknown(why.clone()),
        (Seen::Absent, _) => Seen::Absent,
    };
    facts.set(HOST, FLAVOR, flavor.fact(PROC));
    match &version {
        Seen::Known(version) => set_cuda(version, source, facts),
        Seen::Absent => set_others(facts, &[CUDA, COMPATIBLE], &Seen::Absent, source),
        Seen::Unknown(why) => set_others(facts, &[CUDA, COMPATIBLE], &Seen::Unknown(why.clone()), source),
    }
    let there = version.as_ref().map(|_| ());
    facts.set(HOST, VERSION, version.fact(source));
    there
}

/// The version by sysfs, else by the first line of the file in `/proc`.
fn version(root: &HostRoot, line: &Seen<String>) -> (Seen<String>, &'static str) {
    let module = root.seen_line(MODULE, "/sys/module").and_then(|text| match is_version(&text) {
        true => Seen::Known(text),
        false => Seen::Unknown(format!("{MODULE}: no version: {text:?}")),
    });
    if matches!(module, Seen::Known(_)) {
        return (module, MODULE);
    }
    match (module, line) {
        (_, Seen::Known(line)) => match line.split_whitespace().find(|word| is_version(word)) {
            Some(version) => (Seen::Known(version.to_owned()), PROC),
            None => (Seen::Unknown(format!("{PROC}: no version in {line:?}")), PROC),
        },
        (Seen::Absent, Seen::Unknown(why)) => (Seen::Unknown(why.clone()), PROC),
        (module, _) => (module, MODULE),
    }
}

/// `550.54.15`, `550.120`: numbers, the first of them a branch.
fn is_version(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let numeric = |part: &&str| (1..=6).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    (2..=3).contains(&parts.len()) && parts[0].len() >= 3 && parts.iter().all(numeric)
}

/// `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03 …`, or without "Open".
fn flavor(line: &str) -> Seen<&'static str> {
    match (line.contains("Open Kernel Module"), line.contains("Kernel Module")) {
        (true, _) => Seen::Known("open"),
        (false, true) => Seen::Known("proprietary"),
        (false, false) => Seen::Unknown(format!("{PROC}: names no kernel module: {line:?}")),
    }
}

fn set_cuda(version: &str, source: &str, facts: &mut Facts) {
    let branch = version.split('.').next().and_then(|branch| branch.parse().ok()).unwrap_or_default();
    let cuda = match table::cuda(branch) {
        Some(cuda) if cuda.branch == branch => Fact::known(cuda.version, format!("{source}, by nvidia-drivers.tsv")),
        Some(cuda) => {
            let nearest =
                format!("{source}; nvidia-drivers.tsv has no branch {branch}, so at least that of {}", cuda.branch);
            Fact::known(format!("{}{OR_NEWER}", cuda.version), nearest)
        }
        None => Fact::unknown(format!("nvidia-drivers.tsv has no branch as old as {branch}"), source),
    };
    facts.set(HOST, CUDA, cuda);
    let own: Option<Version> = version.parse().ok();
    let runs = |driver: &str| own >= driver.parse().ok();
    let mut majors: Vec<String> =
        table::compatible_majors().filter(|(driver, _)| runs(driver)).map(|(_, major)| major.to_owned()).collect();
    if table::is_newer_than_all(branch)
        && let Some(newest) = majors.last_mut()
    {
        newest.push_str(OR_NEWER);
    }
    let majors: BTreeSet<String> = majors.into_iter().collect();
    facts.set(HOST, COMPATIBLE, Fact::known(majors, format!("{source}, by nvidia-drivers.tsv")));
}

#[cfg(test)]
mod tests {
    use bestfit_selector::facts::State;

    use super::*;

    #[test]
    fn versions_and_flavors_are_told() {
        for (line, version, expected) in [
            (
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024",
                "550.54.15",
                "proprietary",
            ),
            ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build", "560.35.03", "open"),
            ("NVRM version: NVIDIA UNIX Kernel Module for aarch64  550.120  Fri Sep", "550.120", "proprietary"),
        ] {
            assert_eq!(line.split_whitespace().find(|word| is_version(word)), Some(version));
            assert_eq!(flavor(line), Seen::Known(expected));
        }
        for word in ["x86_64", "22:23:56", "2024", "1.2.3", "550.54.15.1", "550.", ".550", "550.x"] {
            assert!(!is_version(word), "{word}");
        }
        assert!(matches!(flavor("something else"), Seen::Unknown(_)));
    }

    fn cuda(version: &str) -> (String, String, String) {
        let mut facts = Facts::default();
        set_cuda(version, MODULE, &mut facts);
        let shown = |key: &str| match &facts.get(HOST, key).unwrap().state {
            State::Known { value } => value.to_string(),
            other => format!("{other:?}"),
        };
        (shown(CUDA), shown(COMPATIBLE), facts.get(HOST, CUDA).unwrap().source.clone())
    }

    #[test]
    fn a_driver_supports_what_the_table_says() {
        for (version, highest, majors) in [
            ("550.54.15", "12.4", "11 12"),
            ("450.80.02", "11.0", "11"),
            ("450.51.06", "11.0", ""),
            ("580.65.06", "13.0", "11 12 13"),
        ] {
            let (found, compatible, source) = cuda(version);
            assert_eq!((&*found, &*compatible), (highest, majors), "{version}");
            assert_eq!(source, "/sys/module/nvidia/version, by nvidia-drivers.tsv");
        }
        let (newer, majors, source) = cuda("999.1");
        assert_eq!((&*newer, &*majors), ("13.4 or newer", "11 12 13 or newer"));
        // A branch that the table passed over is known by those around it.
        assert_eq!(cuda("600.21").1, "11 12 13");
        assert!(source.contains("has no branch 999, so at least that of 615"), "{source}");
        assert!(cuda("304.137").0.contains("no branch as old as 304"));
    }
}
