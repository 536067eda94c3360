//! The fuzz target's corpus, and as much as there is time for of it cut off and turned over; needs no server.

use rand::{Rng, SeedableRng};

#[path = "../../fuzz/fuzz_targets/tuple.rs"]
mod tuple;

#[test]
fn no_bytes_of_any_type_make_the_transcoder_panic() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/encode");
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    for entry in std::fs::read_dir(corpus).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        for end in 0..=seed.len() {
            tuple::encode(&seed[..end]);
        }
        for _ in 0..60 {
            let mut turned = seed.clone();
            turned.extend((0..random.random_range(0..9)).map(|_| random.random::<u8>()));
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..turned.len());
                turned[at] = random.random();
            }
            tuple::encode(&turned);
        }
    }
}
