//! Owns running scenarios one after the other on one node, and telling how they went.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use crate::node::{Node, Options, Settings};
use crate::peers::Containerd;
use crate::registry::{Kind, Registry};

/// What a scenario works with.
#[derive(Debug)]
pub struct World {
    /// The node; its bestfit configuration is new for each scenario.
    pub node: Node,
    registries: BTreeMap<&'static str, Registry>,
    scenario: usize,
}

impl World {
    /// A repository that no other scenario uses.
    pub fn repository(&self) -> String {
        format!("e2e/s{}", self.scenario)
    }

    /// A registry that all scenarios share; the scenario is skipped where its program is missing.
    pub fn registry(&mut self, kind: Kind) -> &Registry {
        let name = match kind {
            Kind::Docker => "docker",
            Kind::Crane => "crane",
            Kind::Ferro => "ferro",
        };
        self.registries.entry(name).or_insert_with(|| Registry::start(kind).unwrap_or_else(|why| skip(&why)))
    }
}

/// One thing that has to hold on every line.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What holds, in words.
    pub name: &'static str,
    /// Shows it, or panics.
    pub run: fn(&mut World),
}

struct Skip(String);

/// Leaves the scenario: something that it needs is not there.
pub fn skip(why: &str) -> ! {
    panic::panic_any(Skip(why.to_owned()))
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: usize,
}

/// Runs the scenarios that the command line asks for (any of its words is part of `line: name`): `everywhere` on every
/// line, `once` on the last line that is here, as nothing in them depends on containerd.
pub fn main(lines: &[Containerd], everywhere: &[Scenario], once: &[Scenario]) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |line: Containerd, scenario: &Scenario| {
        let full = format!("{}: {}", line.name(), scenario.name);
        words.is_empty() || words.iter().any(|word| full.contains(word.as_str()))
    };
    if std::env::args().any(|word| word == "--list") {
        everywhere.iter().chain(once).for_each(|scenario| println!("{}: test", scenario.name));
        return ExitCode::SUCCESS;
    }
    panic::set_hook(Box::new(remember));
    let mut tally = Tally::default();
    let started = Instant::now();
    let last = lines.iter().rfind(|line| line.program("containerd").is_some());
    for line in lines {
        let here = everywhere.iter().chain(if last == Some(line) { once } else { &[] });
        let chosen: Vec<&Scenario> = here.filter(|scenario| wanted(*line, scenario)).collect();
        if !chosen.is_empty() {
            on_line(*line, &chosen, &mut tally);
        }
    }
    println!("\ntook {:.0} s", started.elapsed().as_secs_f64());
    tally.failed.iter().for_each(|name| println!("failed: {name}"));
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed.len(), tally.skipped);
    if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn on_line(line: Containerd, scenarios: &[&Scenario], tally: &mut Tally) {
    println!("\n{}", line.name());
    let mut world: Option<World> = None;
    for (number, scenario) in scenarios.iter().enumerate() {
        if world.is_none() {
            match Node::start(line, Options::default()) {
                Ok(node) => world = Some(World { node, registries: BTreeMap::new(), scenario: 0 }),
                Err(why) => {
                    println!("  SKIP: {why}");
                    tally.skipped += scenarios.len() - number;
                    return;
                }
            }
        }
        if !one(world.as_mut().expect("just made"), number, scenario, tally) {
            // The next scenario must not suffer from what this one left.
            world = None;
        }
    }
}

/// Whether the node may be used again.
fn one(world: &mut World, number: usize, scenario: &Scenario, tally: &mut Tally) -> bool {
    world.scenario = number + 1;
    world.node.configure(&Settings::default());
    world.node.link_programs();
    let started = Instant::now();
    let done = panic::catch_unwind(AssertUnwindSafe(|| {
        (scenario.run)(world);
        let left = world.node.leftovers();
        assert!(left.is_empty(), "left behind:\n    {}", left.join("\n    "));
    }));
    let took = started.elapsed().as_secs_f64();
    match done {
        Ok(()) => {
            tally.passed += 1;
            println!("  ok    {:5.1} s  {}", took, scenario.name);
            true
        }
        Err(payload) => match payload.downcast_ref::<Skip>() {
            Some(Skip(why)) => {
                tally.skipped += 1;
                println!("  SKIP: {} ({why})", scenario.name);
                true
            }
            None => {
                tally.failed.push(format!("{}: {}", world.node.line.name(), scenario.name));
                println!("  FAIL  {:5.1} s  {}", took, scenario.name);
                println!("    {}", LAST.lock().map(|text| text.replace('\n', "\n    ")).unwrap_or_default());
                world.node.keep_logs(scenario.name);
                false
            }
        },
    }
}

static LAST: Mutex<String> = Mutex::new(String::new());

fn remember(info: &PanicHookInfo<'_>) {
    if info.payload().is::<Skip>() {
        return;
    }
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("no text");
    let place = info.location().map(|place| format!(" ({place})")).unwrap_or_default();
    if let Ok(mut last) = LAST.lock() {
        *last = format!("{text}{place}");
    }
}
