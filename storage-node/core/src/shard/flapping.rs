//! Clients that share a client id and take it over from each other for ever: each ends the other's connection, which
//! comes back at once. Takeovers of one id that come too often are counted apart, and held: longer and longer, so that
//! each client is served for a while, and neither proxies nor storage have more to do than a takeover every few seconds.
//!
//! Held is not refused: the newer connection waits for its CONNACK, and has the client id as soon as the older one ends
//! by itself.

use std::time::Duration;

use freshet_storage_contract::MonotonicMs;

/// Takeovers in a row that are nothing special: more than a client with a bad network needs.
const USUAL: u32 = 10;
/// Time that makes up for one of them: ten a minute are never too many.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(6);
/// How long the first one beyond them is held; each further one twice as long.
const FIRST_HOLD: Duration = Duration::from_millis(250);
/// Stock clients wait 10 s or more for CONNACK, and the older connection has up to 5 s to end.
const LONGEST_HOLD: Duration = Duration::from_secs(4);
/// Takeovers that are remembered: those beyond the usual ones until they are held longest.
const MOST: u32 = USUAL + 5;

/// Takeovers of one client id.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Takeovers {
    /// Not made up for by time.
    count: u32,
    /// Up to when time has been reckoned with.
    since: MonotonicMs,
}

impl Takeovers {
    /// Another one. How long it is to be held; none: it is nothing special.
    pub(super) fn add(&mut self, now: MonotonicMs) -> Option<Duration> {
        let forgotten = now.since(self.since).as_millis() / FORGOTTEN_AFTER.as_millis();
        match u32::try_from(forgotten) {
            Ok(forgotten) if forgotten < self.count => {
                self.count -= forgotten;
                self.since = self.since.plus(FORGOTTEN_AFTER * forgotten);
            }
            _ => *self = Self { count: 0, since: now },
        }
        self.count = (self.count + 1).min(MOST);
        let doublings = self.count.checked_sub(USUAL + 1)?;
        Some((FIRST_HOLD * 2_u32.pow(doublings)).min(LONGEST_HOLD))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long each of `count` takeovers is held, one every `pace_ms`, in ms.
    fn holds(takeovers: &mut Takeovers, from_ms: u64, count: u64, pace_ms: u64) -> Vec<Option<u128>> {
        let at = |n| MonotonicMs(1_000_000 + from_ms + n * pace_ms);
        let held = (0..count).map(|n| takeovers.add(at(n)));
        held.map(|hold| hold.map(|hold| hold.as_millis())).collect()
    }

    #[test]
    fn what_comes_behind_the_tenth_in_a_row_is_held_longer_and_longer() {
        let mut takeovers = Takeovers::default();
        assert_eq!(holds(&mut takeovers, 0, 10, 100), [None; 10]);
        let held = [250, 500, 1_000, 2_000, 4_000, 4_000].map(Some);
        assert_eq!(holds(&mut takeovers, 1_000, 6, 100), held);
    }

    #[test]
    fn ten_a_minute_are_never_too_many() {
        assert_eq!(holds(&mut Takeovers::default(), 0, 200, 6_000), [None; 200]);
    }

    #[test]
    fn clients_that_go_on_are_held_longest_each_time() {
        let mut takeovers = Takeovers::default();
        holds(&mut takeovers, 0, 20, 0);
        assert_eq!(holds(&mut takeovers, 4_000, 100, 4_000)[10..], [Some(4_000); 90]);
    }

    #[test]
    fn a_minute_and_a_half_without_one_makes_up_for_all() {
        let mut takeovers = Takeovers::default();
        holds(&mut takeovers, 0, 1_000, 0);
        assert_eq!(holds(&mut takeovers, 89_999, 1, 0), [None]);
        assert_eq!(takeovers.count, 2, "one was left");
        holds(&mut takeovers, 89_999, 1_000, 0);
        assert_eq!(holds(&mut takeovers, 200_000, 10, 0), [None; 10]);
    }
}
