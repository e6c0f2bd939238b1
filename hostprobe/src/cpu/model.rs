//! Owns `cpu-model.*`: vendor, family, model and hypervisor as NFD spells them.

use bestfit_selector::facts::Facts;

use super::cpuid::{Processor, nfd_vendor};
use super::cpuinfo::{self, CpuInfo, nfd_arm_vendor};
use crate::feature;
use crate::root::HostRoot;
use crate::seen::Seen;

const NAMES: [&str; 4] = ["vendor_id", "family", "id", "hypervisor"];

/// What NFD calls a vendor that its library does not know.
const NO_VENDOR: &str = "VendorUnknown";
/// What NFD calls the hypervisor of a machine that has none.
const NO_HYPERVISOR: &str = "none";

/// Where z/VM and KVM say that they are there.
const SYSINFO: &str = "/proc/sysinfo";

/// From the processor itself.
pub(crate) fn by_cpuid(processor: &Processor, facts: &mut Facts) {
    let (family, model) = processor.family_and_model();
    let vendor = nfd_vendor(&processor.vendor()).unwrap_or(NO_VENDOR);
    let hypervisor = processor.hypervisor().map_or_else(|| NO_HYPERVISOR.to_owned(), |name| hypervisor_label(&name));
    let values = [vendor.to_owned(), family.to_string(), model.to_string(), hypervisor].map(Seen::Known);
    set(values, ["cpuid 0.0", "cpuid 1.0 eax", "cpuid 1.0 eax", "cpuid 40000000.0"], facts);
}

/// From `/proc/cpuinfo`, which on most architectures does not say which hypervisor there is.
pub(crate) fn by_cpuinfo(root: &HostRoot, info: &Seen<CpuInfo>, facts: &mut Facts) {
    let values = match info {
        Seen::Known(info) => of_cpuinfo(root, info),
        Seen::Absent => [(); 4].map(|()| Seen::Absent),
        Seen::Unknown(why) => [(); 4].map(|()| Seen::Unknown(why.clone())),
    };
    set(values, [cpuinfo::PATH; 4], facts);
}

fn set(values: [Seen<String>; 4], sources: [&str; 4], facts: &mut Facts) {
    for ((name, value), source) in NAMES.into_iter().zip(values).zip(sources) {
        feature::labelled(facts, ("cpu.model", name), &format!("cpu-model.{name}"), value, source);
    }
}

fn of_cpuinfo(root: &HostRoot, info: &CpuInfo) -> [Seen<String>; 4] {
    let untold = |what: &str| Seen::Unknown(format!("{} tells no {what} on this architecture", cpuinfo::PATH));
    let field = |key: &str| info.get(key).map_or_else(|| untold(key), |value| Seen::Known(value.to_owned()));
    let known = |value: &str| Seen::Known(value.to_owned());
    let architecture = root.architecture().or_else(|| info.architecture());
    match architecture {
        Some("amd64" | "386") => {
            let vendor = info.get("vendor_id").and_then(nfd_vendor).unwrap_or(NO_VENDOR);
            let hypervisor = match info.features() {
                Some(flags) if !flags.contains("hypervisor") => known(NO_HYPERVISOR),
                _ => Seen::Unknown(format!("{} does not name the hypervisor", cpuinfo::PATH)),
            };
            [known(vendor), field("cpu family"), field("model"), hypervisor]
        }
        Some("arm64") => {
            let [vendor, family, id] = of_arm64(info);
            [vendor, family, id, untold("hypervisor")]
        }
        // NFD's library knows nothing about these; this is what it answers.
        Some("ppc64le") => [known(NO_VENDOR), known("0"), known("0"), untold("hypervisor")],
        Some("s390x") => {
            let zero = |key: &str| known(info.get(key).unwrap_or("0"));
            let vendor = info.get("vendor_id").map_or_else(|| NO_VENDOR.to_owned(), label);
            [Seen::Known(vendor), zero("identification"), zero("machine"), control_program(root)]
        }
        _ => [untold("vendor"), untold("family"), untold("id"), untold("hypervisor")],
    }
}

/// What NFD's library makes of the main identification register, whose fields the file has: variant and architecture as
/// the family, part and revision as the model. Without the capability to read the register it knows nothing.
fn of_arm64(info: &CpuInfo) -> [Seen<String>; 3] {
    const ARCHITECTURE: u32 = 0xf;
    if !info.features().is_some_and(|features| features.contains("cpuid")) {
        return [NO_VENDOR, "0", "0"].map(|value| Seen::Known(value.to_owned()));
    }
    let number = |key: &str| {
        let text = info.get(key)?;
        text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
    };
    let told = |value: Option<u32>, what: &str| match value {
        Some(value) => Seen::Known(value.to_string()),
        None => Seen::Unknown(format!("{}: no {what}", cpuinfo::PATH)),
    };
    let family = number("CPU variant").map(|variant| (variant & 0xf) << 4 | ARCHITECTURE);
    let part = number("CPU part").zip(number("CPU revision"));
    let vendor = info.get("CPU implementer").and_then(nfd_arm_vendor).unwrap_or(NO_VENDOR);
    [
        Seen::Known(vendor.to_owned()),
        told(family, "CPU variant"),
        told(part.map(|(part, revision)| (part & 0xfff) << 4 | revision & 0xf), "CPU part and revision"),
    ]
}

/// The hypervisor of an s390x machine.
fn control_program(root: &HostRoot) -> Seen<String> {
    Seen::of(root.text(SYSINFO)).map(|text| {
        let line = text.lines().find(|line| line.contains("Control Program:"));
        let name = line.and_then(|line| line.split_once(':')).map_or("", |(_, name)| name.trim());
        if name.is_empty() { NO_HYPERVISOR.to_owned() } else { label(name) }
    })
}

/// NFD's label of a hypervisor: its known name in lower case, else the raw text.
fn hypervisor_label(raw: &str) -> String {
    match nfd_vendor(raw) {
        Some(name) => name.to_lowercase(),
        None if raw.is_empty() => "unknown".to_owned(),
        None => label(raw),
    }
}

/// The text with one `_` for each run of what a label cannot hold.
fn label(raw: &str) -> String {
    let allowed = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    let (mut label, mut in_run) = (String::new(), false);
    for char in raw.chars() {
        if allowed(char) {
            label.push(char);
        } else if !in_run {
            label.push('_');
        }
        in_run = !allowed(char);
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hypervisors_are_named_as_nfd_does() {
        for (raw, label) in
            [("KVMKVMKVM", "kvm"), ("Microsoft Hv", "msvm"), (" lrpepyh  vr", "_lrpepyh_vr"), ("", "unknown")]
        {
            assert_eq!(hypervisor_label(raw), label);
        }
    }

    #[test]
    fn cpuinfo_says_that_there_is_a_hypervisor_but_not_which() {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::at(&dir).unwrap();
        let bare = CpuInfo::parse("vendor_id : AuthenticAMD\ncpu family : 26\nmodel : 68\nflags : fpu lm\n");
        let known = |value: &str| Seen::Known(value.to_owned());
        assert_eq!(of_cpuinfo(&root, &bare), [known("AMD"), known("26"), known("68"), known("none")]);
        let guest = CpuInfo::parse("vendor_id : GenuineIntel\ncpu family : 6\nmodel : 1\nflags : lm hypervisor\n");
        assert!(matches!(of_cpuinfo(&root, &guest)[3], Seen::Unknown(_)));
    }

    // Neoverse V2 of a Grace: MIDR 0x410fd4f0.
    #[test]
    fn the_identification_register_is_put_together() {
        let text = "Features : fp asimd cpuid\nCPU implementer : 0x41\nCPU architecture: 8\nCPU variant : 0x0\n\
                    CPU part : 0xd4f\nCPU revision : 0\n";
        let known = |value: u32| Seen::Known(value.to_string());
        assert_eq!(of_arm64(&CpuInfo::parse(text))[1..], [known(0xf), known(0xd4f0)]);
        let hidden = CpuInfo::parse(&text.replace(" cpuid", ""));
        assert_eq!(of_arm64(&hidden), [NO_VENDOR, "0", "0"].map(|value| Seen::Known(value.to_owned())));
    }

    #[test]
    fn runs_become_one_underscore() {
        for (raw, expected) in [("IBM/S390", "IBM_S390"), ("KVM/Linux  7.0", "KVM_Linux_7.0"), ("a_/b", "a__b")] {
            assert_eq!(label(raw), expected);
        }
    }
}
