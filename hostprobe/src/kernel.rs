//! Owns the kernel's version, whether SELinux enforces, and whether there is KVM.
//!
//! - [`filesystems`]: file systems, and modules that could be loaded
//! - [`confinement`], [`landlock`], [`limits`]: what programs may do, and confine themselves with
//! - [`binfmt`]: programs of other architectures
//! - [`machine`]: guest or bare metal, KVM, devices for shared memory

mod binfmt;
mod confinement;
mod filesystems;
mod landlock;
mod limits;
mod machine;

use bestfit_selector::facts::Facts;

use crate::root::HostRoot;
use crate::seen::Seen;
use crate::{HOST, NFD, kconfig, modules};

const RELEASE: &str = "/proc/sys/kernel/osrelease";
const ENFORCE: &str = "/sys/fs/selinux/enforce";
/// A device that is there wherever devices are.
const DEVICES: &str = "/dev/null";
const KVM: &str = "/sys/devices/virtual/misc/kvm";

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) {
    let release = match root.seen_line(RELEASE, "/proc/sys") {
        // Every kernel has this file: without it the root was recorded in part.
        Seen::Absent => Seen::Unknown(format!("{RELEASE}: not there")),
        seen => seen,
    };
    let version = release.as_ref().and_then(|release| match numeric_prefix(release) {
        "" => Seen::Unknown(format!("{RELEASE}: begins with no number: {release:?}")),
        version => Seen::Known(version.to_owned()),
    });
    facts.set(HOST, "kernel.version", version.fact(RELEASE));
    let suffix =
        release.as_ref().and_then(|release| suffix(release).map_or(Seen::Absent, |word| Seen::Known(word.to_owned())));
    facts.set(HOST, "kernel.suffix", suffix.fact(RELEASE));
    facts.set(HOST, "kernel.release", release.as_ref().map(|release| release.clone()).fact(RELEASE));

    set_version(&release, facts);
    modules::probe(root, &release, facts);
    kconfig::probe(root, &release, facts);
    set_switches(root, facts);
    filesystems::probe(root, &release, facts);
    confinement::probe(root, facts);
    machine::probe(root, facts);
    limits::probe(root, facts);
    binfmt::probe(root, facts);
}

fn set_version(release: &Seen<String>, facts: &mut Facts) {
    const FEATURE: &str = "kernel.version";
    let full = release.as_ref().map(|release| nfd_full(release));
    if let Seen::Unknown(why) = &full {
        facts.features.set_unknown(FEATURE, why);
    }
    let parts = full.as_ref().and_then(|full| nfd_parts(full).map_or(Seen::Absent, Seen::Known));
    let part = |index: usize| parts.as_ref().map(|parts: &[String; 3]| parts[index].clone());
    let values = [("full", full), ("major", part(0)), ("minor", part(1)), ("revision", part(2))];
    for (name, value) in values {
        if let Seen::Known(value) = &value {
            facts.features.set_attribute(FEATURE, name, value);
        }
        facts.set(NFD, format!("kernel-version.{name}"), value.fact(RELEASE));
    }
}

/// What is on or off in this kernel. NFD says false where the kernel has no such thing.
fn set_switches(root: &HostRoot, facts: &mut Facts) {
    let enforcing = root.seen_line(ENFORCE, "/sys/fs").map(|text| text.starts_with('1'));
    let kvm = root.seen_there(KVM, "/sys/devices");
    for (feature, state) in [("kernel.selinux", &enforcing), ("kernel.kvm", &kvm)] {
        match state {
            Seen::Known(enabled) => facts.features.set_attribute(feature, "enabled", enabled.to_string()),
            Seen::Absent => facts.features.set_attribute(feature, "enabled", "false"),
            Seen::Unknown(why) => facts.features.set_unknown(feature, why),
        }
    }
    facts.set(NFD, "kernel-selinux.enabled", enforcing.true_only().fact(ENFORCE));
}

/// The leading number of at most three components: `5.14.0` of `5.14.0-427.13.1.el9_4.x86_64`.
fn numeric_prefix(release: &str) -> &str {
    let mut end = 0;
    for component in release.splitn(4, '.').take(3) {
        let digits = component.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            break;
        }
        // The dot before this component counts only with the digits after it.
        end += usize::from(end > 0) + digits;
        if digits < component.len() {
            break;
        }
    }
    &release[..end]
}

/// What the vendor put behind the version: `el9_4` of `5.14.0-427.13.1.el9_4.x86_64`, `amd64` of `6.1.0-28-amd64`. The last
/// word that has a letter, the machine's name aside.
fn suffix(release: &str) -> Option<&str> {
    const MACHINES: [&str; 6] = ["x86_64", "aarch64", "ppc64le", "s390x", "riscv64", "i686"];
    let rest = release.get(numeric_prefix(release).len()..)?;
    let mut words = rest.split(['.', '-', '+']);
    words.rfind(|word| word.contains(|char: char| char.is_ascii_alphabetic()) && !MACHINES.contains(word))
}

/// NFD's label text: what a label cannot hold becomes `_`, and no separator stands at either end.
fn nfd_full(release: &str) -> String {
    let label = release.replace(|char: char| !char.is_ascii_alphanumeric() && !"-_.".contains(char), "_");
    label.trim_matches(['-', '_', '.']).to_owned()
}

/// NFD's `^(\d+)(\.(\d+))?(\.(\d+))?(-.*)?$`: major, minor and revision, empty where they are missing; `None` where a
/// version has another shape, such as one of four components.
fn nfd_parts(full: &str) -> Option<[String; 3]> {
    let version = full.split_once('-').map_or(full, |(version, _)| version);
    let components: Vec<&str> = version.split('.').collect();
    let numeric = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if components.len() > 3 || !components.iter().all(numeric) {
        return None;
    }
    Some([0, 1, 2].map(|index| components.get(index).copied().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // `uname -r` of Rocky 9, Debian 12, WSL 2, a kernel built from source, and an Arch kernel; then made-up shapes.
    #[test]
    fn releases_are_split() {
        let cases = [
            ("5.14.0-427.13.1.el9_4.x86_64", "5.14.0", Some(["5", "14", "0"])),
            ("6.1.0-28-amd64", "6.1.0", Some(["6", "1", "0"])),
            ("5.15.153.1-microsoft-standard-WSL2", "5.15.153", None),
            ("6.18.44-custom", "6.18.44", Some(["6", "18", "44"])),
            ("6.12-arch1", "6.12", Some(["6", "12", ""])),
            ("6.9rc1", "6.9", None),
            ("6", "6", Some(["6", "", ""])),
            ("6..1", "6", None),
            ("next", "", None),
            ("", "", None),
        ];
        for (release, version, parts) in cases {
            assert_eq!(numeric_prefix(release), version, "{release}");
            let found = nfd_parts(release);
            assert_eq!(found, parts.map(|parts| parts.map(str::to_owned)), "{release}");
        }
    }

    #[test]
    fn vendors_words_stand_apart() {
        let cases = [
            ("5.14.0-427.13.1.el9_4.x86_64", Some("el9_4")),
            ("6.1.0-28-amd64", Some("amd64")),
            ("6.8.0-1021-aws", Some("aws")),
            ("6.9rc1", Some("rc1")),
            ("6.18.44", None),
            ("5.14.0-1.x86_64", None),
            ("", None),
        ];
        for (release, expected) in cases {
            assert_eq!(suffix(release), expected, "{release}");
        }
    }

    #[test]
    fn the_label_holds_only_what_a_label_can() {
        assert_eq!(nfd_full("6.1.0+rpt-rpi~v8-"), "6.1.0_rpt-rpi_v8");
    }

    proptest::proptest! {
        #[test]
        fn any_release_is_taken(release in ".{0,40}") {
            proptest::prop_assert!(release.starts_with(numeric_prefix(&release)));
            let _ = nfd_parts(&nfd_full(&release));
        }
    }
}
