//! `xtask measure`: what the product does on a Kubernetes, in figures. Results are written to `bench/results/kubernetes.md`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::{
    steps::Interrupt,
    test::{measure_part, run_parts},
};

/// Arguments of `xtask measure`.
#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    /// Measures these instead of all; the other rows of the results stay.
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
}

/// Measures, and takes the Kubernetes of the tests away again.
///
/// # Errors
/// When a row is named that there is not.
pub(crate) async fn measure(args: &MeasureArgs) -> Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    run_parts(&[measure_part(&args.only)?], true, &mut interrupt).await
}
