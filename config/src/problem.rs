//! Owns mistakes: where they are, what is wrong, and, apart from that, what to do about it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::load::Origin;
use crate::model::{Config, Mode};

/// One mistake in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Line and column (in characters), both from 1, where the mistake has a place in the text.
    pub position: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Problem {
    /// A mistake in the value of the key `name`, at the place that the value comes from; without a place where it is a default.
    pub fn of(origins: &BTreeMap<String, Origin>, name: &str, why: &str, hint: Option<String>) -> Self {
        let origin = origins.get(name);
        Self {
            file: origin.map(|origin| origin.file.clone()).unwrap_or_default(),
            position: origin.map(|origin| (origin.line, 1)),
            message: format!("{name}: {why}"),
            hint,
        }
    }
}

/// Every mistake of every file, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
    /// What was understood: defaults where nothing was.
    understood: Box<Config>,
    /// One of the files says `trust.mode = "require"`.
    required: bool,
}

impl ConfigErrors {
    /// `problems` as an error, unless there are none.
    pub fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems, understood: Box::default(), required: false }) }
    }

    /// With what was understood of the configuration, and whether it says `trust.mode = "require"`.
    pub(crate) fn with(self, understood: Config, required: bool) -> Self {
        Self { understood: Box::new(understood), required, ..self }
    }

    /// Where what outlives a boot lies, as far as that was understood: what was begun there has to be finished, whatever is
    /// wrong with the rest.
    pub fn state(&self) -> &Path {
        &self.understood.state
    }

    /// Whether a container of these namespaces must be refused: one of the files that could be read says
    /// `trust.mode = "require"`, and none of them switches bestfit off.
    pub fn deny(&self, containerd_namespace: &str, kubernetes_namespace: Option<&str>) -> bool {
        self.required && self.understood.mode_for(containerd_namespace, kubernetes_namespace) == Mode::Select
    }

    /// Each mistake, in the order in which the files are read.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// All mistakes, each with its hint on a line of its own.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&format!("{problem}\n"));
            if let Some(hint) = &problem.hint {
                text.push_str(&format!("  hint: {hint}\n"));
            }
        }
        text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// One line without hints, for a log.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Where each line of a text begins, so that finding a place does not read the text again.
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect())
    }

    /// Line and column, both from 1, of a byte offset in the same text.
    pub(crate) fn position(&self, text: &str, offset: usize) -> (usize, usize) {
        let line = self.0.partition_point(|start| *start <= offset).max(1);
        let before = text.get(self.0[line - 1]..offset.min(text.len())).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let text = "ä = 1\nmode = \"x\"\n";
        for (offset, expected) in [(0, (1, 1)), (2, (1, 2)), (7, (2, 1)), (14, (2, 8)), (999, (3, 1))] {
            assert_eq!(Lines::of(text).position(text, offset), expected, "{offset}");
        }
    }
}
