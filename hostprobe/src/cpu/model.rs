//! Owns `cpu-model.*`: vendor, family, model and hypervisor as NFD spells them.

use bestfit_selector::facts::Facts;

use super::cpuid::{Processor, nfd_vendor};
use super::cpuinfo::{self, CpuInfo, nfd_arm_vendor};
use crate::NFD;
use crate::seen::Seen;

const KEYS: [&str; 4] = ["cpu-model.vendor_id", "cpu-model.family", "cpu-model.id", "cpu-model.hypervisor"];

/// From the processor itself.
pub(crate) fn by_cpuid(processor: &Processor, facts: &mut Facts) {
    let (family, model) = processor.family_and_model();
    let vendor = nfd_vendor(&processor.vendor()).unwrap_or("VendorUnknown");
    let hypervisor = processor.hypervisor().map_or_else(|| "none".to_owned(), |name| hypervisor_label(&name));
    let values = [vendor.to_owned(), family.to_string(), model.to_string(), hypervisor];
    let sources = ["cpuid 0.0", "cpuid 1.0 eax", "cpuid 1.0 eax", "cpuid 40000000.0"];
    for ((key, value), source) in KEYS.into_iter().zip(values).zip(sources) {
        facts.set(NFD, key, Seen::Known(value).fact(source));
    }
}

/// From `/proc/cpuinfo`, which says whether there is a hypervisor, but not which.
pub(crate) fn by_cpuinfo(info: &Seen<CpuInfo>, facts: &mut Facts) {
    let values = match info {
        Seen::Known(info) => of_cpuinfo(info),
        Seen::Absent => [(); 4].map(|()| Seen::Absent),
        Seen::Unknown(why) => [(); 4].map(|()| Seen::Unknown(why.clone())),
    };
    for (key, value) in KEYS.into_iter().zip(values) {
        facts.set(NFD, key, value.fact(cpuinfo::PATH));
    }
}

fn of_cpuinfo(info: &CpuInfo) -> [Seen<String>; 4] {
    let untold = |what: &str| Seen::Unknown(format!("{} tells no {what} on this architecture", cpuinfo::PATH));
    let field = |key: &str| info.get(key).map_or_else(|| untold(key), |value| Seen::Known(value.to_owned()));
    match info.architecture() {
        Some("amd64" | "386") => {
            let vendor = info.get("vendor_id").and_then(nfd_vendor).unwrap_or("VendorUnknown");
            let hypervisor = match info.features() {
                Some(flags) if !flags.contains("hypervisor") => Seen::Known("none".to_owned()),
                _ => Seen::Unknown(format!("{} does not name the hypervisor", cpuinfo::PATH)),
            };
            [Seen::Known(vendor.to_owned()), field("cpu family"), field("model"), hypervisor]
        }
        Some("arm64") => {
            let vendor = info.get("CPU implementer").and_then(nfd_arm_vendor).unwrap_or("VendorUnknown");
            [Seen::Known(vendor.to_owned()), untold("family"), untold("id"), untold("hypervisor")]
        }
        _ => [untold("vendor"), untold("family"), untold("id"), untold("hypervisor")],
    }
}

/// NFD's label of a hypervisor: its known name in lower case, else the raw text with `_` for what a label cannot hold.
fn hypervisor_label(raw: &str) -> String {
    if let Some(name) = nfd_vendor(raw) {
        return name.to_lowercase();
    }
    let mut label = String::new();
    for char in raw.chars() {
        match char {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '_' | '.' => label.push(char),
            _ if label.ends_with('_') => {}
            _ => label.push('_'),
        }
    }
    if label.is_empty() { "unknown".to_owned() } else { label }
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
        let bare = CpuInfo::parse("vendor_id : AuthenticAMD\ncpu family : 26\nmodel : 68\nflags : fpu lm\n");
        let known = |value: &str| Seen::Known(value.to_owned());
        assert_eq!(of_cpuinfo(&bare), [known("AMD"), known("26"), known("68"), known("none")]);
        let guest = CpuInfo::parse("vendor_id : GenuineIntel\ncpu family : 6\nmodel : 1\nflags : lm hypervisor\n");
        assert!(matches!(of_cpuinfo(&guest)[3], Seen::Unknown(_)));
    }
}
