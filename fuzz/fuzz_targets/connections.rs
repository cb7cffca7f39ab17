//! Plays scripts of clients that say anything, to a proxy and a storage node.

#![no_main]

use freshet_simulation::noise;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| {
    if let Err(violation) = noise::play(script) {
        panic!("{violation}");
    }
});
