//! `bestfit-decider --uid N --gid N`: started by the worker, speaks frames on stdin and stdout, has no rights.
#![forbid(unsafe_code)]

mod serve;

use std::process::ExitCode;

use bestfit_decider::confine::{self, ConfineError, Places};
use tokio::runtime::Runtime;

const USAGE: &str = "bestfit-decider: the unprivileged half of bestfit's worker, which starts it.
It gives up its rights, reads one question on stdin and answers on stdout; it is of no use by hand.
Usage:
  bestfit-decider --uid UID --gid GID            answer one worker
  bestfit-decider --uid UID --gid GID --report   say what this kernel cannot hold it back from, as JSON (bestfit doctor)
  bestfit-decider --version
Ask by hand with: bestfit explain IMAGE";

/// Threads that look up names: each registry has one name, mirrors and token servers another.
const LOOKUPS: usize = 16;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (uid, gid, report) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--uid", uid, "--gid", gid] => (uid.parse(), gid.parse(), false),
        ["--uid", uid, "--gid", gid, "--report"] => (uid.parse(), gid.parse(), true),
        ["--version"] => {
            println!("bestfit-decider {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    let (Ok(uid), Ok(gid)) = (uid, gid) else {
        eprintln!("bestfit-decider: UID and GID are numbers");
        return ExitCode::from(64);
    };
    let (runtime, unenforced) = match confined(uid, gid) {
        Ok(confined) => confined,
        Err(error) => {
            eprintln!("bestfit-decider: {error}");
            if !report {
                let _ = serve::say(
                    &mut std::io::stdout().lock(),
                    &format!("the decider could not give up its rights: {error}"),
                );
            }
            return ExitCode::from(77);
        }
    };
    if report {
        return say_report(unenforced);
    }
    match runtime.block_on(serve::serve(&mut std::io::stdin().lock(), &mut std::io::stdout().lock(), unenforced)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bestfit-decider: {error}");
            ExitCode::from(74)
        }
    }
}

/// Gives up all rights but those that the question asks for, and says what could not be enforced.
fn confined(uid: u32, gid: u32) -> Result<(Runtime, Vec<String>), ConfineError> {
    confine::close_inherited()?;
    // Made before: for signals it makes a pair of unix sockets, connected to each other, which may not be made afterwards. It
    // starts its threads later, and they inherit all limits.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(LOOKUPS).build();
    let runtime = runtime.map_err(|cause| ConfineError::Call { call: "epoll", cause })?;
    Ok((runtime, confine::give_up(uid, gid)?))
}

fn say_report(mut unenforced: Vec<String>) -> ExitCode {
    unenforced.extend(Places::default().restrict());
    println!("{}", serde_json::json!({ "unenforced": unenforced }));
    ExitCode::SUCCESS
}
