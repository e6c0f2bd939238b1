//! `bestfit doctor`, with programs beside it that say what each test needs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::sandbox::{Run, Sandbox, without_forks};

/// A copy of the program, with these scripts beside it; `DIR` in them is the sandbox.
fn doctor(sandbox: &Sandbox, programs: &[(&str, &str)], arguments: &[&str]) -> Run {
    let dir = sandbox.path("bin");
    without_forks(|| {
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_bestfit"), dir.join("bestfit")).unwrap();
        for (name, script) in programs {
            let script = script.replace("DIR", &sandbox.path("").display().to_string());
            let file = sandbox.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    });
    let mut line = vec!["doctor"];
    line.extend(arguments);
    sandbox.finish(sandbox.command(&dir.join("bestfit"), &line))
}

const SHIM: &str = "echo containerd-shim-bestfit-v1:; echo '  Version:  0.1.0'";
const WORKER: &str = r#"case "$1" in
--version) echo bestfit-worker 0.1.0;;
node) echo '{"version": "2.1.4", "path": "/usr/bin:DIRbin", "program": null}';;
esac"#;
const DECIDER: &str = r#"case "$*" in
--version) echo bestfit-decider 0.1.0;;
"--uid 61183 --gid 61183 --report") echo '{"unenforced": []}';;
esac"#;
const DELEGATE: (&str, &str) = ("containerd-shim-runc-v2", "");

/// With a log inside as well.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let config = std::fs::read_to_string(sandbox.path("config.toml")).unwrap();
    sandbox.write("config.toml", &format!("{config}[log]\nfile = {:?}\n", sandbox.path("log/decisions.jsonl")));
    sandbox
}

/// Without the line about this machine's kernel.
fn without_kernel(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with("kernel ")).collect()
}

#[test]
fn a_sound_node() {
    let programs =
        [("containerd-shim-bestfit-v1", SHIM), ("bestfit-worker", WORKER), ("bestfit-decider", DECIDER), DELEGATE];
    let run = doctor(&sandbox(), &programs, &[]);
    assert_eq!(
        without_kernel(run.prints()),
        "\
configuration    ok  DIR/config.toml
containerd       ok  2.1.4
shim             ok  DIR/bin/containerd-shim-bestfit-v1 0.1.0
worker           ok  DIR/bin/bestfit-worker 0.1.0
decider          ok  DIR/bin/bestfit-decider 0.1.0
delegate         ok  DIR/bin/containerd-shim-runc-v2
cache            ok  DIR/cache is not there yet
decider's cache  ok  DIR/cache/registry is not there yet
state            ok  DIR/state is not there yet
log              ok  DIR/log is not there yet
decider's ids    ok  uid 61183, gid 61183: no account, no group, no subordinate id
registries       ok  DIR/certs.d: 0 hosts
credentials      ok  none are used
hooks            ok  0
confinement      ok  all of it: uid 61183, system calls, files, TCP ports, limits
"
    );
    let json: serde_json::Value = serde_json::from_str(doctor(&sandbox(), &programs, &["--json"]).prints()).unwrap();
    assert_eq!((json["state"].as_str(), json["checks"][1]["found"].as_str()), (Some("ok"), Some("2.1.4")));
}

#[test]
fn what_is_wrong_comes_with_what_to_do() {
    let sandbox = sandbox();
    sandbox.write("certs.d/q.example/hosts.toml", "server = 3\n");
    sandbox.write("login.json", r#"{"auths": {}, "credsStore": "desktop"}"#);
    let config = std::fs::read_to_string(sandbox.path("config.toml")).unwrap();
    let login = sandbox.path("login.json");
    sandbox.write("config.toml", &config.replace("docker_config = \"none\"", &format!("docker_config = {login:?}")));
    let worker =
        "case \"$1\" in --version) echo bestfit-worker 0.0.9;; *) echo 'bestfit-worker: no answer' >&2; exit 69;; esac";
    let decider =
        "case \"$1\" in --version) exit 3;; *) echo '{\"unenforced\": [\"TCP ports are not limited\"]}';; esac";
    let run = doctor(&sandbox, &[("bestfit-worker", worker), ("bestfit-decider", decider)], &[]);
    assert_eq!(run.code, 1);
    let missing = Path::new("/usr/bin/containerd-shim-runc-v2").exists() || Path::new("/opt/containerd/bin").exists();
    let expected = [
        "containerd       wrong    no answer\n  hint: is it running? --address names another socket than /run/containerd/containerd.sock\n",
        "worker           wrong    DIR/bin/bestfit-worker is version 0.0.9, this is 0.1.0\n  hint: install all programs from one package\n",
        "decider          wrong    DIR/bin/bestfit-decider does not say its version (exit status: 3)\n",
        "registries       wrong    DIR/certs.d/q.example/hosts.toml:1: server is a string\n",
        "credentials      warning  DIR/login.json names credential helpers\n  hint: the shim runs none of them",
        "confinement      warning  TCP ports are not limited\n  hint: docs/threats.md says what that leaves open",
    ];
    for text in expected {
        assert!(run.stdout.contains(text), "{text}\nis not in\n{}", run.stdout);
    }
    if !missing {
        assert!(run.stdout.contains("delegate         wrong    containerd-shim-runc-v2 is not on this shell's PATH"));
    }
}

#[test]
fn a_broken_configuration_is_said_and_the_rest_looked_at() {
    let sandbox = Sandbox::new();
    sandbox.write("config.toml", "mode = \"maybe\"\n");
    let run = doctor(&sandbox, &[], &[]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.starts_with("configuration    wrong    DIR/config.toml:1:"), "{}", run.stdout);
    assert!(run.stdout.contains("\nhooks "), "{}", run.stdout);
}
