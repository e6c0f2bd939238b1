//! Owns what kind of machine the kernel runs on and offers: a guest or bare metal, a protected guest, KVM for guests of its
//! own, and devices for memory shared between processes. Devices are looked for, never opened.

use bestfit_selector::facts::{Facts, State, Value};

use super::DEVICES;
use crate::root::HostRoot;
use crate::seen::Seen;
use crate::{HOST, NFD};

const KVM: &str = "/dev/kvm";
/// Of Intel, AMD, s390x and POWER; other architectures have no such file.
const NESTED: [&str; 4] = [
    "/sys/module/kvm_intel/parameters/nested",
    "/sys/module/kvm_amd/parameters/nested",
    "/sys/module/kvm/parameters/nested",
    "/sys/module/kvm_hv/parameters/nested",
];
const HYPERVISOR: &str = "/sys/hypervisor/type";
const DMI: &str = "/sys/devices/virtual/dmi/id";
const SECURE_GUEST: &str = "/sys/firmware/uv/prot_virt_guest";

/// Devices that only a protected guest has, and of which kind it is.
const GUESTS: [(&str, &str); 2] = [("/dev/sev-guest", "sev-snp"), ("/dev/tdx_guest", "tdx")];

/// What s390x's control program calls itself, as it begins in NFD's form.
const PROGRAMS: [(&str, &str); 2] = [("KVM", "kvm"), ("z_VM", "zvm")];

/// What firmware of virtual machines calls its maker or product, as it begins. Clouds that also rent bare metal are told
/// apart by the product.
const MAKERS: [(&str, &str); 8] = [
    ("QEMU", "kvm"),
    ("VMware", "vmware"),
    ("Xen", "xen"),
    ("innotek GmbH", "virtualbox"),
    ("OpenStack Foundation", "kvm"),
    ("Parallels", "parallels"),
    ("Virtual Machine", "msvm"),
    ("KVM", "kvm"),
];

pub(super) fn probe(root: &HostRoot, facts: &mut Facts) {
    facts.set(HOST, "kvm", root.seen_there(KVM, DEVICES).fact(KVM));
    let (nested, source) = nested(root);
    facts.set(HOST, "kvm.nested", nested.fact(source));
    let (hypervisor, source) = hypervisor(root, facts);
    facts.set(HOST, "virt", hypervisor.fact(source));
    let (kind, source) = protected(root);
    facts.set(HOST, "confidential.guest", kind.fact(source));
    for name in ["xpmem", "knem"] {
        let path = format!("/dev/{name}");
        facts.set(HOST, format!("shmem.{name}"), root.seen_there(&path, DEVICES).fact(path));
    }
    let copies = super::confinement::copies_between_processes(facts);
    facts.set(HOST, "shmem.cma", copies);
}

/// Whether guests may have guests.
fn nested(root: &HostRoot) -> (Seen<bool>, &'static str) {
    for path in NESTED {
        match root.seen_line(path, "/sys/module").map(|text| text.starts_with(['1', 'Y'])) {
            Seen::Absent => {}
            seen => return (seen, path),
        }
    }
    // Without KVM there are no guests; with it, some architecture's file should have been there.
    let untold = |_| Seen::Unknown("no file of this architecture says whether guests may have guests".to_owned());
    (root.seen_there(KVM, DEVICES).and_then(untold), NESTED[0])
}

/// The hypervisor below this kernel: Xen's own word, then CPUID's, then the firmware's.
fn hypervisor(root: &HostRoot, facts: &Facts) -> (Seen<String>, String) {
    if let Seen::Known(kind) = root.seen_line(HYPERVISOR, "/sys/devices") {
        return (Seen::Known(kind), HYPERVISOR.to_owned());
    }
    let by_processor = facts.get(NFD, "cpu-model.hypervisor");
    match by_processor.map(|fact| (&fact.state, &fact.source)) {
        Some((State::Known { value: Value::Text(name) }, source)) if name == "none" => {
            return (Seen::Absent, source.clone());
        }
        Some((State::Known { value }, source)) => {
            let name = value.to_string();
            let listed = PROGRAMS.iter().find(|(program, _)| name.starts_with(program));
            return (Seen::Known(listed.map_or(name.clone(), |(_, kind)| (*kind).to_owned())), source.clone());
        }
        _ => {}
    }
    for field in ["sys_vendor", "product_name"] {
        let path = format!("{DMI}/{field}");
        match root.attribute(&path) {
            Ok(Some(text)) => {
                if let Some((_, kind)) = MAKERS.iter().find(|(maker, _)| text.starts_with(maker)) {
                    return (Seen::Known((*kind).to_owned()), path);
                }
            }
            Ok(None) => {}
            Err(error) => return (Seen::Unknown(error.to_string()), path),
        }
    }
    (Seen::Unknown("neither the processor nor the firmware names a hypervisor".to_owned()), DMI.to_owned())
}

/// What protects this guest from its host.
fn protected(root: &HostRoot) -> (Seen<&'static str>, &'static str) {
    let secure = root.seen_line(SECURE_GUEST, "/sys/firmware");
    if matches!(&secure, Seen::Known(text) if text == "1") {
        return (Seen::Known("secure-execution"), SECURE_GUEST);
    }
    for (path, kind) in GUESTS {
        match root.seen_there(path, DEVICES) {
            Seen::Known(_) => return (Seen::Known(kind), path),
            Seen::Unknown(why) => return (Seen::Unknown(why), path),
            Seen::Absent => {}
        }
    }
    if let Seen::Unknown(why) = secure {
        return (Seen::Unknown(why), SECURE_GUEST);
    }
    (Seen::Absent, "/dev")
}

#[cfg(test)]
mod tests {
    use bestfit_selector::facts::Fact;

    use super::*;

    #[test]
    fn control_programs_go_by_their_listed_names() {
        let root = tempfile::tempdir().unwrap();
        let root = HostRoot::at(&root).unwrap();
        for (name, expected) in [("z_VM____7.2.0", "zvm"), ("KVM_Linux", "kvm"), ("kvm", "kvm"), ("msvm", "msvm")] {
            let mut facts = Facts::default();
            facts.set(NFD, "cpu-model.hypervisor", Fact::known(name, "/proc/sysinfo"));
            assert_eq!(hypervisor(&root, &facts).0, Seen::Known(expected.to_owned()));
        }
    }
}
