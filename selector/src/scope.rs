//! Owns the container's scope: which devices its runtime spec gives it, and facts narrowed to these (matching.md §5: "no GPU
//! given means no GPU fact"). Reads nothing by itself; what cannot be told becomes unknown, never known.

mod drivers;
mod hooks;
mod narrow;
mod pci;
mod summary;
mod which;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::devices::Kind;
use crate::require;

pub use narrow::narrow;

/// Vendors' container runtimes read these variables: `all` and names give devices; `void`, `none` and nothing give none.
const VISIBLE: [(&str, Kind); 4] = [
    ("NVIDIA_VISIBLE_DEVICES=", Kind::Nvidia),
    ("AMD_VISIBLE_DEVICES=", Kind::Amd),
    ("HABANA_VISIBLE_DEVICES=", Kind::Accelerator),
    ("AWS_NEURON_VISIBLE_DEVICES=", Kind::Accelerator),
];
/// Mounted by NVIDIA's device plugin in the place of the variable.
const VISIBLE_MOUNTS: &str = "/var/run/nvidia-container-devices";
/// Where a narrowed fact comes from.
const SOURCE: &str = "the devices of the container";
const DIFFER: &str = "devices of this host differ, and which of them the container was given cannot be told";
/// Annotations that ask for devices of the Container Device Interface begin so.
const CDI: &str = "cdi.k8s.io/";
/// Vendors of CDI devices, as the part before the slash of their kind.
const CDI_VENDORS: [(&str, Kind); 8] = [
    ("nvidia.com", Kind::Nvidia),
    ("k8s.gpu.nvidia.com", Kind::Nvidia),
    ("k8s.device-plugin.nvidia.com", Kind::Nvidia),
    ("runtime.nvidia.com", Kind::Nvidia),
    ("amd.com", Kind::Amd),
    ("intel.com", Kind::Intel),
    ("gpu.intel.com", Kind::Intel),
    ("habana.ai", Kind::Accelerator),
];

/// Nodes of the kernel's own that facts are about, and that stand for no device one by one.
const NODES: [&str; 4] = ["/dev/kvm", "/dev/fuse", "/dev/xpmem", "/dev/knem"];

/// What a container was given of one kind of devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub enum Given {
    /// None.
    #[default]
    Nothing,
    /// At least one: these, where the spec names them.
    Devices(BTreeSet<Name>),
    /// That cannot be told: why.
    Untold(String),
}

/// How a runtime spec names devices of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Name {
    /// All of them.
    All,
    /// By the number that the vendor's tools give.
    Index(u32),
    /// By the name that the vendor gave it.
    Uuid(String),
    /// By its node.
    Node {
        /// The path in the container.
        path: String,
        /// `major:minor`, where the spec has them.
        numbers: Option<String>,
    },
    /// By the full name of a CDI device.
    Cdi(String),
    /// In a way that leads to no whole device, such as a part of a GPU.
    Other(String),
}

/// The devices that a container was given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Scope {
    given: BTreeMap<Kind, Given>,
    /// CDI devices of vendors that are not known here.
    others: BTreeSet<String>,
    /// Nodes below `/dev/dri`: they do not say whose they are.
    graphics: Given,
    /// The kernel's own nodes that were given, or may have been.
    nodes: BTreeMap<&'static str, Given>,
    /// What the container's user says about `NVIDIA_REQUIRE_*`: `NAME=VALUE`.
    required: Vec<String>,
}

/// What a device node stands for.
enum Node {
    Of(Kind),
    Graphics,
    /// A device of any kind, handed through.
    Any,
}

impl Scope {
    /// Reads a runtime spec: `linux.devices`, `mounts`, `hooks`, `process.env` and `annotations`. `image_env` is the environment of
    /// the image that containerd chose: what stands there was not asked for by the container's user.
    pub fn of(spec: &Value, image_env: &[String]) -> Self {
        let mut scope = Self::default();
        for device in list(spec, "/linux/devices") {
            let number = |key| device.get(key).and_then(Value::as_u64);
            let numbers = number("major").zip(number("minor")).filter(|_| matches!(text(device, "type"), "c" | "u"));
            let path = text(device, "path");
            if let Some(node) = NODES.into_iter().find(|node| *node == path) {
                scope.nodes.insert(node, Given::Devices(BTreeSet::new()));
            }
            let name = || Name::Node {
                path: path.to_owned(),
                numbers: numbers.map(|(major, minor)| format!("{major}:{minor}")),
            };
            match node(path, numbers) {
                // All AMD GPUs share it: it gives the kind and names none.
                Some(Node::Of(Kind::Amd)) => scope.give(Kind::Amd, None),
                Some(Node::Of(kind)) => scope.give(kind, Some(name())),
                Some(Node::Graphics) => add(&mut scope.graphics, Some(name())),
                Some(Node::Any) => scope.doubt_all("a device was handed through, and its kind cannot be told"),
                None => {}
            }
        }
        for mount in list(spec, "/mounts") {
            scope.mounted(text(mount, "source"), text(mount, "destination"));
        }
        hooks::add(&mut scope, spec);
        scope.visible(spec, image_env);
        let set = list(spec, "/process/env").filter_map(Value::as_str);
        let asks = |variable: &&str| variable.split_once('=').is_some_and(|(name, _)| require::is_variable(name));
        let own = |variable: &str| image_env.iter().any(|own| own == variable);
        scope.required = set.filter(asks).filter(|variable| !own(variable)).map(str::to_owned).collect();
        let annotations = spec.get("annotations").and_then(Value::as_object).into_iter().flatten();
        for (_, value) in annotations.filter(|(key, _)| key.starts_with(CDI)) {
            scope.cdi(value.as_str().unwrap_or_default());
        }
        scope
    }

    /// What was given of a kind, nodes of `/dev/dri` and CDI devices of other vendors apart.
    pub fn given(&self, kind: Kind) -> Given {
        self.given.get(&kind).cloned().unwrap_or_default()
    }

    /// Where NVIDIA GPUs were given, so that what images require of their driver counts: what the container's user says about
    /// that.
    pub fn required(&self) -> Option<Vec<String>> {
        matches!(self.given(Kind::Nvidia), Given::Devices(_)).then(|| self.required.clone())
    }

    /// Whether one of [`NODES`] was given. What a CDI device of a vendor that is not known here brings cannot be told.
    fn node(&self, path: &str) -> Given {
        match self.nodes.get(path) {
            None if !self.others.is_empty() => Given::Untold("a CDI device of another vendor was asked for".to_owned()),
            given => given.cloned().unwrap_or_default(),
        }
    }

    fn give(&mut self, kind: Kind, name: Option<Name>) {
        add(self.given.entry(kind).or_default(), name);
    }

    fn doubt(&mut self, kind: Kind, why: &str) {
        if self.given(kind) == Given::Nothing {
            self.given.insert(kind, Given::Untold(why.to_owned()));
        }
    }

    fn doubt_all(&mut self, why: &str) {
        Kind::ALL.into_iter().for_each(|kind| self.doubt(kind, why));
    }

    /// A mounted node can be opened only where the device cgroup allows it, which the mount does not say.
    fn mounted(&mut self, source: &str, destination: &str) {
        if let Some(rest) = destination.strip_prefix(VISIBLE_MOUNTS) {
            let rest = rest.trim_start_matches('/');
            // `cdi/nvidia.com/gpu/0` stands for nvidia.com/gpu=0.
            let cdi = rest.strip_prefix("cdi/").and_then(|name| name.rsplit_once('/'));
            let name = cdi.map_or_else(|| rest.to_owned(), |(class, name)| format!("{class}={name}"));
            return self.give(Kind::Nvidia, (!name.is_empty()).then(|| visible_name(Kind::Nvidia, &name)));
        }
        let why = "device nodes are mounted; whether they may be opened cannot be told";
        let source = source.trim_end_matches('/');
        for path in NODES.into_iter().filter(|path| source == "/dev" || source == *path) {
            self.nodes.entry(path).or_insert_with(|| Given::Untold(why.to_owned()));
        }
        match node(source, None) {
            _ if source == "/dev" => self.doubt_all(why),
            Some(Node::Of(kind)) => self.doubt(kind, why),
            Some(Node::Graphics) if self.graphics == Given::Nothing => self.graphics = Given::Untold(why.to_owned()),
            Some(Node::Any) => self.doubt_all(why),
            Some(Node::Graphics) | None => {}
        }
    }

    /// A variable counts where the container's user or a device plugin set it; CUDA images set theirs to `all` themselves.
    fn visible(&mut self, spec: &Value, image_env: &[String]) {
        for (name, kind) in VISIBLE {
            let set = list(spec, "/process/env").filter_map(Value::as_str).rfind(|variable| variable.starts_with(name));
            match set {
                Some(variable) if matches!(&variable[name.len()..], "" | "void" | "none") => {}
                Some(variable) if image_env.iter().any(|own| own == variable) => {
                    let name = name.trim_end_matches('=');
                    let why =
                        format!("only the image itself sets {name}; whether the runtime follows it cannot be told");
                    self.doubt(kind, &why);
                }
                Some(variable) => {
                    let names = variable[name.len()..].split(',').filter(|name| !name.is_empty());
                    names.for_each(|name| self.give(kind, Some(visible_name(kind, name))));
                }
                None => {}
            }
        }
    }

    /// A list of CDI devices: `nvidia.com/gpu=0,nvidia.com/gpu=1`.
    fn cdi(&mut self, names: &str) {
        for name in names.split(',').filter(|name| !name.is_empty()) {
            match cdi_kind(name) {
                Some(kind) => self.give(kind, Some(Name::Cdi(name.to_owned()))),
                None => {
                    self.others.insert(name.to_owned());
                }
            }
        }
    }
}

/// More of the same kind.
fn add(given: &mut Given, name: Option<Name>) {
    match given {
        Given::Devices(names) => names.extend(name),
        _ => *given = Given::Devices(name.into_iter().collect()),
    }
}

/// A name as a vendor's container runtime takes it in its variable. How others than NVIDIA number theirs is not known here.
fn visible_name(kind: Kind, name: &str) -> Name {
    match name {
        _ if name.eq_ignore_ascii_case("all") => Name::All,
        _ if name.contains('=') => Name::Cdi(name.to_owned()),
        _ if kind != Kind::Nvidia => Name::Other(name.to_owned()),
        _ if name.starts_with("GPU-") || name.starts_with("gpu-") => Name::Uuid(name.to_owned()),
        _ => name.parse().map_or_else(|_| Name::Other(name.to_owned()), Name::Index),
    }
}

/// What the CDI devices of a vendor are.
fn cdi_kind(name: &str) -> Option<Kind> {
    let vendor = name.split_once('/').map_or(name, |(vendor, _)| vendor);
    CDI_VENDORS.iter().find(|(known, _)| *known == vendor).map(|(_, kind)| *kind)
}

/// What NVIDIA's runtime makes of a CDI name for which no file stands in a directory: it calls devices as its variable does.
fn vendors_own(name: &str) -> Option<Name> {
    let (class, name) = name.split_once('=')?;
    let known = ["nvidia.com/gpu", "runtime.nvidia.com/gpu"].contains(&class);
    known.then(|| visible_name(Kind::Nvidia, name)).filter(|name| !matches!(name, Name::Cdi(_)))
}

/// What the node at `path` stands for, by its name, or by its number where Linux fixes that
/// (Documentation/admin-guide/devices.txt: 195 NVIDIA, 226 graphics, 231 InfiniBand, 261 accelerators).
fn node(path: &str, numbers: Option<(u64, u64)>) -> Option<Node> {
    let name = path.strip_prefix("/dev/").unwrap_or_default();
    let numbered = |prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|character: char| character.is_ascii_digit()))
    };
    let is = |names: &[&str]| names.contains(&name.split('/').next().unwrap_or_default());
    match numbers {
        // 255 is nvidiactl, 254 nvidia-modeset.
        Some((195, minor)) if minor < 254 => return Some(Node::Of(Kind::Nvidia)),
        Some((226, _)) => return Some(Node::Graphics),
        Some((261, _)) => return Some(Node::Of(Kind::Accelerator)),
        _ => {}
    }
    let accelerator = ["accel", "neuron", "hl", "davinci", "apex_"].into_iter().any(numbered) || is(&["accel"]);
    if numbered("nvidia") {
        Some(Node::Of(Kind::Nvidia))
    } else if name == "kfd" {
        Some(Node::Of(Kind::Amd))
    } else if is(&["dri"]) {
        Some(Node::Graphics)
    } else if name == "infiniband" || numbered("infiniband/uverbs") || numbered("cxi") || numbered("hfi1_") {
        Some(Node::Of(Kind::Fabric))
    } else if accelerator {
        Some(Node::Of(Kind::Accelerator))
    } else if name == "dxg" || numbered("vfio/") {
        Some(Node::Any)
    } else {
        None
    }
}

fn list<'a>(spec: &'a Value, pointer: &'static str) -> impl DoubleEndedIterator<Item = &'a Value> {
    spec.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `y`, `n` or `?` for NVIDIA, AMD, Intel, accelerators, fabrics and graphics.
    fn letters(scope: &Scope) -> String {
        let letter = |given: &Given| match given {
            Given::Devices(_) => 'y',
            Given::Nothing => 'n',
            Given::Untold(_) => '?',
        };
        Kind::ALL.into_iter().map(|kind| letter(&scope.given(kind))).chain([letter(&scope.graphics)]).collect()
    }

    #[test]
    fn the_runtime_spec_says_what_was_given() {
        let device = |path: &str| json!({"linux": {"devices": [{"path": path, "type": "c", "major": 1, "minor": 3}]}});
        let numbered = |major: u64, minor: u64| json!({"linux": {"devices": [{"path": "/dev/x", "type": "c", "major": major, "minor": minor}]}});
        let mount = |source: &str, to: &str| json!({"mounts": [{"source": source, "destination": to}]});
        let env = |value: &str| json!({"process": {"env": ["A=1", format!("NVIDIA_VISIBLE_DEVICES={value}")]}});
        let cdi = |value: &str| json!({"annotations": {"cdi.k8s.io/x": value}});
        for (spec, expected) in [
            (json!({}), "nnnnnn"),
            (json!([1]), "nnnnnn"),
            (device("/dev/null"), "nnnnnn"),
            (device("/dev/nvidiactl"), "nnnnnn"),
            (device("/dev/nvidia0"), "ynnnnn"),
            (numbered(195, 0), "ynnnnn"),
            (numbered(195, 255), "nnnnnn"),
            (numbered(226, 128), "nnnnny"),
            (device("/dev/kfd"), "nynnnn"),
            (device("/dev/dri/renderD128"), "nnnnny"),
            (device("/dev/accel/accel0"), "nnnynn"),
            (device("/dev/neuron0"), "nnnynn"),
            (device("/dev/infiniband/uverbs0"), "nnnnyn"),
            (device("/dev/infiniband/rdma_cm"), "nnnnnn"),
            (device("/dev/vfio/12"), "?????n"),
            (device("/dev/vfio/vfio"), "nnnnnn"),
            (mount("/dev", "/dev"), "?????n"),
            (mount("/dev/nvidia0", "/dev/nvidia0"), "?nnnnn"),
            (mount("/dev/dri", "/dev/dri"), "nnnnn?"),
            (mount("/data", "/dev/nvidia0"), "nnnnnn"),
            (mount("/dev/null", "/var/run/nvidia-container-devices/0"), "ynnnnn"),
            (env("all"), "ynnnnn"),
            (json!({"process": {"env": ["HABANA_VISIBLE_DEVICES=0", "AMD_VISIBLE_DEVICES=all"]}}), "nynynn"),
            (env("GPU-1,GPU-2"), "ynnnnn"),
            (env("void"), "nnnnnn"),
            (env(""), "nnnnnn"),
            (env("image"), "?nnnnn"),
            (cdi("nvidia.com/gpu=0"), "ynnnnn"),
            (cdi("amd.com/gpu=all,habana.ai/gaudi=1"), "nynynn"),
            (cdi("vendor.example/x=1"), "nnnnnn"),
        ] {
            let own = ["NVIDIA_VISIBLE_DEVICES=image".to_owned()];
            assert_eq!(letters(&Scope::of(&spec, &own)), expected, "{spec}");
        }
    }

    #[test]
    fn requirements_count_where_gpus_were_given() {
        let scope = |devices: Value| {
            let env =
                ["NVIDIA_REQUIRE_CUDA=cuda>=12.0", "NVIDIA_REQUIRE_CUDA=", "NVIDIA_DISABLE_REQUIRE=1", "PATH=/bin"];
            let own = ["NVIDIA_REQUIRE_CUDA=cuda>=12.0".to_owned()];
            Scope::of(&json!({"linux": {"devices": devices}, "process": {"env": env}}), &own)
        };
        assert_eq!(scope(json!([])).required(), None);
        let user = ["NVIDIA_REQUIRE_CUDA=".to_owned(), "NVIDIA_DISABLE_REQUIRE=1".to_owned()];
        assert_eq!(scope(json!([{"path": "/dev/nvidia0"}])).required(), Some(user.to_vec()));
    }

    #[test]
    fn what_is_given_for_certain_is_not_doubted_again() {
        let spec = json!({
            "linux": {"devices": [{"path": "/dev/nvidia0"}, {"path": "/dev/dri/card0"}]},
            "mounts": [{"source": "/dev/", "destination": "/host"}, {"source": "/dev/dri", "destination": "/dev/dri"}]
        });
        assert_eq!(letters(&Scope::of(&spec, &[])), "y????y");
    }
}
