//! The history checker on the broker that keeps everything in memory: while nothing is done to it nothing is lost, and one
//! that is killed is refuted, for it has forgotten what it acknowledged.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Duration;

use freshet_checker::judge::{Rule, Thresholds};
use freshet_checker::{Folders, Nemesis, Outcome, Plan, Setup, run};

/// A run on a broker in memory, whose history is left beside its log when the test fails.
fn run_in_memory(name: &str, seed: u64, seconds: u64, kills: usize, thresholds: Thresholds) -> (Outcome, PathBuf) {
    let scratch = std::env::temp_dir().join(format!("freshet-history-{name}-{}", std::process::id()));
    let plan = Plan {
        seed,
        setup: Setup::Standalone {
            freshet: PathBuf::from(env!("CARGO_BIN_EXE_freshet")),
        },
        folders: Folders {
            scratch: scratch.clone(),
            data: None,
        },
        lasting: Duration::from_secs(seconds),
        nemesis: Nemesis {
            kills,
            ..Nemesis::default()
        },
        thresholds,
        planted: None,
        patience: Duration::from_secs(60),
    };
    let outcome = run(&plan, &mut |line| println!("{line}")).unwrap();
    println!("seed {seed}: {}", outcome.verdict);
    std::fs::write(scratch.join("history.jsonl"), outcome.history.to_json_lines().unwrap()).unwrap();
    (outcome, scratch)
}

#[test]
fn nothing_is_lost_doubled_or_overtaken_while_nothing_is_done_to_the_broker() {
    let thresholds = Thresholds {
        kills: 0,
        takeovers: 20,
        resumes: 40,
        interrupted: 5,
        due: 1_000,
        retained: 20,
        ..Thresholds::default()
    };
    let (outcome, scratch) = run_in_memory("quiet", 1, 20, 0, thresholds);
    assert!(
        outcome.verdict.is_proven(),
        "{}\n{}",
        scratch.display(),
        outcome.verdict
    );
    std::fs::remove_dir_all(scratch).unwrap();
}

#[test]
fn a_broker_that_forgets_what_it_acknowledged_is_refuted() {
    let (outcome, scratch) = run_in_memory("killed", 2, 5, 2, Thresholds::default());
    let verdict = &outcome.verdict;
    for rule in [Rule::NoLoss, Rule::SessionPresent] {
        assert!(verdict.breaks(rule), "{rule:?}: {}\n{verdict}", scratch.display());
    }
    assert!(outcome.verdict.coverage.kills >= 2, "{verdict}");
    std::fs::remove_dir_all(scratch).unwrap();
}
