//! The run as a whole: rounds in which every broker does every kind of work, and where the report goes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum as _;
use freshet_bench_load::Timing;

use crate::brokers::Kind;
use crate::peers;
use crate::report::{self, Layout, Sample};
use crate::work::{Amount, Work};

const RATIOS: &[(&str, &str)] = &[
    ("ratio", "Mosquitto"),
    ("to floor", "floor"),
    ("to one process", "Freshet"),
];

/// How much is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Fewer and shorter rounds and fewer clients: less than ten minutes.
    #[arg(long)]
    quick: bool,
    /// Rounds, each broker once in each [default: 5, quick 3].
    #[arg(long)]
    rounds: Option<u32>,
    /// Rounds of what takes minutes, or compares a broker with itself.
    #[arg(long, default_value_t = 1)]
    long_rounds: u32,
    /// Seconds of each measurement [default: 5, quick 1.5].
    #[arg(long)]
    seconds: Option<f64>,
    /// These kinds of work instead of all.
    #[arg(long, value_name = "WORK")]
    only: Vec<Work>,
    /// These brokers [default: all; quick Freshet, Freshet apart, Mosquitto and the floor].
    #[arg(long, value_name = "BROKER")]
    broker: Vec<Kind>,
    /// Where the report goes [default: bench/results/full.md or quick.md; of a part nowhere but standard output].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Measures and reports.
///
/// # Errors
/// When a measurement fails; what was measured until then is reported all the same.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let quick = options.quick;
    let rounds = options.rounds.unwrap_or(if quick { 3 } else { 5 });
    let seconds = options.seconds.unwrap_or(if quick { 1.5 } else { 5.0 });
    let amount = Amount {
        timing: Timing {
            warm_up: Duration::from_secs_f64(if quick { 0.3 } else { 1.0 }),
            measured: Duration::try_from_secs_f64(seconds)?,
        },
        connections: if quick { 3_000 } else { 10_000 },
        crowd: if quick { 3_000 } else { 8_000 },
        filters: if quick { 20_000 } else { 100_000 },
        wildcards: 1_000,
        retained: if quick { 50_000 } else { 1_000_000 },
        // More of them, with what waits for each, do not fit into what may wait in a proxy by default, and the oldest would go.
        stopped: if quick { 200 } else { 500 },
        rest: Duration::from_secs(if quick { 10 } else { 60 }),
    };
    let works = if options.only.is_empty() {
        Work::ALL.to_vec()
    } else {
        options.only.clone()
    };
    let kinds = match (&options.broker[..], quick) {
        ([], true) => vec![Kind::Freshet, Kind::FreshetApart, Kind::Mosquitto, Kind::Floor],
        ([], false) => Kind::value_variants().to_vec(),
        (named, _) => named.to_vec(),
    };
    let needs: Vec<peers::Need> = kinds.iter().filter_map(|kind| kind.needs()).collect();
    peers::prepare(&needs)?;
    let heading = heading(&kinds, (rounds, options.long_rounds), amount)?;
    println!("{heading}");

    let started = Instant::now();
    let mut samples = Vec::new();
    // A peer that fails has no figure, and the others go on.
    let mut failures = BTreeSet::new();
    let absent = absent(&works, &kinds);
    let rounds = (rounds, options.long_rounds);
    let result = measure(&works, kinds, rounds, amount, &mut samples, &mut failures);
    let goals: Vec<_> = works
        .iter()
        .filter_map(|work| Some((work.title(), work.goal()?)))
        .collect();
    let layout = Layout {
        ratios: RATIOS,
        goals: &goals,
        absent: &absent,
    };
    let mut text = heading;
    text.push_str(&report::tables(&samples, layout));
    text.push_str(&ending(&failures, started.elapsed(), result.as_ref().err()));
    println!("{}", text.trim_start());
    let is_whole = options.only.is_empty() && options.broker.is_empty() && result.is_ok();
    if let Some(file) = options
        .output
        .clone()
        .or_else(|| is_whole.then(|| results(if quick { "quick.md" } else { "full.md" })))
    {
        write(&file, &text)?;
    }
    result
}

/// Work, broker, and why it has no figure there.
fn absent(works: &[Work], kinds: &[Kind]) -> Vec<(&'static str, &'static str, &'static str)> {
    let each = works.iter().flat_map(|work| kinds.iter().map(move |kind| (work, kind)));
    each.filter_map(|(work, kind)| Some((work.title(), kind.title(), work.why_not(*kind)?)))
        .collect()
}

fn measure(
    works: &[Work],
    mut kinds: Vec<Kind>,
    (rounds, long_rounds): (u32, u32),
    amount: Amount,
    samples: &mut Vec<Sample>,
    failures: &mut BTreeSet<String>,
) -> anyhow::Result<()> {
    for round in 1..=rounds.max(long_rounds) {
        for work in works {
            let of_work = if work.is_long() { long_rounds } else { rounds };
            if round > of_work {
                continue;
            }
            for &broker in kinds.iter().filter(|kind| work.why_not(**kind).is_none()) {
                let running = broker.start(&std::env::temp_dir())?;
                let figures = match work.measure(&running, amount, u64::from(round)) {
                    Ok(figures) => figures,
                    Err(error) => {
                        let failure = format!("{}, {}: {error:#}", broker.title(), work.title());
                        anyhow::ensure!(!broker.is_freshet(), failure);
                        println!("round {round}  {failure}");
                        failures.insert(failure);
                        continue;
                    }
                };
                let sample = Sample {
                    round,
                    work: work.title(),
                    broker: broker.title(),
                    figures,
                    details: String::new(),
                };
                println!("{sample}");
                samples.push(sample);
            }
        }
        // What comes second finds the machine as the first has left it.
        kinds.reverse();
    }
    Ok(())
}

fn heading(kinds: &[Kind], (rounds, long_rounds): (u32, u32), amount: Amount) -> anyhow::Result<String> {
    let versions: Vec<String> = kinds.iter().map(|kind| kind.version()).collect::<Result<_, _>>()?;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} on {}; {rounds} rounds of {:.1} s after {:.1} s of warm-up, {long_rounds} of what takes minutes or compares a broker with \
         itself; load and broker on the same CPUs, nothing pinned; payload {} bytes; {} connections, a crowd of {}, {} \
         filters ({} with wildcards), {} retained messages, {} subscribers that do not read. Median [least, most]; `ratio` is the \
         first figure over that of Mosquitto in the same round, `to floor` over that of the floor, a program that does a \
         broker's system calls and next to nothing else, `to one process` over that of Freshet. CPU and memory are those of \
         all processes of a broker. `few` and `many` are done twice each, in turns.",
        versions.join(", "),
        machine()?,
        amount.timing.measured.as_secs_f64(),
        amount.timing.warm_up.as_secs_f64(),
        freshet_bench_load::PAYLOAD_BYTES,
        amount.connections,
        amount.crowd,
        amount.filters,
        amount.wildcards,
        amount.retained,
        amount.stopped,
    );
    Ok(text)
}

/// The last lines of a report.
pub(crate) fn ending(failures: &BTreeSet<String>, took: Duration, error: Option<&anyhow::Error>) -> String {
    let mut text = String::new();
    for failure in failures {
        let _ = writeln!(text, "\nFailed: {failure}.");
    }
    let _ = writeln!(text, "\nTook {} s.", took.as_secs());
    if let Some(error) = error {
        let _ = writeln!(text, "Ended early: {error:#}");
    }
    text
}

/// What runs under the brokers.
///
/// # Errors
/// When the system does not say.
pub(crate) fn machine() -> anyhow::Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let linux: Vec<&str> = release.trim().split('.').take(2).collect();
    let cpus = std::thread::available_parallelism()?;
    Ok(format!("{cpus} CPUs, Linux {}", linux.join(".")))
}

/// Where a report is checked in.
pub(crate) fn results(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../results").join(name)
}

/// Writes a report.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text)?;
    println!("written to {}", file.display());
    Ok(())
}
