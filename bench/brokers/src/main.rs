//! `make bench`: Freshet beside other brokers in one run, as ratios.
//!
//! Machines drift within minutes, so that only figures of the same round are compared: in each round every broker does
//! every kind of work, one after the other, in an order that alternates. Leaves out the load itself
//! (`freshet-bench-load`) and Kubernetes.

mod brokers;
mod report;
mod run;
mod work;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let options = run::Options::parse();
    freshet_bench_load::raise_file_limit();
    match run::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
