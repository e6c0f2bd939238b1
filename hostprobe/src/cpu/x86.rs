//! Owns who answers what only x86 processors can be asked: the instruction, `/proc/cpuinfo`, or nobody.

use std::collections::BTreeSet;

use super::cpuid::Processor;
use super::cpuinfo;
use super::nfd_flags::{Flags, state};
use crate::seen::Seen;

/// What is known about an x86 processor.
pub(crate) enum X86<'a> {
    /// All of it.
    Instruction(&'a Processor<'a>, Flags),
    /// The words of `/proc/cpuinfo`.
    Cpuinfo(BTreeSet<String>, Flags),
    /// That it is none.
    Other,
    /// Not even that, and why.
    Unknown(String),
}

impl X86<'_> {
    /// What `look` finds; only CPUID tells it.
    pub(crate) fn ask<T>(&self, look: impl FnOnce(&Processor) -> Seen<T>, what: &str) -> Seen<T> {
        match self {
            Self::Instruction(processor, _) => look(processor),
            Self::Cpuinfo(..) => Seen::Unknown(format!("{} does not tell {what}", cpuinfo::PATH)),
            Self::Other => Seen::Absent,
            Self::Unknown(why) => Seen::Unknown(why.clone()),
        }
    }

    /// What `look` finds in CPUID, or `read` in the words of `/proc/cpuinfo`.
    pub(crate) fn ask_or(
        &self,
        look: impl FnOnce(&Processor) -> Option<bool>,
        read: impl FnOnce(&BTreeSet<String>) -> Option<bool>,
        what: &str,
    ) -> Seen<bool> {
        let told = |state: Option<bool>| {
            state.map_or_else(|| Seen::Unknown(format!("whether {what} is there cannot be told")), Seen::Known)
        };
        match self {
            Self::Instruction(processor, _) => told(look(processor)),
            Self::Cpuinfo(words, _) => told(read(words)),
            Self::Other => Seen::Absent,
            Self::Unknown(why) => Seen::Unknown(why.clone()),
        }
    }

    /// Whether one of NFD's flags is there.
    pub(crate) fn flag(&self, name: &str) -> Seen<bool> {
        match self {
            Self::Instruction(_, flags) | Self::Cpuinfo(_, flags) => state(flags, name)
                .map_or_else(|| Seen::Unknown(format!("whether {name} is there cannot be told")), Seen::Known),
            Self::Other => Seen::Absent,
            Self::Unknown(why) => Seen::Unknown(why.clone()),
        }
    }
}
