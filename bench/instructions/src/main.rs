//! `freshet-bench-instructions WORK --count N`: does a piece of work with the pure cores alone, `N` times.
//!
//! No socket, no thread, no clock: run under a counter of instructions, twice, the difference of the two counts is what
//! the pieces in between cost, whatever else the machine does. `xtask bench --instructions` does that, and compares with
//! what is checked in. Leaves out the system calls, which `freshet-bench` measures.

mod broker;
mod work;

use std::process::ExitCode;

use clap::{Parser, ValueEnum as _};

use crate::work::Work;

/// Does a piece of work with the pure cores alone.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Which. None: their names are printed.
    #[arg(value_enum)]
    work: Option<Work>,
    /// How many times.
    #[arg(long, default_value_t = 1)]
    count: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(work) = arguments.work else {
        for name in Work::value_variants().iter().filter_map(Work::to_possible_value) {
            println!("{}", name.get_name());
        }
        return ExitCode::SUCCESS;
    };
    match work.run(arguments.count) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("freshet-bench-instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}
