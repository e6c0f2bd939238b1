//! Owns measuring what relays keep in memory while containers run.

use std::fs;
use std::time::Duration;

use bestfit_tests::command::eventually;
use bestfit_tests::ctr::OURS;
use bestfit_tests::leftovers;
use bestfit_tests::node::{Node, Settings};

const RELAY: &str = "containerd-shim-bestfit-v1";
/// How many run side by side.
const MANY: usize = 10;
/// Relays give back what they need no longer once they have been quiet (`QUIET` in `shim/relay/src/conn.rs`).
const REST: Duration = Duration::from_secs(1);

/// Proportional set sizes in kilobytes.
pub(crate) struct Memory {
    /// One relay alone.
    pub(crate) alone: u64,
    /// Each of ten: the mean.
    pub(crate) each_of_ten: f64,
}

/// Starts one container, then nine more, and looks at their relays.
pub(crate) fn measure(node: &mut Node, image: &str) -> Memory {
    node.reconfigure(&Settings::default());
    let mut ids = Vec::new();
    let alone = with_relays(node, image, &mut ids, 1);
    let ten = with_relays(node, image, &mut ids, MANY);
    ids.iter().for_each(|id| node.ctr().remove(id));
    Memory { alone, each_of_ten: ten as f64 / MANY as f64 }
}

/// The sum over all relays, once there are `count`.
fn with_relays(node: &Node, image: &str, ids: &mut Vec<String>, count: usize) -> u64 {
    while ids.len() < count {
        let id = format!("m{}", ids.len());
        node.ctr().start(OURS, &[], image, &id, &["/probe", "hold"]).ok();
        ids.push(id);
    }
    eventually("only the relays are left of the starts", Duration::from_secs(10), || {
        (leftovers::processes_with(RELAY).len() == count && leftovers::processes_with("bestfit-worker").is_empty())
            .then_some(())
    });
    std::thread::sleep(REST);
    leftovers::processes_with(RELAY).into_iter().map(pss).sum()
}

/// proc(5), `/proc/pid/smaps_rollup`, field `Pss`, in kB.
fn pss(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("Pss");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("kB")
}
