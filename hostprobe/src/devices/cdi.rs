//! Owns the devices of the Container Device Interface: by which names a runtime can put which device nodes into a container.
//! The files are JSON or YAML (CDI's SPEC.md: `cdiVersion`, `kind`, `devices`, each with a name and what it edits). A file that
//! may be half-written leaves open what there is.

use std::collections::{BTreeMap, BTreeSet};

use bestfit_selector::devices::Device;
use bestfit_selector::facts::Facts;
use bestfit_selector::json;
use bestfit_selector::yaml::{self, Kind, Node};

use crate::HOST;
use crate::root::HostRoot;
use crate::seen::Seen;

/// CDI's own directories; the second is for what is made anew at each start.
const DIRS: [(&str, &str); 2] = [("/etc/cdi", "/etc"), ("/var/run/cdi", "/var")];
const SOURCE: &str = "/etc/cdi, /var/run/cdi";
/// The longest file in bytes, and the most files of a directory and devices of a file.
const FILE_LIMIT: usize = 1 << 20;
const FILES: usize = 64;
const DEVICES: usize = 1024;

/// The length of a UUID.
const UUID: usize = 36;

/// Devices by full name, and the paths of their nodes on the host.
type Named = BTreeMap<String, BTreeSet<String>>;

pub(super) fn probe(root: &HostRoot, devices: &mut [Device], facts: &mut Facts) {
    let found = read_all(root);
    if let Seen::Known(named) = &found {
        for device in devices {
            let gives = |paths: &BTreeSet<String>| device.nodes.keys().any(|node| paths.contains(node));
            device.cdi = named.iter().filter(|(_, paths)| gives(paths)).map(|(name, _)| name.clone()).collect();
        }
    }
    let names = found.map(|named| named.into_keys().collect::<BTreeSet<String>>());
    facts.set(HOST, "cdi.devices", names.fact(SOURCE));
}

fn read_all(root: &HostRoot) -> Seen<Named> {
    let (mut all, mut any) = (Named::new(), false);
    for (dir, witness) in DIRS {
        let names = match root.seen(root.names(dir), witness) {
            Seen::Known(names) => names,
            Seen::Absent => continue,
            Seen::Unknown(why) => return Seen::Unknown(why),
        };
        any = true;
        let specs: Vec<&String> = names.iter().filter(|name| is_spec(name)).collect();
        if specs.len() > FILES {
            return Seen::Unknown(format!("{dir}: more than {FILES} files"));
        }
        for name in specs {
            let path = format!("{dir}/{name}");
            match root.bytes(&path).map_err(|error| error.to_string()).and_then(|bytes| parse(&path, &bytes)) {
                // Of two files the one of the later directory holds.
                Ok(named) => all.extend(named),
                Err(why) => return Seen::Unknown(why),
            }
        }
    }
    if any { Seen::Known(all) } else { Seen::Absent }
}

/// Whether a file is about devices of this host. What Kubernetes' drivers write for one claim (`VENDOR-CLASS_UID.json`) comes
/// and goes with pods, and gives devices that have other names as well.
fn is_spec(name: &str) -> bool {
    let Some(stem) = [".json", ".yaml"].into_iter().find_map(|end| name.strip_suffix(end)) else { return false };
    let of_claim = stem.rsplit_once('_').is_some_and(|(_, id)| is_uuid(id));
    !name.starts_with('.') && !of_claim
}

fn is_uuid(id: &str) -> bool {
    let place = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    id.len() == UUID && id.bytes().enumerate().all(place)
}

/// The devices of one file.
fn parse(path: &str, bytes: &[u8]) -> Result<Named, String> {
    let wrong = |what: &str| format!("{path}: {what}");
    if path.ends_with(".json") {
        json::read::<serde_json::Value>(bytes, FILE_LIMIT).map_err(|error| wrong(&error.to_string()))?;
    } else if bytes.last() != Some(&b'\n') {
        return Err(wrong("the last line has no end, so the file may be half-written"));
    }
    // JSON is YAML.
    let stream = yaml::read(bytes, FILE_LIMIT).map_err(|error| wrong(&error.to_string()))?;
    let root = stream.first.ok_or_else(|| wrong("empty"))?;
    let kind = text(&root, "kind").ok_or_else(|| wrong("no \"kind\", so the file may be half-written"))?;
    let Some(Kind::List(devices)) = field(&root, "devices").map(|node| &node.kind) else {
        return Err(wrong("no list \"devices\""));
    };
    if devices.len() > DEVICES {
        return Err(wrong(&format!("more than {DEVICES} devices")));
    }
    let mut named = Named::new();
    for device in devices {
        let name = text(device, "name").ok_or_else(|| wrong("a device without a name"))?;
        let full = json::plain(&format!("{kind}={name}"), 300);
        named.insert(full, paths(device));
    }
    Ok(named)
}

/// The nodes that a device brings, as the host calls them.
fn paths(device: &Node) -> BTreeSet<String> {
    let nodes = field(device, "containerEdits").and_then(|edits| field(edits, "deviceNodes"));
    let Some(Kind::List(nodes)) = nodes.map(|node| &node.kind) else { return BTreeSet::new() };
    nodes.iter().filter_map(|node| text(node, "hostPath").or_else(|| text(node, "path"))).map(str::to_owned).collect()
}

fn field<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    let Kind::Map(entries) = &node.kind else { return None };
    entries
        .iter()
        .find(|(key, _)| matches!(&key.kind, Kind::Scalar(scalar) if scalar.text == name))
        .map(|(_, value)| value)
}

fn text<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    match &field(node, name)?.kind {
        Kind::Scalar(scalar) if !scalar.text.is_empty() => Some(&scalar.text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // As nvidia-ctk cdi generate writes it, shortened.
    const YAML: &str = "---\ncdiVersion: 0.5.0\ncontainerEdits:\n  deviceNodes:\n  - path: /dev/nvidiactl\n\
        devices:\n- containerEdits:\n    deviceNodes:\n    - path: /dev/nvidia0\n    - path: /dev/dri/card1\n  name: \"0\"\n\
        - containerEdits:\n    deviceNodes:\n    - hostPath: /dev/nvidia0\n      path: /dev/other\n  name: all\nkind: nvidia.com/gpu\n";
    const JSON: &str = r#"{"cdiVersion":"0.6.0","kind":"vendor.com/nic","devices":[{"name":"a","containerEdits":{}}]}"#;

    fn shown(path: &str, text: &str) -> String {
        match parse(path, text.as_bytes()) {
            Ok(named) => format!("{named:?}"),
            Err(why) => why,
        }
    }

    #[test]
    fn both_forms_are_read() {
        let expected =
            r#"{"nvidia.com/gpu=0": {"/dev/dri/card1", "/dev/nvidia0"}, "nvidia.com/gpu=all": {"/dev/nvidia0"}}"#;
        assert_eq!(shown("/etc/cdi/nvidia.yaml", YAML), expected);
        assert_eq!(shown("/etc/cdi/x.json", JSON), r#"{"vendor.com/nic=a": {}}"#);
    }

    #[test]
    fn files_of_claims_are_passed_over() {
        for (name, expected) in [
            ("nvidia.yaml", true),
            ("vendor.com-nic.json", true),
            ("vendor.com-nic_base.json", true),
            ("k8s.gpu.nvidia.com-claim_0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0.yaml", false),
            ("k8s.gpu.example.com-gpu_0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0.json", false),
            (".nvidia.yaml", false),
            ("nvidia.yaml.tmp", false),
        ] {
            assert_eq!(is_spec(name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_half_written_or_no_specification_says_so() {
        for (path, text, why) in [
            ("/x.yaml", &YAML[..YAML.len() - 1], "half-written"),
            ("/x.yaml", &YAML[..YAML.len() - 21], "half-written"),
            ("/x.yaml", "kind: a/b\n", "no list"),
            ("/x.yaml", "kind: a/b\ndevices:\n- x: 1\n", "without a name"),
            ("/x.yaml", "", "half-written"),
            ("/x.yaml", "a: [\n", "line 2"),
            ("/x.json", &JSON[..40], "line 1 column 40"),
            ("/x.json", "[]", "no \"kind\""),
        ] {
            let found = shown(path, text);
            assert!(found.starts_with(path) && found.contains(why), "{found}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken(text in "(kind|devices|name|containerEdits|deviceNodes|[-:{}\\[\\],]|\n| |\"){0,60}") {
            let _ = parse("/x.yaml", text.as_bytes());
            let _ = parse("/x.json", text.as_bytes());
        }
    }
}
