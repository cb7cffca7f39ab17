//! How long publications take from PUBLISH to their outcome: counts by QoS over the last seconds, in buckets.
//!
//! Owned by a worker, told of each outcome with times that its turn has read anyway. All memory is there from the start:
//! counting one is an addition. Times have the resolution of the turn's clock, a millisecond.

use freshet_mqtt::QoS;
use freshet_storage_contract::MonotonicMs;

/// Slots of the window, a second each.
const SLOTS: usize = 10;
/// Times below this have a bucket each.
const EXACT_MS: u64 = 16;
/// Buckets for each doubling above: times are told to an eighth.
const PER_DOUBLING: usize = 8;
/// Doublings that are told apart; longer times than 131 s are in the last bucket.
const DOUBLINGS: usize = 13;
const BUCKETS: usize = 16 + DOUBLINGS * PER_DOUBLING;

/// Counts over the last 10 s.
#[derive(Debug, Clone)]
pub(crate) struct RoundTrips {
    slots: Box<[Slot; SLOTS]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    second: u64,
    counts: RoundTripCounts,
}

/// Publications by QoS and by how long they took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTripCounts([[u32; BUCKETS]; 3]);

impl Default for RoundTripCounts {
    fn default() -> Self {
        Self([[0; BUCKETS]; 3])
    }
}

impl Default for RoundTrips {
    fn default() -> Self {
        Self {
            slots: Box::new([Slot::default(); SLOTS]),
        }
    }
}

impl RoundTrips {
    /// Counts a publication of `since` that has its outcome now.
    pub(crate) fn observe(&mut self, qos: QoS, since: MonotonicMs, now: MonotonicMs) {
        let second = second_of(now);
        let Some(slot) = self.slots.get_mut(slot_of(second)) else {
            return;
        };
        if slot.second != second {
            slot.second = second;
            slot.counts = RoundTripCounts::default();
        }
        slot.counts.count(qos, now.0.saturating_sub(since.0));
    }

    /// The counts of the last 10 s.
    pub(crate) fn recent(&self, now: MonotonicMs) -> RoundTripCounts {
        self.within(SLOTS as u64, now)
    }

    /// The counts of the last so many seconds, at most 10.
    pub(crate) fn within(&self, seconds: u64, now: MonotonicMs) -> RoundTripCounts {
        let second = second_of(now);
        let mut sum = RoundTripCounts::default();
        let is_recent = |slot: &&Slot| slot.second <= second && slot.second + seconds > second;
        for slot in self.slots.iter().filter(is_recent) {
            sum.add(&slot.counts);
        }
        sum
    }
}

impl RoundTripCounts {
    /// Adds another worker's counts.
    pub fn add(&mut self, other: &Self) {
        let pairs = self.0.as_flattened_mut().iter_mut().zip(other.0.as_flattened());
        for (count, more) in pairs {
            *count = count.saturating_add(*more);
        }
    }

    /// Publications of a QoS, 0 to 2.
    #[must_use]
    pub fn total(&self, qos: usize) -> u64 {
        let counts = self.0.get(qos).into_iter().flatten();
        counts.map(|count| u64::from(*count)).sum()
    }

    /// The time within which this share, from 0 to 100, of the publications of a QoS had their outcome, in milliseconds;
    /// up to an eighth more than it was. `None` when there were none.
    #[must_use]
    pub fn percentile_ms(&self, qos: usize, percent: u8) -> Option<u64> {
        let total = self.total(qos);
        if total == 0 {
            return None;
        }
        let rank = (total * u64::from(percent)).div_ceil(100).max(1);
        let mut below = 0;
        let counts = self.0.get(qos)?;
        let bucket = counts.iter().position(|count| {
            below += u64::from(*count);
            below >= rank
        })?;
        Some(upper_end_ms(bucket))
    }

    fn count(&mut self, qos: QoS, ms: u64) {
        let counts = self.0.get_mut(usize::from(qos.bits()));
        if let Some(count) = counts.and_then(|counts| counts.get_mut(bucket_of(ms))) {
            *count = count.saturating_add(1);
        }
    }
}

fn second_of(at: MonotonicMs) -> u64 {
    // A slot that was never used is of second 0.
    at.0 / 1_000 + 1
}

fn slot_of(second: u64) -> usize {
    usize::try_from(second % SLOTS as u64).unwrap_or(0)
}

fn bucket_of(ms: u64) -> usize {
    if ms < EXACT_MS {
        return usize::try_from(ms).unwrap_or(0);
    }
    // At least 4, since 16 ms and more come here.
    let doubling = ms.ilog2();
    let eighth = usize::try_from(ms >> (doubling - 3) & 7).unwrap_or(0);
    let bucket = 16 + (doubling as usize - 4) * PER_DOUBLING + eighth;
    bucket.min(BUCKETS - 1)
}

/// The longest time of a bucket.
fn upper_end_ms(bucket: usize) -> u64 {
    let Some(above) = bucket.checked_sub(16) else {
        return bucket as u64;
    };
    let (doubling, eighth) = (above / PER_DOUBLING + 4, above % PER_DOUBLING);
    ((8 + eighth as u64 + 1) << (doubling - 3)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const QOS_1: usize = 1;

    fn counted(times_ms: impl IntoIterator<Item = u64>) -> RoundTripCounts {
        let mut counts = RoundTripCounts::default();
        for ms in times_ms {
            counts.count(QoS::AtLeastOnce, ms);
        }
        counts
    }

    #[test]
    fn each_time_is_in_a_bucket_that_ends_at_most_an_eighth_above_it() {
        let mut before = 0;
        for ms in (0..5_000).chain([60_000, 100_000, 131_071]) {
            let bucket = bucket_of(ms);
            assert!(bucket >= before, "{ms}");
            before = bucket;
            let end = upper_end_ms(bucket);
            assert!(end >= ms && end <= ms + ms / 8, "{ms} is told as {end}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_of(131_071), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_counts_and_unknown_without_any() {
        let counts = counted(0..100);
        assert_eq!(counts.percentile_ms(QOS_1, 50), Some(51));
        assert_eq!(counts.percentile_ms(QOS_1, 99), Some(103));
        assert_eq!(counts.percentile_ms(QOS_1, 1), Some(0));
        assert_eq!(counts.percentile_ms(0, 99), None);
        assert_eq!(counts.percentile_ms(7, 99), None);
        assert_eq!(counted([5]).percentile_ms(QOS_1, 99), Some(5));
    }

    #[test]
    fn what_is_longer_ago_than_the_window_is_forgotten() {
        let mut round_trips = RoundTrips::default();
        let at = |ms| MonotonicMs(ms);
        round_trips.observe(QoS::AtLeastOnce, at(0), at(7));
        round_trips.observe(QoS::ExactlyOnce, at(5_000), at(5_001));
        let total = |now, qos| round_trips.recent(at(now)).total(qos);
        assert_eq!((total(9_999, 1), total(9_999, 2)), (1, 1));
        assert_eq!((total(10_000, 1), total(10_000, 2)), (0, 1));
        assert_eq!(total(15_000, 2), 0);
    }

    #[test]
    fn a_slot_that_comes_round_again_begins_anew() {
        let mut round_trips = RoundTrips::default();
        for second in 0..100 {
            let now = MonotonicMs(second * 1_000);
            round_trips.observe(QoS::AtMostOnce, now, now);
            assert_eq!(round_trips.recent(now).total(0), (second + 1).min(10));
        }
    }

    #[test]
    fn workers_are_added_up() {
        let mut sum = counted([1, 2]);
        sum.add(&counted([2, 900]));
        assert_eq!(sum.total(QOS_1), 4);
        assert_eq!(sum.percentile_ms(QOS_1, 50), Some(2));
        assert_eq!(sum.percentile_ms(QOS_1, 100), Some(959));
    }
}
