//! `bestfit-worker`: started by the relay for one create, privileged, short-lived; the only user of containerd's API.
//!
//! ```text
//! relay ─▶ create ─▶ subject ─▶ decision: remembered, else decider (another process)
//!                                 └─▶ swap: content, plan, users, rebase ─▶ relay
//!                                                              └─▶ record, log
//! ```
//!
//! - [`mod@create`]: the order of one create; [`swap`]: from the decision to the mounts
//! - [`subject`]: may this container be touched at all; [`mounts`], [`bundle`], [`image`]: what it reads for that
//! - [`plan`], [`users`]: what the candidate changes, and what is refused; [`rebase`]: doing it, and undoing it;
//!   [`mod@recover`]: undoing it for workers that died
//! - [`content`]: bringing an entry into containerd; [`containerd`]: its API; [`decider`], [`relay`]: the other processes
//! - [`decision`]: recalled or asked for; [`remember`]: decisions that still hold; [`facts`]: the host's, from a cache
//! - [`documents`]: what is kept by digest; [`cache`], [`logins`]: the decider's directory,
//!   and what it may know
//! - [`record`], [`log`]: what is written down; [`mod@list`]: what runs here now; [`mod@node`]: the containerd of this node
#![forbid(unsafe_code)]

mod arguments;
mod bounds;
mod bundle;
mod cache;
mod containerd;
mod content;
mod create;
mod decider;
mod decision;
mod documents;
mod ending;
mod facts;
mod image;
mod list;
mod log;
mod logins;
mod mounts;
mod node;
mod plan;
mod rebase;
mod record;
mod recover;
mod relay;
mod remember;
mod request;
mod subject;
mod swap;
mod users;
mod verifiers;

use std::process::ExitCode;

use arguments::Command;
use bestfit_config::Location;
use create::Call;
use recover::PutBack;
use relay::Relay;
use request::Reply;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let command = match arguments::parse(std::env::args().skip(1)) {
        Ok(command) => command,
        Err(problem) => {
            eprintln!("bestfit-worker: {problem}\n{}", arguments::USAGE);
            return ExitCode::from(64);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bestfit-worker: {error}");
            return ExitCode::from(70);
        }
    };
    let code = match command {
        Command::Help => {
            println!("{}", arguments::USAGE);
            ExitCode::SUCCESS
        }
        Command::Version => {
            println!("bestfit-worker {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Command::Create(call) => runtime.block_on(create(&call)),
        Command::Recover(call) => runtime.block_on(recover(&call)),
        Command::List { address, namespace } => {
            runtime.block_on(async { print(list::list(&address, namespace.as_deref()).await) })
        }
        Command::Node { address } => runtime.block_on(async { print(node::node(&address).await) }),
    };
    // A read of stdin that nobody answers any more must not hold the process.
    runtime.shutdown_background();
    code
}

/// Runs the create. A SIGTERM from the relay ends it at once: what was begun is in the journal, and the relay calls
/// `recover` next, because only its answer can carry the mounts of what was put back.
async fn create(call: &Call) -> ExitCode {
    let mut relay = Relay::new();
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return ExitCode::from(70) };
    tokio::select! {
        () = create::create(call, &mut relay) => ExitCode::SUCCESS,
        _ = terminate.recv() => ExitCode::from(143),
    }
}

/// For the relay of a worker that died: puts the default back, and tells its mounts.
async fn recover(call: &Call) -> ExitCode {
    let loaded = bestfit_config::load(&Location::from_env(call.profile.clone()));
    let (state, strict) = ending::strictness(call, &loaded);
    let (reply, back) = ending::settled(state, call, None).await;
    let reply = match reply {
        Reply::Mounts(_) | Reply::Leave if strict => {
            Reply::Deny(format!("bestfit: the worker of this container died ({})", ending::REQUIRE))
        }
        reply => reply,
    };
    PutBack::settle(back, &mut Relay::new(), &reply).await;
    // Nobody waits for that.
    recover::release_leases(call).await;
    ExitCode::SUCCESS
}

/// Prints what containerd said, as JSON.
fn print(answer: containerd::Result<impl serde::Serialize>) -> ExitCode {
    match answer {
        Ok(answer) => {
            println!("{}", serde_json::to_string_pretty(&answer).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bestfit-worker: {error}");
            ExitCode::from(if error.is_denied() { 77 } else { 69 })
        }
    }
}
