//! `xtask bench`: the measurements there are. Results are written below `bench/`, where they are checked in.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Args;

use crate::{
    paths,
    steps::{Ending, Interrupt, Invocation, run},
};

const TIMEOUT: Duration = Duration::from_secs(3 * 60 * 60);

/// Arguments of `xtask bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Passed on to the measuring program, such as `--quick`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Measures the two drivers of the proxy with storage in a process of its own.
///
/// # Errors
/// When the program cannot be started.
pub(crate) async fn bench(args: &BenchArgs) -> Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    let measure = Invocation::cargo()
        .args(["run", "--release", "--quiet", "--bin", "freshet-bench-spike", "--"])
        .args(&args.args)
        .dir(paths::repository_root());
    let outcome = run(&measure, TIMEOUT, &mut interrupt).await?;
    println!("{}", outcome.ending);
    Ok(if outcome.ending == Ending::Passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
