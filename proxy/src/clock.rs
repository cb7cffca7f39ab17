//! The process's monotonic clock, read once a turn and handed to the cores as a number.

use std::time::{Duration, Instant};

use freshet_storage_contract::MonotonicMs;

/// Counts from the moment it was made; copies count alike. One per process, so that times of different threads compare.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts at 0.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The present, rounded down to whole milliseconds.
    #[must_use]
    pub fn now(self) -> MonotonicMs {
        self.at(Instant::now())
    }

    /// What [`Self::now`] says at `instant`.
    pub(crate) fn at(self, instant: Instant) -> MonotonicMs {
        MonotonicMs(0).plus(instant.saturating_duration_since(self.start))
    }

    /// The moment at which [`Self::now`] reaches `at`; a far one stands for those that no clock reaches.
    pub(crate) fn instant(self, at: MonotonicMs) -> Instant {
        const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.start + Duration::from_millis(at.0).min(FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_reached_when_now_says_so() {
        let clock = Clock::start();
        let soon = clock.now().plus(Duration::from_millis(2));
        while Instant::now() < clock.instant(soon) {}
        assert!(clock.now() >= soon);
    }

    #[test]
    fn the_end_of_time_is_an_instant_too() {
        let clock = Clock::start();
        assert!(clock.instant(MonotonicMs(u64::MAX)) > Instant::now());
    }
}
