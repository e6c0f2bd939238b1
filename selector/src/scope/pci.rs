//! Owns the numbers of PCI devices as narrowing sees them: of which kind such a device is, and which devices an NFD label is
//! about.

use crate::devices::{Device, Kind};
use crate::features::Instance;

/// TPUs by device id.
const TPUS: [&str; 5] = ["0027", "005e", "0062", "0063", "006f"];

/// A PCI device, or a pattern of some where parts are empty; hexadecimal in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PciId {
    /// Base class and subclass.
    pub(super) class: String,
    pub(super) vendor: String,
    pub(super) device: String,
}

impl PciId {
    /// Of a device that was found on its own account.
    pub(super) fn of_device(device: &Device) -> Option<Self> {
        let mut parts = device.pci.as_deref()?.split(':').map(str::to_owned);
        Some(Self { class: parts.next()?, vendor: parts.next()?, device: parts.next()? })
    }

    pub(super) fn of(instance: &Instance) -> Self {
        let part = |name: &str| instance.attributes.get(name).cloned().unwrap_or_default();
        Self { class: part("class"), vendor: part("vendor"), device: part("device") }
    }

    /// The devices that an NFD label is about: `pci-10de.present`, `pci-0302_10de.sriov.capable`, `pci-0302_10de_2330.present`.
    pub(super) fn of_label(label: &str) -> Option<Self> {
        let (name, _) = label.strip_prefix("pci-")?.split_once('.')?;
        let parts: Vec<&str> = name.split('_').collect();
        let (class, vendor, device) = match parts[..] {
            [vendor] => ("", vendor, ""),
            [class, vendor] => (class, vendor, ""),
            [class, vendor, device, ..] => (class, vendor, device),
            [] => return None,
        };
        Some(Self { class: class.to_owned(), vendor: vendor.to_owned(), device: device.to_owned() })
    }

    /// Of which kind such a device is; none for those that a container is not given one by one.
    pub(super) fn kind(&self) -> Option<Kind> {
        let class = self.class.as_str();
        match self.vendor.as_str() {
            "10de" => Some(Kind::Nvidia),
            "1002" => Some(Kind::Amd),
            "8086" if class.starts_with("03") => Some(Kind::Intel),
            "1d0f" if self.device.starts_with("efa") => Some(Kind::Fabric),
            // AWS Neuron is a system peripheral.
            "1d0f" if class == "0880" => Some(Kind::Accelerator),
            // Google's other devices are network interfaces and disks.
            "1ae0" if TPUS.contains(&self.device.as_str()) => Some(Kind::Accelerator),
            // The NPUs of Ryzen processors are signal processing controllers.
            "1022" if class == "1180" => Some(Kind::Accelerator),
            // Slingshot.
            "17db" => Some(Kind::Fabric),
            _ if class.starts_with("12") => Some(Kind::Accelerator),
            // InfiniBand and fabric controllers.
            _ if matches!(class, "0207" | "0208") => Some(Kind::Fabric),
            _ => None,
        }
    }

    /// Not a function beside the device itself, such as a GPU's sound.
    pub(super) fn is_main(&self) -> bool {
        let gpu = matches!(self.kind(), Some(Kind::Nvidia | Kind::Amd | Kind::Intel));
        !gpu || self.class.is_empty() || self.class.starts_with("03") || self.class.starts_with("12")
    }

    pub(super) fn covers(&self, device: &Self) -> bool {
        let part = |pattern: &str, value: &str| pattern.is_empty() || pattern == value;
        part(&self.class, &device.class) && part(&self.vendor, &device.vendor) && part(&self.device, &device.device)
    }
}
