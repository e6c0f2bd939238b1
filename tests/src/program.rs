//! Owns the small static programs of the test images: compiled once per run, from C.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// The probe (`programs/probe.c`): reports its build, arguments, environment and directory, or does one simple thing.
pub fn probe() -> &'static [u8] {
    static PROBE: OnceLock<Vec<u8>> = OnceLock::new();
    PROBE.get_or_init(|| compile("probe.c", &[]))
}

/// Compiles one of our C files statically, with more flags for the compiler.
pub fn compile(source: &str, flags: &[&str]) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/programs").join(source);
    let output = crate::isolate::dir().join(format!("cc-{}", std::process::id()));
    let mut command = Command::new("cc");
    command.args(["-O2", "-static", "-s", "-Wall", "-o"]).arg(&output).args(flags).arg(&source).arg("-lm");
    crate::command::run(&mut command, std::time::Duration::from_secs(60)).ok();
    let bytes = std::fs::read(&output).expect("the compiler's output");
    std::fs::remove_file(&output).ok();
    bytes
}
