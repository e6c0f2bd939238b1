//! `hostile`: code that stands in the decider's place and wants out. tests/tests/e2e/confined.rs starts it.
//!
//! ```text
//! hostile try NAME TARGETS.json [UID GID]   one attempt; with UID and GID after giving up rights as the decider does
//! hostile list                              the names of all attempts
//! hostile play PART                         speaks with the worker as a decider that was taken over
//! ```
//!
//! `try` ends with 0 where the attempt went through and with 1 where it was refused, and says how; a signal is a refusal.
#![allow(unsafe_code, reason = "the calls that are tried have no safe form")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod attempts;
mod files;
mod kernel;
mod network;
mod play;
mod processes;

use std::path::PathBuf;
use std::process::ExitCode;

use attempts::{Attempt, Targets};
use bestfit_decider::confine::{Places, close_inherited, give_up};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => {
            attempts::all().for_each(|attempt| println!("{}", attempt.name));
            ExitCode::SUCCESS
        }
        ["try", name, targets] => attempt(name, targets, None),
        ["try", name, targets, uid, gid] => attempt(name, targets, Some((uid.parse().unwrap(), gid.parse().unwrap()))),
        ["play", part, ..] => play::play(part),
        _ => ExitCode::from(64),
    }
}

fn attempt(name: &str, targets: &str, ids: Option<(u32, u32)>) -> ExitCode {
    let targets: Targets = serde_json::from_str(&std::fs::read_to_string(targets).unwrap()).unwrap();
    let attempt: Attempt = attempts::all().find(|attempt| attempt.name == name).expect("a known attempt");
    if let Some((uid, gid)) = ids {
        confine(uid, gid, &targets);
    }
    match (attempt.run)(&targets) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// As the decider's `main` and `serve` do.
fn confine(uid: u32, gid: u32, targets: &Targets) {
    close_inherited().unwrap();
    let mut unenforced = give_up(uid, gid).unwrap();
    let places = Places { read: Vec::new(), write: vec![PathBuf::from(".")], ports: [targets.port].into() };
    unenforced.extend(places.restrict());
    for what in unenforced {
        eprintln!("unenforced: {what}");
    }
}
