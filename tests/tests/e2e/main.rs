//! The end-to-end tests: every scenario on every line of containerd, as root, in namespaces of their own.
//!
//! `cargo test -p bestfit-tests --test e2e -- [WORD…]` runs those whose `line: name` contains a word. After each the harness
//! looks for what was left behind ([`bestfit_tests::leftovers`]).
//!
//! What is promised, and where it is held:
//!
//! - [`plain`]: a container through bestfit is as through the stock shim: statuses, stdin, terminals, exec, signals, pause,
//!   metrics; its delegate may be of another line
//! - [`forwarded`]: without a swap, the forwarded Create is containerd's, byte for byte
//! - [`swap`]: the best entry runs, cold and warm, from every kind of registry, with its entrypoint, env and directory unless
//!   the user set others; what would change user, volumes, stop signal or the runtime's variables is refused; nothing fits,
//!   with and without `deny`
//! - [`untouched`], [`checkpoint`]: off, observe, a platform or platform manifest that was asked for, moved and shared tags,
//!   the native snapshotter, a container that ran before, a broken configuration, a restore; checkpoints are taken as ever
//! - [`trouble`]: registries that are down or silent, and bad input: artifacts that are no JSON, of the wrong shape, too deep,
//!   too long, about another entry; an index with too many entries; a name that is no reference; no containerd, no place
//!   to write. What needs no containerd is held by the command's own tests (`cli/tests/command/bad_input.rs`) and the
//!   registry's (`registry/tests/hostile.rs`)
//! - [`asked`]: the commands on the node: a record is replayed, `explain` and `check` say what the shim does, `ps`
//! - [`between`], [`killed`]: containerd, relay, delegate, worker, decider and client killed at any point leave nothing behind;
//!   `between` at the one point where the container has no snapshot; [`moved`]: the snapshot was made anew before Create came
//! - [`confined`]: hostile code in the decider's place: what it tries is refused, what it says is not believed; `bestfit doctor`
//! - [`mod@cri`]: pods by crictl in both ways to configure the handler: one relay per pod, pause containers untouched, exec, logs,
//!   stats, an update read back, removal, a restart of containerd, what the pod overrides, users, tags, namespaces
//! - [`sticky`]: a decision that is kept for its pod, and what ends it
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test fails by panicking")]

mod asked;
mod between;
mod checkpoint;
mod confined;
mod cri;
mod forwarded;
mod killed;
mod moved;
mod plain;
mod prepared;
mod sticky;
mod swap;
mod trouble;
mod trust;
mod untouched;

use std::process::ExitCode;

use bestfit_tests::{isolate, peers, scenario};

fn main() -> ExitCode {
    let scenarios = [
        plain::SCENARIOS,
        forwarded::SCENARIOS,
        swap::SCENARIOS,
        untouched::SCENARIOS,
        checkpoint::SCENARIOS,
        trouble::SCENARIOS,
        asked::SCENARIOS,
        between::SCENARIOS,
        moved::SCENARIOS,
        killed::SCENARIOS,
        confined::SCENARIOS,
        cri::SCENARIOS,
        sticky::SCENARIOS,
        &trust::everywhere(),
    ]
    .concat();
    let once = trust::once();
    match isolate::isolated(|| scenario::main(&peers::lines(), &scenarios, &once)) {
        Ok(code) => code,
        Err(why) => {
            println!("SKIP: end-to-end tests: {why}");
            ExitCode::SUCCESS
        }
    }
}
