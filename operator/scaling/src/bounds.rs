//! How fast and when a count may change: steps, the delay before fewer proxies are believed to be enough, and no change
//! of mind within a stable window.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::number::{count_down, fraction};
use crate::settings::Settings;

/// Recommendations are kept in slots of this length, the greatest of each; so many samples need no more room than few.
const SLOT: Duration = Duration::from_secs(5);

/// The greatest count of the last while. Grows with the while, not with the number of counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Greatest {
    /// Slot and count, both ends of which are in order: older slots have greater counts.
    slots: VecDeque<(u64, u32)>,
    /// Since when it was heard of without a gap.
    since: Option<Duration>,
    last: Option<Duration>,
}

impl Greatest {
    /// Notes a count. After a gap of more than `max_gap`, and when the clock was set back, everything begins anew.
    pub(crate) fn push(&mut self, count: u32, keep: Duration, max_gap: Duration, now: Duration) {
        if self.last.is_none_or(|last| now < last || now > last + max_gap) {
            self.slots.clear();
            self.since = Some(now);
        }
        self.last = Some(now);
        let slot = slot(now);
        while self.slots.back().is_some_and(|(_, other)| *other <= count) {
            self.slots.pop_back();
        }
        self.slots.push_back((slot, count));
        while self
            .slots
            .front()
            .is_some_and(|(first, _)| SLOT * saturating(*first + 1) <= now.saturating_sub(keep))
        {
            self.slots.pop_front();
        }
    }

    /// The greatest count since `now - window`, which is no longer than what is kept; `None` unless it was heard of that long.
    pub(crate) fn over(&self, window: Duration, now: Duration) -> Option<u32> {
        if self.since? + window > now {
            return None;
        }
        let is_within = |first: u64| SLOT * saturating(first + 1) > now.saturating_sub(window);
        let greatest = self.slots.iter().find(|(first, _)| is_within(*first));
        greatest.map(|(_, count)| *count)
    }
}

fn slot(now: Duration) -> u64 {
    now.as_secs() / SLOT.as_secs()
}

fn saturating(slot: u64) -> u32 {
    u32::try_from(slot).unwrap_or(u32::MAX)
}

/// The changes of the count within the last stable window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Changes {
    /// When, and the counts before and after. At most [`Changes::MAX`].
    made: VecDeque<(Duration, u32, u32)>,
}

impl Changes {
    /// A window in which the count was changed this often takes no further change until one has left it.
    const MAX: usize = 64;

    pub(crate) fn forget(&mut self, settings: &Settings, now: Duration) {
        let stable = settings.windows.stable;
        // What lies ahead was written by a clock since set back.
        self.made.retain(|(at, ..)| *at <= now && *at + stable > now);
    }

    pub(crate) fn push(&mut self, from: u32, to: u32, now: Duration) {
        self.made.push_back((now, from, to));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.made.len() >= Self::MAX
    }

    /// Whether a proxy was added within the window: then none is taken away.
    pub(crate) fn has_grown(&self) -> bool {
        self.made.iter().any(|(_, from, to)| to > from)
    }

    /// The most proxies that may be asked for now.
    pub(crate) fn ceiling(&self, current: u32, settings: &Settings) -> u32 {
        let least = self
            .made
            .iter()
            .map(|(_, from, to)| *from.min(to))
            .fold(current, u32::min);
        let least = least.max(1);
        count_down(f64::from(least) * settings.behavior.max_step_up).max(least + 1)
    }

    /// The fewest proxies that may be left now.
    pub(crate) fn floor(&self, current: u32, settings: &Settings) -> u32 {
        let most = self
            .made
            .iter()
            .map(|(_, from, to)| *from.max(to))
            .fold(current, u32::max);
        let step = count_down(f64::from(most) * fraction(settings.behavior.max_step_down_percent));
        most.saturating_sub(step.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(300);
    const GAP: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_greatest_count_is_unknown_until_the_whole_while_was_heard_of() {
        let mut greatest = Greatest::default();
        for second in (0..300).step_by(10) {
            greatest.push(3, KEEP, GAP, at(second));
        }
        assert_eq!(greatest.over(KEEP, at(299)), None);
        assert_eq!(greatest.over(KEEP, at(300)), Some(3));
    }

    #[test]
    fn a_peak_counts_for_the_whole_while_and_not_much_longer() {
        let mut greatest = Greatest::default();
        for second in (0..=1000).step_by(10) {
            greatest.push(if second == 500 { 9 } else { 2 }, KEEP, GAP, at(second));
            if second >= 500 {
                let expected = if second < 500 + 305 { 9 } else { 2 };
                assert_eq!(greatest.over(KEEP, at(second)), Some(expected), "{second}");
            }
        }
        assert!(greatest.slots.len() <= 62);
    }

    #[test]
    fn a_gap_and_a_clock_set_back_begin_the_while_anew() {
        for next in [1000, 661, 599, 200] {
            let mut greatest = Greatest::default();
            for second in (0..=600).step_by(10) {
                greatest.push(3, KEEP, GAP, at(second));
            }
            greatest.push(2, KEEP, GAP, at(next));
            assert_eq!(greatest.over(KEEP, at(next)), None, "{next}");
        }
    }

    #[test]
    fn the_longest_gap_and_two_counts_of_one_moment_go_on_with_the_while() {
        for next in [660, 600] {
            let mut greatest = Greatest::default();
            for second in (0..=600).step_by(10) {
                greatest.push(3, KEEP, GAP, at(second));
            }
            greatest.push(2, KEEP, GAP, at(next));
            assert_eq!(greatest.over(KEEP, at(next)), Some(3), "{next}");
        }
    }

    #[test]
    fn a_step_is_a_multiple_of_what_there_was_and_one_at_least() {
        let ceiling = |current: u32, max_step_up: f64| {
            let mut settings = Settings::default();
            settings.behavior.max_step_up = max_step_up;
            Changes::default().ceiling(current, &settings)
        };
        assert_eq!((ceiling(5, 4.0), ceiling(0, 4.0)), (20, 4));
        assert_eq!((ceiling(5, 1.1), ceiling(20, 1.1)), (6, 22));
    }

    #[test]
    fn so_many_changes_are_known_and_not_more() {
        let mut changes = Changes::default();
        for made in 0..Changes::MAX {
            assert!(!changes.is_full(), "{made}");
            changes.push(2, 2, at(0));
        }
        assert!(changes.is_full() && !changes.has_grown());
        changes.push(2, 3, at(0));
        assert!(changes.has_grown());
    }
}
