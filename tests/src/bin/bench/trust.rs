//! Owns measuring what a trust policy costs: a warm container against one whose policy is `off`, and a cold verification.

use bestfit_tests::ctr::OURS;
use bestfit_tests::image::{Image, Index};
use bestfit_tests::node::{Node, Settings};
use bestfit_tests::registry::{Kind, Registry};
use bestfit_tests::signing::{self, Algorithm, Desk, Key, Way};
use bestfit_tests::{artifact, record};
use serde_json::{Value, json};

use crate::lookup::{self, Cold};
use crate::proxy::Proxy;
use crate::statistics::Median;
use crate::{image, start};

/// Pairs that fill the caches and are not counted.
const WARM_UP: usize = 3;
/// Entries of the index that is verified cold: the most that an index may have.
const MANY: usize = 64;

/// What came out.
pub(crate) struct Trust {
    /// Milliseconds that `ctr run --rm` takes longer under `enforce` than under `off`, in the same pair; both swap, warm.
    pub(crate) wall: Median,
    /// The same by the worker's own clock.
    pub(crate) worker: Median,
    /// Cold verifications of [`MANY`] entries with a signed artifact each.
    pub(crate) cold: Vec<Cold>,
}

/// Measures both, with `n` pairs; or says what is missing.
pub(crate) fn measure(node: &mut Node, registry: &Registry, n: usize) -> Result<Trust, String> {
    let desk = signing::desk()?;
    let key = desk.key("vendor", Algorithm::P256);
    let (wall, worker) = warm(node, registry, (desk, &key), n);
    let mut cold = Vec::new();
    for (name, kind) in [("with the Referrers API", Kind::Ferro), ("with tag fallback", Kind::Docker)] {
        match Registry::start(kind) {
            Ok(registry) => cold.push(verified(node, &registry, (desk, &key), name)),
            Err(why) => println!("SKIP: cold verification {name}: {why}"),
        }
    }
    Ok(Trust { wall, worker, cold })
}

fn enforce(key: &Key) -> Settings {
    Settings::default().trust("enforce", &[key.accepted()]).select("referrers_lifetime", "2h")
}

/// Pairs of starts of one image, whose artifact is signed: the policy is all that differs.
fn warm(node: &mut Node, registry: &Registry, by: (&Desk, &Key), n: usize) -> (Median, Median) {
    // About the default nothing is said, so that the signed artifact wins on either side.
    let entries = [(Image::new("silent"), None), (Image::new("signed"), Some(artifact::fits()))];
    let reference = push(registry, &registry.host, "bench/signed", &entries, by);
    node.ctr().pull(&reference);
    let policies = [Settings::default().select("referrers_lifetime", "2h"), enforce(by.1)];
    node.configure(&policies[0]);
    let (mut wall, mut worker) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + n {
        let mut took = [(0.0, 0.0); 2];
        // In turns, so that neither always comes first.
        for side in [round % 2, 1 - round % 2] {
            node.reconfigure(&policies[side]);
            let whole = start::start(node, OURS, &reference);
            took[side] = (whole, worker_ms(node, round >= WARM_UP));
        }
        if round >= WARM_UP {
            wall.push(took[1].0 - took[0].0);
            worker.push(took[1].1 - took[0].1);
        }
    }
    (Median::of(wall), Median::of(worker))
}

/// The worker's own clock of the last create, which must have swapped; without any request where it is to be `warm`.
fn worker_ms(node: &Node, warm: bool) -> f64 {
    let last = node.records().pop().expect("a record");
    assert_eq!(record::applied(&last), "swapped", "{last:#}");
    assert!(!warm || last["requests"] == 0, "not warm: {last:#}");
    last["timings"]["total"].as_f64().expect("timing") / 1e3
}

fn verified(node: &mut Node, registry: &Registry, by: (&Desk, &Key), name: &'static str) -> Cold {
    let proxy = Proxy::before(&registry.host);
    let reference = push(registry, &proxy.host, "bench/verified", &image::of_entries(MANY), by);
    let settings = Settings { mode: "observe", ..enforce(by.1) };
    lookup::decided(node, &proxy, &reference, (name, MANY), &settings)
}

/// Pushes an index with its artifacts, each of which is signed as cosign does it by default.
fn push(
    registry: &Registry,
    host: &str,
    repository: &str,
    entries: &[(Image, Option<Value>)],
    (desk, key): (&Desk, &Key),
) -> String {
    let index = Index::of(&entries.iter().map(|(image, _)| image.clone()).collect::<Vec<_>>());
    registry.push(repository, "1", &index);
    for (entry, (_, document)) in index.entries.iter().zip(entries) {
        if let Some(groups) = document {
            let artifact =
                artifact::attach(registry, repository, &entry.descriptor, &artifact::compatibilities(groups));
            desk.sign(&format!("{}/{repository}@{artifact}", registry.host), Way::Bundle(key));
        }
    }
    format!("{host}/{repository}:1")
}

impl Trust {
    /// Prints it for people.
    pub(crate) fn print(&self) {
        println!("\na trust policy: milliseconds more under \"enforce\" than under \"off\", both a warm swap, paired");
        println!("  ctr run --rm          {:.2}", self.wall);
        println!("  the worker's clock    {:.2}", self.worker);
        println!("cold verifications, one signed artifact per entry");
        for cold in &self.cold {
            let (entries, rounds, requests) = (cold.entries, cold.rounds, cold.requests);
            println!("  {:24} {entries:2} entries: {rounds} rounds, {requests} requests", cold.registry);
        }
    }

    /// For `bench.json`.
    pub(crate) fn json(&self) -> Value {
        json!({
            "warm_extra_wall_ms": self.wall.json(),
            "warm_extra_worker_ms": self.worker.json(),
            "cold": self.cold.iter().map(Cold::json).collect::<Vec<_>>(),
        })
    }
}
