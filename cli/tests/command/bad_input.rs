//! Whatever comes in: a clear error, the right exit code, no panic.

use crate::layout::{Layout, facts};
use crate::sandbox::{Run, Sandbox, without_forks};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn on_index(bytes: &[u8]) -> Run {
    let sandbox = Sandbox::new();
    sandbox.write("host.json", &facts(true, "6.1.0"));
    let mut layout = Layout::new(&sandbox.path("image"));
    let index = layout.blob(INDEX, bytes);
    layout.tag("v1", index);
    layout.finish();
    sandbox.bestfit(&["explain", "oci:image:v1", "--facts", "host.json"])
}

#[track_caller]
fn refused(run: &Run, code: i32, start: &str) {
    assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{}", run.stderr);
    assert!(run.stderr.starts_with(start), "{}", run.stderr);
    assert!(!run.stderr.contains("panicked") && run.stderr.len() < 1000, "{}", run.stderr);
}

#[test]
fn an_index_that_is_none() {
    let deep = format!(r#"{{"schemaVersion":2,"manifests":{}"#, "[".repeat(200_000));
    let entry = format!(r#"{{"mediaType":"{INDEX}","digest":"sha256:{}","size":1}}"#, "0".repeat(64));
    let many = vec![entry.as_str(); 20_000].join(",");
    let many = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{many}]}}"#);
    let digest =
        format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{INDEX}","digest":"sha256:xyz","size":1}}]}}"#);
    for (text, start) in [
        ("nonsense", "error: oci:image:v1: the image index cannot be read: line 1 column "),
        ("", "error: oci:image:v1: the image index cannot be read: line 1 column "),
        ("[]", "error: oci:image:v1: "),
        (
            "{\"schemaVersion\":2,\n \"manifests\": 3}",
            "error: oci:image:v1: the image index cannot be read: line 2 column ",
        ),
        (&deep, "error: oci:image:v1: the image index cannot be read: line 1 column "),
        (&many, "error: oci:image:v1: the image index has 20000 entries, more than the 64 that are accepted"),
        (&digest, "error: oci:image:v1: entry 0 of the image index: \"sha256:xyz\" is no digest"),
    ] {
        refused(&on_index(text.as_bytes()), 65, start);
    }
    // 100,000 entries are more bytes than an index may have.
    let huge = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, vec![entry.as_str(); 100_000].join(","));
    refused(&on_index(huge.as_bytes()), 65, "error: oci:image:v1: ");
}

#[test]
fn files_of_a_gigabyte() {
    let sandbox = Sandbox::new();
    sandbox.write("host.json", &facts(true, "6.1.0"));
    let sparse = |name: &str| {
        let file = sandbox.write(name, "");
        std::fs::File::options().write(true).open(file).unwrap().set_len(1 << 30).unwrap();
    };
    sparse("big.json");
    refused(&sandbox.bestfit(&["explain", "oci:x", "--facts", "big.json"]), 65, "error: big.json: larger than 4 MiB\n");
    refused(&sandbox.bestfit(&["explain", "--record", "big.json"]), 65, "error: big.json: larger than 64 MiB\n");
    sparse("layout/index.json");
    refused(&sandbox.bestfit(&["explain", "oci:layout", "--facts", "host.json"]), 65, "error: oci:layout: ");

    let mut layout = Layout::new(&sandbox.path("image"));
    let index = layout.blob(INDEX, b"{}");
    let digest = layout.tag("v1", index);
    layout.finish();
    sparse(&format!("image/blobs/sha256/{}", digest.hex()));
    refused(&sandbox.bestfit(&["check", "oci:image:v1", "--facts", "host.json"]), 65, "error: oci:image:v1: ");
}

#[test]
fn facts_that_are_none() {
    let sandbox = Sandbox::new();
    let deep = format!(r#"{{"facts":{}"#, "[".repeat(200_000));
    for (text, start) in [
        ("nonsense", "error: f.json: line 1 column "),
        ("{}", "error: f.json: line 1 column 2: missing field `facts`"),
        ("{\"facts\": {}, \"x\": 1}", "error: f.json: line 1 column "),
        (
            "{\"facts\":\n{\"nfd\": {\"a\": {\"state\": \"maybe\", \"source\": \"x\"}}}}",
            "error: f.json: line 2 column ",
        ),
        (&deep, "error: f.json: line 1 column "),
    ] {
        sandbox.write("f.json", text);
        let run = sandbox.bestfit(&["explain", "oci:x", "--facts", "f.json"]);
        refused(&run, 65, start);
        assert!(
            run.stderr.ends_with("hint: `bestfit host --json` prints such a file on the host that is asked about\n")
        );
    }
    refused(&sandbox.bestfit(&["check", "oci:x", "--facts", "no"]), 66, "error: no: No such file or directory");
    refused(&sandbox.bestfit(&["check", "oci:x", "--facts", "."]), 65, "error: .: Is a directory");
    sandbox.bestfit(&["host", "--root", "no"]).fails(
        66,
        "error: cannot open the host root no: No such file or directory (os error 2)\n\
         hint: --root takes a host's root directory, or a file of `bestfit host --save FILE`\n",
    );
    // Sparse: nothing of it takes room.
    std::fs::File::create(sandbox.path("log.jsonl")).and_then(|log| log.set_len((64 << 20) + 1)).unwrap();
    sandbox.bestfit(&["explain", "--record", "log.jsonl"]).fails(
        65,
        "error: log.jsonl: larger than 64 MiB\n\
         hint: one record is enough: `tail -n 1 FILE | bestfit explain --record -`\n",
    );
    refused(&sandbox.bestfit(&["host", "--root", "f.json"]), 65, "error: f.json: line 1 column ");
}

#[test]
fn files_that_may_not_be_read() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    let sandbox = Sandbox::new();
    let program = sandbox.path("bestfit");
    without_forks(|| {
        std::fs::copy(env!("CARGO_BIN_EXE_bestfit"), &program).unwrap();
    });
    sandbox.write("open.json", &facts(true, "6.1.0"));
    let closed = sandbox.write("closed.json", &facts(true, "6.1.0"));
    set_permissions(closed, Permissions::from_mode(0o000)).unwrap();
    set_permissions(sandbox.path(""), Permissions::from_mode(0o755)).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = sandbox.command(&program, arguments);
        if std::fs::read(sandbox.path("closed.json")).is_ok() {
            // Root may read everything; nobody may not.
            command.uid(65534).gid(65534);
        }
        sandbox.finish(command)
    };
    let hint = "\nhint: run it as root, or as a user who may read this\n";
    for arguments in [&["check", "oci:x", "--facts", "closed.json"][..], &["explain", "--record", "closed.json"]] {
        run(arguments).fails(77, &format!("error: closed.json: Permission denied (os error 13){hint}"));
    }
    sandbox.write("closed/index.json", "{}");
    set_permissions(sandbox.path("closed"), Permissions::from_mode(0o000)).unwrap();
    let layout = run(&["check", "oci:closed", "--facts", "open.json"]);
    set_permissions(sandbox.path("closed"), Permissions::from_mode(0o755)).unwrap();
    assert_eq!((layout.code, layout.stderr.ends_with(hint)), (77, true), "{layout:?}");
    set_permissions(sandbox.path("config.toml"), Permissions::from_mode(0o000)).unwrap();
    for arguments in [&["config", "check", "--file", "config.toml"][..], &["policy", "test", "config.toml", "oci:x"]] {
        run(arguments).fails(77, &format!("error: config.toml: Permission denied (os error 13){hint}"));
    }
    run(&["config", "check"]).fails(
        78,
        "error: DIR/config.toml: cannot be read: Permission denied (os error 13)\n\
         hint: run as root, or let the file be read by this user\n",
    );
}

#[test]
fn references_that_are_none() {
    let sandbox = Sandbox::new();
    let long = "x".repeat(100_000);
    for text in ["", "UPPER CASE", "http://x/y", "a@sha256:123", "a@b", "oci:", "oci:x:bad tag", "-\u{1b}[31m", &long] {
        refused(&sandbox.bestfit(&["explain", "--", text]), 65, "error: ");
        refused(&sandbox.bestfit(&["check", "--", text]), 65, "error: ");
    }
    sandbox.write("host.json", &facts(true, "6.1.0"));
    std::fs::create_dir(sandbox.path("empty")).unwrap();
    for text in ["oci:nowhere", "oci:nowhere:v1", "oci:empty"] {
        refused(&sandbox.bestfit(&["explain", text, "--facts", "host.json"]), 66, &format!("error: {text}: "));
    }
}

#[test]
fn a_registry_that_is_not_there() {
    let sandbox = Sandbox::new();
    sandbox.write("host.json", &facts(true, "6.1.0"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let image = format!("127.0.0.1:{port}/app:v1");
    let run = sandbox.bestfit(&["explain", &image, "--facts", "host.json"]);
    refused(&run, 69, &format!("error: {image}: "));
    assert!(run.stderr.contains("\nhint: check the name and the network"), "{}", run.stderr);
}

#[test]
fn artifacts_about_something_else_or_that_are_none() {
    let sandbox = Sandbox::new();
    sandbox.write("host.json", &facts(true, "6.1.0"));
    let mut layout = Layout::new(&sandbox.path("image"));
    let (plain, better) = (layout.image("amd64", "plain"), layout.image("amd64", "better"));
    // A list that puts an artifact of the one under the other; and an artifact that is no JSON.
    layout.attach(&plain, "{\"compatibilities\": {\n  \"nfd\": {,}}}");
    layout.list_under(&better, &plain, r#"{"compatibilities": {"nfd": {"cpu-cpuid.AVX2": true}}}"#);
    layout.index("v1", &[plain, better]);
    layout.finish();
    let run = sandbox.bestfit(&["explain", "oci:image:v1", "--facts", "host.json"]);
    let text = run.prints();
    assert!(text.contains("line 2 column"), "{text}");
    assert!(text.contains(", but was listed for sha256:"), "{text}");
    assert!(text.contains("->*"), "the default runs: {text}");
}

#[test]
fn a_broken_configuration_stops_what_depends_on_it() {
    let sandbox = Sandbox::new();
    sandbox.write("config.toml", "[trsut]\nmode = \"require\"\n");
    for arguments in [&["explain", "oci:x"][..], &["check", "oci:x"], &["config", "show"]] {
        refused(&sandbox.bestfit(arguments), 78, "error: DIR/config.toml:1:2: unknown key \"trsut\"\nhint: ");
    }
    assert_eq!(sandbox.bestfit(&["host"]).code, 0);
    sandbox.write("config.toml", "");
    refused(
        &sandbox.bestfit(&["check", "oci:x", "--profile", "signed"]),
        78,
        "error: DIR/profiles/signed.toml: the profile has no file\nhint: ",
    );
}
