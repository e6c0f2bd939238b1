//! The command line itself.

use std::path::Path;

use crate::sandbox::{Sandbox, spawn};

#[test]
fn a_wrong_command_line_ends_with_64() {
    let sandbox = Sandbox::new();
    for arguments in [
        &[][..],
        &["nope"],
        &["explain"],
        &["check"],
        &["host", "--nope"],
        &["explain", "x", "--facts", "a", "--root", "b"],
        &["explain", "x", "--record", "a", "--root", "b"],
        &["completions", "tcl"],
    ] {
        let run = sandbox.bestfit(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (64, ""), "{arguments:?}");
        assert!(!run.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_has_examples() {
    let sandbox = Sandbox::new();
    let page = sandbox.bestfit(&["markdown"]);
    let commands: Vec<&str> = page.prints().lines().filter_map(|line| line.strip_prefix("## `bestfit")).collect();
    assert!(commands.len() > 15, "{commands:?}");
    for command in commands {
        let mut arguments: Vec<&str> = command.trim_end_matches('`').split_whitespace().collect();
        arguments.push("--help");
        assert!(sandbox.bestfit(&arguments).prints().contains("Examples:\n  bestfit "), "{arguments:?}");
    }
    assert_eq!(sandbox.bestfit(&["--version"]).prints(), concat!("bestfit ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn help_is_a_command_as_well() {
    let sandbox = Sandbox::new();
    for (asked, page) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "explain"], &["explain", "--help"]),
        (&["help", "policy", "test"], &["policy", "test", "--help"]),
    ] {
        assert_eq!(sandbox.bestfit(asked).prints(), sandbox.bestfit(page).prints());
    }
    assert!(!sandbox.bestfit(&["hel"]).stderr.contains("markdown"));
}

#[test]
fn a_full_disk_is_said_and_a_closed_pipe_is_not() {
    let sandbox = Sandbox::new();
    let program = Path::new(env!("CARGO_BIN_EXE_bestfit"));
    let mut full = sandbox.command(program, &["config", "show"]);
    full.stdout(std::fs::File::create("/dev/full").unwrap());
    let output = spawn(full).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(74));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: standard output: No space left on device (os error 28)\n"
    );
    sandbox
        .bestfit(&["host", "--save", "/dev/full"])
        .fails(74, "error: /dev/full: No space left on device (os error 28)\n");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut closed = sandbox.command(program, &["config", "show"]);
    closed.stdout(writer);
    let output = spawn(closed).wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
