//! The benchmarks. (helper "bench" is writing this now: others leave it.)
fn main() {}
