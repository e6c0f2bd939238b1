//! `bestfit ps`, with a worker beside the program that says what each test needs.

use std::os::unix::fs::PermissionsExt;

use crate::sandbox::{Run, Sandbox, without_forks};

/// Runs a copy of the program that has this script as its worker.
fn ps(worker: Option<&str>, arguments: &[&str]) -> Run {
    let sandbox = Sandbox::new();
    let program = sandbox.path("bestfit");
    without_forks(|| {
        std::fs::copy(env!("CARGO_BIN_EXE_bestfit"), &program).unwrap();
        if let Some(script) = worker {
            let file = sandbox.write("bestfit-worker", &format!("#!/bin/sh\n{script}\n"));
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    });
    sandbox.finish(sandbox.command(&program, arguments))
}

#[test]
fn containers_are_listed() {
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let list = format!(
        r#"[ "$*" = "list --address /x.sock --namespace k8s.io" ] || exit 64
echo '[{{"namespace":"k8s.io","container":"0123456789abcdef0123456789","image":"reg.lan/app:v1","chosen":"{a}","default":"{b}","index":"{c}","status":"swapped","time":"2026-01-02T03:04:05Z"}},
{{"namespace":"default","container":"web","image":"reg.lan/web:v1","chosen":null,"default":null,"index":null,"status":null,"time":null}}]'"#,
        a = digest("a"),
        b = digest("b"),
        c = digest("c")
    );
    assert_eq!(
        ps(Some(&list), &["ps", "--address", "/x.sock", "-n", "k8s.io"]).prints(),
        "\
NAMESPACE  CONTAINER                 IMAGE           RUNS                 DEFAULT              STATUS   TIME
k8s.io     0123456789abcdef01234567  reg.lan/app:v1  sha256:aaaaaaaaaaaa  sha256:bbbbbbbbbbbb  swapped  2026-01-02T03:04:05Z
default    web                       reg.lan/web:v1  default              -                    -        -
"
    );
    let run = ps(Some(&list), &["ps", "--address", "/x.sock", "--namespace", "k8s.io", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(run.prints()).unwrap();
    assert_eq!(rows[0]["chosen"], digest("a"));
    assert_eq!(ps(Some("echo '[]'"), &["ps"]).prints(), "no container of this node went through bestfit\n");
}

#[test]
fn what_the_worker_could_not_do_is_said() {
    ps(None, &["ps"]).fails(
        69,
        "error: bestfit-worker is neither beside this program nor in /usr/libexec/bestfit\n\
         hint: install bestfit on this node; ps asks the node that it runs on\n",
    );
    ps(Some("echo 'bestfit-worker: /run/containerd/containerd.sock: Connection refused' >&2; exit 69"), &["ps"]).fails(
        69,
        "error: /run/containerd/containerd.sock: Connection refused\n\
         hint: is containerd running? --address or CONTAINERD_ADDRESS names another socket than /run/containerd/containerd.sock\n",
    );
    ps(Some("echo '/run/containerd/containerd.sock: Permission denied' >&2; exit 77"), &["ps"]).fails(
        77,
        "error: /run/containerd/containerd.sock: Permission denied\nhint: run it as root: containerd's socket is root's\n",
    );
    ps(Some("exit 3"), &["ps"]).fails(69, "error: bestfit-worker: exit status: 3\n");
}

#[test]
fn a_list_that_is_none_is_said() {
    for (script, why) in [
        ("echo nonsense", "expected ident at line 1 column 2"),
        ("echo '{}'", "invalid type: map, expected a sequence at line 1 column 0"),
        ("head -c 300000 /dev/zero | tr '\\0' '['", "invalid type: sequence, expected a string at line 1 column 2"),
    ] {
        ps(Some(script), &["ps"]).fails(
            65,
            &format!(
                "error: the list of bestfit-worker cannot be read: {why}\n\
                 hint: are bestfit and bestfit-worker of the same version?\n"
            ),
        );
    }
}
