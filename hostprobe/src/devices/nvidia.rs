//! Owns NVIDIA GPUs: those that the driver has, else those on the PCI bus; their models, compute capabilities and parts.
//! What the driver supports is [`driver`]'s. The formats are host-facts.md §1, of which those of `/proc/driver/nvidia` are known
//! from documentation only: what looks otherwise is unknown.

mod driver;

use bestfit_selector::devices::{Device, Kind};
use bestfit_selector::facts::{Fact, Facts, State};

use super::{device, number, set_others, table};
use crate::root::HostRoot;
use crate::seen::Seen;
use crate::{HOST, NFD, pci};

const VENDOR: &str = "10de";
/// Where the driver lists its GPUs by PCI address.
const GPUS: &str = "/proc/driver/nvidia/gpus";
/// Where it lists the parts of divided GPUs, by minor number.
const CAPABILITIES: &str = "/proc/driver/nvidia/capabilities";
/// There wherever the driver is.
const DRIVER: &str = "/proc/driver/nvidia";
/// Modules by which other devices reach the memory of GPUs.
const GPUDIRECT: [&str; 3] = ["nvidia_peermem", "gdrdrv", "nvidia_fs"];
const GDRCOPY: &str = "/dev/gdrdrv";

const MODEL: &str = "nvidia.gpu.model";
const FAMILY: &str = "nvidia.gpu.family";
const CAPABILITY: &str = "nvidia.compute_capability";
const PARTS: &str = "nvidia.mig.instances";
const COUNT: &str = "nvidia.gpu.count";

pub(super) fn probe(root: &HostRoot, bus: &pci::Bus, facts: &mut Facts) -> Vec<Device> {
    let driver = driver::probe(root, facts);
    set_gpudirect(root, facts);
    let listed = match driver {
        Seen::Known(()) => root.seen(root.names(GPUS), DRIVER).map(|names| with_driver(root, bus, &names)),
        Seen::Absent | Seen::Unknown(_) => without_driver(bus),
    };
    let (others, source) = match (&listed, &bus.failed) {
        (Seen::Unknown(why), _) => (Seen::Unknown(why.clone()), GPUS),
        (Seen::Known(_), _) => (Seen::Absent, GPUS),
        (Seen::Absent, None) => (Seen::Absent, pci::DEVICES),
        (Seen::Absent, Some(why)) => (Seen::Unknown(why.clone()), pci::DEVICES),
    };
    set_others(facts, &[COUNT, MODEL, FAMILY, CAPABILITY, PARTS], &others, source);
    let mut devices = match listed {
        Seen::Known(devices) => devices,
        Seen::Absent | Seen::Unknown(_) => Vec::new(),
    };
    set_capabilities(&mut devices, bus, facts);
    devices
}

/// The GPUs on the bus where no driver tells more.
fn without_driver(bus: &pci::Bus) -> Seen<Vec<Device>> {
    let is_gpu = |found: &&pci::Device| found.vendor == VENDOR && matches!(&*found.class, "0300" | "0302");
    let mut devices: Vec<Device> =
        bus.devices.iter().filter(is_gpu).map(|found| device(Kind::Nvidia, &found.address, bus)).collect();
    number(&mut devices);
    for device in &mut devices {
        let fact = Fact::unknown("no driver tells the model", pci::path_of(&device.address));
        device.facts.insert(MODEL.to_owned(), fact);
    }
    match (devices.is_empty(), &bus.failed) {
        (_, Some(why)) => Seen::Unknown(why.clone()),
        (true, None) => Seen::Absent,
        (false, None) => Seen::Known(devices),
    }
}

/// The GPUs that the driver has, without those that it excludes.
fn with_driver(root: &HostRoot, bus: &pci::Bus, names: &[String]) -> Vec<Device> {
    let mut devices = Vec::new();
    let mut all_read = true;
    for name in names {
        let path = format!("{GPUS}/{name}/information");
        let mut device = device(Kind::Nvidia, name, bus);
        let information = root.text(&path).map_err(|error| error.to_string()).map(|text| parse(&text));
        let model = match &information {
            Ok(information) if information.excluded => continue,
            Ok(information) => match &information.model {
                Some(model) => Fact::known(model.as_str(), &path),
                None => Fact::unknown("no line \"Model:\"", &path),
            },
            Err(why) => Fact::unknown(why, &path),
        };
        device.facts.insert(MODEL.to_owned(), model);
        all_read &= information.is_ok();
        let information = information.unwrap_or_default();
        device.uuid = information.uuid;
        if let Some(minor) = information.minor {
            device.nodes.insert(format!("/dev/nvidia{minor}"), format!("195:{minor}"));
            device.facts.insert(PARTS.to_owned(), parts(root, minor));
        }
        devices.push(device);
    }
    number(&mut devices);
    // One that may be excluded would shift the numbers of the others.
    if !all_read {
        devices.iter_mut().for_each(|device| device.index = None);
    }
    devices
}

/// What the driver says about a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Information {
    model: Option<String>,
    uuid: Option<String>,
    minor: Option<u32>,
    excluded: bool,
}

/// Lines `Name: value`. A GPU that nothing has used yet has a UUID of question marks.
fn parse(text: &str) -> Information {
    let value = |name: &str| {
        let value = text.lines().filter_map(|line| line.split_once(':')).find(|(its, _)| its.trim() == name);
        value.map(|(_, value)| value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    Information {
        model: value("Model").filter(|model| model != "Unknown"),
        uuid: value("GPU UUID").filter(|uuid| uuid.starts_with("GPU-") && !uuid.contains('?')),
        minor: value("Device Minor").and_then(|minor| minor.parse().ok()),
        excluded: value("GPU Excluded").is_some_and(|excluded| excluded.eq_ignore_ascii_case("yes")),
    }
}

/// The compute instances that a GPU is divided into: `mig/gi1/ci0`.
fn parts(root: &HostRoot, minor: u32) -> Fact {
    let path = format!("{CAPABILITIES}/gpu{minor}/mig");
    let numbered = |name: &&String, prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let count = root.seen(root.names(&path), DRIVER).and_then(|names| {
        let instances = names.iter().filter(|name| numbered(name, "gi"));
        let each = instances.map(|name| root.names(&format!("{path}/{name}")));
        let parts =
            each.map(|names| names.map(|names| names.iter().filter(|name| numbered(name, "ci")).count() as i64));
        match parts.sum::<Result<i64, _>>() {
            Ok(0) => Seen::Absent,
            counted => Seen::of(counted),
        }
    });
    count.fact(path)
}

/// Family and compute capability: what NVIDIA's feature discovery wrote where all GPUs are alike, else by device id.
fn set_capabilities(devices: &mut [Device], bus: &pci::Bus, facts: &Facts) {
    let alike = devices.windows(2).all(|pair| pair[0].pci == pair[1].pci);
    let discovered = alike.then(|| discovered(facts)).flatten();
    for device in devices {
        let path = pci::path_of(&device.address);
        let id = device.pci.as_deref().and_then(|numbers| numbers.rsplit(':').next());
        let chip = id.and_then(table::nvidia_chip);
        let source = format!("{path}, by nvidia-chips.tsv");
        let why = match id {
            Some(id) => format!("the table has no {VENDOR}:{id}"),
            None => bus.failed.clone().unwrap_or_else(|| "not among the PCI devices".to_owned()),
        };
        let told = |value: Option<&str>| match value {
            Some(value) => Fact::known(value, &source),
            None => Fact::unknown(&why, &path),
        };
        device.facts.insert(FAMILY.to_owned(), told(chip.map(|chip| chip.family)));
        let capability = discovered.clone().unwrap_or_else(|| told(chip.map(|chip| chip.capability)));
        device.facts.insert(CAPABILITY.to_owned(), capability);
    }
}

/// `nvidia.com/gpu.compute.major` and `.minor` among the labels.
fn discovered(facts: &Facts) -> Option<Fact> {
    let part = |name: &str| {
        let fact = facts.facts.get(NFD)?.get(&format!("nvidia.com/gpu.compute.{name}"))?;
        let State::Known { value } = &fact.state else { return None };
        let number: u32 = value.to_string().parse().ok()?;
        Some((number, fact.source.clone()))
    };
    let ((major, source), (minor, _)) = (part("major")?, part("minor")?);
    Some(Fact::known(format!("{major}.{minor}"), source))
}

/// Modules that open the memory of GPUs to other devices.
fn set_gpudirect(root: &HostRoot, facts: &mut Facts) {
    const LOADED: &str = "kernel.loadedmodule";
    for name in GPUDIRECT {
        let seen = match (facts.features.flags.get(LOADED), facts.features.unknown.get(LOADED)) {
            (Some(loaded), _) if loaded.elements.contains(name) => Seen::Known(true),
            (None, Some(why)) => Seen::Unknown(why.clone()),
            _ => Seen::Absent,
        };
        let by_node = if name == "gdrdrv" { root.seen_there(GDRCOPY, "/dev/null") } else { Seen::Absent };
        let (seen, source) = match (seen, by_node) {
            (Seen::Known(true), _) => (Seen::Known(true), "/proc/modules"),
            (_, Seen::Known(true)) => (Seen::Known(true), GDRCOPY),
            (seen, _) => (seen, "/proc/modules"),
        };
        facts.set(HOST, format!("nvidia.gpudirect.{name}"), seen.fact(source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The form of driver 550's documentation; the second of a GPU that nothing has opened, and that is excluded.
    const OPENED: &str = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 204\n\
        GPU UUID: \t GPU-5cb5a0d6-3b5f-1c5a-0a1e-3f0a8e2b9a11\nVideo BIOS: \t 96.00.74.00.1A\nBus Type: \t PCIe\n\
        Bus Location: \t 0000:1b:00.0\nDevice Minor: \t 3\nGPU Firmware: \t 550.54.15\nGPU Excluded:\t No\n";
    const EXCLUDED: &str = "Model: \t\t Unknown\nGPU UUID: \t GPU-????????-????-????-????-????????????\n\
        Device Minor: \t x\nGPU Excluded:\t Yes\n";

    #[test]
    fn what_the_driver_says_is_read() {
        let found = parse(OPENED);
        assert_eq!(found.model.as_deref(), Some("NVIDIA H100 80GB HBM3"));
        assert_eq!(found.uuid.as_deref(), Some("GPU-5cb5a0d6-3b5f-1c5a-0a1e-3f0a8e2b9a11"));
        assert_eq!((found.minor, found.excluded), (Some(3), false));
        assert_eq!(parse(EXCLUDED), Information { excluded: true, ..Information::default() });
        assert_eq!(parse(""), Information::default());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken(text in "(Model|GPU UUID|Device Minor|:|\\?|\n| |[0-9]){0,40}") {
            let _ = parse(&text);
        }
    }
}
