//! The noise: clients that say anything to a broker over sockets, and whether it is afterwards as it was.
//!
//! Part of `make test` for five minutes, and of `make soak` for as long as one likes.

use std::time::Duration;

use super::parts::{Part, Step, cargo_test};

/// The integration test that is run here and nowhere else.
pub(super) const TEST: &str = "noise";

/// Compiling, and twice until everything has expired.
const ALLOWANCE: Duration = Duration::from_secs(20 * 60);

/// Makes noise for `seconds`.
pub(crate) fn part(seconds: u64) -> Part {
    let noise = cargo_test(&["--test", TEST, "--", "--nocapture"]).env("FRESHET_NOISE_SECONDS", seconds.to_string());
    Part {
        name: "noise",
        what: "minutes of clients that say anything: memory, sessions and descriptors are then as before",
        steps: vec![Step::new(noise, ALLOWANCE + Duration::from_secs(seconds))],
        cleanup: Vec::new(),
        beside_next: false,
    }
}
