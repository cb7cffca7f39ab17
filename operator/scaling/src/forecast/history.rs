//! The greatest load of each minute of the last while.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::codes;

/// Minutes since the Unix epoch.
pub(super) type Minute = u64;

pub(super) fn minute_of(at: Duration) -> Minute {
    at.as_secs() / 60
}

/// The greatest load of each minute of the last while.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct History {
    /// The minute after the last one that is kept.
    end: Minute,
    #[serde(with = "codes")]
    codes: VecDeque<u16>,
}

impl History {
    /// Adds a minute after all others; minutes in between are missing. At most `keep` are kept.
    pub(super) fn push(&mut self, minute: Minute, value: Option<f64>, keep: u64) {
        let missing = minute.saturating_sub(self.end);
        if self.codes.is_empty() || missing >= keep {
            self.codes.clear();
        } else {
            (0..missing).for_each(|_| self.codes.push_back(codes::MISSING));
        }
        self.codes.push_back(codes::encode(value));
        self.end = minute + 1;
        while u64::try_from(self.codes.len()).unwrap_or(u64::MAX) > keep {
            self.codes.pop_front();
        }
    }

    /// Forgets the minute and all after it.
    pub(super) fn truncate(&mut self, minute: Minute) {
        let beyond = usize::try_from(self.end.saturating_sub(minute)).unwrap_or(usize::MAX);
        self.codes.truncate(self.codes.len().saturating_sub(beyond));
        self.end = self.end.min(minute);
    }

    pub(super) fn get(&self, minute: Minute) -> Option<f64> {
        let back = usize::try_from(self.end.checked_sub(minute)?).ok()?;
        let index = self.codes.len().checked_sub(back)?;
        codes::decode(*self.codes.get(index)?)
    }

    /// The greatest from `first` to `last`, both included; `None` when all are missing.
    pub(super) fn peak(&self, first: Minute, last: Minute) -> Option<f64> {
        (first..=last).filter_map(|minute| self.get(minute)).reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_in_between_are_missing_and_old_ones_are_forgotten() {
        let mut history = History::default();
        for minute in [100, 101, 104] {
            history.push(minute, Some(10.0), 5);
        }
        let known: Vec<bool> = (98..107).map(|minute| history.get(minute).is_some()).collect();
        assert_eq!(known, [false, false, true, true, false, false, true, false, false]);
        history.push(105, Some(10.0), 5);
        assert_eq!(history.get(100), None);
        history.truncate(104);
        assert_eq!((history.get(104), history.get(101).is_some()), (None, true));
        history.push(90_000, None, 5);
        assert_eq!(history.codes.len(), 1);
    }
}
