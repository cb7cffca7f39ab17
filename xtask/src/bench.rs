//! `xtask bench`: the measurements there are. Results are written below `bench/`, where they are checked in.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Args;

use crate::{
    instructions, paths,
    steps::{Ending, Interrupt, Invocation, run},
};

const TIMEOUT: Duration = Duration::from_secs(3 * 60 * 60);

/// Arguments of `xtask bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Measures two ways to drive a proxy's connections instead of brokers.
    #[arg(long)]
    drivers: bool,
    /// Counts the instructions of the cores instead, which needs no quiet machine.
    #[arg(long, conflicts_with = "drivers")]
    instructions: bool,
    /// With `--instructions`: what is counted is checked in.
    #[arg(long, requires = "instructions")]
    write: bool,
    /// Passed on to the measuring program, such as `--quick` or `durable --quick`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Measures Freshet beside other brokers.
///
/// # Errors
/// When a program cannot be started.
pub(crate) async fn bench(args: &BenchArgs) -> Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    if args.instructions {
        instructions::show(args.write, &mut interrupt).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let cargo = |arguments: &[&str]| {
        Invocation::cargo()
            .args(arguments.iter().copied())
            .dir(paths::repository_root())
    };
    // Both in one call, or the measuring program could find a broker of an earlier state beside itself.
    let build = cargo(&["build", "--release", "--locked", "--workspace", "--bins"]);
    let built = run(&build, TIMEOUT, &mut interrupt).await?;
    if built.ending != Ending::Passed {
        println!("{}", built.ending);
        return Ok(ExitCode::FAILURE);
    }
    let program = if args.drivers {
        "freshet-bench-spike"
    } else {
        "freshet-bench"
    };
    let measure = cargo(&["run", "--release", "--locked", "--quiet", "--bin", program, "--"]).args(&args.args);
    let outcome = run(&measure, TIMEOUT, &mut interrupt).await?;
    println!("{}", outcome.ending);
    Ok(if outcome.ending == Ending::Passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
