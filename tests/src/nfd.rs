//! Owns building NFD's own code into programs that tests and benchmarks hold ours against (`tests/peers/nfd`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::peers;

/// The program in the folder `name` below `tests/peers/nfd`, as one static file; none, with the reason printed, where there is
/// no Go. What is there already is built again only where its sources changed.
pub fn program(name: &str) -> Result<Option<PathBuf>, String> {
    if Command::new("go").arg("version").output().is_err() {
        println!("SKIP: no go here");
        return Ok(None);
    }
    let program = peers::target_dir().join(format!("peers/bin/nfd-{name}"));
    let status = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(format!("./{name}"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/nfd"))
        .env("CGO_ENABLED", "0")
        .status();
    match status {
        Ok(status) if status.success() => Ok(Some(program)),
        Ok(status) => Err(format!("go build: {status}")),
        Err(error) => Err(format!("go build: {error}")),
    }
}
