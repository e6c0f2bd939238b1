//! The benchmarks: what bestfit costs against the stock shim on this machine (docs/PROMISES.md has the bounds).
//!
//! ```text
//! arguments ─▶ image (what runs) ─▶ start (paired starts) ─┐
//!                                   memory (relays) ───────┼─▶ report: text, target/bench.json
//!                                   lookup (registries) ───┤
//!                                   matching (no container)┘
//! ```
//!
//! `make bench BENCH="--n 20 --line 1.7"`: starts per side, line of containerd (1.6, 1.7, 2.1, system).
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot run fails")]

mod arguments;
mod image;
mod lookup;
mod machine;
mod matching;
mod memory;
mod proxy;
mod report;
mod start;
mod statistics;

use std::process::ExitCode;

use bestfit_tests::isolate;
use bestfit_tests::node::{Node, Options};
use bestfit_tests::registry::{Kind, Registry};

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("bench: {problem}\n{}", arguments::USAGE);
            return ExitCode::from(64);
        }
    };
    if arguments.only_matching {
        report::matching(&matching::measure());
        return ExitCode::SUCCESS;
    }
    match isolate::isolated(|| measure(&arguments)) {
        Ok(code) => code,
        Err(why) => {
            println!("SKIP: benchmarks: {why}");
            ExitCode::SUCCESS
        }
    }
}

fn measure(arguments: &Arguments) -> ExitCode {
    let (mut node, registry) = match workshop(arguments) {
        Ok(both) => both,
        Err(why) => {
            println!("SKIP: benchmarks: {why}");
            return ExitCode::SUCCESS;
        }
    };
    let machine = machine::describe(&node);
    let images = image::prepare(&node, &registry);
    let starts = start::measure(&mut node, &images, arguments.n);
    let memory = memory::measure(&mut node, &images.plain);
    let lookups = lookup::measure(&mut node, registry);
    let matching = matching::measure();
    let left = node.leftovers();
    report::print(&machine, &starts, &memory, &lookups);
    report::matching(&matching);
    left.iter().for_each(|what| println!("left behind: {what}"));
    let file = report::write(&machine, &starts, &memory, &lookups, &matching);
    println!("\nwritten: {}", file.display());
    if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn workshop(arguments: &Arguments) -> Result<(Node, Registry), String> {
    let node = Node::start(arguments.line, Options::default())?;
    Ok((node, Registry::start(Kind::Docker)?))
}
