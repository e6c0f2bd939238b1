//! The pages that are made from the command line.

use std::path::Path;

use crate::sandbox::Sandbox;

#[test]
fn the_command_reference_is_the_one_of_the_code() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let run = Sandbox::new().bestfit(&["markdown"]);
    let expected = run.prints();
    if std::env::var_os("BESTFIT_WRITE_DOCS").is_some() {
        std::fs::write(&page, expected).unwrap();
    }
    let found = std::fs::read_to_string(&page).unwrap();
    assert!(
        found == expected,
        "docs/cli.md is not what the code says: run BESTFIT_WRITE_DOCS=1 cargo test -p bestfit-cli"
    );
}

#[test]
fn the_configuration_reference_is_printed() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    assert_eq!(Sandbox::new().bestfit(&["config", "reference"]).prints(), std::fs::read_to_string(page).unwrap());
}

#[test]
fn man_pages_are_written() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("man")).unwrap();
    assert_eq!(sandbox.bestfit(&["man", "man"]).prints(), "");
    let page = std::fs::read_to_string(sandbox.path("man/bestfit-explain.1")).unwrap();
    assert!(page.contains(".SH SYNOPSIS") && !page.contains("EXTRA"), "{page}");
    assert!(page.contains(".SH EXAMPLES\n.nf\n\\&  bestfit explain ghcr.io/owner/app:v1\n"), "{page}");
    let root = std::fs::read_to_string(sandbox.path("man/bestfit.1")).unwrap();
    assert!(root.contains(".SH EXIT CODES\n.nf\n\\&  0   fits, or done\n") && !root.contains("markdown"), "{root}");
    let names: Vec<String> = std::fs::read_dir(sandbox.path("man"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.contains(&"bestfit-policy-test.1".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
    sandbox
        .bestfit(&["man", "nowhere"])
        .fails(66, "error: man pages in nowhere: No such file or directory (os error 2)\n");
}

#[test]
fn completions_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let run = Sandbox::new().bestfit(&["completions", shell]);
        assert!(run.prints().contains("explain") && !run.stdout.contains("markdown"), "{shell}");
    }
}
