//! Any bytes as a tuple of any type: an error perhaps, a panic never. `cargo +nightly fuzz run encode`.
#![no_main]

mod tuple;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tuple::encode(data));
