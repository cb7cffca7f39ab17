//! What a worker tells about itself when asked: counters of its core, of its link, and how long its turns take.

use std::sync::Arc;
use std::time::Duration;

use freshet_proxy_core::link::LinkStats;
use freshet_proxy_core::{RoundTripCounts, WorkerStats};
use prometheus_client::collector::Collector;

use crate::storage_link::StorageLinkStats;

/// A look at a worker.
#[derive(Debug, Clone, Default)]
pub struct WorkerReport {
    /// What its core has counted.
    pub worker: WorkerStats,
    /// How long publications took within the last 10 s. Boxed: it is the larger part of a report.
    pub round_trips: Box<RoundTripCounts>,
    /// Those of the last 3 s.
    pub newest_round_trips: Box<RoundTripCounts>,
    /// How long CONNECTs took until CONNACK within the last 3 s.
    pub connacks: Box<RoundTripCounts>,
    /// How long its turns took.
    pub turns: TurnSeconds,
    /// Sockets whose connection has ended and whose peer has not closed its side.
    pub lingering: usize,
    /// Events for the link that have not been carried over.
    pub unposted: usize,
    /// Lines that were left out of the log because too many came of their kind.
    pub unlogged: u64,
    /// All clients have been handed over, and the link knows.
    pub is_drained: bool,
    /// What it has of the link to storage; the first worker only.
    pub link: Option<LinkReport>,
}

/// A look at the link to storage.
#[derive(Debug, Clone, Default)]
pub struct LinkReport {
    /// The link itself.
    pub link: LinkStats,
    /// The way to storage.
    pub storage: StorageLinkStats,
    /// Frames that the way to storage has not taken.
    pub unsent: usize,
    /// Metrics of storage itself, when it is in this process ([`crate::StorageLink::storage_metrics`]).
    pub storage_metrics: Option<Arc<dyn Collector>>,
}

impl WorkerReport {
    /// Whether nothing is left that storage or a client still has to hear of.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let link_is_drained = |l: &LinkReport| {
            l.link.publications == 0
                && l.link.session_requests == 0
                && l.unsent == 0
                && l.storage.waiting_bytes_now == 0
        };
        self.is_drained && self.unposted == 0 && self.link.as_ref().is_none_or(link_is_drained)
    }
}

/// Durations of turns in buckets that fit turns.
#[derive(Debug, Clone, Default)]
pub struct TurnSeconds {
    /// Turns per bucket, not cumulative; the last holds what is above all bounds.
    counts: [u64; Self::BOUNDS_US.len() + 1],
    sum: Duration,
}

impl TurnSeconds {
    /// Upper bounds of the buckets in microseconds.
    const BOUNDS_US: [u32; 10] = [50, 100, 250, 500, 1_000, 2_500, 10_000, 50_000, 250_000, 1_000_000];

    /// Counts a turn.
    pub(crate) fn observe(&mut self, duration: Duration) {
        let micros = duration.as_micros();
        let bucket = Self::BOUNDS_US
            .iter()
            .take_while(|bound| micros > u128::from(**bound))
            .count();
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += duration;
    }

    /// Adds another worker's turns.
    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }

    /// Sum of all durations, in seconds.
    pub(crate) fn sum_s(&self) -> f64 {
        self.sum.as_secs_f64()
    }

    /// Number of turns.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Upper bound in seconds and number of turns of each bucket, not cumulative.
    pub(crate) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = Self::BOUNDS_US
            .iter()
            .map(|us| f64::from(*us) / 1e6)
            .chain([f64::INFINITY]);
        bounds.zip(self.counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_falls_into_the_first_bucket_that_holds_it() {
        let mut turns = TurnSeconds::default();
        for us in [1, 50, 51, 2_000_000] {
            turns.observe(Duration::from_micros(us));
        }
        let counts: Vec<_> = turns.buckets().iter().map(|b| b.1).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(turns.count(), 4);
        assert!((turns.sum_s() - 2.000_102).abs() < 1e-9);
    }

    #[test]
    fn a_worker_is_drained_when_neither_client_nor_storage_has_anything_to_come() {
        let mut report = WorkerReport {
            is_drained: true,
            link: Some(LinkReport::default()),
            ..WorkerReport::default()
        };
        assert!(report.is_drained());
        report.unposted = 1;
        assert!(!report.is_drained());
        report.unposted = 0;
        if let Some(link) = &mut report.link {
            link.link.session_requests = 1;
        }
        assert!(!report.is_drained());
    }
}
