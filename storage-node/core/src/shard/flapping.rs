//! Clients that share a client id and take it over from each other for ever: each ends the other's connection, which
//! comes back at once. Many takeovers of one id within a while are counted apart.

use std::time::Duration;

use freshet_storage_contract::MonotonicMs;

/// Takeovers within [`WHILE`] that are nothing special: more than a client with a bad network needs.
const USUAL: u32 = 10;
const WHILE: Duration = Duration::from_secs(60);

/// Takeovers of one client id.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Takeovers {
    since: MonotonicMs,
    count: u32,
}

impl Takeovers {
    /// Another one. True: it is one of many.
    pub(super) fn add(&mut self, now: MonotonicMs) -> bool {
        if now.since(self.since) >= WHILE {
            *self = Self { since: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count > USUAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_within_a_minute_is_one_of_many_and_the_first_of_the_next_is_not() {
        let mut takeovers = Takeovers::default();
        let start = MonotonicMs(1_000_000);
        let add = |takeovers: &mut Takeovers, ms| takeovers.add(start.plus(Duration::from_millis(ms)));
        let many: Vec<_> = (0..12).map(|n| add(&mut takeovers, n * 100)).collect();
        assert_eq!(many, [vec![false; 10], vec![true; 2]].concat());
        assert!(add(&mut takeovers, 59_999));
        assert!(!add(&mut takeovers, 60_000));
    }
}
