//! Owns what sysfs says about the processors: how many, their threads and sockets, kinds of cores, coprocessors, and
//! Intel's P-state and C-state drivers.

use std::collections::BTreeSet;

use bestfit_selector::facts::Facts;

use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;
use crate::{HOST, NFD, feature};

const CPUS: &str = "/sys/devices/system/cpu";

/// Returns whether Intel's P-state driver is in use.
pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) -> Seen<bool> {
    let online = format!("{CPUS}/online");
    let list = root.seen_line(&online, CPUS).and_then(|text| match processors(&text) {
        Some(list) => Seen::Known(list),
        None => Seen::Unknown(format!("{online}: not a list of processors: {text:?}")),
    });
    let list = not_absent(list, &online);
    facts.set(HOST, "cpu.count", list.as_ref().map(|list| list.len() as i64).fact(&online));

    const TOPOLOGY: &str = "cpu.topology";
    feature::open(&mut facts.features, TOPOLOGY);
    let (threads, source) = multithreading(root);
    let label = "cpu-hardware_multithreading";
    facts.set(HOST, "cpu.smt", threads.as_ref().map(|value| *value).fact(&source));
    feature::labelled(facts, (TOPOLOGY, "hardware_multithreading"), label, threads, source);
    let sockets = list.and_then(|list| Seen::of(sockets(root, &list)));
    feature::attribute(&mut facts.features, TOPOLOGY, "socket_count", &sockets);

    // NFD looks for these two at a path with one "sys" too many, and so has no such label.
    for kind in ["atom", "core"] {
        let path = format!("/sys/devices/cpu_{kind}/cpus");
        facts.set(NFD, format!("cpu-cpu_{kind}"), root.seen_there(&path, "/sys/devices").fact(path));
    }
    let path = "/sys/devices/vio/ibm,compression-v1/nx_gzip_caps";
    feature::open(&mut facts.features, "cpu.coprocessor");
    let gzip = root.seen_there(path, "/sys/devices");
    feature::labelled(facts, ("cpu.coprocessor", "nx_gzip"), "cpu-coprocessor.nx_gzip", gzip, path);

    cstate(root, facts);
    pstate(root, facts)
}

/// How many packages the processors of `list` are in. Those that one processor names as its own package's are not asked.
fn sockets(root: &HostRoot, list: &BTreeSet<u32>) -> Result<i64, ReadError> {
    let mut left = list.clone();
    let mut packages = BTreeSet::new();
    while let Some(processor) = left.pop_first() {
        let dir = format!("{CPUS}/cpu{processor}/topology");
        let package = root.text(&format!("{dir}/physical_package_id"))?;
        packages.insert(package.trim().to_owned());
        // The second is the first's name before Linux 5.5.
        for name in ["package_cpus_list", "core_siblings_list"] {
            if let Some(others) = root.attribute(&format!("{dir}/{name}"))?.and_then(|list| processors(&list)) {
                left.retain(|other| !others.contains(other));
                break;
            }
        }
    }
    Ok(packages.len() as i64)
}

/// Whether `name` is `cpu` and a number.
pub(crate) fn is_cpu(name: &str) -> bool {
    name.strip_prefix("cpu").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A file that every kernel has: without it the root was recorded in part.
fn not_absent<T>(seen: Seen<T>, path: &str) -> Seen<T> {
    match seen {
        Seen::Absent => Seen::Unknown(format!("{path}: not there")),
        seen => seen,
    }
}

/// Whether any core runs several threads. One file says so since Linux 4.19; before, each processor's siblings do.
fn multithreading(root: &HostRoot) -> (Seen<bool>, String) {
    let active = format!("{CPUS}/smt/active");
    match root.seen_line(&active, CPUS) {
        Seen::Known(text) if text == "0" || text == "1" => return (Seen::Known(text == "1"), active),
        Seen::Unknown(why) => return (Seen::Unknown(why), active),
        Seen::Known(_) | Seen::Absent => {}
    }
    let pattern = format!("{CPUS}/cpu*/topology/thread_siblings_list");
    (siblings(root, &pattern), pattern)
}

fn siblings(root: &HostRoot, pattern: &str) -> Seen<bool> {
    let names = match root.names(CPUS) {
        Ok(names) => names,
        Err(error) => return Seen::Unknown(error.to_string()),
    };
    let mut looked = false;
    for name in names.iter().filter(|name| is_cpu(name)) {
        match root.text(&pattern.replace("cpu*", name)) {
            Ok(list) if list.contains([',', '-']) => return Seen::Known(true),
            Ok(_) => looked = true,
            Err(error) => return Seen::Unknown(error.to_string()),
        }
    }
    if looked { Seen::Known(false) } else { Seen::Unknown(format!("{pattern}: no processor there")) }
}

/// Intel's P-state driver; other drivers, and one that is off, have no such label.
fn pstate(root: &HostRoot, facts: &mut Facts) -> Seen<bool> {
    const FEATURE: &str = "cpu.pstate";
    let (path, no_turbo) = (format!("{CPUS}/intel_pstate/status"), format!("{CPUS}/intel_pstate/no_turbo"));
    let status = root.seen_line(&path, CPUS).and_then(|status| match status.as_str() {
        "off" => Seen::Absent,
        _ => Seen::Known(status),
    });
    let used = status.as_ref().map(|_| true);
    let turbo = status.as_ref().and_then(|_| root.seen_line(&no_turbo, CPUS)).map(|text| text.starts_with('0'));
    let active = status.as_ref().and_then(|status| if status == "active" { Seen::Known(()) } else { Seen::Absent });
    let governor = active.and_then(|()| governor(root));
    feature::open(&mut facts.features, FEATURE);
    feature::labelled(facts, (FEATURE, "status"), "cpu-pstate.status", status, path);
    feature::labelled(facts, (FEATURE, "turbo"), "cpu-pstate.turbo", turbo, no_turbo);
    let source = format!("{CPUS}/cpufreq/policy*/scaling_governor");
    feature::labelled(facts, (FEATURE, "scaling_governor"), "cpu-pstate.scaling_governor", governor, source);
    used
}

/// The governor of all policies that have processors; absent where they differ.
fn governor(root: &HostRoot) -> Seen<String> {
    let policies = format!("{CPUS}/cpufreq");
    root.seen(root.names(&policies), CPUS).and_then(|names| {
        let mut all = BTreeSet::new();
        for name in names {
            let file = |file: &str| root.attribute(&format!("{policies}/{name}/{file}"));
            match (file("affected_cpus"), file("scaling_governor")) {
                (Ok(Some(cpus)), Ok(Some(governor))) if !cpus.is_empty() => all.insert(governor),
                (Err(error), _) | (_, Err(error)) => return Seen::Unknown(error.to_string()),
                _ => false,
            };
        }
        if all.len() > 1 { Seen::Absent } else { all.pop_first().map_or(Seen::Absent, Seen::Known) }
    })
}

/// Whether Intel's idle driver may enter C-states; other drivers have no such label.
fn cstate(root: &HostRoot, facts: &mut Facts) {
    const FEATURE: &str = "cpu.cstate";
    let driver = format!("{CPUS}/cpuidle/current_driver");
    let limit = "/sys/module/intel_idle/parameters/max_cstate";
    let enabled = root
        .seen_line(&driver, CPUS)
        .and_then(|driver| if driver == "intel_idle" { root.seen_line(limit, "/sys/module") } else { Seen::Absent })
        .and_then(|text| match text.parse::<u32>() {
            Ok(states) => Seen::Known(states > 0),
            Err(_) => Seen::Unknown(format!("{limit}: not a number: {text:?}")),
        });
    feature::open(&mut facts.features, FEATURE);
    feature::labelled(facts, (FEATURE, "enabled"), "cpu-cstate.enabled", enabled, driver);
}

/// The most processors that a list may name: Linux has no more on any architecture.
const MOST: u32 = 1 << 16;

/// The processors, or nodes, that a kernel list such as `0-3,8` names; `None` when it is no such list.
pub(crate) fn processors(list: &str) -> Option<BTreeSet<u32>> {
    let mut all = BTreeSet::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        if last < first || last >= MOST {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_lists_are_read() {
        let cases = [
            ("0", Some(1)),
            ("0-1", Some(2)),
            ("0-3,8,10-11", Some(7)),
            ("", None),
            ("3-1", None),
            ("a", None),
            ("0-4294967295", None),
        ];
        for (list, expected) in cases {
            assert_eq!(processors(list).map(|list| list.len()), expected, "{list}");
        }
    }
}
