//! The samples of the last windows, and averages over them.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sample::Sample;
use crate::signal::{PerSignal, Signal};

/// More samples than this are not kept, however close together they come and however long the window is. They are written
/// down with the history, in what a ConfigMap holds.
const MAX_SAMPLES: usize = 400;

/// The newest ones stay as they are: what is decided within seconds looks at these.
const APART: usize = 120;

/// A value this old still says what is there now: some scrapes may fail.
const FRESH: Duration = Duration::from_secs(15);

/// The samples of the last windows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recent {
    samples: VecDeque<Kept>,
    /// Signals that have ever had a value. One that never had is not measured here, and nobody waits for it.
    seen: PerSignal<bool>,
}

/// A sample, or several that followed each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    sample: Sample,
    /// Of how many it is the mean.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    of: u32,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_one(of: &u32) -> bool {
    *of == 1
}

impl Kept {
    /// This one and the one after it.
    fn with(&self, after: &Self) -> Self {
        let (of, of_after) = (f64::from(self.of), f64::from(after.of));
        let mean = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some((a * of + b * of_after) / (of + of_after)),
            (a, b) => a.or(b),
        };
        let (a, b) = (&self.sample, &after.sample);
        Self {
            sample: Sample {
                is_partial: a.is_partial || b.is_partial,
                values: PerSignal::of(|signal| mean(a.values[signal], b.values[signal])),
                round_trip_p99_ms: mean(a.round_trip_p99_ms, b.round_trip_p99_ms),
                slowest: PerSignal::of(|signal| mean(a.slowest[signal], b.slowest[signal])),
                ..*b
            },
            of: self.of.saturating_add(after.of),
        }
    }
}

impl Recent {
    /// Takes a sample in and forgets what is older than `keep`. One that is not newer than the last replaces what is
    /// newer than itself: the clock was set back, and what it said before is of no use.
    pub(crate) fn push(&mut self, sample: Sample, keep: Duration) {
        while self.samples.back().is_some_and(|last| last.sample.at >= sample.at) {
            self.samples.pop_back();
        }
        self.samples.push_back(Kept { sample, of: 1 });
        let is_over = |first: &Kept| first.sample.at + keep < sample.at;
        while self.samples.front().is_some_and(is_over) {
            self.samples.pop_front();
        }
        if self.samples.len() > MAX_SAMPLES {
            self.join_two();
        }
        for signal in Signal::ALL {
            self.seen[signal] |= sample.values[signal].is_some();
        }
    }

    /// Makes one of the two neighbours that stand for the fewest, of those that are not new.
    fn join_two(&mut self) {
        let old = self.samples.len().saturating_sub(APART + 1);
        let both = |index: &usize| Some(self.samples.get(*index)?.of + self.samples.get(*index + 1)?.of);
        let Some(index) = (0..old).min_by_key(both) else { return };
        if let Some(after) = self.samples.remove(index + 1)
            && let Some(kept) = self.samples.get_mut(index)
        {
            *kept = kept.with(&after);
        }
    }

    /// Whether the signal has ever had a value.
    pub(crate) fn has_seen(&self, signal: Signal) -> bool {
        self.seen[signal]
    }

    /// The mean of the signal's values after `now - window` and not after `now`; `None` without any.
    pub(crate) fn mean(&self, signal: Signal, window: Duration, now: Duration) -> Option<f64> {
        let values = self.kept_within(window, now).filter_map(|kept| {
            let of = f64::from(kept.of);
            Some((kept.sample.values[signal]? * of, of))
        });
        let (sum, count) = values.fold((0.0, 0.0), |(sum, count), (value, of)| (sum + value, count + of));
        (count > 0.0).then(|| sum / count)
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
        self.kept_within(window, now).map(|kept| &kept.sample)
    }

    fn kept_within(&self, window: Duration, now: Duration) -> impl DoubleEndedIterator<Item = &Kept> {
        let end = self.samples.partition_point(|kept| kept.sample.at <= now);
        let start = self.samples.partition_point(|kept| kept.sample.at + window <= now);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_window_few_samples_are_kept_and_their_mean_is_that_of_all() {
        let mut recent = Recent::default();
        let hour = Duration::from_secs(3_600);
        let load = |second: u64| if second % 1_000 < 100 { 7_000.0 } else { 1_000.0 };
        for second in 1..=7_200 {
            let mut sample = Sample {
                at: Duration::from_secs(second),
                ..Sample::default()
            };
            sample.values[Signal::Connections] = Some(load(second));
            recent.push(sample, hour);
        }
        assert!(recent.samples.len() <= MAX_SAMPLES, "{}", recent.samples.len());
        let now = Duration::from_secs(7_200);
        let mean = |window| {
            recent
                .mean(Signal::Connections, Duration::from_secs(window), now)
                .unwrap()
        };
        let expected =
            |window: u32| (0..window).map(|back| load(7_200 - u64::from(back))).sum::<f64>() / f64::from(window);
        assert_eq!(mean(100), expected(100));
        for window in [300, 1_200, 3_600] {
            let off = (mean(u64::from(window)) / expected(window) - 1.0).abs();
            assert!(off < 0.05, "{off} over {window} s");
        }
        // As evenly as it can be.
        let most = recent.samples.iter().map(|kept| kept.of).max();
        assert!(most.is_some_and(|most| most <= 32), "{most:?}");
    }

    #[test]
    fn what_is_written_without_a_count_is_one_sample() {
        let mut recent = Recent::default();
        recent.push(Sample::default(), Duration::from_secs(60));
        let text = serde_json::to_string(&recent).unwrap();
        assert!(!text.contains("\"of\""), "{text}");
        assert_eq!(serde_json::from_str::<Recent>(&text).unwrap(), recent);
    }
}
