//! The simulation: random sequences judged by the reference model, and the mistakes that it has to find.
//!
//! Part of `make test` for a minute, with the same sequences each time, and of `make soak` for as long as one likes, with
//! others each time.

use std::time::Duration;

use super::parts::{Part, Step, cargo_test};

/// The package whose integration tests are run here and nowhere else.
pub(super) const PACKAGE: &str = "freshet-simulation";

/// How long the tests may take beside the sequences that they run: compiling, and making a sequence that fails shorter.
const ALLOWANCE: Duration = Duration::from_secs(20 * 60);

/// Runs sequences for `seconds`, from the seed `first` on.
pub(crate) fn part(seconds: u64, first: u64) -> Part {
    let sequences = cargo_test(&["--test", "sequences", "--", "--nocapture"])
        .env("FRESHET_SIMULATION_SECONDS", seconds.to_string())
        .env("FRESHET_SIMULATION_FIRST", first.to_string());
    // The cores are compiled anew with the mistakes in them.
    let faults = cargo_test(&["--features", "freshet-simulation/planted-faults"]).args([
        "--test",
        "planted_faults",
        "--",
        "--nocapture",
    ]);
    Part {
        name: "simulation",
        what: "proxies, storage and clients in one deterministic world, judged by a model",
        steps: vec![
            Step::new(sequences, ALLOWANCE + Duration::from_secs(seconds)),
            Step::new(faults, 2 * ALLOWANCE),
        ],
        cleanup: Vec::new(),
    }
}
