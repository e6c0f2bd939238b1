//! docs/describe-your-field.md: every block of commands is run, and the block of text behind it is what came out.

use std::fmt::Write as _;
use std::path::Path;

use crate::sandbox::Sandbox;

/// Runs one block of commands where the blocks before it left off; standard error goes where standard output goes.
fn run(sandbox: &Sandbox, block: &str) -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_bestfit")).parent().unwrap();
    let mut command = sandbox.command(Path::new("/bin/sh"), &["-eu", "-c", &format!("exec 2>&1\n{block}")]);
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let run = sandbox.finish(command);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{block}\n{}", run.stdout);
    run.stdout
}

/// The page with what its commands print.
fn with_output(page: &str) -> String {
    let sandbox = Sandbox::new();
    std::fs::remove_file(sandbox.path("config.toml")).unwrap();
    let mut lines = page.lines().peekable();
    let mut text = String::new();
    let block = |lines: &mut dyn Iterator<Item = &str>| -> String {
        lines.take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect()
    };
    while let Some(line) = lines.next() {
        let _ = writeln!(text, "{line}");
        if !line.starts_with("```") {
            continue;
        }
        let inside = block(&mut lines);
        let _ = writeln!(text, "{inside}```");
        if line != "```sh" {
            continue;
        }
        let output = run(&sandbox, &inside);
        if lines.peek() == Some(&"```text") {
            lines.next();
            block(&mut lines);
            let _ = writeln!(text, "```text\n{output}```");
        } else {
            assert_eq!(output, "", "{inside}");
        }
    }
    text
}

#[test]
fn the_commands_of_the_page_print_what_it_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/describe-your-field.md");
    let found = std::fs::read_to_string(&file).unwrap();
    let expected = with_output(&found);
    assert!(found.matches("```sh\n").count() > 5);
    if std::env::var_os("BESTFIT_WRITE_DOCS").is_some() {
        std::fs::write(&file, &expected).unwrap();
        return;
    }
    similar(&found, &expected);
}

/// Equal, or the first line that is not.
#[track_caller]
fn similar(found: &str, expected: &str) {
    let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert_eq!(differs, None, "docs/describe-your-field.md: run BESTFIT_WRITE_DOCS=1 cargo test -p bestfit-cli");
    assert_eq!(found.len(), expected.len());
}
