//! The workshop of the end-to-end tests, the demo and the benchmarks: real containerd, runc and registries, started and
//! stopped by value.
//!
//! [`isolate`] puts the whole run into namespaces of its own. Inside, [`peers`] finds what `make setup` unpacked,
//! [`program`] and [`tar`] make layers, [`image`] makes indexes, [`registry`] serves them, [`artifact`] attaches
//! compatibility artifacts, [`signing`] signs them by real tools, [`hostile`] lies in a registry's place, [`node`] is one
//! containerd with [`ctr`], [`cri`] and [`task`] as its clients and a [`gate`] before it, [`record`] reads what bestfit decided, and
//! [`leftovers`] finds what should be gone. [`nfd`] builds what our facts and rules are held against.
//!
//! A workshop fails by panicking: the scenario that called it has failed then.
#![forbid(unsafe_code)]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "only tests, the demo and benchmarks use it"
)]

pub mod artifact;
pub mod command;
pub mod cri;
pub mod ctr;
pub mod gate;
pub mod hostile;
pub mod http;
pub mod image;
pub mod isolate;
pub mod leftovers;
pub mod nfd;
pub mod node;
pub mod peers;
pub mod program;
pub mod record;
pub mod registry;
pub mod scenario;
pub mod signing;
pub mod tar;
pub mod task;
