//! `bestfit config`

use crate::sandbox::Sandbox;

const BROKEN: &str = "mod = \"off\"\n[log]\njournal = 3\n";
const REPORT: &str = "\
error: DIR/config.toml:1:1: unknown key \"mod\"
hint: did you mean \"mode\"?
error: DIR/config.toml:3:11: log.journal: expected true or false, found the number 3
hint: expected true or false
";

#[test]
fn check_names_the_files_that_were_read() {
    let sandbox = Sandbox::new();
    sandbox.write("conf.d/10-a.toml", "mode = \"off\"\n");
    assert_eq!(sandbox.bestfit(&["config", "check"]).prints(), "DIR/config.toml: ok\nDIR/conf.d/10-a.toml: ok\n");
    std::fs::remove_file(sandbox.path("config.toml")).unwrap();
    std::fs::remove_file(sandbox.path("conf.d/10-a.toml")).unwrap();
    assert_eq!(sandbox.bestfit(&["config", "check"]).prints(), "DIR/config.toml does not exist: the defaults hold\n");
}

#[test]
fn check_reports_every_mistake_and_ends_with_78() {
    let sandbox = Sandbox::new();
    sandbox.write("config.toml", BROKEN);
    sandbox.bestfit(&["config", "check"]).fails(78, REPORT);
    let run = sandbox.bestfit(&["config", "check", "--json"]);
    assert_eq!((run.code, run.stderr.as_str()), (78, ""));
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["problems"][1]["line"], 3);
    assert_eq!(report["problems"][0]["hint"], "did you mean \"mode\"?");
}

#[test]
fn what_was_hardly_meant_is_a_warning() {
    let sandbox = Sandbox::new();
    sandbox.write("config.toml", "[levels]\n\"hots/*\" = \"info\"\n");
    let run = sandbox.bestfit(&["config", "check"]);
    assert_eq!(
        (run.code, run.stdout.as_str(), run.stderr.as_str()),
        (
            0,
            "DIR/config.toml: ok\n",
            "warning: DIR/config.toml:2:1: levels.\"hots/*\": no schema knows the group \"hots\"\n\
             hint: did you mean \"host/*\"?\n"
        )
    );
    let report: serde_json::Value =
        serde_json::from_str(sandbox.bestfit(&["config", "check", "--json"]).prints()).unwrap();
    assert_eq!(report["warnings"][0]["line"], 2);
    sandbox.write("config.toml", "");
    let run = sandbox.bestfit(&["check", "oci:x", "--check", "host/kernel.versoin"]);
    let warning = "warning: --check: no schema knows the key \"host/kernel.versoin\"\nhint: did you mean \"host/kernel.version\"?\n";
    assert!(run.stderr.starts_with(warning), "{}", run.stderr);
}

/// The configurations that a page shows, each loaded as the page says.
#[test]
fn the_page_about_signatures_shows_configurations_that_hold() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(docs.join("docs/signed-artifacts-only.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    let sandbox = Sandbox::new();
    let at = sandbox.path("").display().to_string();
    for (number, block) in blocks.iter().filter(|block| !block.contains("[plugins.")).enumerate() {
        let text = block.replace("/etc/bestfit/", &at);
        let name = match text.lines().next().and_then(|line| line.strip_prefix("# ")) {
            Some(name) => name.trim_start_matches(&at).to_owned(),
            None => format!("conf.d/{number}.toml"),
        };
        sandbox.write(&name, &text);
    }
    let key = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEluNQDHgPxlpKK1m/wqv2uEBp4kDt\n\
        OT2ohkdUMQHzfECq9WNKvnh4qdMhF+vXAFQbRyBtOhCSn4wusy349E9gbQ==\n-----END PUBLIC KEY-----\n";
    sandbox.write("keys/vendor.pub", key);
    let roots = std::fs::read_to_string(docs.join("trust/testdata/certificates/root.crt")).unwrap();
    sandbox.write("keys/lab-ca.pem", &roots);
    sandbox.write("revoked", "");
    for arguments in [&["config", "check"][..], &["config", "check", "--profile", "signed"]] {
        let run = sandbox.bestfit(arguments);
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!(run.stdout.lines().count(), 4 + arguments.len() / 4, "{run:?}");
    }
}

#[test]
fn a_named_file_must_exist() {
    Sandbox::new()
        .bestfit(&["config", "check", "--file", "nope.toml"])
        .fails(66, "error: nope.toml: No such file or directory (os error 2)\n");
}

#[test]
fn a_file_that_cannot_be_read_is_not_the_defaults() {
    let sandbox = Sandbox::new();
    std::fs::remove_file(sandbox.path("config.toml")).unwrap();
    std::fs::create_dir(sandbox.path("config.toml")).unwrap();
    for arguments in [&["config", "check"][..], &["config", "show"]] {
        sandbox.bestfit(arguments).fails(78, "error: DIR/config.toml: cannot be read: not a regular file\n");
    }
}

#[test]
fn show_prints_the_values_in_force() {
    let sandbox = Sandbox::new();
    sandbox.write("config.toml", "[selection]\non_error = \"deny\"\n");
    sandbox.write("profiles/strict.toml", "mode = \"observe\"\n");
    let run = sandbox.bestfit(&["config", "show", "--profile", "strict"]);
    let text = run.prints();
    assert!(text.starts_with("mode = \"observe\"  # DIR/profiles/strict.toml:1\n"), "{text}");
    assert!(text.contains("\non_error = \"deny\"  # DIR/config.toml:2\n"), "{text}");
    let run = sandbox.bestfit(&["config", "show", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(run.prints()).unwrap();
    assert_eq!((&shown["mode"], &shown["selection"]["on_error"]), (&"select".into(), &"deny".into()));
}
