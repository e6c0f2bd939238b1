//! The demo. (helper "demo" is writing this now: others leave it.)
fn main() {}
