//! Owns timing starts of a container, side by side: in each round every side starts one, in an order of its own.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Instant;

use bestfit_tests::ctr::{OURS, STOCK};
use bestfit_tests::node::{Node, Settings};
use bestfit_tests::{peers, record};
use serde_json::Value;

use crate::image::Images;
use crate::statistics::Median;

/// Rounds that fill the caches and are not counted.
const WARM_UP: usize = 3;
/// The stages that the records time, in their order.
pub(crate) const STAGES: [&str; 7] = ["subject", "decider", "gather", "match", "bring", "apply", "total"];

/// One side of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// The stock shim.
    Stock,
    /// The stock shim again: what two sides differ by when nothing differs.
    StockAgain,
    /// bestfit with `mode = "off"`.
    Off,
    /// bestfit, which finds that nothing is said about the index.
    Default,
    /// bestfit, which swaps in an entry that lies on the node already.
    WarmSwap,
}

impl Side {
    pub(crate) const ALL: [Self; 5] = [Self::Stock, Self::StockAgain, Self::Off, Self::Default, Self::WarmSwap];

    fn runtime(self) -> &'static str {
        if matches!(self, Self::Stock | Self::StockAgain) { STOCK } else { OURS }
    }

    fn image(self, images: &Images) -> &str {
        if self == Self::WarmSwap { &images.better } else { &images.plain }
    }
}

/// What came out.
pub(crate) struct Starts {
    /// Milliseconds of wall clock of `ctr run --rm`, by side.
    pub(crate) wall: BTreeMap<Side, Median>,
    /// A side's wall clock over the stock one's of the same round.
    pub(crate) ratios: BTreeMap<Side, Median>,
    /// Microseconds by stage, for the sides that leave a record.
    pub(crate) stages: BTreeMap<Side, BTreeMap<&'static str, Median>>,
    /// Milliseconds to start and end each of our programs with nothing to do.
    pub(crate) processes: BTreeMap<&'static str, Median>,
}

impl Starts {
    /// Milliseconds of the whole worker for a decision: its own clock, which starts after its process did, plus a process.
    pub(crate) fn worker_ms(&self, side: Side) -> f64 {
        self.stages[&side]["total"].value / 1e3 + self.processes["bestfit-worker"].value
    }
}

/// Starts `n` containers per side, after some that warm all caches.
pub(crate) fn measure(node: &mut Node, images: &Images, n: usize) -> Starts {
    let on = Settings::default().select("referrers_lifetime", "2h");
    let off = Settings { mode: "off", ..on.clone() };
    node.configure(&on);
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    let mut wall: BTreeMap<Side, Vec<f64>> = BTreeMap::new();
    for round in 0..WARM_UP + n {
        for side in chance.shuffled(Side::ALL) {
            // Written for every side, so that none is favoured.
            node.reconfigure(if side == Side::Off { &off } else { &on });
            let took = start(node, side.runtime(), side.image(images));
            if round >= WARM_UP {
                wall.entry(side).or_default().push(took);
            }
        }
    }
    let stock = wall[&Side::Stock].clone();
    let ratio = |times: &[f64]| Median::of(times.iter().zip(&stock).map(|(time, stock)| time / stock));
    Starts {
        ratios: wall
            .iter()
            .filter(|(side, _)| **side != Side::Stock)
            .map(|(side, times)| (*side, ratio(times)))
            .collect(),
        wall: wall.iter().map(|(side, times)| (*side, Median::of(times.iter().copied()))).collect(),
        stages: [Side::Default, Side::WarmSwap].map(|side| (side, stages(node, side, images, n))).into(),
        processes: ["bestfit-worker", "bestfit-decider"].map(|name| (name, process(name))).into(),
    }
}

/// Milliseconds from the start of `ctr run --rm` to its end.
pub(crate) fn start(node: &Node, runtime: &str, image: &str) -> f64 {
    let ctr = node.ctr();
    let mut command = ctr.command(&["run", "--rm", "--runtime", runtime, image, "one", "/probe", "exit", "0"]);
    command.stdin(Stdio::null());
    let started = Instant::now();
    let output = command.output().expect("ctr");
    let took = started.elapsed();
    assert!(output.status.success(), "{runtime}: {}", String::from_utf8_lossy(&output.stderr));
    took.as_secs_f64() * 1e3
}

/// The stages of the last `n` records about a side's image. All of them must have done what the side stands for, warm.
fn stages(node: &Node, side: Side, images: &Images, n: usize) -> BTreeMap<&'static str, Median> {
    let applied = if side == Side::WarmSwap { "swapped" } else { "default" };
    let mut records = node.records();
    records.retain(|record| record["reference"] == *side.image(images));
    let measured = &records[records.len() - n..];
    for one in measured {
        assert_eq!((record::applied(one), &one["requests"]), (applied, &Value::from(0)), "not warm: {one:#}");
    }
    let of = |stage: &str| measured.iter().filter_map(|record| record["timings"][stage].as_f64()).collect::<Vec<_>>();
    STAGES
        .into_iter()
        .map(|stage| (stage, of(stage)))
        .filter(|(_, all)| !all.is_empty())
        .map(|(s, v)| (s, Median::of(v)))
        .collect()
}

fn process(name: &str) -> Median {
    let once = || {
        let mut command = std::process::Command::new(peers::our_bin().join(name));
        command.arg("--help").stdin(Stdio::null()).env_clear();
        let started = Instant::now();
        let output = command.output().expect(name);
        assert!(output.status.success(), "{name}");
        started.elapsed().as_secs_f64() * 1e3
    };
    Median::of((0..50).map(|_| once()))
}

/// Numbers that only have to be unlike each other (xorshift64); the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("below a usize")
    }

    fn shuffled<T, const N: usize>(&mut self, mut all: [T; N]) -> [T; N] {
        for at in (1..N).rev() {
            all.swap(at, self.below(at + 1));
        }
        all
    }
}
