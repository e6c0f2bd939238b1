//! Runs the real binary, and compares exit codes and whole texts.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]

mod bad_input;
mod config;
mod devices;
mod doctor;
mod explain;
mod field;
mod forms;
mod hook;
mod host;
mod layout;
mod pages;
mod ps;
mod sandbox;
mod schema;
mod trust;
mod usage;
