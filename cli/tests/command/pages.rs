//! The pages that are made from the command line.

use std::path::Path;

use crate::sandbox::Sandbox;

#[test]
fn the_command_reference_is_the_one_of_the_code() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let run = Sandbox::new().bestfit(&["help-markdown"]);
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
    assert!(page.contains(".SH SYNOPSIS"), "{page}");
    sandbox
        .bestfit(&["man", "nowhere"])
        .fails(66, "error: man pages in nowhere: No such file or directory (os error 2)\n");
}

#[test]
fn completions_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(Sandbox::new().bestfit(&["completions", shell]).prints().contains("explain"), "{shell}");
    }
}
