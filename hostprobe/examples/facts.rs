//! Prints the facts of this machine, or of the host root that is named, as JSON; the time that it took goes to stderr.
//! Times the median of 101 probes, the first of which is cold.

use std::time::Instant;

use bestfit_hostprobe::{HostRoot, host_platform, probe};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = match std::env::args().nth(1) {
        Some(dir) => HostRoot::at(dir)?,
        None => HostRoot::running(),
    };
    let mut times = Vec::new();
    for _ in 0..101 {
        let start = Instant::now();
        std::hint::black_box(probe(&root));
        times.push(start.elapsed());
    }
    let first = times[0];
    times.sort_unstable();
    println!("{}", serde_json::to_string_pretty(&probe(&root))?);
    eprintln!(
        "{:?}; first probe {first:?}, median of {} {:?}",
        host_platform(&root),
        times.len(),
        times[times.len() / 2]
    );
    Ok(())
}
