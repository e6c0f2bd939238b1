//! The end-to-end tests: every scenario on every line of containerd, as root, in namespaces of their own.
//!
//! `cargo test -p bestfit-tests --test e2e -- [WORD…]` runs those whose `line: name` contains a word.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test fails by panicking")]

mod cri;
mod forwarded;
mod killed;
mod plain;
mod prepared;
mod swap;
mod trouble;
mod untouched;

use std::process::ExitCode;

use bestfit_tests::{isolate, peers, scenario};

fn main() -> ExitCode {
    let scenarios = [
        plain::SCENARIOS,
        forwarded::SCENARIOS,
        swap::SCENARIOS,
        untouched::SCENARIOS,
        trouble::SCENARIOS,
        killed::SCENARIOS,
        cri::SCENARIOS,
    ]
    .concat();
    match isolate::isolated(|| scenario::main(&peers::LINES, &scenarios)) {
        Ok(code) => code,
        Err(why) => {
            println!("SKIP: end-to-end tests: {why}");
            ExitCode::SUCCESS
        }
    }
}
