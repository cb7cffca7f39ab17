//! What the Makefile's verbs do: `cargo run --release --bin xtask -- <verb>`.
//!
//! This file only tells the verbs apart.

mod bench;
mod cluster;
mod down;
mod generate;
mod images;
mod instructions;
mod measure;
mod mutants;
mod paths;
mod soak;
mod statements;
mod steps;
mod test;
mod tools;
mod up;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "What the project's Makefile does")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// A Kubernetes with Freshet on it, and a message through it.
    Up(up::UpArgs),
    /// Removes every trace of `up`.
    Down(down::DownArgs),
    /// Builds the product's images, and prints name, digest, size and file of each.
    Images,
    /// Runs kubectl on the embedded Kubernetes: `kubectl -- get pods`.
    Kubectl(cluster::ProgramArgs),
    /// Runs helm on the embedded Kubernetes.
    Helm(cluster::ProgramArgs),
    /// Prints what makes a shell's kubectl use the embedded Kubernetes.
    Kubeconfig(up::InstanceArgs),
    /// Everything, unit to end to end, with the minutes of each part.
    Test(test::TestArgs),
    /// Formatting, lints, licences, generated files, chart, documents; changes nothing.
    Verify(verify::VerifyArgs),
    /// Writes what is generated: resource definition, storage contract, the chart's schema, README and rendered cases.
    Generate,
    /// What shows its faults only after long.
    Soak(soak::SoakArgs),
    /// Changes the cores in ways that a test should notice, and lists what none does.
    Mutants(mutants::MutantsArgs),
    /// Measurements.
    Bench(bench::BenchArgs),
    /// Measurements on a Kubernetes.
    Measure(measure::MeasureArgs),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Up(args) => up::up(&args).await,
        Verb::Down(args) => down::down(&args).await,
        Verb::Images => images::images().await,
        Verb::Kubectl(args) => cluster::kubectl(&args).await,
        Verb::Helm(args) => cluster::helm(&args).await,
        Verb::Kubeconfig(args) => cluster::kubeconfig(&args).await,
        Verb::Test(args) => test::test(&args).await,
        Verb::Verify(args) => verify::verify(&args).await,
        Verb::Generate => generate::generate().await,
        Verb::Soak(args) => soak::soak(&args).await,
        Verb::Mutants(args) => mutants::mutants(&args).await,
        Verb::Bench(args) => bench::bench(&args).await,
        Verb::Measure(args) => measure::measure(&args).await,
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
