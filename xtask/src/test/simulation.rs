//! The simulation: random sequences judged by the reference model, and the mistakes that it has to find.
//!
//! Part of `make test` with the same sequences each time, and of `make soak` for as long as one likes, with
//! others each time.

use std::time::Duration;

use super::parts::{Part, Step, cargo_test};

/// The package whose integration tests are run here and nowhere else.
pub(super) const PACKAGE: &str = "freshet-simulation";

/// How long the tests may take beside the sequences that they run: compiling, and making a sequence that fails shorter.
const ALLOWANCE: Duration = Duration::from_secs(20 * 60);

/// How many sequences are run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sequences {
    /// So many: the same each time, on a fast machine and on a slow one.
    Count(u64),
    /// As many as can be, beginning with a seed.
    For {
        /// How long.
        seconds: u64,
        /// The first seed.
        first: u64,
    },
}

/// Runs sequences, then plants mistakes.
pub(crate) fn part(what: Sequences) -> Part {
    let test = cargo_test(&["--test", "sequences", "--", "--nocapture"]);
    let (sequences, length) = match what {
        Sequences::Count(count) => (test.env("FRESHET_SIMULATION_SEQUENCES", count.to_string()), ALLOWANCE),
        Sequences::For { seconds, first } => (
            test.env("FRESHET_SIMULATION_SECONDS", seconds.to_string())
                .env("FRESHET_SIMULATION_FIRST", first.to_string()),
            ALLOWANCE + Duration::from_secs(seconds),
        ),
    };
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
        steps: vec![Step::new(sequences, length), Step::new(faults, 2 * ALLOWANCE)],
        cleanup: Vec::new(),
        beside_next: false,
    }
}
