//! Owns the list of attempts: what each is called, and what it aims at.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{files, kernel, network, processes};

/// What is there to be attacked; the scenario makes it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Targets {
    /// A listening unix socket of root's.
    pub(crate) socket: PathBuf,
    /// The name of an abstract one.
    pub(crate) name: String,
    /// A process of root's, and one of the decider's own uid.
    pub(crate) root: i32,
    pub(crate) twin: i32,
    /// A file that root alone may read; also open as descriptor 9.
    pub(crate) secret: PathBuf,
    /// A file and a directory that everybody may read and write.
    pub(crate) public: PathBuf,
    pub(crate) everybodys: PathBuf,
    /// The TCP port that is left, and one that is not; both are listened on at 127.0.0.1.
    pub(crate) port: u16,
    pub(crate) other_port: u16,
}

/// One attempt.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) name: &'static str,
    /// Ok where it went through.
    pub(crate) run: fn(&Targets) -> io::Result<()>,
}

/// All of them. Those whose name begins with "may" are what the decider needs: they have to go through.
pub(crate) fn all() -> impl Iterator<Item = Attempt> {
    [files::ATTEMPTS, network::ATTEMPTS, processes::ATTEMPTS, kernel::ATTEMPTS].into_iter().flatten().copied()
}
