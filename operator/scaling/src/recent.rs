//! The samples of the last windows, and averages over them.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sample::Sample;
use crate::signal::{PerSignal, Signal};

/// More samples than this are not kept, however close together they come: an hour of one a second.
const MAX_SAMPLES: usize = 3600;

/// A value this old still says what is there now: some scrapes may fail.
const FRESH: Duration = Duration::from_secs(15);

/// The samples of the last windows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recent {
    samples: VecDeque<Sample>,
    /// Signals that have ever had a value. One that never had is not measured here, and nobody waits for it.
    seen: PerSignal<bool>,
}

impl Recent {
    /// Takes a sample in and forgets what is older than `keep`. One that is not newer than the last replaces what is
    /// newer than itself: the clock was set back, and what it said before is of no use.
    pub(crate) fn push(&mut self, sample: Sample, keep: Duration) {
        while self.samples.back().is_some_and(|last| last.at >= sample.at) {
            self.samples.pop_back();
        }
        self.samples.push_back(sample);
        while self.samples.len() > MAX_SAMPLES || self.samples.front().is_some_and(|first| first.at + keep < sample.at)
        {
            self.samples.pop_front();
        }
        for signal in Signal::ALL {
            self.seen[signal] |= sample.values[signal].is_some();
        }
    }

    /// Whether the signal has ever had a value.
    pub(crate) fn has_seen(&self, signal: Signal) -> bool {
        self.seen[signal]
    }

    /// The mean of the signal's values after `now - window` and not after `now`; `None` without any.
    pub(crate) fn mean(&self, signal: Signal, window: Duration, now: Duration) -> Option<f64> {
        mean(self.within(window, now).filter_map(|sample| sample.values[signal]))
    }

    /// The newest value within the window.
    pub(crate) fn newest(&self, signal: Signal, window: Duration, now: Duration) -> Option<f64> {
        self.within(window, now).rev().find_map(|sample| sample.values[signal])
    }

    /// What the two newest values within the window agree on: the lesser one. One value alone is that.
    pub(crate) fn agreed(&self, signal: Signal, window: Duration, now: Duration) -> Option<f64> {
        let newest = self.within(window, now).rev();
        let values = newest.filter_map(|sample| sample.values[signal]).take(2);
        values.reduce(f64::min)
    }

    /// Whether the signal has a value, of all proxies, that says what is there now.
    pub(crate) fn is_fresh(&self, signal: Signal, now: Duration) -> bool {
        self.within(FRESH, now)
            .any(|sample| !sample.is_partial && sample.values[signal].is_some())
    }

    /// The middle one of the round trips within the window: one slow answer is no proof.
    pub(crate) fn median_round_trip_ms(&self, window: Duration, now: Duration) -> Option<f64> {
        middle(
            self.within(window, now)
                .filter_map(|sample| sample.round_trip_p99_ms)
                .collect(),
        )
    }

    /// The samples after `now - window` and not after `now`, oldest first.
    pub(crate) fn within(&self, window: Duration, now: Duration) -> impl DoubleEndedIterator<Item = &Sample> {
        let end = self.samples.partition_point(|sample| sample.at <= now);
        let start = self.samples.partition_point(|sample| sample.at + window <= now);
        self.samples.range(start.min(end)..end)
    }
}

pub(crate) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0_u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}

/// The middle one of some values in any order; of an even number the upper one of the two.
pub(crate) fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
