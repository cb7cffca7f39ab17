//! `xtask soak`: what shows its faults only after long, or costs too much for each test run: the simulation, clients that
//! say anything, and the fuzz targets, each for as long as one likes; all mutants of the cores; a broker that is killed some
//! hundred times, and mistakes on purpose that this has to find; a file system whose power is cut; brokers of others; all
//! stock clients, and the measurements, on a Kubernetes.

use std::{process::ExitCode, time::SystemTime};

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    steps::Interrupt,
    test::{
        Kept, Part, Sequences, clients_on_kubernetes, differences, durability_part, fuzz_steps, measure_part,
        mutants_part, noise_part, planted_part, power_cut_part, programs, run_parts, simulation_part,
    },
};

/// Rounds of kills with the broker in one process, and as many with it in two: more than 500 kills.
const DURABILITY_ROUNDS: u64 = 8;

/// Arguments of `xtask soak`.
#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// Minutes for the simulation, for clients that say anything, and for each fuzz target.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Runs these parts instead of all.
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
}

/// Runs all parts, also after one has failed, and prints the table of `xtask test`.
///
/// # Errors
/// When the targets cannot be found or their tool cannot be installed, or a part is named that there is not.
pub(crate) async fn soak(args: &SoakArgs) -> Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    let seconds = args.minutes.saturating_mul(60);
    let all = [
        simulation_part(Sequences::For {
            seconds,
            first: first_seed(),
        }),
        noise_part(seconds),
        durability_part(DURABILITY_ROUNDS, first_seed(), Kept::AsPages),
        planted_part(first_seed())?,
        power_cut_part(),
        Part {
            name: "differences",
            what: "the same scripts against brokers of others",
            steps: vec![programs(), differences(&[])],
            cleanup: Vec::new(),
            beside_next: false,
        },
        clients_on_kubernetes()?,
        measure_part(&[])?,
        Part {
            name: "fuzz",
            what: "every fuzz target",
            steps: fuzz_steps(seconds, &mut interrupt).await?,
            cleanup: Vec::new(),
            beside_next: false,
        },
        mutants_part()?,
    ];
    let names: Vec<&str> = all.iter().map(|part| part.name).collect();
    for name in &args.only {
        ensure!(
            names.contains(&name.as_str()),
            "there is no part `{name}`; there are {}",
            names.join(", ")
        );
    }
    let is_chosen = |part: &Part| args.only.is_empty() || args.only.iter().any(|name| name == part.name);
    let chosen: Vec<Part> = all.into_iter().filter(is_chosen).collect();
    run_parts(&chosen, true, &mut interrupt).await
}

/// A seed with room behind it that no earlier run has begun with.
fn first_seed() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.map_or(0, |now| now.as_secs() << 20)
}
