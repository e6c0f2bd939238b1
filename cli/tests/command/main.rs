//! Runs the real binary, and compares exit codes and whole texts.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]

mod config;
mod pages;
mod ps;
mod sandbox;
mod usage;
