//! Owns the protection of guests and enclaves: NFD's `cpu.security` (SGX, TDX, SEV, Secure Execution).

use bestfit_selector::facts::Facts;

use super::cpuid::{Processor, Register};
use super::x86::X86;
use crate::feature;
use crate::labels::UNLABELLED_SECURITY;
use crate::root::HostRoot;
use crate::seen::Seen;

const FEATURE: &str = "cpu.security";
const MODULES: &str = "/sys/module";
/// The host's supply of keys, where control groups of version 2 and 1 show it.
const CAPACITY: [&str; 2] = ["/sys/fs/cgroup/misc.capacity", "/sys/fs/cgroup/misc/misc.capacity"];

pub(crate) fn probe(root: &HostRoot, x86: &X86, facts: &mut Facts) {
    let mut set = |name: &str, seen: Seen<String>, source: &str| {
        if UNLABELLED_SECURITY.contains(&name) {
            feature::attribute(&mut facts.features, FEATURE, name, &seen);
        } else {
            let label = format!("cpu-security.{name}");
            // NFD's labels are true or absent.
            let seen = seen.map(|value| value == "true");
            feature::labelled(facts, (FEATURE, name), &label, seen, source);
        }
    };
    let epc = x86.ask(enclave_memory, "its enclave memory");
    set("sgx.enabled", epc.as_ref().map(|_| TRUE.to_owned()), "cpuid 12");
    set("sgx.epc", epc.map(|bytes| bytes.to_string()), "cpuid 12");
    let guest = x86.flag("TDX_GUEST");
    set("tdx.protected", guest.true_only().map(|_| TRUE.to_owned()), "cpuid 21.0");

    let capacity = Capacity::load(root);
    for (module, parameter, name, keys) in [
        ("kvm_intel", "tdx", "tdx.enabled", Some(("tdx", "tdx.total_keys"))),
        ("kvm_amd", "sev", "sev.enabled", Some(("sev", "sev.asids"))),
        ("kvm_amd", "sev_es", "sev.es.enabled", Some(("sev_es", "sev.encrypted_state_ids"))),
        ("kvm_amd", "sev_snp", "sev.snp.enabled", None),
    ] {
        let path = format!("{MODULES}/{module}/parameters/{parameter}");
        let enabled = root.seen_line(&path, MODULES).map(|text| text.starts_with(['1', 'Y'])).true_only();
        if let Some((resource, count)) = keys {
            let number = enabled.as_ref().and_then(|_| capacity.of(resource));
            set(count, number.map(|number| number.to_string()), CAPACITY[0]);
        }
        set(name, enabled.map(|_| TRUE.to_owned()), &path);
    }
    let path = "/sys/firmware/uv/prot_virt_host";
    let secure = root.seen_line(path, "/sys/firmware").map(|text| text == "1").true_only();
    set("se.enabled", secure.map(|_| TRUE.to_owned()), path);
    feature::open(&mut facts.features, FEATURE);
}

const TRUE: &str = "true";

/// The bytes of all enclave page cache sections; absent without any.
fn enclave_memory(processor: &Processor) -> Seen<u64> {
    const SGX: u8 = 2;
    const SECTION: u32 = 1;
    match processor.bit(7, 0, Register::Ebx, SGX) {
        Some(true) => {}
        Some(false) => return Seen::Absent,
        None => return Seen::Unknown("cpuid 7.0 was not recorded".to_owned()),
    }
    let mut bytes = 0;
    for subleaf in 2..10 {
        match processor.leaf(0x12, subleaf) {
            Seen::Known(leaf) if leaf.eax & 0xf == 0 => break,
            Seen::Known(leaf) if leaf.eax & 0xf == SECTION => {
                bytes += u64::from(leaf.ecx & 0xffff_f000) + (u64::from(leaf.edx & 0xf_ffff) << 32);
            }
            Seen::Known(_) => {}
            Seen::Absent => break,
            Seen::Unknown(why) => return Seen::Unknown(why),
        }
    }
    if bytes > 0 { Seen::Known(bytes) } else { Seen::Absent }
}

/// The lines of `misc.capacity`: a resource and how many there are.
struct Capacity(Seen<String>);

impl Capacity {
    fn load(root: &HostRoot) -> Self {
        let first = root.seen(root.text(CAPACITY[0]), "/sys/fs/cgroup");
        Self(match first {
            Seen::Absent => root.seen(root.text(CAPACITY[1]), "/sys/fs/cgroup"),
            seen => seen,
        })
    }

    fn of(&self, resource: &str) -> Seen<u64> {
        self.0.as_ref().and_then(|text| match capacity(text, resource) {
            Some(number) => Seen::Known(number),
            None => Seen::Absent,
        })
    }
}

fn capacity(text: &str, resource: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(resource)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::cpuid::CpuidDump;

    #[test]
    fn capacities_are_found_by_their_whole_name() {
        let text = "sev_es 99\nsev 410\ntdx x\n";
        assert_eq!(capacity(text, "sev"), Some(410));
        assert_eq!(capacity(text, "sev_es"), Some(99));
        assert_eq!(capacity(text, "tdx"), None);
        assert_eq!(capacity(text, "se"), None);
    }

    // Two sections of 0x8000_0000 and 0x1_0000_0000 bytes, then the end.
    #[test]
    fn sections_of_enclave_memory_add_up() {
        let dump = |seven: u32| {
            let sections = format!("18,2,1,0,{},0\n18,3,1,0,1,1\n18,4,0,0,0,0\n", 0x8000_0001_u32);
            CpuidDump::parse(&format!("0,0,27,0,0,0\n7,0,0,{seven},0,0\n{sections}"), None).unwrap()
        };
        assert_eq!(enclave_memory(&Processor::new(&dump(4))), Seen::Known(0x1_8000_0000));
        assert_eq!(enclave_memory(&Processor::new(&dump(0))), Seen::Absent);
        let cut = CpuidDump::parse("0,0,27,0,0,0\n7,0,0,4,0,0\n", None).unwrap();
        assert!(matches!(enclave_memory(&Processor::new(&cut)), Seen::Unknown(_)));
    }
}
