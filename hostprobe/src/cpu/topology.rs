//! Owns what sysfs says about the processors: how many, their threads, and Intel's P-state and C-state drivers.

use bestfit_selector::facts::Facts;

use crate::root::HostRoot;
use crate::seen::Seen;
use crate::{HOST, NFD};

const CPUS: &str = "/sys/devices/system/cpu";

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) {
    let online = format!("{CPUS}/online");
    let count = root.seen_line(&online, CPUS).and_then(|text| match count(&text) {
        Some(count) => Seen::Known(count),
        None => Seen::Unknown(format!("{online}: not a list of processors: {text:?}")),
    });
    facts.set(HOST, "cpu.count", not_absent(count, &online).fact(&online));

    let (threads, source) = multithreading(root);
    facts.set(NFD, "cpu-hardware_multithreading", threads.as_ref().map(|value| *value).fact(&source));
    facts.set(HOST, "cpu.smt", threads.fact(source));

    pstate(root, facts);
    cstate(root, facts);
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
    let is_cpu = |name: &&String| {
        name.strip_prefix("cpu").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut looked = false;
    for name in names.iter().filter(is_cpu) {
        match root.text(&pattern.replace("cpu*", name)) {
            Ok(list) if list.contains([',', '-']) => return Seen::Known(true),
            Ok(_) => looked = true,
            Err(error) => return Seen::Unknown(error.to_string()),
        }
    }
    if looked { Seen::Known(false) } else { Seen::Unknown(format!("{pattern}: no processor there")) }
}

/// Intel's P-state driver; other drivers, and one that is off, have no such label.
fn pstate(root: &HostRoot, facts: &mut Facts) {
    let (path, no_turbo) = (format!("{CPUS}/intel_pstate/status"), format!("{CPUS}/intel_pstate/no_turbo"));
    let status = root.seen_line(&path, CPUS).and_then(|status| match status.as_str() {
        "off" => Seen::Absent,
        _ => Seen::Known(status),
    });
    let turbo = status.as_ref().and_then(|_| root.seen_line(&no_turbo, CPUS)).map(|text| text.starts_with('0'));
    facts.set(NFD, "cpu-pstate.status", status.fact(path));
    facts.set(NFD, "cpu-pstate.turbo", turbo.fact(no_turbo));
}

/// Whether Intel's idle driver may enter C-states; other drivers have no such label.
fn cstate(root: &HostRoot, facts: &mut Facts) {
    let driver = format!("{CPUS}/cpuidle/current_driver");
    let limit = "/sys/module/intel_idle/parameters/max_cstate";
    let enabled = root
        .seen_line(&driver, CPUS)
        .and_then(|driver| if driver == "intel_idle" { root.seen_line(limit, "/sys/module") } else { Seen::Absent })
        .and_then(|text| match text.parse::<u32>() {
            Ok(states) => Seen::Known(states > 0),
            Err(_) => Seen::Unknown(format!("{limit}: not a number: {text:?}")),
        });
    facts.set(NFD, "cpu-cstate.enabled", enabled.fact(driver));
}

/// How many processors a kernel list such as `0-3,8` names; `None` when it is no such list.
fn count(list: &str) -> Option<i64> {
    list.split(',').try_fold(0i64, |count, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        (last >= first).then(|| count + i64::from(last - first) + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_lists_are_counted() {
        let cases =
            [("0", Some(1)), ("0-1", Some(2)), ("0-3,8,10-11", Some(7)), ("", None), ("3-1", None), ("a", None)];
        for (list, expected) in cases {
            assert_eq!(count(list), expected, "{list}");
        }
    }
}
