//! Owns the stages that commands share.
use crate::failure::Failure;
use bestfit_hostprobe::HostRoot;
use std::path::Path;

/// The host below `dir`, or the running machine.
pub(crate) fn host_root(dir: Option<&Path>) -> Result<HostRoot, Failure> {
    match dir {
        None => Ok(HostRoot::running()),
        Some(dir) => HostRoot::at(dir).map_err(|error| Failure::io(&error, &error.source)),
    }
}
