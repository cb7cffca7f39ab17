//! Clients that share a client id and take it over from each other for ever: each ends the other's connection, which
//! comes back at once. The first takeovers within a while are prompt, later ones wait, so that the two cost little.

use std::time::Duration;

use freshet_storage_contract::MonotonicMs;

/// Takeovers within [`WHILE`] that are prompt: more than a client with a bad network needs.
const PROMPT: u32 = 10;
const WHILE: Duration = Duration::from_secs(60);
/// For how long a later one waits, beside what takeovers wait for anyway. Far below what clients wait for CONNACK.
pub(super) const WAIT: Duration = Duration::from_secs(1);

/// Takeovers of one client id.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Takeovers {
    since: MonotonicMs,
    count: u32,
}

impl Takeovers {
    /// Another one. True: it is to wait.
    pub(super) fn add(&mut self, now: MonotonicMs) -> bool {
        if now.since(self.since) >= WHILE {
            *self = Self { since: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count > PROMPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_within_a_minute_waits_and_the_first_of_the_next_does_not() {
        let mut takeovers = Takeovers::default();
        let start = MonotonicMs(1_000_000);
        let add = |takeovers: &mut Takeovers, ms| takeovers.add(start.plus(Duration::from_millis(ms)));
        let waits: Vec<_> = (0..12).map(|n| add(&mut takeovers, n * 100)).collect();
        assert_eq!(waits.iter().filter(|waits| **waits).count(), 2);
        assert!(waits[10] && waits[11]);
        assert!(add(&mut takeovers, 59_999));
        assert!(!add(&mut takeovers, 60_000));
    }
}
