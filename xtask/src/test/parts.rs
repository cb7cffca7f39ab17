//! The parts of `make test`, as data: a new part is an entry in [`build`].

use std::time::Duration;

use anyhow::{Context, Result};
use freshet_e2e::cluster::TEST_INSTANCE;

use super::{durability, fuzz::fuzz_steps, noise, simulation, targets};
use crate::{
    paths,
    steps::{Interrupt, Invocation},
};

/// Tests that speak to a broker in a process of its own, over sockets.
const STANDALONE: &str = "freshet";
/// Tests that need a Kubernetes.
const END_TO_END: &str = "freshet-e2e";
/// Of these, the test program that runs the product there.
const PRODUCT: &str = "product";

/// Random sequences that are run.
const SEQUENCES: u64 = 40_000;
/// Seconds for which clients say anything.
const NOISE_SECONDS: u64 = 300;

/// What clients do while the broker is killed, and when it is.
const DURABILITY_SEED: u64 = 1;
/// Rounds of 35 kills, with the broker in one process and in two.
const DURABILITY_ROUNDS: u64 = 1;

const MINUTE: Duration = Duration::from_secs(60);

/// A part of the run, with a row in the table.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Run one after the other; a step that fails is the last. A part without any fails: it would show nothing.
    pub(crate) steps: Vec<Step>,
    /// Run afterwards in any case.
    pub(crate) cleanup: Vec<Step>,
    /// Mostly waits: runs at the same time as the part behind it.
    pub(crate) beside_next: bool,
}

/// One command.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) invocation: Invocation,
    pub(crate) timeout: Duration,
    pub(crate) counts: Counts,
}

/// What a command that passed adds to the number of passed tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    /// What its lines `test result: …` say, if it prints any.
    ItsResults,
    /// One.
    AsOneTest,
}

impl Step {
    /// A command whose results stand in its output.
    pub(crate) fn new(invocation: Invocation, timeout: Duration) -> Self {
        Self {
            invocation,
            timeout,
            counts: Counts::ItsResults,
        }
    }
}

/// Puts the parts together, in the order in which they run.
///
/// # Errors
/// When cargo cannot read the workspace, or a tool cannot be installed.
pub(super) async fn build(fuzz_seconds: u64, interrupt: &mut Interrupt) -> Result<Vec<Part>> {
    let mut tests = targets::integration_tests(interrupt).await?;
    let mut standalone = tests.remove(STANDALONE).unwrap_or_default();
    standalone.retain(|name| name != noise::TEST);
    let end_to_end = tests.remove(END_TO_END).unwrap_or_default();
    tests.remove(simulation::PACKAGE);
    let others: Vec<String> = tests.into_values().flatten().collect();
    Ok(vec![
        Part {
            name: "verify",
            what: "formatting, lints, licences, generated files, chart",
            steps: vec![Step::new(this_program(&["verify"])?, 60 * MINUTE)],
            cleanup: Vec::new(),
            beside_next: false,
        },
        Part {
            name: "build",
            what: "all programs and tests",
            // All crates in one call: another selection of crates would be another set of features, and compile again.
            steps: vec![
                programs(),
                Step::new(
                    cargo(&["test", "--release", "--locked", "--workspace", "--no-run"]),
                    40 * MINUTE,
                ),
            ],
            cleanup: Vec::new(),
            beside_next: false,
        },
        Part {
            name: "unit",
            what: "unit and property tests of all crates",
            steps: vec![
                Step::new(cargo_test(&["--lib", "--bins"]).args(test_flags(&others)), 20 * MINUTE),
                Step::new(cargo_test(&["--doc"]), 10 * MINUTE),
            ],
            cleanup: Vec::new(),
            beside_next: false,
        },
        simulation::part(simulation::Sequences::Count(SEQUENCES)),
        Part {
            beside_next: true,
            ..noise::part(NOISE_SECONDS)
        },
        Part {
            name: "fuzz",
            what: "every fuzz target for a while",
            steps: fuzz_steps(fuzz_seconds, interrupt).await?,
            cleanup: Vec::new(),
            beside_next: false,
        },
        Part {
            name: "standalone",
            what: "the broker in one process, over sockets",
            steps: tests_named(&standalone, &[], 15 * MINUTE),
            cleanup: Vec::new(),
            beside_next: false,
        },
        durability::part(DURABILITY_ROUNDS, DURABILITY_SEED, durability::Kept::Nowhere),
        Part {
            name: "clients",
            what: "stock MQTT clients and brokers of others through the same scripts, in both versions",
            steps: vec![
                // Both programs, also when this part runs alone.
                programs(),
                // The first run installs interpreters, a compiler and the libraries.
                Step::new(
                    cargo(&["run", "--release", "--locked", "--quiet", "--bin", "conformance"]),
                    20 * MINUTE,
                ),
                // Others do not do the same each time: a soak compares them.
                differences(&["freshet", "mosquitto"]),
            ],
            cleanup: Vec::new(),
            beside_next: false,
        },
        Part {
            name: "e2e",
            what: "operator, proxies and storage on a real Kubernetes",
            steps: end_to_end_steps(&end_to_end),
            cleanup: vec![no_kubernetes()?],
            beside_next: false,
        },
    ])
}

/// Takes the Kubernetes of the tests away.
pub(super) fn no_kubernetes() -> Result<Step> {
    Ok(Step::new(
        this_program(&["down", "--instance", TEST_INSTANCE])?,
        5 * MINUTE,
    ))
}

/// All scripts with all clients in both versions through the Service of a cluster on the Kubernetes of the tests.
///
/// # Errors
/// When nobody knows where this program is.
pub(crate) fn clients_on_kubernetes() -> Result<Part> {
    let conformance = cargo(&["run", "--release", "--locked", "--quiet", "--bin", "conformance"]);
    Ok(Part {
        name: "kubernetes",
        what: "stock MQTT clients through all scripts, through the Service of a cluster of several proxies",
        // Builds programs, images and servers where they are not there.
        steps: vec![Step::new(conformance.args(["--", "--kubernetes"]), 60 * MINUTE)],
        cleanup: vec![no_kubernetes()?],
        beside_next: false,
    })
}

/// Builds all programs.
pub(crate) fn programs() -> Step {
    Step::new(
        cargo(&["build", "--release", "--locked", "--workspace", "--bins"]),
        40 * MINUTE,
    )
}

/// Scripts that compare these brokers, all if none is named, with what they are known to do.
pub(crate) fn differences(brokers: &[&str]) -> Step {
    let named = brokers.iter().flat_map(|broker| ["--broker", *broker]);
    let conformance = cargo(&["run", "--release", "--locked", "--quiet", "--bin", "conformance"]);
    // The first run with all of them builds some.
    Step::new(conformance.args(["--", "differences"]).args(named), 40 * MINUTE)
}

/// Cases that change the Kubernetes itself, one after the other; then those of the product, which mostly wait for it and
/// know which of them must be alone.
fn end_to_end_steps(names: &[String]) -> Vec<Step> {
    let (product, node): (Vec<String>, Vec<String>) = names.iter().cloned().partition(|name| name == PRODUCT);
    let mut steps = tests_named(&node, &["--test-threads=1"], 15 * MINUTE);
    steps.extend(tests_named(&product, &["--test-threads=2"], 45 * MINUTE));
    steps
}

/// Integration tests by name, one program after the other. None makes no step, and a part without steps fails.
fn tests_named(names: &[String], test_args: &[&str], timeout: Duration) -> Vec<Step> {
    if names.is_empty() {
        return Vec::new();
    }
    let mut invocation = cargo_test(&[]).args(test_flags(names));
    if !test_args.is_empty() {
        invocation = invocation.args(["--"]).args(test_args.iter().copied());
    }
    vec![Step::new(invocation, timeout)]
}

fn test_flags(names: &[String]) -> impl Iterator<Item = String> {
    names.iter().flat_map(|name| ["--test".to_owned(), name.clone()])
}

pub(super) fn cargo_test(args: &[&str]) -> Invocation {
    cargo(&["test", "--release", "--locked", "--workspace", "--no-fail-fast"]).args(args.iter().copied())
}

pub(super) fn cargo(args: &[&str]) -> Invocation {
    Invocation::cargo()
        .args(args.iter().copied())
        .dir(paths::repository_root())
}

/// Another verb of this program.
///
/// # Errors
/// When nobody knows where it is.
pub(super) fn this_program(args: &[&str]) -> Result<Invocation> {
    let program = std::env::current_exe().context("the path of this program")?;
    Ok(Invocation::new(program)
        .args(args.iter().copied())
        .dir(paths::repository_root()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_named_to_cargo() {
        let steps = tests_named(&["a".to_owned(), "b".to_owned()], &["--test-threads=1"], MINUTE);
        let line = steps[0].invocation.to_string();
        assert!(line.ends_with("--test a --test b -- --test-threads=1"), "{line}");
    }
}
