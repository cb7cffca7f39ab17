//! Durability: clients at work while the broker is killed, and a judge of what they saw.
//!
//! Part of `make test` with the same seed each time and about two minutes of kills, and of `make soak` with others each time
//! and several hundred. The broker is one process, and then a proxy and a storage node that are killed in turn.

use std::time::Duration;

use super::{
    parts::{Part, Step, cargo, programs},
    planted::results_folder,
};
use crate::steps::Invocation;

/// Kills of a round: more would be a longer history, and not a better one.
const KILLS: u64 = 35;
/// How long a round may take: kills, coming to rest, the verdict.
const ROUND: Duration = Duration::from_secs(10 * 60);

/// How long the power cuts of a file system may take, build included.
const POWER_CUTS: Duration = Duration::from_secs(20 * 60);

/// Cuts the power of an ext4 on a loop device under the log and its checkpoints.
pub(crate) fn power_cut_part() -> Part {
    let run = cargo(&[
        "test",
        "--release",
        "--locked",
        "--package",
        "freshet-storage-log",
        "--test",
        "ext4_power_cut",
        "--",
        "--ignored",
    ]);
    Part {
        name: "power-cut",
        what: "a file system whose power is cut under the log",
        steps: vec![Step::new(run, POWER_CUTS)],
        cleanup: Vec::new(),
        beside_next: false,
    }
}

/// What becomes of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// They are printed.
    Nowhere,
    /// They are pages of `checker/results` as well, which are checked in.
    AsPages,
}

/// Runs `rounds` rounds with the broker in one process, and as many with it in two.
pub(crate) fn part(rounds: u64, first_seed: u64, kept: Kept) -> Part {
    let in_turn = ["standalone", "apart"].map(|processes| step(processes, rounds, first_seed, kept));
    Part {
        name: "durability",
        what: "a broker that is killed at any time, and everything that clients were promised",
        // All programs, also when this part runs alone.
        steps: std::iter::once(programs()).chain(in_turn).collect(),
        cleanup: Vec::new(),
        beside_next: false,
    }
}

fn step(processes: &str, rounds: u64, first_seed: u64, kept: Kept) -> Step {
    let run = checker("run", first_seed).args(["--processes", processes]);
    let run = run.args(["--rounds".to_owned(), rounds.to_string()]);
    let mut run = run.args(["--kills".to_owned(), KILLS.to_string()]);
    if kept == Kept::AsPages {
        let page = results_folder().join(format!("kills-{processes}.md"));
        run = run.args(["--report".into(), page.into_os_string()]);
    }
    let deadline = ROUND.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
    Step::new(run, deadline)
}

/// A command of the history checker.
pub(super) fn checker(command: &str, first_seed: u64) -> Invocation {
    cargo(&[
        "run",
        "--release",
        "--locked",
        "--quiet",
        "--bin",
        "freshet-checker",
        "--",
        command,
    ])
    .args(["--seed".to_owned(), first_seed.to_string()])
}
