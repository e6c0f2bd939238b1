//! Owns the last look at a runtime spec before it is written: against the original one, nothing but the three fields that an
//! image contributes to may be another, and no variable among them that somebody besides the container's own program acts upon
//! (docs/threats.md). The plan refuses the same and more; this does not believe it.

use serde_json::Value;

use crate::plan::{Process, interpreted, name_of};

/// The fields of `process` that an image contributes to.
const FIELDS: [&str; 3] = ["args", "env", "cwd"];

/// Whether `planned` gives the process nothing that `original` did not.
pub(crate) fn hold(original: &Value, planned: &Value) -> Result<(), String> {
    if without_process(original) != without_process(planned) {
        return Err("the plan changes more than args, env and cwd of the runtime spec".to_owned());
    }
    let (Some(before), Some(after)) = (Process::of(original), Process::of(planned)) else {
        return Err("the runtime spec has no process".to_owned());
    };
    if variables(&before) != variables(&after) {
        return Err("the plan changes variables that runtimes interpret".to_owned());
    }
    let lost = before.args.is_empty() != after.args.is_empty() || !after.cwd.starts_with('/');
    if lost { Err("the plan leaves no arguments or no absolute cwd".to_owned()) } else { Ok(()) }
}

fn without_process(spec: &Value) -> Value {
    let mut rest = spec.clone();
    if let Some(process) = rest.get_mut("process").and_then(Value::as_object_mut) {
        FIELDS.iter().for_each(|field| {
            process.remove(*field);
        });
    }
    rest
}

/// The variables that others act upon, in their order: of several with one name, runtimes differ in which one counts.
fn variables(process: &Process) -> Vec<&str> {
    process.env.iter().filter(|entry| interpreted(name_of(entry))).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec() -> Value {
        json!({
            "process": {
                "user": {"uid": 1000, "gid": 1000, "additionalGids": [5]}, "args": ["a"], "cwd": "/", "env": ["A=1", "NVIDIA_VISIBLE_DEVICES=0"],
                "capabilities": {"bounding": ["CAP_KILL"]}, "noNewPrivileges": true, "apparmorProfile": "p", "selinuxLabel": "s",
                "rlimits": [], "oomScoreAdj": 1
            },
            "root": {"path": "rootfs", "readonly": true}, "mounts": [], "hooks": {}, "annotations": {"a": "b"},
            "linux": {"namespaces": [], "seccomp": {}, "maskedPaths": ["/proc/kcore"], "devices": []}
        })
    }

    #[test]
    fn args_env_and_cwd_may_be_others() {
        let mut planned = spec();
        planned["process"]["args"] = json!(["b", "c"]);
        planned["process"]["env"] = json!(["NVIDIA_VISIBLE_DEVICES=0", "B=2"]);
        planned["process"]["cwd"] = json!("/x");
        assert_eq!(hold(&spec(), &planned), Ok(()));
    }

    /// Every other place of a spec, one at a time.
    #[test]
    fn nothing_else_may_be_another() {
        for (place, value) in [
            ("/process/user/uid", json!(0)),
            ("/process/user/additionalGids", json!([0])),
            ("/process/capabilities/bounding", json!(["CAP_SYS_ADMIN"])),
            ("/process/noNewPrivileges", json!(false)),
            ("/process/apparmorProfile", json!("unconfined")),
            ("/process/selinuxLabel", json!("")),
            ("/process/rlimits", json!([{}])),
            ("/process/oomScoreAdj", json!(-1000)),
            ("/root/path", json!("/")),
            ("/root/readonly", json!(false)),
            ("/mounts", json!([{"destination": "/host"}])),
            ("/hooks", json!({"prestart": []})),
            ("/annotations/a", json!("c")),
            ("/linux/namespaces", json!([{"type": "pid"}])),
            ("/linux/seccomp", json!(null)),
            ("/linux/maskedPaths", json!([])),
            ("/linux/devices", json!([{"path": "/dev/mem"}])),
        ] {
            let mut planned = spec();
            *planned.pointer_mut(place).unwrap() = value;
            assert!(hold(&spec(), &planned).unwrap_err().contains("more than args, env and cwd"), "{place}");
        }
        let mut planned = spec();
        planned["process"]["capabilities"]["ambient"] = json!(["CAP_KILL"]);
        assert!(hold(&spec(), &planned).is_err(), "a field that was not there");
    }

    #[test]
    fn variables_that_runtimes_interpret_stay() {
        for env in [
            json!(["A=1", "NVIDIA_VISIBLE_DEVICES=all"]),
            json!(["A=1"]),
            json!(["NVIDIA_VISIBLE_DEVICES=0", "GODEBUG=x"]),
        ] {
            let mut planned = spec();
            planned["process"]["env"] = env;
            assert!(hold(&spec(), &planned).unwrap_err().contains("runtimes interpret"));
        }
        for (field, value) in [("args", json!([])), ("cwd", json!("x"))] {
            let mut planned = spec();
            planned["process"][field] = value;
            assert!(hold(&spec(), &planned).is_err(), "{field}");
        }
    }
}
