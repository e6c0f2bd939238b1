//! Owns the version of the control groups that containers get, and the controllers.

use std::collections::BTreeSet;

use bestfit_selector::facts::Facts;

use crate::HOST;
use crate::root::{HostRoot, Part};
use crate::seen::Seen;

/// Only the root of the unified hierarchy has this file; in hybrid mode it lies one folder deeper.
const CONTROLLERS: &str = "/sys/fs/cgroup/cgroup.controllers";
/// The controllers of version 1.
const SUBSYSTEMS: &str = "/proc/cgroups";
/// The init process sees the host's mounts; this process may not.
const MOUNTS: [&str; 2] = ["/proc/1/mountinfo", "/proc/self/mountinfo"];
/// Every container changes how many groups there are.
pub(crate) const ENABLED: Part =
    Part { path: SUBSYSTEMS, name: "enabled", of: |text| enabled(text).into_iter().collect::<Vec<_>>().join(" ") };
/// And what else is mounted.
pub(crate) const HIERARCHIES: [Part; 2] = [
    Part { path: MOUNTS[0], name: "cgroup", of: hierarchies },
    Part { path: MOUNTS[1], name: "cgroup", of: hierarchies },
];

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) {
    let (version, source) = version(root);
    let (controllers, place) = controllers(root, &version);
    facts.set(HOST, "cgroup.controllers", controllers.fact(place));
    facts.set(HOST, "cgroup.version", version.fact(source));
}

/// The controllers that the kernel offers; which of them a container is given is its runtime's affair.
fn controllers(root: &HostRoot, version: &Seen<i64>) -> (Seen<BTreeSet<String>>, &'static str) {
    match version {
        Seen::Known(2) => (Seen::of(root.text(CONTROLLERS)).map(words), CONTROLLERS),
        Seen::Known(_) => (Seen::of(root.text_of(&ENABLED)).map(words), SUBSYSTEMS),
        Seen::Absent => (Seen::Absent, SUBSYSTEMS),
        Seen::Unknown(why) => (Seen::Unknown(why.clone()), SUBSYSTEMS),
    }
}

fn words(text: String) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The enabled ones among the lines of `/proc/cgroups`: name, hierarchy, number of groups, enabled (cgroups(7)).
fn enabled(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.filter(|words| words.get(3) == Some(&"1")).map(|words| words[0].to_owned()).collect()
}

fn version(root: &HostRoot) -> (Seen<i64>, &'static str) {
    match root.exists(CONTROLLERS) {
        Ok(true) => return (Seen::Known(2), CONTROLLERS),
        Ok(false) => {}
        Err(error) => return (Seen::Unknown(error.to_string()), CONTROLLERS),
    }
    let mut why = String::new();
    for part in &HIERARCHIES {
        match root.text_of(part) {
            Ok(mountinfo) => return (mounted(&mountinfo).map_or(Seen::Absent, Seen::Known), part.path),
            Err(error) => why = error.to_string(),
        }
    }
    (Seen::Unknown(why), MOUNTS[1])
}

/// The lines of `mountinfo` (proc_pid_mountinfo(5)) about the place where control groups are mounted.
fn hierarchies(mountinfo: &str) -> String {
    let point = |line: &str| line.split(' ').nth(4).is_some_and(|point| point.starts_with("/sys/fs/cgroup"));
    mountinfo.lines().filter(|line| point(line)).map(|line| format!("{line}\n")).collect()
}

/// 2 where the unified hierarchy is at the top, 1 where any controller of version 1 is mounted (hybrid mode counts: the
/// controllers that containers get are of version 1). The format is proc(5), `/proc/pid/mountinfo`.
fn mounted(mountinfo: &str) -> Option<i64> {
    let mounts = || {
        mountinfo.lines().filter_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            Some((mount.split(' ').nth(4)?, filesystem.split(' ').next()?))
        })
    };
    if mounts().any(|(point, kind)| point == "/sys/fs/cgroup" && kind == "cgroup2") {
        return Some(2);
    }
    mounts().any(|(point, kind)| point.starts_with("/sys/fs/cgroup/") && kind == "cgroup").then_some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Lines of Debian 12 with systemd, and of a guest with hand-mounted controllers.
    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                          32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                          41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn enabled_controllers_count() {
        let text =
            "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t2\t1\t1\nmemory\t0\t1\t0\npids\t3\t9\t1\nbroken 1\n";
        assert_eq!(enabled(text).into_iter().collect::<Vec<_>>(), ["cpu", "pids"]);
    }

    #[test]
    fn the_top_decides() {
        assert_eq!(mounted(UNIFIED), Some(2));
        assert_eq!(mounted(HYBRID), Some(1));
        assert_eq!(mounted("23 1 0:2 / /sys rw - sysfs sysfs rw\n"), None);
        assert_eq!(mounted("broken\n- - -\n"), None);
    }
}
