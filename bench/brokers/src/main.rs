//! `make bench`: Freshet beside other brokers in one run, as ratios.
//!
//! Machines drift within minutes, so that only figures of the same round are compared: in each round every broker does
//! every kind of work, one after the other, in an order that alternates. Leaves out the load itself
//! (`freshet-bench-load`) and Kubernetes.

mod brokers;
mod cgroup;
mod durable;
mod floor;
mod freshet;
mod metrics;
mod peers;
mod processes;
mod report;
mod run;
mod work;

use std::process::ExitCode;

use clap::Parser as _;

#[derive(clap::Parser)]
#[command(
    about = "Measures Freshet beside other brokers in one run, as ratios",
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: run::Options,
}

#[derive(clap::Subcommand)]
enum Role {
    /// With persistence: what is acknowledged is kept.
    Durable(Box<durable::Options>),
    /// Started by the measurement: does a broker's system calls and next to nothing else.
    Floor,
}

fn main() -> ExitCode {
    let Arguments { role, options } = Arguments::parse();
    freshet_bench_load::raise_file_limit();
    let result = match role {
        None => run::run(&options),
        Some(Role::Durable(options)) => durable::run(&options),
        Some(Role::Floor) => floor::serve(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
