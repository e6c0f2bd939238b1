//! Owns how a command ends: the exit codes (sysexits.h where it has one), and errors with their hints.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use crate::output::{Paint, RED, YELLOW, plain};

/// The exit codes that scripts can rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Fits, or done.
    Done = 0,
    /// Does not fit, or is not the same.
    No = 1,
    /// It cannot be told.
    Undetermined = 2,
    /// The command line is wrong.
    Usage = 64,
    /// The input is wrong.
    Data = 65,
    /// There is no such input.
    NoInput = 66,
    /// A service cannot be reached.
    Unavailable = 69,
    /// The output could not be written.
    Output = 74,
    /// No permission.
    NoPermission = 77,
    /// The configuration is wrong.
    Config = 78,
}

/// What to do about a file that is closed.
pub(crate) const MAY_READ: &str = "run it as root, or as a user who may read this";

impl Exit {
    /// What an error of the system about some input means.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NoInput,
            io::ErrorKind::PermissionDenied => Self::NoPermission,
            _ => Self::Data,
        }
    }
}

/// What the codes mean, for `--help` and the reference.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0   fits, or done
  1   does not fit, or is not the same
  2   undetermined
  64  the command line is wrong
  65  the input is wrong
  66  there is no such input
  69  a service could not be reached
  74  the output could not be written
  77  no permission
  78  the configuration is wrong";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// One or several errors, each with its hint, and the code to end with.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    errors: Vec<(String, Option<String>)>,
}

impl Failure {
    /// What happened, and to which file or image.
    pub(crate) fn new(exit: Exit, what: impl Display) -> Self {
        Self { exit, errors: vec![(what.to_string(), None)] }
    }

    /// Several errors at once.
    pub(crate) fn all(exit: Exit, errors: Vec<(String, Option<String>)>) -> Self {
        Self { exit, errors }
    }

    /// What to do next, for the last error.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Some((_, place)) = self.errors.last_mut() {
            *place = Some(hint.into());
        }
        self
    }

    /// A file, or another thing of the system, that cannot be used.
    pub(crate) fn io(what: impl Display, error: &io::Error) -> Self {
        let failure = Self::new(Exit::of(error), format!("{what}: {error}"));
        if failure.exit == Exit::NoPermission { failure.hint(MAY_READ) } else { failure }
    }

    /// A file that cannot be written.
    pub(crate) fn output(what: impl Display, error: &io::Error) -> Self {
        let failure = Self::new(Exit::of(error), format!("{what}: {error}"));
        if failure.exit == Exit::Data { Self { exit: Exit::Output, ..failure } } else { failure }
    }

    /// This failure after those before it: the highest code counts.
    pub(crate) fn after(mut self, before: Option<Self>) -> Self {
        if let Some(before) = before {
            self.exit = self.exit.max(before.exit);
            self.errors.splice(0..0, before.errors);
        }
        self
    }

    /// The code, at least this one.
    pub(crate) fn at_least(self, exit: Exit) -> Self {
        Self { exit: self.exit.max(exit), ..self }
    }

    /// The first error alone, where the command goes on without what failed.
    pub(crate) fn first(&self) -> &str {
        self.errors.first().map_or("", |(error, _)| error)
    }

    /// Prints all errors to standard error.
    pub(crate) fn report(&self) -> ExitCode {
        let paint = Paint::stderr();
        for (error, hint) in &self.errors {
            eprintln!("{} {error}", paint.with(RED, "error:"));
            if let Some(hint) = hint {
                eprintln!("{} {hint}", paint.with(YELLOW, "hint:"));
            }
        }
        self.exit.into()
    }
}

/// Prints what is no error, and should be known.
pub(crate) fn warn(what: impl Display, hint: Option<&str>) {
    let paint = Paint::stderr();
    eprintln!("{} {}", paint.with(YELLOW, "warning:"), plain(&what.to_string()));
    hint.iter().for_each(|hint| eprintln!("{} {}", paint.with(YELLOW, "hint:"), plain(hint)));
}

impl From<bestfit_config::ConfigErrors> for Failure {
    fn from(errors: bestfit_config::ConfigErrors) -> Self {
        let each = errors.problems().iter().map(|problem| (problem.to_string(), problem.hint.clone()));
        Self::all(Exit::Config, each.collect())
    }
}

/// clap's errors, and its `--help` and `--version`, which are none.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe is the reader's business.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() }
}
