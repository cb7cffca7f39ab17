//! Medians, spreads and the two tables of the report. Pure.

use std::fmt::{self, Write as _};

use freshet_bench_load::{Outcome, spread};

use crate::proxy::Driver;
use crate::run::Work;

/// One measurement of a kind of work.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) work: Work,
    pub(crate) workers: u8,
    pub(crate) driver: Driver,
    pub(crate) round: u32,
    pub(crate) outcome: Outcome,
}

/// One measurement of idle memory.
#[derive(Debug, Clone)]
pub(crate) struct Idle {
    pub(crate) tls: bool,
    pub(crate) driver: Driver,
    pub(crate) bytes: f64,
}

impl Sample {
    fn total_us(&self) -> f64 {
        self.outcome.proxy_us + self.outcome.storage_us
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome {
            messages_per_second,
            proxy_us,
            storage_us,
            proxy_switches,
            p50_us,
            p99_us,
            ..
        } = self.outcome;
        write!(
            f,
            "round={} work={:?} workers={} driver={} proxy_us={proxy_us:.3} storage_us={storage_us:.3} \
             p50_us={p50_us:.0} p99_us={p99_us:.0} msg_per_s={messages_per_second:.0} sent={} delivered={} \
             proxy_switches_per_msg={proxy_switches:.3} other_cpus={:.2}",
            self.round,
            self.work,
            self.workers,
            self.driver.letter(),
            self.outcome.sent,
            self.outcome.delivered,
            self.outcome.others_cpus,
        )
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.tls { "tls" } else { "plain" };
        write!(
            f,
            "work=Idle transport={kind} driver={} bytes_per_connection={:.0}",
            self.driver.letter(),
            self.bytes
        )
    }
}

/// A row per kind of work, worker count and driver: median, and in brackets least and most.
pub(crate) fn work(samples: &[Sample]) -> String {
    let mut table = String::from(
        "CPU in microseconds per message (user and system); median [least, most]. A/C: both processes, round by round.\n\n\
         | work | workers | driver | proxy | storage | both | A/C | P50 us | P99 us | msg/s |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut keys: Vec<_> = samples
        .iter()
        .map(|sample| (sample.work, sample.workers, sample.driver))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    for (work, workers, driver) in keys {
        let of = |figure: fn(&Sample) -> f64| -> Vec<f64> {
            let chosen = |s: &&Sample| (s.work, s.workers, s.driver) == (work, workers, driver);
            samples.iter().filter(chosen).map(figure).collect()
        };
        let ratio = if driver == Driver::AsyncFd {
            spread(ratios(samples, work, workers), 2)
        } else {
            String::new()
        };
        // Writing into a string cannot fail.
        let _ = writeln!(
            table,
            "| {} | {workers} | {} | {} | {} | {} | {ratio} | {} | {} | {} |",
            work.title(),
            driver.letter(),
            spread(of(|s| s.outcome.proxy_us), 2),
            spread(of(|s| s.outcome.storage_us), 2),
            spread(of(Sample::total_us), 2),
            spread(of(|s| s.outcome.p50_us), 0),
            spread(of(|s| s.outcome.p99_us), 0),
            spread(of(|s| s.outcome.messages_per_second), 0),
        );
    }
    table
}

/// A row per transport and driver.
pub(crate) fn idle(samples: &[Idle]) -> String {
    let mut table = String::from("| idle, bytes per connection | driver | bytes |\n| --- | --- | --- |\n");
    let mut keys: Vec<_> = samples.iter().map(|sample| (sample.tls, sample.driver)).collect();
    keys.sort_unstable();
    keys.dedup();
    for (tls, driver) in keys {
        let bytes = samples
            .iter()
            .filter(|s| (s.tls, s.driver) == (tls, driver))
            .map(|s| s.bytes)
            .collect();
        let transport = if tls { "TLS 1.3, rustls unbuffered" } else { "plain" };
        let _ = writeln!(table, "| {transport} | {} | {} |", driver.letter(), spread(bytes, 0));
    }
    table
}

/// A over C within each round, because the machine drifts between rounds.
fn ratios(samples: &[Sample], work: Work, workers: u8) -> Vec<f64> {
    let total = |driver, round| {
        let chosen = |s: &&Sample| (s.work, s.workers, s.driver, s.round) == (work, workers, driver, round);
        samples.iter().find(chosen).map(Sample::total_us)
    };
    let last = samples.iter().map(|sample| sample.round).max().unwrap_or(0);
    (1..=last)
        .filter_map(|round| Some(total(Driver::AsyncFd, round)? / total(Driver::Epoll, round)?))
        .collect()
}
