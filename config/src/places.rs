//! Owns where things lie below cache and state that one of our programs writes and another one reads.

use std::path::{Path, PathBuf};

/// The decider's directory below the cache. All in it is foreign: the decider has a uid of its own.
pub const DECIDER: &str = "registry";

/// What registries said, as the decider keeps it (`bestfit-registry`'s cache), below `cache.dir`.
pub fn decider(cache: &Path) -> PathBuf {
    cache.join(DECIDER)
}

/// Inputs of decisions that no registry has, named by digest, below `state`.
pub fn inputs(state: &Path) -> PathBuf {
    state.join("inputs/sha256")
}

/// Small documents of containerd's store, named by digest, below `state`.
pub fn documents(state: &Path) -> PathBuf {
    state.join("documents/sha256")
}
