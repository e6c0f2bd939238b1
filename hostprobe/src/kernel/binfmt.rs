//! Owns programs of other architectures that the kernel hands to an emulator: the handlers `qemu-*` of binfmt_misc.

use bestfit_selector::facts::{Fact, Facts};

use crate::HOST;
use crate::root::HostRoot;
use crate::seen::Seen;

const DIR: &str = "/proc/sys/fs/binfmt_misc";

/// What QEMU calls architectures that OCI calls otherwise.
const NAMES: [(&str, &str); 5] =
    [("aarch64", "arm64"), ("x86_64", "amd64"), ("i386", "386"), ("loongarch64", "loong64"), ("mips64el", "mips64le")];

pub(super) fn probe(root: &HostRoot, facts: &mut Facts) {
    let names = handlers(root);
    let others = match &names {
        Seen::Unknown(why) => Fact::unknown(why, DIR),
        Seen::Known(_) | Seen::Absent => Fact::absent(DIR),
    };
    facts.set(HOST, "binfmt.*", others);
    let Seen::Known(names) = names else { return };
    let on = Seen::of(root.text(&format!("{DIR}/status"))).map(|text| text.trim() == "enabled");
    for name in &names {
        let Some(emulated) = name.strip_prefix("qemu-") else { continue };
        let path = format!("{DIR}/{name}");
        let architecture = NAMES.iter().find(|(qemu, _)| *qemu == emulated).map_or(emulated, |(_, oci)| oci);
        let seen = Seen::of(root.text(&path)).and_then(|text| on.as_ref().map(|on| *on && works_in_containers(&text)));
        facts.set(HOST, format!("binfmt.{architecture}"), seen.fact(path));
    }
}

/// The names in the directory. A kernel without this file system has no such directory, one where it is not mounted an empty
/// one. To look into one that systemd mounts on demand would mount it.
fn handlers(root: &HostRoot) -> Seen<Vec<String>> {
    let awaits = root.seen(root.awaits_mount(DIR), "/proc/sys");
    let names = awaits.and_then(|awaits| if awaits { Seen::Known(Vec::new()) } else { Seen::of(root.names(DIR)) });
    names.and_then(|names| match names.iter().any(|name| name == "status") {
        true => Seen::Known(names),
        false => Seen::Unknown(format!("{DIR}: binfmt_misc is not mounted")),
    })
}

/// With the flag F the kernel holds the emulator open, so that a container need not have it
/// (Documentation/admin-guide/binfmt-misc.rst).
fn works_in_containers(text: &str) -> bool {
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    text.starts_with("enabled") && flags.is_some_and(|flags| flags.contains('F'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_decides() {
        let handler = |first: &str, flags: &str| {
            format!("{first}\ninterpreter /usr/bin/qemu-aarch64-static\nflags: {flags}\noffset 0\n")
        };
        assert!(works_in_containers(&handler("enabled", "POCF")));
        assert!(!works_in_containers(&handler("enabled", "OC")));
        assert!(!works_in_containers(&handler("disabled", "F")));
        assert!(!works_in_containers(""));
    }
}
