//! One module per command: each takes its arguments, calls the stages, prints, and says how it ended.

mod check;
mod config;
mod doctor;
mod explain;
mod host;
mod policy;
mod ps;
mod schema;
mod verify;

use crate::arguments::Command;
use crate::failure::{Exit, Failure};
use crate::{output, pages};

/// Runs one command.
pub(crate) fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Host(arguments) => host::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Policy(command) => policy::run(&command),
        Command::Ps(arguments) => ps::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Config(command) => config::run(command),
        Command::Schema(command) => schema::run(&command),
        Command::Completions { shell } => pages::completions(shell),
        Command::Man { directory } => pages::man(&directory),
        Command::Markdown => output::print(&pages::markdown()).map(|()| Exit::Done),
    }
}
