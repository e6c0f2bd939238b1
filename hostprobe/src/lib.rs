//! Reads a host root into facts: each with where it was read, and known, absent and unknown kept apart.
//!
//! ```text
//! HostRoot (files below "/", or below a directory) ─┬─▶ one module per group of facts ─▶ Facts
//! CPUID, only of the running machine ───────────────┘
//! ```
//!
//! - `root`: bounded reads that never leave the root
//! - `snapshot`: what a root answered, to be replayed elsewhere
//! - [`cache`]: facts that were read before, as long as nothing says that they have changed
//! - `seen`: known, absent, unknown
//! - [`cpu`]: CPUID flags, `/proc/cpuinfo`, x86-64 level, archspec target, topology
//! - `kernel`, `modules`, `kconfig`, `memory`, `auxv`, `cgroup`, `os_release`, `system`: what the kernel,
//!   the system and the firmware say about themselves
//! - `userspace`: C library, MPI, PMI, systemd
//! - `pci`, `usb`, `network`, `storage`: devices by bus
//! - `devices`: GPUs, accelerators and interfaces to fabrics, one by one, and what their drivers support
//! - `local`: the features that a site's own programs left in files for NFD
//! - `feature`: how an answer becomes one of NFD's features; `labels`: the labels that NFD makes of them
//!
//! - [`hook`]: the one thing that is executed, and only where the site's configuration lists it
//!
//! Parsers take text, loaders beside them open files. [`probe`] executes nothing, nothing below `/dev` is opened. What is
//! volatile stands in NFD's features only, where NFD has it, and [`probe_settled`] leaves it out.
//!
//! ```
//! use bestfit_hostprobe::{HostRoot, probe};
//!
//! let facts = probe(&HostRoot::running());
//! let fact = facts.get("host", "kernel.version").expect("known, absent or unknown: a fact is always said");
//! println!("{:?}, from {}", fact.state, fact.source);
//! ```

#![deny(unsafe_code)]

mod auxv;
pub mod cache;
mod cgroup;
pub mod cpu;
mod devices;
mod feature;
pub mod hook;
mod kconfig;
mod kernel;
mod labels;
mod local;
mod memory;
mod modules;
mod network;
mod os_release;
mod pci;
mod platform;
mod root;
mod seen;
mod snapshot;
mod storage;
mod system;
mod usb;
mod userspace;

use bestfit_selector::facts::Facts;
use bestfit_selector::microarch::Microarchitectures;
use bestfit_selector::volatile;

use auxv::Auxv;
use cpu::cpuinfo::CpuInfo;
pub use labels::{LABEL_NAMESPACE, nfd_labels};
pub use platform::host_platform;
pub use root::{HostRoot, RootError};
pub use snapshot::{MAX_SNAPSHOT, Snapshot};

/// The group of NFD's labels, without their namespace prefix.
const NFD: &str = "nfd";
/// The group of our own facts.
const HOST: &str = "host";
/// The group of archspec's microarchitectures.
const ARCHSPEC: &str = "io.archspec";

/// All facts of the host at `root`. Never fails: what could not be read is unknown, with the reason.
pub fn probe(root: &HostRoot) -> Facts {
    probe_with(root, Microarchitectures::builtin())
}

/// The same by archspec data of the caller's choice.
pub fn probe_with(root: &HostRoot, targets: &Microarchitectures) -> Facts {
    look_at(root, targets, Look::Everything)
}

/// The facts that decide: without what is volatile, which is not even looked at.
pub fn probe_settled(root: &HostRoot, targets: &Microarchitectures) -> Facts {
    let mut facts = look_at(root, targets, Look::Settled);
    volatile::set_aside(&mut facts.features);
    facts
}

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Everything,
    /// Not what never decides.
    Settled,
}

fn look_at(root: &HostRoot, targets: &Microarchitectures, look: Look) -> Facts {
    let mut facts = Facts::default();
    let info = CpuInfo::load(root);
    let auxv = Auxv::load(root, &info);
    cpu::probe(root, &info, &auxv, targets, &mut facts);
    kernel::probe(root, &mut facts);
    memory::probe(root, &info, &auxv, &mut facts);
    cgroup::probe(root, &mut facts);
    os_release::probe(root, &mut facts);
    let bus = pci::probe(root, &mut facts);
    network::probe(root, look, &mut facts);
    storage::probe(root, &mut facts);
    usb::probe(root, &mut facts);
    system::probe(root, &mut facts);
    userspace::probe(root, &info, &mut facts);
    // What a site's own programs say goes before what NFD finds out itself.
    local::probe(root, &mut facts);
    // Last: vendors' programs may have told more about devices than files of the kernel do.
    devices::probe(root, &bus, &mut facts);
    facts
}
