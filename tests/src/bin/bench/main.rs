//! The benchmarks: what bestfit costs against the stock shim on this machine (docs/PROMISES.md has the bounds).
//!
//! ```text
//! arguments ─▶ image (what runs) ─▶ start (paired starts) ─┐
//!                                   memory (relays) ───────┼─▶ report: text, target/bench.json
//!                                   lookup (registries) ───┤
//!                                   trust (signatures) ────┤
//!                                   matching, facts ───────┘
//! ```
//!
//! `make bench BENCH="--n 20 --line 1.7"`: starts per side, line of containerd (1.6, 1.7, 2.1, system).
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot run fails")]

mod arguments;
mod facts;
mod image;
mod lookup;
mod machine;
mod matching;
mod memory;
mod proxy;
mod report;
mod start;
mod statistics;
mod trust;

use std::process::ExitCode;

use bestfit_tests::isolate;
use bestfit_tests::node::{Node, Options};
use bestfit_tests::registry::{Kind, Registry};

use arguments::{Arguments, Only};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("bench: {problem}\n{}", arguments::USAGE);
            return ExitCode::from(64);
        }
    };
    match arguments.only {
        Some(Only::Matching) => report::matching(&matching::measure()),
        Some(Only::Facts) => report::facts(&facts::measure()),
        Some(Only::Starts | Only::Memory) | None => return in_a_workshop(&arguments),
    }
    ExitCode::SUCCESS
}

fn in_a_workshop(arguments: &Arguments) -> ExitCode {
    match isolate::isolated(|| measure(arguments)) {
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
    if arguments.only == Some(Only::Memory) {
        report::memory(&memory::measure(&mut node, &images.plain));
        return ExitCode::SUCCESS;
    }
    // Each is printed as soon as it is there: what follows may fail.
    let starts = start::measure(&mut node, &images, arguments.n);
    report::starts(&machine, &starts);
    if arguments.only == Some(Only::Starts) {
        return ExitCode::SUCCESS;
    }
    let memory = memory::measure(&mut node, &images.plain);
    report::memory(&memory);
    let trust = trust::measure(&mut node, &registry, arguments.n);
    let lookups = lookup::measure(&mut node, registry);
    let (matching, facts) = (matching::measure(), facts::measure());
    let left = node.leftovers();
    report::lookups(&lookups);
    report::matching(&matching);
    report::facts(&facts);
    match &trust {
        Ok(trust) => trust.print(),
        Err(why) => println!("SKIP: what a trust policy costs: {why}"),
    }
    left.iter().for_each(|what| println!("left behind: {what}"));
    let file = report::write(&machine, &starts, &memory, &lookups, &matching, &facts, trust.as_ref().ok());
    println!("\nwritten: {}", file.display());
    if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn workshop(arguments: &Arguments) -> Result<(Node, Registry), String> {
    let node = Node::start(arguments.line, Options::default())?;
    Ok((node, Registry::start(Kind::Docker)?))
}
