//! Time as an argument: the cores never read a clock.

use std::time::Duration;

/// Milliseconds on a monotonic clock of the calling process; the zero point means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonotonicMs(pub u64);

impl MonotonicMs {
    /// The instant `after` from this one; saturates at the end of time.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// Time since `earlier`, zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_ends_at_its_bounds() {
        let (earlier, later) = (MonotonicMs(1_000), MonotonicMs(1_250));
        assert_eq!(earlier.plus(Duration::from_millis(250)), later);
        assert_eq!(later.since(earlier), Duration::from_millis(250));
        assert_eq!(earlier.since(later), Duration::ZERO);
        assert_eq!(later.plus(Duration::MAX), MonotonicMs(u64::MAX));
    }
}
