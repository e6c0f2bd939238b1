//! `bestfit-decider --uid N --gid N`: started by the worker, speaks frames on stdin and stdout, has no rights.
#![forbid(unsafe_code)]

mod confine;
mod serve;

use std::process::ExitCode;

const USAGE: &str = "bestfit-decider: the unprivileged half of bestfit's worker, which starts it.
It gives up its rights, reads one question on stdin and answers on stdout; it is of no use by hand.
Usage: bestfit-decider --uid UID --gid GID
Ask by hand with: bestfit explain IMAGE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (uid, gid) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--uid", uid, "--gid", gid] => (uid.parse(), gid.parse()),
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
    if let Err(error) = confine::confine(uid, gid) {
        eprintln!("bestfit-decider: {error}");
        return ExitCode::from(77);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bestfit-decider: {error}");
            return ExitCode::from(70);
        }
    };
    match runtime.block_on(serve::serve(&mut std::io::stdin().lock(), &mut std::io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bestfit-decider: {error}");
            ExitCode::from(74)
        }
    }
}
