//! `containerd-shim-bestfit-v1`: stands between containerd and the stock shim, and looks at Create.
//!
//! containerd ─ `start` ▶ [`start`] ─ [`leave`]s [`serve`] behind, runs the delegate's `start`, answers with the address
//! containerd ─ frames ▶ [`serve`] ▶ [`conn`] ([`streams`]: ids rewritten) ─▶ delegate; a Create waits in [`hold`] for the [`worker`]
//! containerd ─ `delete` ▶ [`delete`] ─ ends a delegate that lost its relay, then becomes the delegate's `delete`
//!
//! - formats: [`wire`] (protobuf), [`frame`] (ttrpc), [`request`] (Create), [`reply`] (answers of `start`), [`toml`],
//!   [`flags`]
//! - choices: [`options`] (runtime options), [`delegate`] (which shim runs the container), [`bridge`] (task service 2 or 3),
//!   [`require`] (whether a container is refused about which no worker can decide), [`orphans`] (what a refused start leaves)
//! - files and sockets: [`bundle`], [`site`], [`socket`], [`log`]; system calls: [`sys`]
//!
//! Rules: standard library and libc only, no asynchronous runtime, nothing is decoded that need not be changed.

mod bridge;
mod bundle;
mod conn;
mod delegate;
mod delete;
mod flags;
mod frame;
mod hold;
mod leave;
mod log;
mod options;
mod orphans;
mod reply;
mod request;
mod require;
mod serve;
mod site;
mod socket;
mod start;
mod streams;
mod sys;
#[cfg(test)]
mod testing;
mod toml;
mod wire;
mod worker;

use std::process::ExitCode;

use flags::{Action, Flags};

const USAGE: &str = "\
containerd-shim-bestfit-v1 runs containers by the stock shim and lets bestfit choose the image entry that fits this host.
containerd starts it; there is nothing to run by hand. Configure it as a runtime:

  runtime_type = \"io.containerd.bestfit.v1\"
  or runtime_type = \"io.containerd.runc.v2\" with runtime_path = \"/path/of/containerd-shim-bestfit-v1\"

Commands (called by containerd): start, delete, -info, -v
Configuration: $BESTFIT_CONFIG, else /etc/bestfit/config.toml
";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let flags = Flags::parse(&args);
    match flags.action {
        Action::Help => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Action::Start => start::run(&flags),
        Action::Serve => serve::run(&flags),
        Action::Delete => delete::run(&flags),
        Action::Info => delegate::info(&flags),
        Action::Version => {
            println!("{}:\n  Version:  {}\n", env!("CARGO_BIN_NAME"), env!("CARGO_PKG_VERSION"));
            delegate::become_delegate(&flags, None)
        }
        Action::Other => delegate::become_delegate(&flags, None),
    }
}
