//! Owns what a site asks of a decision. The file format is in `bestfit-config`; this is its meaning.

use serde::{Deserialize, Serialize};

/// What a site asks for. The defaults change nothing but what artifacts clearly say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// What happens when no entry fits.
    pub on_no_fit: Otherwise,
    /// What happens when something could not be read.
    pub on_error: Otherwise,
    /// Whether an entry that says nothing may stand in for a default that does not fit.
    pub undeclared: Undeclared,
}

/// What happens when there is no answer to act on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    /// The entry that containerd chose runs.
    #[default]
    RunDefault,
    /// The container is refused.
    Deny,
}

/// Whether undeclared entries may be chosen (matching.md, "The choice", rule 3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undeclared {
    /// Where nothing is Compatible and the default is Incompatible.
    #[default]
    Fallback,
    /// Never.
    Never,
}

impl Default for Policy {
    fn default() -> Self {
        Self { on_no_fit: Otherwise::RunDefault, on_error: Otherwise::RunDefault, undeclared: Undeclared::Fallback }
    }
}
