//! Owns the plan: (image config of the default entry, image config of the candidate, the runtime spec, what the user asked
//! for) → the process that the candidate needs, or the reason why the candidate is refused. Pure.
//!
//! The swap changes the root filesystem and what the *image* contributed to args, env and cwd, nothing else
//! (design.md, "Rules that hold everywhere", 2). Where CRI kept its own config in the container record, the user's part is
//! known, and the contribution is computed as CRI computed it. Elsewhere a value counts as contributed by the image only
//! where it is exactly what the default image would have contributed (docs/decisions/0006).

use bestfit_selector::policy::covers;
use serde_json::Value;

use crate::image::ProcessConfig;

/// The PATH that containerd gives a process whose image has none (`oci.defaultUnixEnv`).
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables that the container runtime, its hooks or the dynamic loader act upon: a candidate that differs in one of them
/// would change more than its own program. A trailing or leading `*` stands for any text.
const INTERPRETED: &[&str] = &[
    "NVIDIA_*",
    "*_VISIBLE_DEVICES",
    "CUDA_COMPAT_*",
    // Without NVIDIA_REQUIRE_CUDA it marks a legacy image, which gets all GPUs.
    "CUDA_VERSION",
    "HABANA_*",
    "ASCEND_*",
    "LD_PRELOAD",
    "LD_AUDIT",
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "_LIBCONTAINER_*",
    // runc's own init, a Go program, still runs when it takes the process's environment over.
    "GODEBUG",
    "GOTRACEBACK",
];

/// Labels of images that containerd, its clients and runtimes act upon: the container has those of the default entry.
const INTERPRETED_LABELS: &[&str] = &["io.containerd.*", "io.kubernetes.*", "nerdctl/*", "com.nvidia.*", "run.oci.*"];

/// What the user asked for, where it is known apart from the image (CRI's `ContainerConfig`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UserPart {
    pub(crate) command: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) working_dir: String,
}

/// The three fields of `process` that an image contributes to (OCI runtime-spec, config.md, "Process").
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
}

/// Why a candidate is refused: one line that names both values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refusal(pub(crate) String);

fn refuse<T>(why: String) -> Result<T, Refusal> {
    Err(Refusal(why))
}

/// The process that the container gets with the candidate instead of the default.
pub(crate) fn plan(
    default: &ProcessConfig,
    candidate: &ProcessConfig,
    current: &Process,
    user: Option<&UserPart>,
) -> Result<Process, Refusal> {
    refuse_what_reaches_further(default, candidate)?;
    Ok(Process {
        args: args(default, candidate, current, user)?,
        env: env(default, candidate, current, user)?,
        cwd: cwd(default, candidate, current, user)?,
    })
}

fn refuse_what_reaches_further(default: &ProcessConfig, candidate: &ProcessConfig) -> Result<(), Refusal> {
    if let Some(path) = default.volumes.keys().chain(candidate.volumes.keys()).next() {
        return refuse(format!(
            "volume {path:?}: volumes were filled from the default entry before the container existed"
        ));
    }
    if signal(&default.stop_signal) != signal(&candidate.stop_signal) {
        return refuse(format!("stop signal {:?} instead of {:?}", candidate.stop_signal, default.stop_signal));
    }
    let labels = default.labels.keys().chain(candidate.labels.keys());
    for name in labels.filter(|name| INTERPRETED_LABELS.iter().any(|pattern| covers(pattern, name))) {
        let (was, would_be) = (default.labels.get(name), candidate.labels.get(name));
        if was != would_be {
            let (was, would_be) = (shown(was.map(String::as_str)), shown(would_be.map(String::as_str)));
            return refuse(format!("label {name}, which runtimes interpret: {would_be} instead of {was}"));
        }
    }
    let names = default.env.iter().chain(&candidate.env).map(|entry| name_of(entry));
    for name in names.filter(|name| interpreted(name)) {
        let (was, would_be) = (lookup(&default.env, name), lookup(&candidate.env, name));
        if was != would_be {
            return refuse(format!(
                "variable {name}, which runtimes interpret: {} instead of {}",
                shown(would_be),
                shown(was)
            ));
        }
    }
    Ok(())
}

/// Whether somebody besides the container's own program acts upon a variable.
pub(crate) fn interpreted(name: &str) -> bool {
    INTERPRETED.iter().any(|pattern| covers(pattern, name))
}

/// `SIGTERM`, `TERM` and `15` are the same; an image without one gets SIGTERM.
fn signal(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "" | "15" => "TERM".to_owned(),
        other => other.to_owned(),
    }
}

fn args(
    default: &ProcessConfig,
    candidate: &ProcessConfig,
    current: &Process,
    user: Option<&UserPart>,
) -> Result<Vec<String>, Refusal> {
    if default.entrypoint == candidate.entrypoint && default.cmd == candidate.cmd {
        return Ok(current.args.clone());
    }
    if let Some(user) = user {
        if cri_args(default, user) != current.args {
            return refuse("the arguments are not what the default image and the pod give".to_owned());
        }
        return Ok(cri_args(candidate, user));
    }
    let full = [&default.entrypoint[..], &default.cmd].concat();
    if current.args == full {
        return Ok([&candidate.entrypoint[..], &candidate.cmd].concat());
    }
    if default.entrypoint != candidate.entrypoint && current.args.starts_with(&default.entrypoint) {
        return refuse(format!(
            "entrypoint {:?} instead of {:?}, and it cannot be told how much of the arguments the user gave",
            candidate.entrypoint, default.entrypoint
        ));
    }
    // The user replaced what the image would have run.
    Ok(current.args.clone())
}

/// As CRI merges (containerd, `WithProcessArgs`): a command replaces entrypoint and cmd, args replace cmd.
fn cri_args(image: &ProcessConfig, user: &UserPart) -> Vec<String> {
    let (mut command, mut args) = (&user.command, &user.args);
    if command.is_empty() {
        if args.is_empty() {
            args = &image.cmd;
        }
        command = &image.entrypoint;
    }
    [&command[..], args].concat()
}

fn env(
    default: &ProcessConfig,
    candidate: &ProcessConfig,
    current: &Process,
    user: Option<&UserPart>,
) -> Result<Vec<String>, Refusal> {
    let mut env = current.env.clone();
    let mut names: Vec<&str> = default.env.iter().chain(&candidate.env).map(|entry| name_of(entry)).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (was, would_be) =
            (contributed(&default.env, name, user.is_some()), contributed(&candidate.env, name, user.is_some()));
        if was == would_be || user.is_some_and(|user| lookup(&user.env, name).is_some()) {
            continue;
        }
        let now = lookup(&env, name).map(str::to_owned);
        match (was, now.as_deref()) {
            (Some(was), Some(now)) if was == now => replace(&mut env, name, would_be),
            (None, None) => replace(&mut env, name, would_be),
            // Somebody else set or removed it. In a pod, that somebody is not the user: then nothing is known of it.
            _ if user.is_some() => {
                return refuse(format!(
                    "variable {name} differs between the entries, and has a value from neither image nor pod"
                ));
            }
            _ => {}
        }
    }
    Ok(env)
}

/// What an image contributes to a variable. containerd starts from its own PATH: in a pod always (CRI,
/// `WithDefaultPathEnv`), elsewhere where the image sets no variable at all (`oci.WithImageConfig`).
fn contributed<'a>(env: &'a [String], name: &str, in_pod: bool) -> Option<&'a str> {
    let has_path = in_pod || env.is_empty();
    lookup(env, name).or_else(|| (name == "PATH" && has_path).then(|| value_of(DEFAULT_PATH)))
}

fn cwd(
    default: &ProcessConfig,
    candidate: &ProcessConfig,
    current: &Process,
    user: Option<&UserPart>,
) -> Result<String, Refusal> {
    let contributed =
        |image: &ProcessConfig| if image.working_dir.is_empty() { "/".to_owned() } else { image.working_dir.clone() };
    let (was, would_be) = (contributed(default), contributed(candidate));
    if was == would_be || user.is_some_and(|user| !user.working_dir.is_empty()) {
        return Ok(current.cwd.clone());
    }
    match user {
        _ if current.cwd == was => Ok(would_be),
        Some(_) => refuse(format!("cwd {:?} is neither the default image's {was:?} nor the pod's", current.cwd)),
        None => Ok(current.cwd.clone()),
    }
}

pub(crate) fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

fn value_of(entry: &str) -> &str {
    entry.split_once('=').map_or("", |(_, value)| value)
}

/// The last entry counts, as in containerd's `replaceOrAppendEnvValues`.
fn lookup<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter().rev().find(|entry| name_of(entry) == name).map(|entry| value_of(entry))
}

/// Keeps the place of a variable that is there, the last one of that name, and appends one that is not.
fn replace(env: &mut Vec<String>, name: &str, value: Option<&str>) {
    let Some(value) = value else {
        env.retain(|entry| name_of(entry) != name);
        return;
    };
    let entry = format!("{name}={value}");
    match env.iter().rposition(|entry| name_of(entry) == name) {
        Some(at) => env[at] = entry,
        None => env.push(entry),
    }
}

fn shown(value: Option<&str>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| format!("{value:?}"))
}

impl Process {
    /// Reads `process` of a runtime spec.
    pub(crate) fn of(spec: &Value) -> Option<Self> {
        let process = spec.get("process")?;
        let strings = |key: &str| -> Option<Vec<String>> {
            match process.get(key) {
                None | Some(Value::Null) => Some(Vec::new()),
                Some(list) => list.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            }
        };
        let cwd = process.get("cwd").and_then(Value::as_str)?.to_owned();
        Some(Self { args: strings("args")?, env: strings("env")?, cwd })
    }

    /// Writes the three fields into a runtime spec, and touches nothing else in it.
    pub(crate) fn write_into(&self, spec: &mut Value) {
        if let Some(process) = spec.get_mut("process").and_then(Value::as_object_mut) {
            process.insert("args".to_owned(), self.args.clone().into());
            process.insert("env".to_owned(), self.env.clone().into());
            process.insert("cwd".to_owned(), self.cwd.clone().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&item| item.to_owned()).collect()
    }

    fn image(entrypoint: &[&str], cmd: &[&str], env: &[&str], cwd: &str) -> ProcessConfig {
        ProcessConfig {
            entrypoint: strings(entrypoint),
            cmd: strings(cmd),
            env: strings(env),
            working_dir: cwd.to_owned(),
            ..Default::default()
        }
    }

    fn process(args: &[&str], env: &[&str], cwd: &str) -> Process {
        Process { args: strings(args), env: strings(env), cwd: cwd.to_owned() }
    }

    #[test]
    fn what_the_image_gave_follows_the_candidate() {
        let default = image(&["/app"], &["run"], &["PATH=/a", "A=1", "B=1"], "/d");
        let candidate = image(&["/v3/app"], &["run"], &["PATH=/b", "A=2", "C=3"], "/c");
        let current = process(&["/app", "run"], &["PATH=/a", "A=1", "B=1", "USER=x"], "/d");
        let planned = plan(&default, &candidate, &current, None).unwrap();
        assert_eq!(planned, process(&["/v3/app", "run"], &["PATH=/b", "A=2", "USER=x", "C=3"], "/c"));
    }

    #[test]
    fn what_the_user_gave_stays() {
        let default = image(&[], &["/app"], &["A=1"], "/d");
        let candidate = image(&[], &["/v3"], &["A=2", "N=1"], "/c");
        let current = process(&["sh", "-c", "x"], &["PATH=/u", "A=mine", "N=mine"], "/mine");
        let planned = plan(&default, &candidate, &current, None).unwrap();
        assert_eq!(planned, current);
    }

    #[test]
    fn of_a_variable_that_stands_twice_the_last_one_counts() {
        let (default, candidate) = (image(&[], &[], &["A=0", "A=1"], ""), image(&[], &[], &["A=2"], ""));
        let planned = plan(&default, &candidate, &process(&[], &["A=0", "B=1", "A=1"], "/"), None).unwrap();
        assert_eq!(planned.env, ["A=0", "B=1", "A=2"]);
    }

    #[test]
    fn the_default_path_counts_as_contributed() {
        let (with, without) = (image(&[], &[], &["PATH=/x"], ""), image(&[], &[], &[], ""));
        let planned = plan(&without, &with, &process(&["a"], &[DEFAULT_PATH], "/"), None).unwrap();
        assert_eq!(planned.env, ["PATH=/x"]);
        let planned = plan(&with, &without, &process(&["a"], &["PATH=/x"], "/"), None).unwrap();
        assert_eq!(planned.env, [DEFAULT_PATH]);
    }

    #[test]
    fn an_entrypoint_with_the_users_arguments_is_ambiguous() {
        let (default, candidate) = (image(&["/app"], &["run"], &[], ""), image(&["/v3"], &["run"], &[], ""));
        let error = plan(&default, &candidate, &process(&["/app", "other"], &[], "/"), None).unwrap_err();
        insta::assert_snapshot!(error, @r#"entrypoint ["/v3"] instead of ["/app"], and it cannot be told how much of the arguments the user gave"#);
    }

    #[test]
    fn in_a_pod_the_users_part_is_known() {
        let (default, candidate) =
            (image(&["/app"], &["run"], &["A=1"], "/d"), image(&["/v3"], &["go"], &["A=2"], "/c"));
        let cases: &[(UserPart, &[&str], &[&str])] = &[
            (UserPart::default(), &["/app", "run"], &["/v3", "go"]),
            (UserPart { args: strings(&["x"]), ..Default::default() }, &["/app", "x"], &["/v3", "x"]),
            (UserPart { command: strings(&["/app"]), ..Default::default() }, &["/app"], &["/app"]),
        ];
        for (user, before, after) in cases {
            let planned = plan(&default, &candidate, &process(before, &["A=1"], "/d"), Some(user)).unwrap();
            assert_eq!(planned, process(after, &["A=2"], "/c"), "{user:?}");
        }
        let user = UserPart { env: strings(&["A=1"]), working_dir: "/d".to_owned(), ..Default::default() };
        let planned = plan(&default, &candidate, &process(&["/app", "run"], &["A=1"], "/d"), Some(&user)).unwrap();
        assert_eq!((planned.env, planned.cwd), (strings(&["A=1"]), "/d".to_owned()));
    }

    #[test]
    fn in_a_pod_what_nobody_explains_is_refused() {
        let (default, candidate) = (image(&["/app"], &[], &["A=1"], "/d"), image(&["/v3"], &[], &["A=2"], "/c"));
        let user = UserPart::default();
        for current in [
            process(&["/other"], &["A=1"], "/d"),
            process(&["/app"], &["A=9"], "/d"),
            process(&["/app"], &["A=1"], "/elsewhere"),
        ] {
            assert!(plan(&default, &candidate, &current, Some(&user)).is_err(), "{current:?}");
        }
    }

    #[test]
    fn what_reaches_beyond_the_process_is_refused() {
        let plain = image(&[], &["a"], &[], "");
        let mut volume = plain.clone();
        volume.volumes.insert("/data".to_owned(), Value::Null);
        let mut stop = plain.clone();
        stop.stop_signal = "SIGINT".to_owned();
        let env = |entry: &str| image(&[], &["a"], &[entry], "");
        let cases = [
            (volume, "volume \"/data\": volumes were filled from the default entry before the container existed"),
            (stop, "stop signal \"SIGINT\" instead of \"\""),
            (
                env("NVIDIA_VISIBLE_DEVICES=all"),
                "variable NVIDIA_VISIBLE_DEVICES, which runtimes interpret: \"all\" instead of nothing",
            ),
            (
                env("HIP_VISIBLE_DEVICES=0"),
                "variable HIP_VISIBLE_DEVICES, which runtimes interpret: \"0\" instead of nothing",
            ),
            (env("LD_PRELOAD=/x.so"), "variable LD_PRELOAD, which runtimes interpret: \"/x.so\" instead of nothing"),
        ];
        for (candidate, why) in cases {
            for (left, right) in [(&plain, &candidate), (&candidate, &plain)] {
                assert!(plan(left, right, &process(&["a"], &[], "/"), None).is_err());
            }
            let error = plan(&plain, &candidate, &process(&["a"], &[], "/"), None).unwrap_err();
            assert_eq!(error.to_string(), why);
        }
        let (mut term, mut fifteen) = (plain.clone(), plain.clone());
        term.stop_signal = "SIGTERM".to_owned();
        fifteen.stop_signal = "15".to_owned();
        assert!(plan(&term, &fifteen, &process(&["a"], &[], "/"), None).is_ok());
    }

    #[test]
    fn writing_back_touches_three_fields_only() {
        let mut spec: Value = serde_json::from_str(
            r#"{"z":18446744073709551615,"process":{"user":{"uid":1},"args":["a"],"cwd":"/","env":["A=1"]}}"#,
        )
        .unwrap();
        let mut process = Process::of(&spec).unwrap();
        process.cwd = "/x".to_owned();
        process.write_into(&mut spec);
        assert_eq!(
            spec.to_string(),
            r#"{"z":18446744073709551615,"process":{"user":{"uid":1},"args":["a"],"cwd":"/x","env":["A=1"]}}"#
        );
    }
}
