//! Clients that say anything: packets that are right, packets that are nearly right, and bytes that are nothing.
//!
//! A [`Script`] is read from bytes, so that a fuzzer can change it little by little, and a soak can draw it from a seed.
//! [`play`] runs one in a small world of real cores. Whatever is said: nothing panics, what the server answers is well
//! formed, memory keeps to its bounds, and nothing is left behind. Leaves out whether the answers are the right ones,
//! which is for the model.

mod broker;
mod listener;
mod packets;
mod script;

pub use listener::Listener;
pub use script::{CLIENTS, Deed, Script};

use self::broker::Broker;
use crate::violation::Violation;

/// Plays the script that the bytes spell.
///
/// # Errors
/// A rule does not hold.
pub fn play(bytes: &[u8]) -> Result<(), Violation> {
    let mut broker = Broker::new();
    broker.begin()?;
    for deed in Script::new(bytes) {
        broker.take(&deed)?;
    }
    broker.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn noise_drawn_from_seeds_breaks_no_rule() {
        for seed in 0..2_000 {
            let mut random = Random::new(seed);
            let length = random.below(2_000);
            let bytes: Vec<u8> = (0..length).map(|_| random.next().to_le_bytes()[0]).collect();
            assert_eq!(play(&bytes), Ok(()), "seed {seed}");
        }
    }

    #[test]
    fn what_the_fuzzer_has_found_breaks_no_rule_any_more() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/connections");
        let mut played = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(play(&std::fs::read(&path).unwrap()), Ok(()), "{}", path.display());
            played += 1;
        }
        assert!(played >= 4, "{played} scripts");
    }

    #[test]
    fn a_script_gets_clients_accepted_subscribed_and_served() {
        let mut random = Random::new(1);
        let bytes: Vec<u8> = (0..60_000).map(|_| random.next().to_le_bytes()[0]).collect();
        let mut broker = Broker::new();
        broker.begin().unwrap();
        for deed in Script::new(&bytes) {
            broker.take(&deed).unwrap();
        }
        let seen = broker.seen();
        for kind in [
            "CONNACK",
            "SUBACK",
            "UNSUBACK",
            "PUBLISH",
            "PUBREL",
            "PUBCOMP",
            "DISCONNECT",
        ] {
            assert!(seen.contains_key(kind), "no {kind} in {seen:?}");
        }
    }
}
