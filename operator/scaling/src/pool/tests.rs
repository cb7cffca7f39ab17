//! Single situations of the pool; `tests/scaling/properties.rs` has what holds for every load.

use super::*;

const AUTO: Pool = Pool {
    min: 1,
    max: 5,
    is_auto: true,
};
const DAY_S: u64 = 86_400;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(1_000_000 + seconds)
}

fn settings() -> Settings {
    Settings {
        capacity_delay: Duration::from_secs(60),
        ..Settings::default()
    }
}

/// A pool with what it remembers, in a cluster where two serve.
struct World {
    needs: Needs,
    current: u32,
}

impl World {
    fn new(current: u32) -> Self {
        Self {
            needs: Needs::default(),
            current,
        }
    }

    fn decide(&mut self, needs: u32, foreseen: u32, second: u64) -> PoolDecision {
        self.needs.note(needs, foreseen, &settings(), at(second));
        let decision = self.needs.decide(AUTO, &settings(), 2, self.current, at(second));
        self.current = decision.proxies;
        decision
    }
}

#[test]
fn a_fixed_pool_is_its_min_whatever_the_load_does() {
    let mut needs = Needs::default();
    let fixed = Pool { is_auto: false, ..AUTO };
    needs.note(1, 0, &settings(), at(0));
    needs.note(9, 9, &settings(), at(5));
    let decision = needs.decide(fixed, &settings(), 2, 4, at(5));
    assert_eq!((decision.proxies, decision.reason), (1, PoolReason::Fixed));
}

#[test]
fn the_steepest_rise_within_the_time_that_a_proxy_takes_decides() {
    let mut world = World::new(1);
    assert_eq!(world.decide(2, 2, 0).proxies, 1);
    let decision = world.decide(5, 2, 30);
    assert_eq!(decision.proxies, 3);
    assert_eq!(decision.reason.to_string(), "load has risen by 3 proxies within 66 s");
    // As many proxies more, but slowly: a cold one would have been there.
    let mut slow = World::new(1);
    for minute in 0..4 {
        slow.decide(2 + u32::try_from(minute).unwrap(), 2, minute * 70);
    }
    assert_eq!(slow.current, 1);
}

#[test]
fn a_step_counts_whole_where_a_proxy_starts_faster_than_its_mean_follows() {
    let settings = Settings {
        capacity_delay: Duration::from_secs(1),
        ..Settings::default()
    };
    // Wherever the step falls between two slots: four proxies more, of which the mean shows one after another.
    for start in 0..10 {
        let mut needs = Needs::default();
        for (second, need) in (start..).zip([2, 2, 2, 3, 4, 4, 5, 6]) {
            needs.note(need, 0, &settings, at(second));
        }
        let decision = needs.decide(AUTO, &settings, 1, 1, at(start + 7));
        assert_eq!(decision.proxies, 4, "begun at {start}: {}", decision.reason);
    }
}

#[test]
fn a_rise_is_counted_from_those_that_serve_in_any_case() {
    let mut world = World::new(1);
    world.decide(0, 0, 0);
    assert_eq!(world.decide(2, 0, 10).proxies, 1);
    assert_eq!(world.decide(4, 0, 20).proxies, 2);
}

#[test]
fn what_is_foreseen_counts_without_those_that_serve() {
    let mut world = World::new(1);
    let decision = world.decide(2, 5, 0);
    assert_eq!(decision.proxies, 3);
    assert_eq!(
        decision.reason.to_string(),
        "the next 60 s are foreseen to need 5 proxies, and 2 are asked for"
    );
}

#[test]
fn the_bounds_hold_and_are_named() {
    let mut world = World::new(1);
    world.decide(1, 1, 0);
    let decision = world.decide(9, 1, 5);
    assert_eq!(decision.proxies, 5);
    assert!(decision.reason.to_string().ends_with(": warm.max holds"));
    // With 8 of 10 that serve, two can be promoted.
    let decision = world.needs.decide(AUTO, &settings(), 8, 1, at(5));
    assert_eq!(decision.proxies, 2);
    assert!(
        decision
            .reason
            .to_string()
            .ends_with(": no more may serve than scaling.max")
    );
}

#[test]
fn one_goes_after_each_delay_in_which_fewer_were_enough() {
    let mut needs = Needs::default();
    let mut current = 4;
    let mut counts = Vec::new();
    for second in (0..=1_000).step_by(10) {
        needs.note(2, 2, &settings(), at(second));
        current = needs.decide(AUTO, &settings(), 2, current, at(second)).proxies;
        if [0, 290, 300, 590, 600, 900, 1_000].contains(&second) {
            counts.push(current);
        }
    }
    assert_eq!(counts, [4, 4, 3, 3, 2, 1, 1]);
}

#[test]
fn a_rise_is_remembered_for_the_longest_season_and_a_day() {
    let mut world = World::new(1);
    world.decide(2, 2, 0);
    world.decide(4, 2, 10);
    for hour in 1..=24 * 8 {
        world.decide(2, 2, hour * 3_600);
    }
    assert_eq!(world.current, 2, "seven days and one");
    world.decide(2, 2, 8 * DAY_S + 3_600);
    world.decide(2, 2, 8 * DAY_S + 7_200);
    assert_eq!(world.current, 1);
}

#[test]
fn what_is_not_known_stays_and_is_brought_within_the_bounds() {
    let mut needs = Needs::default();
    for (current, expected) in [(0, 1), (3, 3), (9, 5)] {
        let decision = needs.decide(AUTO, &settings(), 2, current, at(0));
        assert_eq!((decision.proxies, decision.reason), (expected, PoolReason::Unknown));
    }
    needs.note(2, 2, &settings(), at(0));
    let decision = needs.decide(AUTO, &settings(), 2, 3, at(3_600));
    assert_eq!((decision.proxies, decision.reason), (3, PoolReason::Unknown));
}

#[test]
fn a_clock_that_is_set_back_makes_no_rise_and_takes_nobody_away_sooner() {
    let mut world = World::new(3);
    world.decide(1, 1, 5_000);
    let decision = world.decide(4, 1, 10);
    assert_eq!(decision.proxies, 3, "{}", decision.reason);
    assert_eq!(world.decide(4, 1, 290).proxies, 3);
    assert_eq!(world.decide(4, 1, 310).proxies, 2);
}

#[test]
fn what_is_remembered_is_small_whatever_the_load_does() {
    let mut needs = Needs::default();
    let wide = Settings {
        max: 1_000,
        capacity_delay: Duration::from_secs(600),
        ..Settings::default()
    };
    for second in 0..20_000_u64 {
        let load = u32::try_from(second * 7_919 % 997).unwrap();
        needs.note(load, load, &wide, at(second));
    }
    assert!(needs.lows.len() <= NEEDS_MAX && needs.rises.len() <= RISES_MAX);
}
