//! `bestfit verify`, `bestfit policy test` and what `config check` says about keys, on OCI layouts that nobody signed. What real
//! tools sign is tested end to end.

use crate::layout::{Layout, facts};
use crate::sandbox::Sandbox;

const AVX2: &str = r#"{"compatibilities": {"nfd": {"cpu-cpuid.AVX2": true}}}"#;
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEluNQDHgPxlpKK1m/wqv2uEBp4kDt
OT2ohkdUMQHzfECq9WNKvnh4qdMhF+vXAFQbRyBtOhCSn4wusy349E9gbQ==
-----END PUBLIC KEY-----
";

/// `image:v1`: a plain entry, and one whose artifact steers towards it; a key, and configurations that trust it.
fn site() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox.path("image"));
    let entries = ["plain", "steered"].map(|name| layout.image("amd64", name));
    layout.attach(&entries[1], AVX2);
    layout.index("v1", &entries);
    layout.finish();
    sandbox.write("new.json", &facts(true, "6.1.0"));
    sandbox.write("vendor.pub", KEY);
    for mode in ["warn", "enforce", "require"] {
        let base = std::fs::read_to_string(sandbox.path("config.toml")).unwrap();
        let key = sandbox.path("vendor.pub");
        sandbox.write(
            &format!("{mode}.toml"),
            &format!("{base}[trust]\nmode = \"{mode}\"\n[[trust.accept]]\nkey = {key:?}\n"),
        );
    }
    sandbox
}

#[test]
fn verify_says_of_each_artifact_that_nobody_signed_it() {
    let sandbox = site();
    sandbox.bestfit(&["verify", "oci:image:v1"]).fails(
        78,
        "error: this site trusts nobody: the configuration has no [[trust.accept]]\nhint: docs/signed-artifacts-only.md shows how \
         to begin\n",
    );
    std::fs::copy(sandbox.path("enforce.toml"), sandbox.path("config.toml")).unwrap();
    let run = sandbox.bestfit(&["verify", "oci:image:v1"]);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{run:?}");
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].starts_with("index sha256:") && lines[1] == "  no artifact", "{run:?}");
    assert!(lines[2].starts_with("entry 0 linux/amd64 sha256:") && lines[3] == "  no artifact", "{run:?}");
    assert!(lines[4].starts_with("entry 1 linux/amd64 sha256:"), "{run:?}");
    assert!(lines[5].contains(": signed by nobody whom this site trusts: "), "{run:?}");
    let json = sandbox.bestfit(&["verify", "oci:image:v1", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["mode"], "enforce");
    assert!(json["subjects"][2]["artifacts"][0]["standing"]["untrusted"]["why"][0].is_string(), "{json}");
}

#[test]
fn policy_test_compares_two_configurations() {
    let sandbox = site();
    let test = |file: &str| sandbox.bestfit(&["policy", "test", file, "oci:image:v1", "--facts", "new.json"]);
    let same = test("warn.toml");
    assert_eq!(same.code, 0, "{same:?}");
    assert!(same.stdout.starts_with("oci:image:v1: the same\n  now  sha256:"), "{same:?}");
    let enforced = test("enforce.toml");
    assert_eq!(enforced.code, 1, "{enforced:?}");
    let text = &enforced.stdout;
    assert!(text.starts_with("oci:image:v1: changes\n"), "{text}");
    assert!(text.contains("runs: no entry has a compatibility artifact of a signer whom this site trusts\n"), "{text}");
    let required = test("require.toml");
    assert!(required.stdout.contains("  then nothing runs: no entry has a compatibility artifact"), "{required:?}");
    test("missing.toml").fails(66, "error: missing.toml: No such file or directory (os error 2)\n");
    // One image that is not there keeps no other from being looked at.
    let run = sandbox.bestfit(&[
        "policy",
        "test",
        "warn.toml",
        "oci:image:v1",
        "oci:nope",
        "oci:image:v1",
        "--facts",
        "new.json",
    ]);
    assert_eq!((run.code, run.stdout.matches("oci:image:v1: the same\n").count()), (66, 2), "{run:?}");
    assert!(run.stderr.starts_with("error: oci:nope: "), "{run:?}");
}

#[test]
fn config_check_knows_what_is_no_key() {
    let sandbox = site();
    let file = sandbox.path("enforce.toml").display().to_string();
    let check = || sandbox.bestfit(&["config", "check", "--file", &file]);
    assert_eq!(check().prints(), "DIR/enforce.toml: ok\n");
    sandbox.write("vendor.pub", &KEY.replace("MFkw", "AAAA"));
    let broken = check();
    assert_eq!(broken.code, 78, "{broken:?}");
    assert!(broken.stderr.starts_with("error: DIR/enforce.toml:9:1: trust.accept[0]: \"vendor.pub\": "), "{broken:?}");
    // What check refuses nothing else takes.
    std::fs::copy(sandbox.path("enforce.toml"), sandbox.path("config.toml")).unwrap();
    for arguments in [&["verify", "oci:image:v1"][..], &["config", "show"], &["explain", "oci:image:v1"]] {
        let run = sandbox.bestfit(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (78, ""), "{arguments:?}: {run:?}");
        assert!(run.stderr.starts_with("error: DIR/config.toml:9:1: trust.accept[0]: \"vendor.pub\": "), "{run:?}");
    }
    let run = sandbox.bestfit(&["doctor"]);
    let line = "configuration    wrong    DIR/config.toml:9:1: trust.accept[0]: \"vendor.pub\": ";
    assert!(run.code == 1 && run.stdout.starts_with(line), "{run:?}");
}
