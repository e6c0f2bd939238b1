//! Reads a host root into facts: each with where it was read, and known, absent and unknown kept apart.
//!
//! ```text
//! HostRoot (files below "/", or below a directory) ─┬─▶ one module per group of facts ─▶ Facts
//! CPUID, only of the running machine ───────────────┘
//! ```
//!
//! - [`root`]: bounded reads that never leave the root
//! - [`seen`]: known, absent, unknown
//! - [`cpu`]: CPUID flags, `/proc/cpuinfo`, x86-64 level, archspec target, topology
//! - [`kernel`], [`memory`], [`cgroup`], [`os_release`]: what the kernel and the system say about themselves
//! - [`pci`], [`network`], [`storage`]: devices
//!
//! Parsers take text, loaders beside them open files. Nothing is executed, nothing below `/dev` is opened, and nothing
//! volatile (free memory, load, link state) becomes a fact.

#![deny(unsafe_code)]

mod cgroup;
pub mod cpu;
mod kernel;
mod memory;
mod network;
mod os_release;
mod pci;
mod platform;
mod root;
mod seen;
mod storage;

use bestfit_selector::facts::Facts;

pub use platform::host_platform;
pub use root::{HostRoot, RootError};

/// The group of NFD's labels, without their namespace prefix.
const NFD: &str = "nfd";
/// The group of our own facts.
const HOST: &str = "host";
/// The group of archspec's microarchitectures.
const ARCHSPEC: &str = "io.archspec";

/// All facts of the host at `root`. Never fails: what could not be read is unknown, with the reason.
pub fn probe(root: &HostRoot) -> Facts {
    let mut facts = Facts::default();
    cpu::probe(root, &mut facts);
    kernel::probe(root, &mut facts);
    memory::probe(root, &mut facts);
    cgroup::probe(root, &mut facts);
    os_release::probe(root, &mut facts);
    pci::probe(root, &mut facts);
    network::probe(root, &mut facts);
    storage::probe(root, &mut facts);
    facts
}
