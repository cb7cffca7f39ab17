//! The node's clocks: the only place where it reads them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use freshet_storage_contract::{MonotonicMs, Term};
use tokio::time::Instant;

/// Monotonic time since the node's start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(self) -> MonotonicMs {
        MonotonicMs::default().plus(self.start.elapsed())
    }

    /// The instant of `at`; far away when it cannot be expressed.
    pub(crate) fn instant(self, at: MonotonicMs) -> Instant {
        const FAR_AWAY: Duration = Duration::from_secs(24 * 3_600);
        self.start
            .checked_add(at.since(MonotonicMs::default()))
            .unwrap_or_else(|| Instant::now() + FAR_AWAY)
    }
}

/// The lowest term of a node that starts without memory: ms since 1970. Above the terms of its earlier lives unless
/// the wall clock went back, which proxies notice by the highest term they have seen.
pub(crate) fn term_floor() -> Term {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Term(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}
