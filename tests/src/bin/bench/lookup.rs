//! Owns measuring decisions that have to ask a registry, and the cost of a dead one.

use bestfit_tests::ctr::OURS;
use bestfit_tests::node::{Node, Settings};
use bestfit_tests::registry::{Kind, Registry};
use serde_json::{Value, json};

use crate::image;
use crate::proxy::{self, Proxy};

/// Entries of the index that is decided cold; `MANY` is near the most that bestfit accepts.
const FEW: usize = 4;
const MANY: usize = 60;

/// One cold decision.
pub(crate) struct Cold {
    /// The registry, for people.
    pub(crate) registry: &'static str,
    pub(crate) entries: usize,
    /// Rounds of requests that were waited for.
    pub(crate) rounds: usize,
    pub(crate) requests: usize,
}

impl Cold {
    /// For `bench.json`.
    pub(crate) fn json(&self) -> Value {
        json!({"registry": self.registry, "entries": self.entries, "rounds": self.rounds, "requests": self.requests})
    }
}

/// What came out.
pub(crate) struct Lookups {
    /// Cold decisions; where a registry's program is missing, there is none about it.
    pub(crate) cold: Vec<Cold>,
    /// The same for an index that carries its artifacts.
    pub(crate) carried: Cold,
    /// Milliseconds of the whole worker with a registry that accepts and never answers: the first create, and the next.
    pub(crate) dead: [f64; 2],
}

pub(crate) fn measure(node: &mut Node, mut docker: Registry) -> Lookups {
    let mut cold = Vec::new();
    for (name, kind) in [("with the Referrers API", Kind::Ferro), ("with tag fallback", Kind::Docker)] {
        match Registry::start(kind) {
            Ok(registry) => cold.extend([FEW, MANY].map(|entries| cold_decision(node, &registry, name, entries))),
            Err(why) => println!("SKIP: cold decisions {name}: {why}"),
        }
    }
    let carried = carried_decision(node, &docker);
    let dead = dead(node, &mut docker);
    Lookups { cold, carried, dead }
}

/// `observe` decides and brings nothing in: all requests are the decision's.
fn observe() -> Settings {
    Settings { mode: "observe", ..Settings::default() }
}

fn cold_decision(node: &mut Node, registry: &Registry, name: &'static str, entries: usize) -> Cold {
    let proxy = Proxy::before(&registry.host);
    let repository = format!("bench/cold{entries}");
    let reference = image::push(registry, &proxy.host, &repository, &image::of_entries(entries));
    decided(node, &proxy, &reference, (name, entries), &observe())
}

fn carried_decision(node: &mut Node, registry: &Registry) -> Cold {
    let proxy = Proxy::before(&registry.host);
    let reference = image::push_carrying(registry, &proxy.host, "bench/carried", FEW);
    decided(node, &proxy, &reference, ("carried by the index", FEW), &observe())
}

/// One decision with empty caches, seen by the proxy.
pub(crate) fn decided(
    node: &mut Node,
    proxy: &Proxy,
    reference: &str,
    (name, entries): (&'static str, usize),
    settings: &Settings,
) -> Cold {
    node.ctr().pull(reference);
    node.configure(&settings.clone().select("decision_deadline", "30s"));
    proxy.take();
    node.ctr().run(OURS, &[], reference, "one", &["/probe", "exit", "0"]).ok();
    let record = one_record(node);
    let reports = record["decision"]["entries"].as_array().expect("entries");
    let compatible = reports.iter().filter(|entry| entry["verdict"] == "compatible").count();
    assert_eq!(compatible, entries, "not all was read: {record:#}");
    let seen = proxy.take();
    if std::env::var_os("BENCH_VERBOSE").is_some() {
        seen.iter().for_each(|exchange| println!("  {}", exchange.line));
    }
    Cold { registry: name, entries, rounds: proxy::rounds(&seen), requests: seen.len() }
}

/// The record of the only create since the configuration was made new; observing goes on after the container ran.
fn one_record(node: &Node) -> Value {
    bestfit_tests::command::eventually("the record", std::time::Duration::from_secs(40), || node.records().pop())
}

fn dead(node: &mut Node, registry: &mut Registry) -> [f64; 2] {
    let names = ["bench/gone1", "bench/gone2"];
    let references = names.map(|name| image::push(registry, &registry.host, name, &image::of_entries(2)));
    references.iter().for_each(|reference| node.ctr().pull(reference));
    node.configure(&Settings::default());
    let _silence = registry.fall_silent();
    references.map(|reference| {
        node.ctr().run(OURS, &[], &reference, "one", &["/probe", "exit", "0"]).ok();
        let record = node.records().pop().expect("a record");
        record["timings"]["total"].as_f64().expect("timing") / 1e3
    })
}
