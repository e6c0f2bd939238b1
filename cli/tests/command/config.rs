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
