//! `xtask soak`: what shows its faults only after long: the simulation, clients that say anything, and the fuzz targets, for
//! as long as one likes.

use std::{process::ExitCode, time::SystemTime};

use anyhow::Result;
use clap::Args;

use crate::{
    steps::Interrupt,
    test::{Part, Sequences, differences, fuzz_steps, noise_part, run_parts, simulation_part},
};

/// Arguments of `xtask soak`.
#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// Minutes for the simulation, for clients that say anything, and for each fuzz target.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
}

/// Runs the simulation, the noise and every fuzz target for as long, and prints the table of `xtask test`.
///
/// # Errors
/// When the targets cannot be found or their tool cannot be installed.
pub(crate) async fn soak(args: &SoakArgs) -> Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    let seconds = args.minutes.saturating_mul(60);
    let parts = [
        simulation_part(Sequences::For {
            seconds,
            first: first_seed(),
        }),
        noise_part(seconds),
        Part {
            name: "differences",
            what: "the same scripts against brokers of others",
            steps: vec![differences(&[])],
            cleanup: Vec::new(),
            beside_next: false,
        },
        Part {
            name: "fuzz",
            what: "every fuzz target",
            steps: fuzz_steps(seconds, &mut interrupt).await?,
            cleanup: Vec::new(),
            beside_next: false,
        },
    ];
    run_parts(&parts, true, &mut interrupt).await
}

/// A seed with room behind it that no earlier run has begun with.
fn first_seed() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.map_or(0, |now| now.as_secs() << 20)
}
