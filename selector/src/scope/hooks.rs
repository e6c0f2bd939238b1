//! Owns what OCI hooks bring into a container: they run before its program, and may put devices into it that its runtime spec
//! does not name. Some managers give GPUs in no other way (`ctr run --gpus`, `nerdctl run --gpus`).

use std::iter;

use serde_json::Value;

use super::{Given, NODES, Scope, list, text, visible_name};
use crate::devices::Kind;

/// Hooks that run before the container's program, and outside of the container.
const STAGES: [&str; 3] = ["/hooks/prestart", "/hooks/createRuntime", "/hooks/createContainer"];
/// NVIDIA's program that puts GPUs into a container; its arguments say which.
const NVIDIA_CLI: &str = "nvidia-container-cli";
const WHY_NVIDIA: &str = "an OCI hook of NVIDIA's may bring GPUs; whether it does cannot be told";
const WHY: &str = "an OCI hook runs that is not known here; whether it brings devices cannot be told";

/// Adds what the hooks of a runtime spec give, or may give.
pub(super) fn add(scope: &mut Scope, spec: &Value) {
    for hook in STAGES.into_iter().flat_map(|stage| list(spec, stage)) {
        let args = hook.get("args").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let words: Vec<&str> = iter::once(text(hook, "path")).chain(args).collect();
        if is_network(&words) {
            continue;
        }
        if !words.iter().any(|word| word.contains("nvidia")) {
            scope.doubt_all(WHY);
            for node in NODES {
                scope.nodes.entry(node).or_insert_with(|| Given::Untold(WHY.to_owned()));
            }
            continue;
        }
        if words.iter().any(|word| word.ends_with(NVIDIA_CLI)) {
            let names = words.iter().filter_map(|word| word.strip_prefix("--device=")).flat_map(|all| all.split(','));
            for name in names.filter(|name| !matches!(*name, "" | "none" | "void")) {
                scope.give(Kind::Nvidia, Some(visible_name(Kind::Nvidia, name)));
            }
        }
        scope.doubt(Kind::Nvidia, WHY_NVIDIA);
    }
}

/// Whether a hook only connects the container to its network: nerdctl's of itself, and that of Docker's libnetwork.
fn is_network(words: &[&str]) -> bool {
    words.windows(2).any(|two| two == ["internal", "oci-hook"]) || words.contains(&"libnetwork-setkey")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Name;
    use super::*;

    /// NVIDIA's GPUs that were given, `-` for none, `?` for what cannot be told; then the same for AMD's and for `/dev/kvm`.
    fn shown(stage: &str, args: &[&str]) -> String {
        let hook = json!({"path": args.first(), "args": args});
        let scope = Scope::of(&json!({"hooks": {stage: [hook]}}), &[]);
        let one = |given: Given| match given {
            Given::Nothing => "-".to_owned(),
            Given::Untold(_) => "?".to_owned(),
            Given::Devices(names) => names.iter().map(shown_name).collect::<Vec<_>>().join(","),
        };
        [scope.given(Kind::Nvidia), scope.given(Kind::Amd), scope.node("/dev/kvm")].map(one).join(" ")
    }

    fn shown_name(name: &Name) -> String {
        match name {
            Name::All => "all".to_owned(),
            Name::Index(index) => index.to_string(),
            Name::Uuid(uuid) => uuid.clone(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn hooks_bring_devices_or_may() {
        let with_gpus = |device: &'static str| {
            // As containerd's contrib/nvidia writes it.
            let start = ["/usr/bin/containerd", "oci-hook", "--", "/usr/bin/nvidia-container-cli", "--load-kmods"];
            [&start[..], &["configure", device, "--compute", "--pid={{pid}}", "{{rootfs}}"]].concat()
        };
        let nerdctl = ["/usr/bin/nerdctl", "--namespace=default", "internal", "oci-hook", "createRuntime"];
        for (stage, args, expected) in [
            ("createRuntime", with_gpus("--device=0"), "0 - -"),
            ("prestart", with_gpus("--device=all"), "all - -"),
            ("createRuntime", with_gpus("--device=1,GPU-a"), "1,GPU-a - -"),
            ("createRuntime", with_gpus("--utility"), "? - -"),
            ("prestart", vec!["/usr/bin/nvidia-container-runtime-hook", "prestart"], "? - -"),
            ("createContainer", vec!["/usr/bin/nvidia-cdi-hook", "update-ldcache"], "? - -"),
            ("createRuntime", nerdctl.to_vec(), "- - -"),
            ("prestart", vec!["/proc/7/exe", "libnetwork-setkey", "-exec-root=/run"], "- - -"),
            ("createRuntime", vec!["/opt/site/attach"], "? ? ?"),
            ("poststop", vec!["/opt/site/attach"], "- - -"),
        ] {
            assert_eq!(shown(stage, &args), expected, "{args:?}");
        }
    }

    #[test]
    fn a_hook_takes_nothing_from_what_was_given() {
        let spec = json!({
            "hooks": {"prestart": [{"path": "/opt/site/attach"}]},
            "linux": {"devices": [{"path": "/dev/nvidia0"}, {"path": "/dev/kvm"}]}
        });
        let scope = Scope::of(&spec, &[]);
        assert!(
            matches!(scope.given(Kind::Nvidia), Given::Devices(_)) && matches!(scope.node(NODES[0]), Given::Devices(_))
        );
        assert!(matches!(scope.given(Kind::Fabric), Given::Untold(_)));
    }
}
