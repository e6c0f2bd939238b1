//! Owns measuring how long the host's facts take: all of them against what NFD's own sources find, in turn, as processes and
//! inside one; and ours from the cache. No container, no registry. Numbers count only in a release build.

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use bestfit_hostprobe::cache::FactsCache;
use bestfit_hostprobe::{HostRoot, probe};
use bestfit_tests::{nfd, peers};

use crate::statistics::Median;

/// Runs of each program, one after the other in turn.
const PROCESSES: usize = 51;
/// Looks inside one process: so many after each other, then the other side's, and so on.
const BLOCKS: usize = 5;
const BLOCK: usize = 21;

/// What came out, in microseconds; ratios are ours over NFD's.
pub(crate) struct Facts {
    /// `bestfit host --json` from its start to its end.
    pub(crate) process: Median,
    /// All facts, probed inside a process that did so before.
    pub(crate) within: Median,
    /// From the cache: everything checked that the facts rest on.
    pub(crate) cached: Median,
    /// The same, and the facts read from the file.
    pub(crate) cached_read: Median,
    /// NFD's, where it could be built.
    pub(crate) nfd: Option<Nfd>,
}

/// A program that calls NFD's sources and does nothing else.
pub(crate) struct Nfd {
    pub(crate) process: Median,
    pub(crate) process_ratio: Median,
    pub(crate) within: Median,
    pub(crate) within_ratio: Median,
}

/// Measures all of it.
pub(crate) fn measure() -> Facts {
    let nfd = nfd::program("features").unwrap_or_else(|why| {
        println!("SKIP: facts against NFD: {why}");
        None
    });
    let (ours, theirs) = processes(nfd.as_deref());
    let (ours_within, theirs_within) = within(nfd.as_deref());
    let ratio = |ours: &[f64], theirs: &[f64]| Median::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs));
    let nfd = nfd.is_some().then(|| Nfd {
        process_ratio: ratio(&ours, &theirs),
        process: Median::of(theirs),
        within_ratio: ratio(&ours_within, &theirs_within),
        within: Median::of(theirs_within),
    });
    let [cached, cached_read] = from_the_cache();
    Facts { process: Median::of(ours), within: Median::of(ours_within), cached, cached_read, nfd }
}

fn processes(nfd: Option<&Path>) -> (Vec<f64>, Vec<f64>) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let bestfit = peers::our_bin().join("bestfit");
    for _ in 0..PROCESSES {
        ours.push(run(Command::new(&bestfit).args(["host", "--json"])));
        theirs.extend(nfd.map(|nfd| run(&mut Command::new(nfd))));
    }
    (ours, theirs)
}

fn run(command: &mut Command) -> f64 {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    micros(|| assert!(command.status().expect("a program").success(), "{command:?}"))
}

fn within(nfd: Option<&Path>) -> (Vec<f64>, Vec<f64>) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..BLOCKS {
        // The first look of each side reads what later ones have.
        black_box(probe(&HostRoot::running()));
        ours.extend((0..BLOCK).map(|_| micros(|| drop(black_box(probe(&HostRoot::running()))))));
        theirs.extend(nfd.map(discoveries).into_iter().flatten());
    }
    (ours, theirs)
}

/// NFD's own times of as many discoveries.
fn discoveries(nfd: &Path) -> Vec<f64> {
    let output = Command::new(nfd).args(["-time", &(BLOCK + 1).to_string()]).output().expect("NFD");
    let times: Vec<f64> = serde_json::from_slice(&output.stdout).expect("nanoseconds");
    times[1..].iter().map(|nanoseconds| nanoseconds / 1e3).collect()
}

fn from_the_cache() -> [Median; 2] {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = FactsCache::new(dir.path(), &[]);
    let held = || cache.held().expect("the built-in data");
    (0..20).find(|_| held().cached).expect("nothing changes on this machine for a moment");
    let look = || loop {
        let start = Instant::now();
        let held = black_box(held());
        let checked = start.elapsed().as_secs_f64() * 1e6;
        black_box(held.facts().expect("facts"));
        let read = start.elapsed().as_secs_f64() * 1e6;
        // What the machine did meanwhile may have made it look anew.
        if held.cached {
            return (checked, read);
        }
    };
    let (checked, read): (Vec<_>, Vec<_>) = (0..BLOCKS * BLOCK).map(|_| look()).unzip();
    [Median::of(checked), Median::of(read)]
}

fn micros(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e6
}
