//! Owns the three answers that a look at the host can give, on their way to a [`Fact`].

use bestfit_selector::facts::{Fact, Value};

use crate::root::ReadError;

/// What a look gave: matching.md, "Verdicts".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen<T> {
    /// This was there.
    Known(T),
    /// Looked, not there.
    Absent,
    /// Could not look, and why.
    Unknown(String),
}

impl<T> Seen<T> {
    /// What was read; a failure is unknown, and so is "not there": use it where something must be there.
    pub(crate) fn of(read: Result<T, ReadError>) -> Self {
        read.map_or_else(|error| Self::Unknown(error.to_string()), Self::Known)
    }

    /// Changes a known value.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Seen<U> {
        self.and_then(|value| Seen::Known(change(value)))
    }

    /// Looks further where something is known.
    pub(crate) fn and_then<U>(self, look: impl FnOnce(T) -> Seen<U>) -> Seen<U> {
        match self {
            Self::Known(value) => look(value),
            Self::Absent => Seen::Absent,
            Self::Unknown(why) => Seen::Unknown(why),
        }
    }

    /// The same answer by reference.
    pub(crate) fn as_ref(&self) -> Seen<&T> {
        match self {
            Self::Known(value) => Seen::Known(value),
            Self::Absent => Seen::Absent,
            Self::Unknown(why) => Seen::Unknown(why.clone()),
        }
    }

    /// The fact, with the place that was looked at.
    pub(crate) fn fact(self, source: impl Into<String>) -> Fact
    where
        T: Into<Value>,
    {
        match self {
            Self::Known(value) => Fact::known(value, source),
            Self::Absent => Fact::absent(source),
            Self::Unknown(why) => Fact::unknown(why, source),
        }
    }
}

impl Seen<bool> {
    /// NFD's true-only labels: false is an absent label (nfd-features.md, "Default labels").
    pub(crate) fn true_only(self) -> Self {
        self.and_then(|value| if value { Seen::Known(true) } else { Seen::Absent })
    }
}
