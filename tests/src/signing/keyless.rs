//! Owns keyless signatures about what the tests push: made by the script that makes the samples of `bestfit-trust`, which stands in
//! for a certificate authority, its log, a transparency log and a time-stamping authority.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{Desk, LIMIT};
use crate::command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../trust/testdata/keyless.py");

/// Who signs.
pub const IDENTITY: &str = "https://lab.example/workflow";
/// Who says that [`IDENTITY`] is theirs.
pub const ISSUER: &str = "https://issuer.lab.example";

/// Two bundles about one digest, and the trusted root that both verify against.
#[derive(Debug)]
pub struct Keyless {
    /// With an entry of a transparency log.
    pub logged: Value,
    /// With a time stamp.
    pub stamped: Value,
    /// `trusted_root.json`.
    pub trusted_root: PathBuf,
}

impl Desk {
    /// Signs a digest (`sha256:…`) anew, with authorities that are new as well, or says what is missing for that.
    pub fn keyless(&self, digest: &str) -> Result<Keyless, String> {
        let hex = digest.trim_start_matches("sha256:");
        let dir = self.dir.join("keyless").join(hex);
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let made = command::run(Command::new("python3").arg(SCRIPT).arg(hex).arg(&dir), LIMIT);
        if !made.is_ok() {
            return Err(format!("keyless signatures need python3 with the package `cryptography`: {made}"));
        }
        let read = |name: &str| -> Result<Value, String> {
            let bytes = std::fs::read(dir.join(name)).map_err(|error| format!("{name}: {error}"))?;
            serde_json::from_slice(&bytes).map_err(|error| format!("{name}: {error}"))
        };
        let (logged, stamped) = (read("logged.json")?, read("stamped.json")?);
        Ok(Keyless { logged, stamped, trusted_root: dir.join("trusted_root.json") })
    }
}

impl Keyless {
    /// The entry of a policy that trusts an identity; `time` is `log` or `tsa`.
    pub fn accepted(&self, issuer: &str, subject: &str, time: &str) -> String {
        let root = &self.trusted_root;
        format!(
            "[[trust.accept]]\nname = \"lab\"\nkeyless = {{ issuer = {issuer:?}, subject = {subject:?}, time = {time:?}, \
             trusted_root = {root:?} }}\n"
        )
    }
}
