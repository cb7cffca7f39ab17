//! The measurement as a whole: every kind of work with one and two workers, the drivers taking turns, and the report.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use freshet_bench_load::{self as load, Outcome, Timing};

use crate::idle;
use crate::processes::{Broker, Setup};
use crate::proxy::Driver;
use crate::table::{self, Idle, Sample};

const DRIVERS: [Driver; 2] = [Driver::AsyncFd, Driver::Epoll];
const WORKERS: [u8; 2] = [1, 2];
/// A run that takes longer than this per round hangs, and is ended.
const ROUND_LIMIT: Duration = Duration::from_secs(300);

/// How much is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Fewer and shorter rounds, and fewer idle connections.
    #[arg(long)]
    quick: bool,
    /// Rounds, each A and C once [default: 5, quick 3].
    #[arg(long)]
    rounds: Option<u32>,
    /// Seconds of each measurement [default: 5, quick 1.5].
    #[arg(long)]
    seconds: Option<f64>,
    /// Where the report goes [default: bench/spike/results/DATE.txt, quick DATE-quick.txt].
    #[arg(long)]
    output: Option<PathBuf>,
}

/// The kinds of work, by the names used in tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    Pairs,
    Sparse,
    FanOut,
}

const WORKS: [Work; 3] = [Work::Pairs, Work::Sparse, Work::FanOut];

impl Work {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Pairs => "pairs 50 x 50, QoS 1, window 20",
            Self::Sparse => "sparse 5,000 pairs, 10,000 msg/s, QoS 1, window 1",
            Self::FanOut => "fan-out 1 -> 1,000, one outstanding",
        }
    }

    fn measure(self, broker: &Broker, timing: Timing, seed: u64) -> anyhow::Result<Outcome> {
        match self {
            Self::Pairs => load::pairs(broker, timing, seed, 1),
            Self::Sparse => load::sparse(broker, timing, seed),
            Self::FanOut => load::fan_out(broker, timing, seed, 1),
        }
    }
}

/// Measures and reports.
///
/// # Errors
/// When a measurement fails; what was measured until then is reported all the same.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 5 });
    let seconds = options.seconds.unwrap_or(if options.quick { 1.5 } else { 5.0 });
    let warm_up = Duration::from_secs_f64(if options.quick { 0.3 } else { 1.0 });
    let timing = Timing {
        warm_up,
        measured: Duration::try_from_secs_f64(seconds)?,
    };
    let idle_connections = if options.quick { 3_000 } else { 15_000 };
    let _watchdog = Watchdog::start(ROUND_LIMIT * rounds);

    let mut report = Report::new(rounds, timing)?;
    let mut failure = None;
    for round in 1..=rounds {
        if let Err(error) = measure_round(&mut report, round, timing, idle_connections) {
            report.note(&format!("round {round} ended early: {error:#}"));
            failure = Some(error);
            break;
        }
    }
    report.finish(&options.output.clone().unwrap_or_else(|| default_output(options.quick)))?;
    failure.map_or(Ok(()), Err)
}

fn measure_round(report: &mut Report, round: u32, timing: Timing, idle_connections: u32) -> anyhow::Result<()> {
    for work in WORKS {
        for workers in WORKERS {
            for driver in DRIVERS {
                let broker = Broker::start(Setup {
                    driver,
                    workers,
                    tls: false,
                })?;
                let outcome = work.measure(&broker, timing, u64::from(round))?;
                let counters = broker.stop()?;
                report.add(
                    Sample {
                        work,
                        workers,
                        driver,
                        round,
                        outcome,
                    },
                    &counters,
                );
            }
        }
    }
    // Memory hardly varies: one round shows it, a second one that it does not.
    if round <= 2 {
        for tls in [false, true] {
            for driver in DRIVERS {
                let broker = Broker::start(Setup {
                    driver,
                    workers: 1,
                    tls,
                })?;
                let bytes = idle::idle_bytes(&broker, idle_connections, tls)?;
                broker.stop()?;
                report.add_idle(Idle { tls, driver, bytes }, idle_connections);
            }
        }
    }
    Ok(())
}

struct Report {
    text: String,
    samples: Vec<Sample>,
    idle: Vec<Idle>,
    started: Instant,
}

impl Report {
    fn new(rounds: u32, timing: Timing) -> anyhow::Result<Self> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let linux: Vec<&str> = release.trim().split('.').take(2).collect();
        let cpus = thread::available_parallelism()?;
        let mut report = Self {
            text: String::new(),
            samples: Vec::new(),
            idle: Vec::new(),
            started: Instant::now(),
        };
        report.note(&format!(
            "{cpus} vCPU shared machine, Linux {}; {}; {rounds} rounds of {:.1} s after {:.1} s of warm-up; load, proxy and \
             storage on the same CPUs, nothing pinned; payload {} bytes",
            linux.join("."),
            date(SystemTime::now()),
            timing.measured.as_secs_f64(),
            timing.warm_up.as_secs_f64(),
            load::PAYLOAD_BYTES,
        ));
        Ok(report)
    }

    fn note(&mut self, line: &str) {
        println!("{line}");
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn add(&mut self, sample: Sample, counters: &str) {
        self.note(&format!("{sample} {counters}"));
        self.samples.push(sample);
    }

    fn add_idle(&mut self, idle: Idle, connections: u32) {
        self.note(&format!("{idle} connections={connections}"));
        self.idle.push(idle);
    }

    fn finish(mut self, output: &Path) -> anyhow::Result<()> {
        let mut tables = String::new();
        write!(tables, "\n{}\n{}", table::work(&self.samples), table::idle(&self.idle))?;
        self.note(&tables);
        self.note(&format!("took {:.0} s", self.started.elapsed().as_secs_f64()));
        if let Some(folder) = output.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(output, &self.text)?;
        println!("written to {}", output.display());
        Ok(())
    }
}

fn default_output(quick: bool) -> PathBuf {
    let name = format!("{}{}.txt", date(SystemTime::now()), if quick { "-quick" } else { "" });
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results").join(name)
}

/// The UTC date as year-month-day (days to civil date, proleptic Gregorian calendar in eras of 400 years).
fn date(time: SystemTime) -> String {
    let days = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400 + 719_468;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + days / 146_097 * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Ends the process, and with it its children, when the measurement hangs.
struct Watchdog(#[allow(dead_code)] mpsc::Sender<()>);

impl Watchdog {
    fn start(limit: Duration) -> Self {
        let (alive, gone) = mpsc::channel::<()>();
        thread::spawn(move || {
            if gone.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("the measurement hangs: ended after {} s", limit.as_secs());
                std::process::exit(1);
            }
        });
        Self(alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil_dates() {
        let at = |days: u64| date(UNIX_EPOCH + Duration::from_secs(days * 86_400));
        assert_eq!(at(0), "1970-01-01");
        assert_eq!(at(11_016), "2000-02-29");
        assert_eq!(at(20_778), "2026-11-21");
    }
}
