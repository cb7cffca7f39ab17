//! Compares the scaler's forecast with those of the library `augurs`, by the same backtest: the same traces, decisions,
//! tolerance, steps and warm pool, and another forecast of the connections in place of the scaler's.
//!
//! Prints the tables of docs/scaling.md, and writes what each replay came to as CSV.

mod cpu;
mod fits;
mod methods;
mod report;
mod run;
mod series;

use std::fs::File;
use std::io::BufWriter;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context;
use clap::Parser;
use freshet_scaling::Signal;
use freshet_scaling::trace::Kind;

use methods::{METHODS, Method};
use run::{Case, Outcome, run};

/// Compares the scaler's forecast with those of `augurs`.
#[derive(Debug, Parser)]
struct Args {
    /// Days of each trace.
    #[arg(long, default_value_t = 8)]
    days: u32,
    /// How many of them are learned from and not scored.
    #[arg(long, default_value_t = 3)]
    history: u32,
    /// A trace of each kind is made from each of them.
    #[arg(long, value_delimiter = ',', default_value = "101,102")]
    seeds: Vec<u64>,
    /// Only these kinds of trace.
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<String>,
    /// Only the methods whose names begin with one of these.
    #[arg(long, value_delimiter = ',')]
    methods: Vec<String>,
    /// Seconds that a proxy takes to start.
    #[arg(long, value_delimiter = ',', default_value = "180,3")]
    delays: Vec<u64>,
    /// Writes each replay's scores here.
    #[arg(long)]
    csv: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    anyhow::ensure!(
        args.history >= 3 && args.history < args.days,
        "a daily season wants two days and some hours of history, and then something to score"
    );
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| args.kinds.is_empty() || args.kinds.iter().any(|name| name == kind.name()))
        .collect();
    let cases: Vec<Case> = kinds
        .iter()
        .flat_map(|kind| args.seeds.iter().map(|seed| (*kind, *seed)))
        .map(|(kind, seed)| Case {
            kind,
            seed,
            days: args.days,
            history_days: args.history,
            signal: Signal::Connections,
        })
        .collect();
    let methods: Vec<&Method> = METHODS
        .iter()
        .filter(|method| args.methods.is_empty() || args.methods.iter().any(|begin| method.name.starts_with(begin)))
        .collect();
    let outcomes = run_all(&cases, &methods, &args.delays)?;
    report::print(&outcomes, &args.delays)?;
    if let Some(path) = &args.csv {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        report::write_csv(&outcomes, &mut BufWriter::new(file))?;
    }
    Ok(())
}

/// Runs the cases on all processors, and returns what came of them in their order.
fn run_all(cases: &[Case], methods: &[&Method], delays_s: &[u64]) -> anyhow::Result<Vec<Outcome>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || -> anyhow::Result<()> {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = run(case, methods, delays_s).with_context(|| format!("{case:?}"))?;
            eprintln!("{} {}", case.kind.name(), case.seed);
            if let Ok(mut done) = done.lock() {
                done.push(outcome);
            }
        }
        Ok(())
    };
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| anyhow::anyhow!("a replay panicked"))?)
    })?;
    let mut outcomes = done.into_inner().unwrap_or_default();
    outcomes.sort_by_key(|outcome: &Outcome| cases.iter().position(|case| *case == outcome.case));
    Ok(outcomes)
}
