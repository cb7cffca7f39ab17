//! `xtask test`: everything, unit to end to end, and how many minutes each part took.
//!
//! Called by `make test` and, through it, by CI. Stops at the first part that fails unless `--keep-going` is given;
//! what a part has to tidy up is tidied up in either case, also when the run is interrupted. Leaves out which parts
//! there are: that is data, in [`parts`].

mod durability;
mod fuzz;
mod measure;
mod mutants;
mod noise;
mod parts;
mod planted;
mod report;
mod simulation;
mod targets;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use clap::Args;
use freshet_e2e::progress::display;

use crate::steps::{Ending, Interrupt, run};
pub(crate) use durability::{Kept, part as durability_part, power_cut_part};
pub(crate) use fuzz::fuzz_steps;
pub(crate) use measure::part as measure_part;
pub(crate) use mutants::part as mutants_part;
pub(crate) use noise::part as noise_part;
pub(crate) use parts::{Counts, Part, Step, clients_on_kubernetes, differences, programs};
pub(crate) use planted::part as planted_part;
use report::{Report, Row};
pub(crate) use simulation::{Sequences, part as simulation_part};

/// Arguments of `xtask test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Runs these parts instead of all.
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Goes on after a part that failed.
    #[arg(long)]
    keep_going: bool,
    /// Seconds for each fuzz target.
    #[arg(long, default_value_t = 60)]
    fuzz_seconds: u64,
    /// Names the parts and what they run, and runs nothing.
    #[arg(long)]
    list: bool,
}

/// Runs the parts and prints their table.
///
/// # Errors
/// When the parts cannot be put together, as in a checkout that cargo cannot read.
pub(crate) async fn test(args: &TestArgs) -> Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    let all = parts::build(args.fuzz_seconds, &mut interrupt).await?;
    if let Some(unknown) = args.only.iter().find(|name| all.iter().all(|part| part.name != **name)) {
        let names: Vec<&str> = all.iter().map(|part| part.name).collect();
        anyhow::bail!("there is no part `{unknown}`; there are {}", names.join(", "));
    }
    let chosen: Vec<Part> = all
        .into_iter()
        .filter(|part| args.only.is_empty() || args.only.iter().any(|name| name == part.name))
        .collect();
    if args.list {
        print_parts(&chosen);
        return Ok(ExitCode::SUCCESS);
    }
    run_parts(&chosen, args.keep_going, &mut interrupt).await
}

/// Runs parts in their order, prints the table and returns the exit code of the whole.
///
/// # Errors
/// None of a part's own: a part that cannot be run has failed.
pub(crate) async fn run_parts(parts: &[Part], keep_going: bool, interrupt: &mut Interrupt) -> Result<ExitCode> {
    let started = Instant::now();
    let mut report = Report::default();
    let mut left = parts.iter();
    while let Some(part) = left.next() {
        let beside = if part.beside_next { left.next() } else { None };
        if report.has_failures() && !keep_going || interrupt.has_arrived() {
            report.add(Row::not_run(part.name));
            beside.into_iter().for_each(|part| report.add(Row::not_run(part.name)));
            continue;
        }
        println!("\n==> {}: {}", part.name, part.what);
        let Some(beside) = beside else {
            report.add(run_part(part, interrupt).await);
            continue;
        };
        println!("==> beside it {}: {}", beside.name, beside.what);
        let mut also = Interrupt::listen()?;
        let (first, second) = tokio::join!(run_part(part, interrupt), run_part(beside, &mut also));
        report.add(first);
        report.add(second);
    }
    report.took = started.elapsed();
    print!("{report}");
    Ok(if report.has_failures() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn run_part(part: &Part, interrupt: &mut Interrupt) -> Row {
    let started = Instant::now();
    let mut row = Row::of(part.name);
    if part.steps.is_empty() {
        row.tally.failed += 1;
        row.problems.push(format!("{}: no tests were found", part.name));
    }
    for step in &part.steps {
        if !run_step(step, &mut row, interrupt).await {
            break;
        }
    }
    // Without this the steps that tidy up would be interrupted as well.
    let was_interrupted = interrupt.has_arrived();
    interrupt.clear();
    for step in &part.cleanup {
        run_step(step, &mut row, interrupt).await;
    }
    if was_interrupted {
        interrupt.set();
    }
    row.took = started.elapsed();
    row
}

/// Returns whether the steps after this one make sense.
async fn run_step(step: &Step, row: &mut Row, interrupt: &mut Interrupt) -> bool {
    println!("--- {}", step.invocation);
    let started = Instant::now();
    let ending = match run(&step.invocation, step.timeout, interrupt).await {
        Ok(outcome) => {
            row.tally.add(&outcome.tally);
            // A program that failed before or beside its tests is a failure of its own.
            if outcome.ending != Ending::Passed && outcome.tally.failed == 0 {
                row.tally.failed += 1;
            } else if outcome.ending == Ending::Passed && step.counts == Counts::AsOneTest {
                row.tally.passed += 1;
            }
            outcome.ending.to_string()
        }
        Err(error) => {
            row.tally.failed += 1;
            format!("{error:#}")
        }
    };
    println!("--- {ending} in {}", display(started.elapsed()));
    if ending == Ending::Passed.to_string() {
        return true;
    }
    row.problems.push(format!("`{}`: {ending}", step.invocation));
    false
}

fn print_parts(parts: &[Part]) {
    for part in parts {
        println!("{}: {}", part.name, part.what);
        for step in &part.steps {
            println!("    {}  (at most {})", step.invocation, display(step.timeout));
        }
        for step in &part.cleanup {
            println!("    then {}", step.invocation);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::steps::Invocation;

    fn shell(script: &str) -> Step {
        Step::new(Invocation::new("sh").args(["-c", script]), Duration::from_secs(20))
    }

    fn part(name: &'static str, script: &str) -> Part {
        Part {
            name,
            what: "a part",
            steps: vec![shell(script)],
            cleanup: Vec::new(),
            beside_next: false,
        }
    }

    #[tokio::test]
    async fn what_a_failed_part_left_is_tidied_up() {
        let folder = std::env::temp_dir().join(format!("freshet-xtask-{}", std::process::id()));
        let mut interrupt = Interrupt::listen().unwrap();
        let failing = Part {
            cleanup: vec![shell(&format!("rmdir {}", folder.display()))],
            ..part("leaves", &format!("mkdir {} && exit 1", folder.display()))
        };
        let row = run_part(&failing, &mut interrupt).await;
        assert_eq!(row.tally.failed, 1);
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn a_part_without_tests_has_failed() {
        let mut interrupt = Interrupt::listen().unwrap();
        let empty = Part {
            steps: Vec::new(),
            ..part("empty", "")
        };
        assert_eq!(run_part(&empty, &mut interrupt).await.tally.failed, 1);
    }

    #[tokio::test]
    async fn a_step_after_a_failed_one_does_not_run() {
        let mut interrupt = Interrupt::listen().unwrap();
        let mut part = part("first", "exit 1");
        part.steps
            .push(shell("echo 'test result: ok. 5 passed; 0 failed; 0 ignored;'"));
        assert_eq!(run_part(&part, &mut interrupt).await.tally.passed, 0);
    }

    #[tokio::test]
    async fn a_program_that_fails_without_a_failed_test_counts_as_one() {
        let mut interrupt = Interrupt::listen().unwrap();
        let row = run_part(
            &part("a", "echo 'test result: ok. 5 passed; 0 failed; 0 ignored;'; exit 1"),
            &mut interrupt,
        )
        .await;
        assert_eq!((row.tally.passed, row.tally.failed), (5, 1));
    }

    #[tokio::test]
    async fn a_failed_part_fails_the_run_and_stops_it_unless_told_to_go_on() {
        let mut interrupt = Interrupt::listen().unwrap();
        let marker = std::env::temp_dir().join(format!("freshet-xtask-went-on-{}", std::process::id()));
        let parts = [part("a", "exit 1"), part("b", &format!("touch {}", marker.display()))];
        let code = run_parts(&parts, false, &mut interrupt).await.unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
        assert!(!marker.exists());
        run_parts(&parts, true, &mut interrupt).await.unwrap();
        assert!(marker.exists());
        std::fs::remove_file(marker).unwrap();
    }

    #[tokio::test]
    async fn a_part_that_mostly_waits_runs_at_the_same_time_as_the_next() {
        let mut interrupt = Interrupt::listen().unwrap();
        let fifo = std::env::temp_dir().join(format!("freshet-xtask-beside-{}", std::process::id()));
        let fifo = fifo.display();
        // Each end of a fifo waits for the other to be opened.
        let parts = [
            Part {
                beside_next: true,
                ..part("reads", &format!("mkfifo {fifo} && cat {fifo}"))
            },
            part("writes", &format!("until test -p {fifo}; do :; done; echo > {fifo}")),
        ];
        let code = run_parts(&parts, false, &mut interrupt).await.unwrap();
        std::fs::remove_file(fifo.to_string()).unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
    }
}
