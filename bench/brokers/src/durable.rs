//! `freshet-bench durable`: what it costs to keep what is acknowledged, beside brokers that keep it, too.
//!
//! Rounds in which every broker does every kind of work on an empty folder of the same disk, one after the other, in an
//! order that alternates. What takes minutes is done in a few rounds only. Leaves out the load itself
//! (`freshet-bench-load`) and power cuts.

mod asleep;
mod back;
mod brokers;
mod disk;
mod light;
mod reads;
mod sessions;
mod waited;
mod work;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum as _;
use freshet_bench_load::{Passing, Timing};

use self::brokers::Keeper;
use self::reads::Reads;
use self::work::{Amount, Work};
use crate::peers;
use crate::report::{self, Figure, Layout, Sample};
use crate::run::{ending, machine, results, write};

const MIB: f64 = 1_048_576.0;
const RATIOS: &[(&str, &str)] = &[("to nats-server", "nats-server"), ("to Mosquitto", "Mosquitto")];

/// What one measurement has found.
struct Findings {
    figures: Vec<Figure>,
    details: String,
}

impl Findings {
    fn of(figures: Vec<Figure>) -> Self {
        Self {
            figures,
            details: String::new(),
        }
    }
}

/// How much is measured with persistence.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Fewer and shorter rounds, and a hundredth of the sessions: less than five minutes.
    #[arg(long)]
    quick: bool,
    /// Rounds of what takes seconds [default: 5, quick 2].
    #[arg(long)]
    rounds: Option<u32>,
    /// Rounds of what takes minutes.
    #[arg(long, default_value_t = 1)]
    long_rounds: u32,
    /// Seconds of each measurement of the former [default: 5, quick 1].
    #[arg(long)]
    seconds: Option<f64>,
    /// Light queues [default: 1,000,000, quick 20,000].
    #[arg(long)]
    light: Option<usize>,
    /// Sessions that wait for the same [default: 100,000, quick 5,000].
    #[arg(long)]
    waited: Option<usize>,
    /// Seconds from their begin to their end, at which everything else must be done [default: 240, quick 30].
    #[arg(long)]
    lifetime: Option<u64>,
    /// Sessions that come back [default: 15,000, quick 2,000].
    #[arg(long)]
    back: Option<usize>,
    /// MiB that pass while one session is asleep [default: 4,096, quick 256].
    #[arg(long)]
    asleep_mib: Option<u64>,
    /// One of so many messages is for the one that is asleep.
    #[arg(long, default_value_t = 16)]
    asleep_kept_of: u64,
    /// These kinds of work instead of all.
    #[arg(long, value_name = "WORK")]
    only: Vec<Work>,
    /// These brokers [default: all].
    #[arg(long, value_name = "BROKER")]
    broker: Vec<Keeper>,
    /// Where the brokers' files are, and the disk that is measured [default: the folder for temporary files].
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Where the report goes [default: bench/results/durable.md or durable-quick.md; of a part nowhere but standard output].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Options {
    fn amount(&self) -> anyhow::Result<Amount> {
        let quick = self.quick;
        let seconds = self.seconds.unwrap_or(if quick { 1.0 } else { 5.0 });
        anyhow::ensure!(self.asleep_kept_of > 0, "--asleep-kept-of must be 1 at least");
        let amount = Amount {
            timing: Timing {
                warm_up: Duration::from_secs_f64(if quick { 0.3 } else { 1.0 }),
                measured: Duration::try_from_secs_f64(seconds)?,
            },
            light: self.light.unwrap_or(if quick { 20_000 } else { 1_000_000 }),
            waited: self.waited.unwrap_or(if quick { 5_000 } else { 100_000 }),
            publishes: if quick { 20_000 } else { 100_000 },
            lifetime: Duration::from_secs(self.lifetime.unwrap_or(if quick { 30 } else { 240 })),
            back: self.back.unwrap_or(if quick { 2_000 } else { 15_000 }),
            passing: Passing {
                bytes: self.asleep_mib.unwrap_or(if quick { 256 } else { 4_096 }) << 20,
                payload_bytes: 4_096,
                kept_of: self.asleep_kept_of,
            },
        };
        anyhow::ensure!(amount.waited > 10, "--waited must be more than 10");
        anyhow::ensure!(amount.light > 1, "--light must be more than 1");
        Ok(amount)
    }
}

/// Measures and reports.
///
/// # Errors
/// When a measurement fails; what was measured until then is reported all the same.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let amount = options.amount()?;
    let rounds = options.rounds.unwrap_or(if options.quick { 2 } else { 5 });
    let works = if options.only.is_empty() {
        Work::ALL.to_vec()
    } else {
        options.only.clone()
    };
    let keepers = if options.broker.is_empty() {
        Keeper::value_variants().to_vec()
    } else {
        options.broker.clone()
    };
    let needs: Vec<peers::Need> = keepers.iter().filter_map(|keeper| keeper.needs()).collect();
    peers::prepare(&needs)?;
    let folder = options.folder.clone().unwrap_or_else(std::env::temp_dir);
    let heading = heading(&keepers, rounds, options.long_rounds, amount)?;
    println!("{heading}");

    let started = Instant::now();
    let mut run = Run {
        keepers,
        amount,
        folder: &folder,
        samples: Vec::new(),
        failures: BTreeSet::new(),
    };
    let absent = run.absent(&works);
    let result = run.measure_all(&works, rounds, options.long_rounds);
    let goals: Vec<_> = works.iter().map(|work| (work.title(), work.goal())).collect();
    let layout = Layout {
        ratios: RATIOS,
        goals: &goals,
        absent: &absent,
    };
    let mut text = heading;
    text.push_str(&report::tables(&run.samples, layout));
    text.push_str(&ending(&run.failures, started.elapsed(), result.as_ref().err()));
    println!("{}", text.trim_start());
    let is_whole = options.only.is_empty() && options.broker.is_empty() && result.is_ok();
    let name = if options.quick {
        "durable-quick.md"
    } else {
        "durable.md"
    };
    if let Some(file) = options.output.clone().or_else(|| is_whole.then(|| results(name))) {
        write(&file, &text)?;
    }
    result
}

/// What is measured with, and what was.
struct Run<'a> {
    keepers: Vec<Keeper>,
    amount: Amount,
    folder: &'a Path,
    samples: Vec<Sample>,
    /// A peer that fails has no figure, and the others go on.
    failures: BTreeSet<String>,
}

impl Run<'_> {
    fn absent(&self, works: &[Work]) -> Vec<(&'static str, &'static str, &'static str)> {
        let each = works
            .iter()
            .flat_map(|work| self.keepers.iter().map(move |keeper| (work, keeper)));
        each.filter_map(|(work, keeper)| Some((work.title(), keeper.title(), work.why_not(*keeper)?)))
            .collect()
    }

    fn measure_all(&mut self, works: &[Work], rounds: u32, long_rounds: u32) -> anyhow::Result<()> {
        for round in 1..=rounds.max(long_rounds) {
            for &work in works {
                let of_work = if work.is_long() { long_rounds } else { rounds };
                if round > of_work {
                    continue;
                }
                for keeper in self.keepers.clone() {
                    if work.why_not(keeper).is_none() {
                        self.measure(round, work, keeper)?;
                    }
                }
            }
            // What comes second finds the machine as the first has left it.
            self.keepers.reverse();
        }
        Ok(())
    }

    fn measure(&mut self, round: u32, work: Work, keeper: Keeper) -> anyhow::Result<()> {
        let measured = keeper
            .start(self.folder, work.checkpoint_seconds())
            .and_then(|mut running| work.measure(&mut running, keeper, self.amount, u64::from(round)));
        match measured {
            Ok(Findings { figures, details }) => {
                let sample = Sample {
                    round,
                    work: work.title(),
                    broker: keeper.title(),
                    figures,
                    details,
                };
                println!("{sample}");
                self.samples.push(sample);
            }
            Err(error) => {
                let failure = format!("{}, {}: {error:#}", keeper.title(), work.title());
                anyhow::ensure!(!keeper.is_freshet(), failure);
                println!("round {round}  {failure}");
                self.failures.insert(failure);
            }
        }
        Ok(())
    }
}

fn heading(keepers: &[Keeper], rounds: u32, long_rounds: u32, amount: Amount) -> anyhow::Result<String> {
    let versions: Vec<String> = keepers
        .iter()
        .map(|keeper| keeper.version())
        .collect::<Result<_, _>>()?;
    Ok(format!(
        "{} on {}; {rounds} rounds of {:.1} s after {:.1} s of warm-up, {long_rounds} of what takes minutes; load and \
         brokers on the same CPUs and the same disk, nothing pinned; payload {} bytes. Median [least, most]; \
         `to nats-server` and `to Mosquitto` are the first figure over theirs in the same round. CPU and memory are those \
         of all processes of a broker. `raw flush` is the disk by itself, just before: 4 KiB over old bytes and fdatasync. \
         Bytes by the kernel are what it has put down to a broker: the whole of each folio in which a byte was changed, \
         which is up to 1 MiB in a file that was filled at once, as a segment of Freshet's log is; only the changed \
         blocks of it go to the disk. Every run fails unless all that was sent was delivered once and in order.\n",
        versions.join(", "),
        machine()?,
        amount.timing.measured.as_secs_f64(),
        amount.timing.warm_up.as_secs_f64(),
        freshet_bench_load::PAYLOAD_BYTES,
    ))
}

/// Looks until something is so.
///
/// # Errors
/// When it is not in time, or cannot be seen.
fn wait_for(within: Duration, every: Duration, mut is_so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let until = Instant::now() + within;
    while !is_so()? {
        anyhow::ensure!(
            Instant::now() < until,
            "nothing has come of {} s of waiting",
            within.as_secs()
        );
        pause_until(Instant::now() + every);
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "what is measured takes its time")]
fn pause_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}
