//! Prints the facts of this machine, or of the host root that is named, as JSON; the times that it took go to stderr: the
//! median of 101 probes, the first of which is cold; and of this machine, from a cache in a temporary directory.

use std::time::{Duration, Instant};

use bestfit_hostprobe::cache::FactsCache;
use bestfit_hostprobe::{HostRoot, host_platform, probe};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = match std::env::args().nth(1) {
        Some(dir) => HostRoot::at(dir)?,
        None => HostRoot::running(),
    };
    let (first, median) = timed(|| drop(std::hint::black_box(probe(&root))));
    println!("{}", serde_json::to_string_pretty(&probe(&root))?);
    eprintln!("{:?}; first probe {first:?}, median {median:?}", host_platform(&root));
    if root.is_running() {
        cached()?;
    }
    Ok(())
}

fn cached() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("bestfit-facts-{}", std::process::id()));
    let cache = FactsCache::new(&dir, &[]);
    let mut found = 0;
    let (first, median) = timed(|| found += usize::from(cache.held().is_ok_and(|held| held.cached)));
    let (_, whole) = timed(|| {
        drop(std::hint::black_box(cache.held().ok().map(|held| held.facts().map(|facts| facts.into_owned()))))
    });
    eprintln!("from the cache ({found} of 101): first {first:?}, median {median:?}; with the facts read {whole:?}");
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// The first and the median of 101 times.
fn timed(mut work: impl FnMut()) -> (Duration, Duration) {
    let mut once = || {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    let first = once();
    let mut times: Vec<_> = (0..101).map(|_| once()).collect();
    times.sort_unstable();
    (first, times[50])
}
