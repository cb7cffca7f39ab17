//! How many clients may move per second: as many as those who take them take well.
//!
//! Told once a second how the receivers answer CONNECT. It begins at a quarter of the bound, doubles until the first sign
//! of strain, and from then on adds a twentieth of the bound a second and falls at each sign: to the part of itself by which
//! the limit was missed, between a half and a quarter, no more often than the receivers' window shows what the last fall has
//! done. From a quarter of the limit on it gives way before that: the bound itself falls evenly, to a quarter at the limit,
//! and rises again at once. While storage is away, or nothing is known of the receivers, nobody moves.

use std::time::Duration;

/// What the proxies say that take the clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Receivers {
    /// How many have answered lately.
    pub(super) known: u32,
    /// The greatest P99 from CONNECT to CONNACK, in milliseconds; none: nobody connected.
    pub(super) connack_p99_ms: Option<u32>,
    /// CONNECTs that wait for storage.
    pub(super) attaching: u64,
    /// One of them has lost storage.
    pub(super) is_storage_away: bool,
}

/// The pace of moves of one cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct MoveRate {
    /// Clients per second; none: no clients were moved lately.
    per_second: Option<f64>,
    is_paused: bool,
    /// Something has strained the receivers: steps are small from then on.
    has_strained: bool,
    lowered_at: Option<Duration>,
    /// Part of the bound that may be moved by how near the limit is; none: all.
    headroom: Option<f64>,
}

/// Part of the bound that a pace begins with.
const FIRST_PART: f64 = 0.25;
/// Part of the bound that is added in a second.
const STEP_PART: f64 = 0.05;
/// Part of the pace that is added in a second at most, beside one client: receivers that take little are not overrun.
const GROWTH: f64 = 0.1;
/// Part of the limit from which on nothing is added.
const NEAR: f64 = 0.8;
/// Part of the limit up to which all that was found is moved.
const FREE: f64 = 0.25;
/// What is left of a pace that strains the receivers: at most, and at least, however far beyond the limit they are.
const FALLS_TO: (f64, f64) = (0.5, 0.25);
/// The receivers' P99 is of so long a window: before it is over, a fall is not seen.
const WINDOW: Duration = Duration::from_secs(3);
/// CONNECTs that may wait whatever the pace is.
const WAITING: f64 = 20.0;
/// Clients per second that a strained cluster still moves: a drain would never end otherwise.
const LEAST: f64 = 1.0;

impl MoveRate {
    /// Takes up what the receivers say. `at` is on a clock that only goes forward; called about once a second, while
    /// clients are moved. `max` is in clients per second.
    pub(super) fn tick(&mut self, receivers: Receivers, connack_p99_limit: Duration, max: u32, at: Duration) {
        let max = f64::from(max.max(1));
        let now = self.per_second.unwrap_or(max * FIRST_PART);
        self.is_paused = receivers.is_storage_away || receivers.known == 0;
        if self.is_paused {
            self.per_second = Some(now);
            self.has_strained = true;
            self.lower(at, max, FALLS_TO.0);
            return;
        }
        let limit_ms = connack_p99_limit.as_secs_f64() * 1_000.0;
        let p99_ms = receivers.connack_p99_ms.map_or(0.0, f64::from);
        let left = 1.0 - p99_ms / limit_ms.max(1.0);
        self.headroom = Some((left / (1.0 - FREE)).clamp(FIRST_PART, 1.0));
        // As many as come within the limit may wait, and twice that for what comes in bursts.
        let may_wait = WAITING + 2.0 * now * connack_p99_limit.as_secs_f64();
        let waiting = count(receivers.attaching);
        self.per_second = Some(now);
        if p99_ms > limit_ms || waiting > may_wait {
            self.has_strained = true;
            let part = (limit_ms / p99_ms.max(1.0)).min(may_wait / waiting.max(1.0));
            self.lower(at, max, part);
        } else if p99_ms <= limit_ms * NEAR {
            let next = if self.has_strained {
                now + (max * STEP_PART).min(now * GROWTH + LEAST)
            } else {
                now * 2.0
            };
            self.per_second = Some(next.clamp(LEAST.min(max), max));
        }
    }

    /// Forgets what was found: nobody moves any more.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// Clients per second, 0 while the receivers take none. `max` is what it is while nothing was found yet.
    pub(super) fn per_second(&self, max: u32) -> u32 {
        if self.is_paused {
            return 0;
        }
        let max_per_second = f64::from(max.max(1));
        let found = self.per_second.unwrap_or(max_per_second * FIRST_PART);
        let may = max_per_second * self.headroom.unwrap_or(1.0);
        whole(found.min(may)).clamp(1, max.max(1))
    }

    fn lower(&mut self, at: Duration, max: f64, part: f64) {
        let (most, least) = FALLS_TO;
        let may = self
            .lowered_at
            .is_none_or(|lowered| at.saturating_sub(lowered) >= WINDOW);
        if let Some(per_second) = self.per_second.as_mut().filter(|_| may) {
            *per_second = (*per_second * part.clamp(least, most)).clamp(LEAST.min(max), max);
            self.lowered_at = Some(at);
        }
    }
}

/// Loses digits beyond 2^53, which no count of clients has.
fn count(value: u64) -> f64 {
    value as f64
}

/// Never negative or beyond the bound of the resource.
#[allow(clippy::cast_possible_truncation)]
fn whole(value: f64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    fn taking(p99_ms: u32) -> Receivers {
        Receivers {
            known: 2,
            connack_p99_ms: Some(p99_ms),
            ..Receivers::default()
        }
    }

    /// The pace that was found, for receivers far from their limit.
    fn found(rate: &MoveRate) -> u32 {
        whole(rate.per_second.unwrap())
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn it_doubles_until_the_bound_while_nothing_strains() {
        let mut rate = MoveRate::default();
        assert_eq!(rate.per_second(400), 100);
        let paces: Vec<u32> = (0..4)
            .map(|second| {
                rate.tick(taking(5), LIMIT, 400, seconds(second));
                rate.per_second(400)
            })
            .collect();
        assert_eq!(paces, [200, 400, 400, 400]);
    }

    #[test]
    fn it_falls_when_connack_is_slow_and_rises_again() {
        let mut rate = MoveRate::default();
        for second in 0..4 {
            rate.tick(taking(5), LIMIT, 400, seconds(second));
        }
        rate.tick(taking(300), LIMIT, 400, seconds(4));
        assert_eq!((found(&rate), rate.per_second(400)), (200, 100));
        // What the window still shows of the time before is no reason to fall again.
        rate.tick(taking(300), LIMIT, 400, seconds(5));
        assert_eq!((found(&rate), rate.per_second(400)), (200, 100));
        rate.tick(taking(300), LIMIT, 400, seconds(8));
        assert_eq!(found(&rate), 100);
        rate.tick(taking(180), LIMIT, 400, seconds(9));
        assert_eq!(found(&rate), 100);
        for second in 10..30 {
            rate.tick(taking(5), LIMIT, 400, seconds(second));
        }
        assert_eq!(rate.per_second(400), 400);
    }

    #[test]
    fn it_gives_way_before_the_limit_and_comes_back_at_once() {
        let mut rate = MoveRate::default();
        let mut at = 0;
        let mut after = |p99_ms| {
            at += 1;
            rate.tick(taking(p99_ms), LIMIT, 400, seconds(at));
            rate.per_second(400)
        };
        assert_eq!([5, 5, 50, 51].map(&mut after), [200, 400, 400, 397]);
        assert_eq!([105, 125, 160, 162].map(&mut after), [253, 200, 106, 101]);
        assert_eq!([163, 200, 50].map(&mut after), [100, 100, 400]);
    }

    #[test]
    fn it_falls_the_further_the_slower_connack_is() {
        let after = |p99_ms| {
            let mut rate = MoveRate::default();
            for second in 0..4 {
                rate.tick(taking(5), LIMIT, 400, seconds(second));
            }
            rate.tick(taking(p99_ms), LIMIT, 400, seconds(4));
            found(&rate)
        };
        assert_eq!([201, 400, 600, 5_000].map(after), [200, 200, 133, 100]);
    }

    #[test]
    fn nobody_moves_while_storage_is_away_or_nothing_is_known() {
        let mut rate = MoveRate::default();
        rate.tick(taking(5), LIMIT, 400, seconds(0));
        let away = Receivers {
            is_storage_away: true,
            ..taking(5)
        };
        rate.tick(away, LIMIT, 400, seconds(1));
        assert_eq!(rate.per_second(400), 0);
        rate.tick(taking(5), LIMIT, 400, seconds(2));
        assert!((1..200).contains(&rate.per_second(400)), "{}", rate.per_second(400));
        rate.tick(Receivers::default(), LIMIT, 400, seconds(3));
        assert_eq!(rate.per_second(400), 0);
    }

    /// The pace after one answer that says `attaching` and `p99_ms`, from the pace that it begins with.
    fn after(max: u32, p99_ms: u32, attaching: u64) -> u32 {
        let mut rate = MoveRate::default();
        let receivers = Receivers {
            attaching,
            ..taking(p99_ms)
        };
        rate.tick(receivers, LIMIT, max, seconds(0));
        rate.per_second(max)
    }

    #[test]
    fn it_stays_from_four_fifths_of_the_limit_on_and_falls_beyond_it() {
        // The first could be 200; so near the limit 106 may move.
        assert_eq!([160, 161, 200, 201].map(|p99| after(400, p99, 0)), [106, 100, 100, 50]);
        // 20, and twice as many as come within the limit at 100 a second.
        assert_eq!(
            [60, 61, 180, 5_000].map(|waiting| after(400, 5, waiting)),
            [200, 50, 33, 25]
        );
        // At 10 a second.
        assert_eq!([24, 25].map(|waiting| after(40, 5, waiting)), [20, 5]);
        assert_eq!((after(0, 5, 0), after(1, 900, 0)), (1, 1));
    }

    #[test]
    fn after_a_strain_it_rises_by_a_tenth_and_one_and_by_a_twentieth_of_the_bound_at_most() {
        let mut rate = MoveRate::default();
        rate.tick(taking(300), LIMIT, 400, seconds(0));
        let mut paces = vec![rate.per_second(400)];
        for second in 1..16 {
            rate.tick(taking(5), LIMIT, 400, seconds(second));
            paces.push(rate.per_second(400));
        }
        assert_eq!(
            paces,
            [50, 56, 62, 69, 77, 86, 96, 106, 118, 131, 145, 161, 178, 197, 217, 237]
        );
        rate.end();
        assert_eq!(rate, MoveRate::default());
    }

    #[test]
    fn it_is_halved_again_only_when_the_window_shows_the_last_halving() {
        let mut rate = MoveRate::default();
        let after: Vec<u32> = [0, 2_999, 3_000, 5_999, 6_000]
            .into_iter()
            .map(|at_ms| {
                rate.tick(taking(300), LIMIT, 400, Duration::from_millis(at_ms));
                rate.per_second(400)
            })
            .collect();
        assert_eq!(after, [50, 50, 25, 25, 12]);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds_and_strain_never_raises_it(
            max in 0..5_000u32,
            said in proptest::collection::vec((0..3u32, proptest::option::of(0..2_000u32), 0..5_000u64, any::<bool>()), 1..80),
        ) {
            let mut rate = MoveRate::default();
            let mut last = rate.per_second(max);
            for (second, (known, connack_p99_ms, attaching, is_storage_away)) in said.into_iter().enumerate() {
                let receivers = Receivers { known, connack_p99_ms, attaching, is_storage_away };
                rate.tick(receivers, LIMIT, max, seconds(second as u64));
                let now = rate.per_second(max);
                prop_assert!(now <= max.max(1));
                prop_assert_eq!(now == 0, known == 0 || is_storage_away);
                if connack_p99_ms.is_some_and(|p99| p99 > 200) && last > 0 {
                    prop_assert!(now <= last);
                }
                last = now;
            }
        }

        /// Receivers that take `capacity` CONNECTs a second: what is above waits, and is slow then.
        #[test]
        fn it_finds_what_the_receivers_take(capacity in 20..1_000u32) {
            let mut rate = MoveRate::default();
            let (mut waiting, mut moved, mut slow) = (0.0_f64, 0.0, 0);
            for second in 0..120u64 {
                let pace = f64::from(rate.per_second(500));
                let served = (waiting + pace).min(f64::from(capacity));
                waiting = waiting + pace - served;
                moved += served;
                let wait_ms = whole(waiting / f64::from(capacity) * 1_000.0) + 5;
                slow += u32::from(wait_ms > 200);
                let receivers = Receivers { known: 1, connack_p99_ms: Some(wait_ms), attaching: u64::from(whole(waiting)), is_storage_away: false };
                rate.tick(receivers, LIMIT, 500, seconds(second));
            }
            let could = f64::from(capacity.min(500)) * 120.0;
            prop_assert!(moved > could * 0.5, "{} of {}", moved, could);
            prop_assert!(slow < 60, "slow for {} of 120 s", slow);
        }
    }
}
