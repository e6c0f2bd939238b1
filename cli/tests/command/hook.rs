//! Hooks: what the site's own programs say stands among the facts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use crate::sandbox::{Sandbox, without_forks};

/// A program where only root can write, and its configuration.
struct Program(PathBuf);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn program(sandbox: &Sandbox, name: &str, body: &str) -> Option<Program> {
    let dir = PathBuf::from(format!("/run/bestfit-cli-test-{}-{name}", std::process::id()));
    if let Err(error) = fs::create_dir(&dir) {
        println!("SKIP: {}: {error}: hooks lie where only root can write", dir.display());
        return None;
    }
    let hook = dir.join("hook");
    without_forks(|| fs::write(&hook, format!("#!/bin/sh\n{body}\n")).unwrap());
    [&dir, &hook].iter().for_each(|path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap());
    let config = fs::read_to_string(sandbox.path("config.toml")).unwrap();
    sandbox.write("config.toml", &format!("{config}[hooks.\"org.lab\"]\ncommand = \"{}\"\n", hook.display()));
    Some(Program(dir))
}

fn queue(sandbox: &Sandbox) -> (Value, String) {
    let run = sandbox.bestfit(&["host", "--json"]);
    let facts: Value = serde_json::from_str(&run.stdout).unwrap();
    (facts["facts"]["org.lab"].clone(), run.stderr)
}

#[test]
fn an_answer_is_among_the_facts() {
    let sandbox = Sandbox::new();
    let answer = r#"echo '{"version":1,"facts":{"org.lab":{"queue":"gpu"}}}'"#;
    let Some(program) = program(&sandbox, "good", answer) else { return };
    let source = program.0.join("hook").display().to_string();
    let expected = serde_json::json!({"queue": {"state": "known", "value": "gpu", "source": source}});
    assert_eq!(queue(&sandbox), (expected, String::new()));
    assert!(sandbox.bestfit(&["config", "check"]).prints().ends_with("config.toml: ok\n"));
    // Another host's files say nothing about this host's programs.
    fs::create_dir(sandbox.path("root")).unwrap();
    let run = sandbox.bestfit(&["host", "--json", "--root", "root"]);
    assert!(!run.stdout.contains("org.lab"));
}

#[test]
fn one_that_fails_leaves_its_group_unknown() {
    let sandbox = Sandbox::new();
    let Some(program) = program(&sandbox, "bad", "echo no licence server >&2; exit 3") else { return };
    let source = program.0.join("hook").display().to_string();
    let (facts, notes) = queue(&sandbox);
    assert_eq!(facts["*"]["why"], format!("hook {source}: it ended with exit code 3"));
    assert_eq!(
        notes,
        format!(
            "note: org.lab: hook {source} says: no licence server\nnote: org.lab: hook {source}: it ended with exit code 3\n"
        )
    );
    fs::set_permissions(program.0.join("hook"), fs::Permissions::from_mode(0o777)).unwrap();
    sandbox.bestfit(&["config", "check"]).fails(
        78,
        &format!(
            "error: DIR/config.toml:8:1: hooks.\"org.lab\".command: {source} can be written by others (mode 777)\n\
             hint: the program and all directories above it must be root's, and writable by nobody else\n"
        ),
    );
}
