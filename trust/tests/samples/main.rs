//! Real signatures (testdata/make.sh) and changed copies of them, through the crate's own door: each row says what a site
//! reads when the check that it needs refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "samples lie in files")]

mod arbitrary;
mod certificates;
mod keyless;
mod keys;
mod limits;
mod notation;
mod sample;
mod simple;
