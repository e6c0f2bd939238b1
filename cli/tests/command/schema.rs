//! `bestfit schema`

use std::path::Path;

use crate::sandbox::Sandbox;

const GOOD: &str = r#"{"graph": {"id": "org.lab", "version": "1", "nodes": {
  "queue": {"metadata": {"type": "enum", "doc": "the queue of this node", "examples": ["gpu"]}},
  "queue=gpu": {}, "queue=cpu": {}
}}}"#;

#[test]
fn the_pages_of_keys_are_those_of_the_schemas() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/keys");
    let sandbox = Sandbox::new();
    let page = |arguments: &[&str]| sandbox.bestfit(arguments).prints().to_owned();
    let mut pages = vec![("README.md".to_owned(), page(&["schema", "reference"]))];
    for group in ["host", "io.archspec", "nfd", "oci", "org.supercontainers"] {
        pages.push((format!("{group}.md"), page(&["schema", "reference", group])));
    }
    for (name, expected) in &pages {
        if std::env::var_os("BESTFIT_WRITE_DOCS").is_some() {
            std::fs::write(docs.join(name), expected).unwrap();
        }
        let found = std::fs::read_to_string(docs.join(name)).unwrap();
        let stale = "is not what the schemas say: run BESTFIT_WRITE_DOCS=1 cargo test -p bestfit-cli";
        assert!(found == *expected, "docs/keys/{name} {stale}");
    }
    let listed = pages[0].1.matches("](").count();
    assert_eq!(listed, pages.len() - 1, "a group has no page here");
}

#[test]
fn lint_finds_everything_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write("good.json", GOOD);
    assert_eq!(sandbox.bestfit(&["schema", "lint", "good.json"]).prints(), "good.json: ok\n");
    let bad = GOOD.replace("\"enum\"", "\"enumm\"").replace("\"queue=cpu\"", "\"line=cpu\"");
    sandbox.write("bad.json", &bad);
    let run = sandbox.bestfit(&["schema", "lint", "good.json", "bad.json"]);
    assert_eq!((run.code, run.stderr.as_str()), (65, ""));
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], "good.json: ok");
    assert!(lines[1].starts_with("bad.json:2:26: error: queue, \"type\": unknown variant `enumm`"), "{}", run.stdout);
    assert_eq!(lines[2], "bad.json:3:20: error: line=cpu: a value of \"line\", which is no key");
    let run = sandbox.bestfit(&["schema", "lint", "bad.json", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, &report["findings"][1]["line"]), (65, &serde_json::json!(3)));
    sandbox
        .bestfit(&["schema", "lint", "nope.json"])
        .fails(66, "error: nope.json: No such file or directory (os error 2)\n");
    let run = sandbox.bestfit(&["schema", "lint", "nope.json", "good.json", "bad.json", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, report["findings"].as_array().map(Vec::len)), (66, Some(2)), "{run:?}");
    assert_eq!(run.stderr, "error: nope.json: No such file or directory (os error 2)\n");
}

#[test]
fn show_knows_the_schemas_of_the_site() {
    let sandbox = Sandbox::new();
    sandbox.write("schemas.d/lab.json", GOOD);
    sandbox.write("config.toml", &format!("[schemas]\ndir = \"{}\"\n", sandbox.path("schemas.d").display()));
    let text = sandbox.bestfit(&["schema", "show", "org.lab/queue"]);
    assert_eq!(
        text.prints(),
        "org.lab/queue\n  the queue of this node\n\n  type        enum\n  role        requires\n  \
         dimension   other, weight 10\n  absent      mismatch\n  examples    \"gpu\"\n  values      cpu, gpu\n  \
         schema      org.lab 1, from DIR/schemas.d/lab.json\n"
    );
    assert!(sandbox.bestfit(&["schema", "show"]).prints().contains("\nnfd/memory-numa "));
    let run = sandbox.bestfit(&["schema", "show", "host/kernel.version", "--json"]);
    let json: serde_json::Value = serde_json::from_str(run.prints()).unwrap();
    assert_eq!((&json["type"], &json["compare"]), (&"version".into(), &"ge".into()));
    sandbox
        .bestfit(&["schema", "show", "nfd/memory-num"])
        .fails(66, "error: the group nfd has no key \"memory-num\"\nhint: did you mean \"memory-numa\"?\n");
    sandbox.bestfit(&["schema", "show", "nothing"]).fails(
        66,
        "error: no schema knows the group \"nothing\"\nhint: known here: host, io.archspec, nfd, oci, org.lab, org.supercontainers\n",
    );
    let mistyped = sandbox.bestfit(&["schema", "show", "hots"]);
    assert!(mistyped.stderr.contains("hint: did you mean \"host\"? known here: host,"), "{mistyped:?}");
}
