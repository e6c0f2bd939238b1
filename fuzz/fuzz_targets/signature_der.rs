#![no_main]
#[allow(dead_code, reason = "one target uses one parser")]
#[path = "../parsers.rs"]
mod parsers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parsers::signature_der(bytes));
