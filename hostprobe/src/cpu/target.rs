//! Owns the group `io.archspec`: what the processor is in archspec's graph of microarchitectures. Like archspec it looks at
//! the first processor of `/proc/cpuinfo`, whose flags the kernel has masked already.

use bestfit_selector::facts::{Facts, Value};
use bestfit_selector::microarch::{CpuDescription, Microarchitectures};

use super::cpuinfo::{self, CpuInfo};
use crate::ARCHSPEC;
use crate::platform::this_architecture;
use crate::root::HostRoot;
use crate::seen::Seen;

pub(crate) fn probe(root: &HostRoot, info: &Seen<CpuInfo>, facts: &mut Facts) {
    let path = cpuinfo::PATH;
    // The file does not tell the byte order of POWER; this program's own is the running machine's.
    let architecture = |info: &CpuInfo| match root.is_running() {
        true => Some(this_architecture()),
        false => info.architecture(),
    };
    let described = info.as_ref().and_then(|info| match architecture(info) {
        Some(architecture) => Seen::Known(describe(info, architecture)),
        None => Seen::Unknown(format!("{path}: its architecture is not known")),
    });
    let detected = described.as_ref().and_then(|cpu| match Microarchitectures::builtin().detect(cpu) {
        Some(detection) => Seen::Known(detection),
        None => Seen::Unknown(format!("no target of the data fits {}", cpu.arch)),
    });
    let vendor = described.as_ref().and_then(|cpu| match cpu.vendor.as_str() {
        "" => Seen::Absent,
        vendor => Seen::Known(vendor.to_owned()),
    });
    let features = info.as_ref().and_then(|info| info.features().map_or(Seen::Absent, Seen::Known));
    let mut set = |key: &str, value: Seen<Value>| facts.set(ARCHSPEC, key, value.fact(path));
    set("cpu.vendor", vendor.map(Value::from));
    set("cpu.features", features.map(Value::from));
    set("cpu.target", detected.as_ref().map(|found| found.target.clone().into()));
    set("cpu.candidates", detected.map(|found| found.candidates.into()));
}

/// What archspec's detection needs of a cpuinfo block of this architecture (GOARCH).
fn describe(info: &CpuInfo, architecture: &str) -> CpuDescription {
    let vendor = match info.get("CPU implementer") {
        Some(code) => Microarchitectures::builtin().arm_vendor(code).unwrap_or(code),
        None => info.get("vendor_id").unwrap_or_default(),
    };
    CpuDescription {
        arch: architecture.to_owned(),
        vendor: vendor.to_owned(),
        features: info.features().unwrap_or_default(),
        part: info.get("CPU part").map(str::to_owned),
        generation: info.get("cpu").and_then(power_generation),
        uarch: info.get("uarch").or_else(|| named_uarch(info)).map(str::to_owned),
    }
}

/// archspec's rule for kernels that name the product instead of the microarchitecture.
fn named_uarch(info: &CpuInfo) -> Option<&'static str> {
    info.get("model name").filter(|name| *name == "Spacemit(R) X60").map(|_| "spacemit,x60")
}

/// The generation of a POWER processor: 9 of `POWER9, altivec supported`, 8 of `POWER8E (raw), …`.
fn power_generation(cpu: &str) -> Option<u32> {
    let digits = cpu.strip_prefix("POWER")?;
    let end = digits.find(|char: char| !char.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_generations_are_read() {
        for (cpu, generation) in [
            ("POWER9, altivec supported", Some(9)),
            ("POWER8E (raw), altivec supported", Some(8)),
            ("POWER10 (architected)", Some(10)),
            ("PPC970", None),
            ("POWER", None),
        ] {
            assert_eq!(power_generation(cpu), generation, "{cpu}");
        }
    }
}
