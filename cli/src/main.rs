//! `bestfit`: ask what fits, and why. Thin commands over the same stages that the shim goes through.
//!
//! - [`arguments`]: the command line, as clap reads it
//! - [`commands`]: one module per command
//! - [`stages`]: reference → index → evidence → decision, shared by `explain` and `check`
//! - [`failure`]: exit codes, and errors with their hints
//! - [`output`]: tables, colours, progress, writing to standard output
//! - [`pages`]: man pages and docs/cli.md, made from the command line

#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod failure;
mod output;
mod pages;
mod stages;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = match arguments::Bestfit::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failure::usage(&error),
    };
    match commands::run(arguments.command) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}
