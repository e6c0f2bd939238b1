//! Owns what the benchmarks print, and `target/bench.json`.

use std::path::PathBuf;

use bestfit_tests::peers;
use serde_json::{Map, Value, json};

use crate::facts::Facts;
use crate::lookup::{Cold, Lookups};
use crate::machine;
use crate::matching::{KEYS, Matching};
use crate::memory::Memory;
use crate::start::{STAGES, Side, Starts};
use crate::statistics::round;
use crate::trust::Trust;

fn name(side: Side) -> &'static str {
    match side {
        Side::Stock => "stock",
        Side::StockAgain => "stock again",
        Side::Off => "bestfit, off",
        Side::Default => "bestfit, default",
        Side::WarmSwap => "bestfit, warm swap",
    }
}

/// Prints the machine, and what starts cost.
pub(crate) fn starts(about: &Map<String, Value>, starts: &Starts) {
    for (what, value) in about {
        println!("{what:12} {}", value.as_str().unwrap_or_default());
    }
    println!("{:12} {}", "load_after", machine::load());
    println!("\nctr run --rm, all caches warm, every side once per round in random order; median [95 % interval]");
    for side in Side::ALL {
        let ratio = starts.ratios.get(&side).map_or_else(String::new, |ratio| format!("ratio to stock {ratio}"));
        println!("  {:20} {:34} {ratio}", name(side), format!("{:.1} ms", starts.wall[&side]));
    }
    println!("\nstages of the worker, microseconds");
    for (side, stages) in &starts.stages {
        println!("  {}", name(*side));
        for stage in STAGES.iter().filter(|stage| stages.contains_key(*stage)) {
            println!("    {stage:10} {:.0}", stages[stage]);
        }
    }
    println!("\nstarting and ending a program with nothing to do, milliseconds");
    for (program, took) in &starts.processes {
        println!("  {program:20} {took:.2}");
    }
    let [default, swap] = [Side::Default, Side::WarmSwap].map(|side| starts.worker_ms(side));
    println!("  the whole worker, warm: default {default:.1} ms, swap {swap:.1} ms (its own clock plus one process)");
}

/// Prints what relays keep.
pub(crate) fn memory(memory: &Memory) {
    println!("\nmemory, PSS: one relay {} kB, each of ten {:.0} kB", memory.alone, memory.each_of_ten);
}

/// Prints what it costs to ask registries.
pub(crate) fn lookups(lookups: &Lookups) {
    println!("\ncold decisions");
    for cold in lookups.cold.iter().chain([&lookups.carried]) {
        let (entries, rounds, requests) = (cold.entries, cold.rounds, cold.requests);
        println!("  {:24} {entries:2} entries: {rounds} rounds, {requests} requests", cold.registry);
    }
    let [first, next] = lookups.dead;
    println!("a registry that never answers: first create {first:.0} ms, another image's next {next:.0} ms");
}

/// Prints how fast entries are matched.
pub(crate) fn matching(sizes: &[Matching]) {
    println!("\nmatching, one core, {KEYS} keys per entry, {}; nanoseconds per entry, median [95 % interval]", build());
    for size in sizes {
        let (entries, rate) = (size.entries, size.per_second());
        println!("  {entries:2} entries: {:.0}, {rate:.0} (entry, host) per second", size.evaluate);
        println!("              with the host's table built per pass {:.0}", size.with_host);
        println!("              a whole decision from bytes {:.0}", size.decide);
    }
}

/// Prints how long facts take.
pub(crate) fn facts(facts: &Facts) {
    println!("\nfacts of this host, {}; microseconds, median [95 % interval]", build());
    println!("  as a process: bestfit host --json {:.0}", facts.process);
    if let Some(nfd) = &facts.nfd {
        println!("                NFD's sources       {:.0}; ratio {}", nfd.process, nfd.process_ratio);
    }
    println!("  in a process: all of ours         {:.0}", facts.within);
    if let Some(nfd) = &facts.nfd {
        println!("                NFD's sources       {:.0}; ratio {}", nfd.within, nfd.within_ratio);
    }
    println!("  from the cache: checked           {:.0}", facts.cached);
    println!("                  and read          {:.0}", facts.cached_read);
}

fn build() -> &'static str {
    if cfg!(debug_assertions) { "DEBUG BUILD: does not count" } else { "release" }
}

/// Writes `target/bench.json`.
pub(crate) fn write(
    about: &Map<String, Value>,
    starts: &Starts,
    memory: &Memory,
    lookups: &Lookups,
    matching: &[Matching],
    facts: &Facts,
    trust: Option<&Trust>,
) -> PathBuf {
    let ratio = |side: Side| round(starts.ratios[&side].value);
    // The index of few entries in the first registry there is: the whole table stands beside it, under "cold".
    let rounds = lookups.cold.first().map(|cold| cold.rounds);
    let mut about = about.clone();
    about.insert("load_after".to_owned(), Value::String(machine::load()));
    let by_side = |of: &dyn Fn(Side) -> Option<Value>| -> Map<String, Value> {
        Side::ALL.into_iter().filter_map(|side| Some((name(side).to_owned(), of(side)?))).collect()
    };
    let stages = |side: Side| {
        let stages = starts.stages.get(&side)?;
        Some(stages.iter().map(|(stage, took)| ((*stage).to_owned(), took.json())).collect::<Map<_, _>>().into())
    };
    let whole = json!({
        "machine": about,
        "start_default_ratio": ratio(Side::Default),
        "start_warm_swap_ratio": ratio(Side::WarmSwap),
        "start_off_ratio": ratio(Side::Off),
        "relay_pss_kb": memory.alone,
        "relay_pss_kb_each_of_10": round(memory.each_of_ten),
        "decision_warm_ms": round(starts.worker_ms(Side::Default)),
        "decision_warm_swap_ms": round(starts.worker_ms(Side::WarmSwap)),
        "decision_cold_rounds": rounds,
        "start_ratios": by_side(&|side| Some(starts.ratios.get(&side)?.json())),
        "start_wall_ms": by_side(&|side| Some(starts.wall[&side].json())),
        "stages_us": by_side(&stages),
        "process_ms": starts.processes.iter().map(|(program, took)| ((*program).to_owned(), took.json())).collect::<Map<_, _>>(),
        "release": !cfg!(debug_assertions),
        "facts_us": {
            "process": facts.process.json(),
            "within": facts.within.json(),
            "cached": facts.cached.json(),
            "cached_read": facts.cached_read.json(),
            "nfd_process": facts.nfd.as_ref().map(|nfd| nfd.process.json()),
            "nfd_within": facts.nfd.as_ref().map(|nfd| nfd.within.json()),
        },
        "facts_process_ratio_to_nfd": facts.nfd.as_ref().map(|nfd| nfd.process_ratio.json()),
        "facts_within_ratio_to_nfd": facts.nfd.as_ref().map(|nfd| nfd.within_ratio.json()),
        "cold": lookups.cold.iter().map(Cold::json).collect::<Vec<_>>(),
        "carried": lookups.carried.json(),
        "evaluations_per_second": matching.last().map(|size| round(size.per_second())),
        "matching_ns": matching.iter().map(|size| json!({
            "entries": size.entries,
            "evaluate": size.evaluate.json(),
            "with_host": size.with_host.json(),
            "decide": size.decide.json(),
        })).collect::<Vec<_>>(),
        "trust": trust.map(Trust::json),
        "dead_registry_ms": lookups.dead.map(round),
        "caches": "warm: content, snapshots, referrers and artifacts on the node; cold and dead_registry: bestfit's cache empty",
    });
    let file = peers::target_dir().join("bench.json");
    std::fs::write(&file, format!("{whole:#}\n")).expect("target/bench.json");
    file
}
