//! Owns the labels that NFD makes of its features under its default configuration (nfd-features.md §2). Pure.

use std::collections::BTreeMap;

use bestfit_selector::features::{Features, Instance};

/// The namespace of NFD's labels, with the slash that ends it.
pub const LABEL_NAMESPACE: &str = "feature.node.kubernetes.io/";

/// Flags of which NFD makes no label by default: every processor of this age has them.
const UNLABELLED_FLAGS: [&str; 26] = [
    "AVX10",
    "BMI1",
    "BMI2",
    "CLMUL",
    "CMOV",
    "CX16",
    "ERMS",
    "F16C",
    "HTT",
    "LZCNT",
    "MMX",
    "MMXEXT",
    "NX",
    "POPCNT",
    "RDRAND",
    "RDSEED",
    "RDTSCP",
    "SGX",
    "SGXLC",
    "SSE",
    "SSE2",
    "SSE3",
    "SSE4",
    "SSE42",
    "SSSE3",
    "TDX_GUEST",
];

/// Quantities among `cpu.security`, which are for extended resources.
pub(crate) const UNLABELLED_SECURITY: [&str; 4] = ["sgx.epc", "tdx.total_keys", "sev.asids", "sev.encrypted_state_ids"];

/// The prefixes of those classes of devices that are labelled.
const PCI_CLASSES: [&str; 3] = ["03", "0b40", "12"];
const USB_CLASSES: [&str; 4] = ["0e", "ef", "fe", "ff"];

/// The labels with their namespaces, as NFD's worker and master would publish them: a name or value that Kubernetes does
/// not take is left out.
pub fn nfd_labels(features: &Features) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    cpu(features, &mut labels);
    kernel(features, &mut labels);
    memory_and_storage(features, &mut labels);
    devices(features, &mut labels);
    rdma(features, &mut labels);
    for (key, value) in elements(features, "local.label") {
        labels.insert(key.strip_prefix(LABEL_NAMESPACE).unwrap_or(key).to_owned(), value.to_owned());
    }
    let named = labels.into_iter().map(|(name, value)| match name.contains('/') {
        true => (name, value),
        false => (format!("{LABEL_NAMESPACE}{name}"), value),
    });
    named.filter(|(name, value)| is_label_name(name) && is_label_value(value)).collect()
}

type Labels = BTreeMap<String, String>;

fn elements<'a>(features: &'a Features, feature: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    features.attributes.get(feature).into_iter().flat_map(|set| set.elements.iter())
}

fn element<'a>(features: &'a Features, feature: &str, name: &str) -> Option<&'a str> {
    features.attributes.get(feature)?.elements.get(name)
}

fn instances<'a>(features: &'a Features, feature: &str) -> &'a [Instance] {
    features.instances.get(feature).map_or(&[], |set| set.elements.as_slice())
}

fn set_true(labels: &mut Labels, name: impl Into<String>) {
    labels.insert(name.into(), "true".to_owned());
}

fn cpu(features: &Features, labels: &mut Labels) {
    for flag in features.flags.get("cpu.cpuid").into_iter().flat_map(|set| set.elements.names()) {
        if !UNLABELLED_FLAGS.contains(&flag) {
            set_true(labels, format!("cpu-cpuid.{flag}"));
        }
    }
    let sets = [
        ("cpu.cpuid", "cpu-cpuid."),
        ("cpu.model", "cpu-model."),
        ("cpu.cstate", "cpu-cstate."),
        ("cpu.pstate", "cpu-pstate."),
        ("cpu.security", "cpu-security."),
        ("cpu.sst", "cpu-power.sst_"),
    ];
    for (feature, prefix) in sets {
        for (name, value) in elements(features, feature) {
            if feature != "cpu.security" || !UNLABELLED_SECURITY.contains(&name) {
                labels.insert(format!("{prefix}{name}"), value.to_owned());
            }
        }
    }
    let single = [
        ("cpu.topology", "hardware_multithreading", "cpu-hardware_multithreading"),
        ("cpu.coprocessor", "nx_gzip", "cpu-coprocessor.nx_gzip"),
    ];
    for (feature, name, label) in single {
        if let Some(value) = element(features, feature, name) {
            labels.insert(label.to_owned(), value.to_owned());
        }
    }
}

fn kernel(features: &Features, labels: &mut Labels) {
    for (name, value) in elements(features, "kernel.version") {
        labels.insert(format!("kernel-version.{name}"), value.to_owned());
    }
    for option in crate::kconfig::LABELLED {
        if let Some(value) = element(features, "kernel.config", option) {
            let value = if value == "y" || value == "m" { "true" } else { value };
            labels.insert(format!("kernel-config.{option}"), value.to_owned());
        }
    }
    for name in ["ID", "VERSION_ID", "VERSION_ID.major", "VERSION_ID.minor"] {
        if let Some(value) = element(features, "system.osrelease", name) {
            labels.insert(format!("system-os_release.{name}"), value.to_owned());
        }
    }
}

fn memory_and_storage(features: &Features, labels: &mut Labels) {
    let switches = [
        ("kernel.selinux", "enabled", "kernel-selinux.enabled"),
        ("memory.numa", "is_numa", "memory-numa"),
        ("memory.swap", "enabled", "memory-swap"),
    ];
    for (feature, name, label) in switches {
        if element(features, feature, name).is_some_and(|value| value == "true") {
            set_true(labels, label);
        }
    }
    if !instances(features, "memory.nv").is_empty() {
        set_true(labels, "memory-nv.present");
    }
    let values = [("memory.nv", "devtype", "nd_dax", "memory-nv.dax"), ("storage.block", "rotational", "0", STILL)];
    for (feature, name, wanted, label) in values {
        if crate::feature::any(instances(features, feature), name, |value| value == wanted) {
            set_true(labels, label);
        }
    }
}

const STILL: &str = "storage-nonrotationaldisk";

fn devices(features: &Features, labels: &mut Labels) {
    let field = |instance: &Instance, name: &str| instance.attributes.get(name).cloned().unwrap_or_default();
    for (label, file) in [("capable", "sriov_totalvfs"), ("configured", "sriov_numvfs")] {
        let positive = |value: &str| value.parse::<i64>().is_ok_and(|count| count > 0);
        if crate::feature::any(instances(features, "network.device"), file, positive) {
            set_true(labels, format!("network-sriov.{label}"));
        }
    }
    for device in instances(features, "pci.device") {
        let (class, vendor) = (field(device, "class"), field(device, "vendor"));
        if PCI_CLASSES.iter().any(|prefix| class.starts_with(prefix)) {
            set_true(labels, format!("pci-{class}_{vendor}.present"));
            if device.attributes.contains_key("sriov_totalvfs") {
                set_true(labels, format!("pci-{class}_{vendor}.sriov.capable"));
            }
        }
    }
    for device in instances(features, "usb.device") {
        let class = field(device, "class");
        if USB_CLASSES.iter().any(|prefix| class.starts_with(prefix)) {
            set_true(labels, format!("usb-{class}_{}_{}.present", field(device, "vendor"), field(device, "device")));
        }
    }
}

/// NFD's two built-in rules.
fn rdma(features: &Features, labels: &mut Labels) {
    if crate::feature::any(instances(features, "pci.device"), "vendor", |vendor| vendor == "15b3") {
        set_true(labels, "rdma.capable");
    }
    let loaded = features.flags.get("kernel.loadedmodule");
    if loaded.is_some_and(|set| crate::modules::has_rdma(|name| set.elements.contains(name))) {
        set_true(labels, "rdma.available");
    }
}

/// Kubernetes' rule for the name of a label: at most 63 characters behind an optional DNS name and a slash.
fn is_label_name(name: &str) -> bool {
    let (namespace, name) = name.split_once('/').map_or((None, name), |(namespace, name)| (Some(namespace), name));
    let is_dns = |namespace: &str| {
        let edge = |text: &str| text.starts_with('-') || text.ends_with('-');
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let part = |part: &str| !part.is_empty() && !edge(part) && part.bytes().all(allowed);
        namespace.len() <= 253 && namespace.split('.').all(part)
    };
    namespace.is_none_or(is_dns) && !name.is_empty() && is_label_value(name)
}

/// Kubernetes' rule for its value: at most 63 of `[-A-Za-z0-9_.]`, a letter or digit at either end.
fn is_label_value(value: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(|byte| allowed(*byte)) && edge(bytes.first()) && edge(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Features {
        let mut features = Features::default();
        features.set_flags("cpu.cpuid", ["AVX2", "BMI2", "POWER5+"].map(str::to_owned));
        features.set_attribute("cpu.security", "sgx.enabled", "true");
        features.set_attribute("cpu.security", "sgx.epc", "1024");
        features.set_attribute("cpu.topology", "hardware_multithreading", "false");
        features.set_attribute("cpu.topology", "socket_count", "2");
        features.set_attribute("kernel.config", "NO_HZ", "y");
        features.set_attribute("kernel.config", "HZ", "250");
        features.set_attribute("kernel.selinux", "enabled", "false");
        features.set_attribute("local.label", "vendor.io/model", "X-1");
        features.set_attribute("local.label", "plain", "1");
        features.set_attribute("local.label", "bad key", "1");
        features.set_attribute("local.label", "bad", "no spaces");
        let device = |pairs: &[(&str, &str)]| Instance {
            attributes: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        let gpu = device(&[("class", "0302"), ("vendor", "10de"), ("sriov_totalvfs", "0")]);
        let nic = device(&[("class", "0207"), ("vendor", "15b3")]);
        features.set_instances("pci.device", [gpu, nic]);
        features.set_instances("network.device", [device(&[("sriov_totalvfs", "8"), ("sriov_numvfs", "0")])]);
        features
    }

    #[test]
    fn labels_follow_nfds_defaults() {
        let labels = nfd_labels(&host());
        let found: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = [
            "cpu-cpuid.AVX2=true",
            "cpu-hardware_multithreading=false",
            "cpu-security.sgx.enabled=true",
            "kernel-config.NO_HZ=true",
            "network-sriov.capable=true",
            "pci-0302_10de.present=true",
            "pci-0302_10de.sriov.capable=true",
            "plain=1",
            "rdma.capable=true",
        ];
        let mut expected: Vec<String> = expected.iter().map(|label| format!("{LABEL_NAMESPACE}{label}")).collect();
        expected.push("vendor.io/model=X-1".to_owned());
        assert_eq!(found, expected);
    }

    #[test]
    fn names_and_values_are_kubernetes() {
        for (name, valid) in
            [("a", true), ("a.b/c", true), ("a/b/c", false), ("/a", false), ("A.b/c", false), ("a/", false)]
        {
            assert_eq!(is_label_name(name), valid, "{name}");
        }
        for (value, valid) in [("", true), ("a_b", true), ("-a", false), ("a.", false), ("é", false)] {
            assert_eq!(is_label_value(value), valid, "{value}");
        }
        assert!(!is_label_value(&"a".repeat(64)));
    }
}
