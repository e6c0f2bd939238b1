//! placeholder
use crate::failure::{Exit, Failure};
pub(crate) fn run(_: &crate::arguments::Explain) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::NoInput, "not yet"))
}
