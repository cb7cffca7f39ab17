//! The pool of warm proxies: what holds for every load, and what a pool that load sizes is worth.

use std::time::Duration;

use freshet_scaling::backtest::{Backtest, Policy, replay};
use freshet_scaling::trace::{Kind, generate};
use freshet_scaling::{Pool, PoolReason, Sample, Scaler, Settings, Signal};
use proptest::prelude::*;

/// Some seconds of one load; none: nothing is measured. A restart comes before it, or a jump of the clock.
#[derive(Debug, Clone)]
struct Stretch {
    connections: Option<f64>,
    seconds: u32,
    restarts: bool,
    jump_s: i32,
}

fn stretch() -> impl Strategy<Value = Stretch> {
    let connections = prop_oneof![4 => (0.0..150_000.0_f64).prop_map(Some), 1 => Just(None)];
    let jump_s = prop_oneof![8 => Just(0), 1 => -5_000..5_000_i32];
    (connections, 1_u32..200, prop::bool::weighted(0.1), jump_s).prop_map(|(connections, seconds, restarts, jump_s)| {
        Stretch {
            connections,
            seconds,
            restarts,
            jump_s,
        }
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    (0_u64..300, 1_u64..200, 1_u32..20).prop_map(|(delay, capacity_delay, max)| {
        let mut settings = Settings {
            min: 1,
            max,
            capacity_delay: Duration::from_secs(capacity_delay),
            ..Settings::default()
        };
        settings.behavior.scale_in_delay = Duration::from_secs(delay);
        settings
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn it_stays_within_its_bounds_shrinks_one_at_a_time_and_never_in_the_dark(
        settings in settings(),
        min in 0_u32..4,
        more in 0_u32..6,
        stretches in prop::collection::vec(stretch(), 1..12),
    ) {
        let pool = Pool { min, max: min + more, is_auto: true };
        let mut scaler = Scaler::new(settings.clone());
        let mut now = Duration::from_secs(1_000_000_000);
        let (mut active, mut warm) = (1, min);
        let mut shrunk = None::<Duration>;
        for stretch in stretches {
            if stretch.restarts {
                scaler = Scaler::restore(settings.clone(), &scaler.state()).expect("its own state");
            }
            if stretch.jump_s != 0 {
                let jump = Duration::from_secs(u64::from(stretch.jump_s.unsigned_abs()));
                now = if stretch.jump_s < 0 { now - jump } else { now + jump };
                shrunk = None;
            }
            for _ in 0..stretch.seconds {
                now += Duration::from_secs(1);
                let mut sample = Sample { at: now, proxies: Some(active), ..Sample::default() };
                sample.values[Signal::Connections] = stretch.connections;
                scaler.observe(&sample);
                active = scaler.decide(now, active).to;
                let decision = scaler.decide_pool(now, pool, active, warm);
                prop_assert!((min..=min + more).contains(&decision.proxies), "{} at {now:?}", decision.proxies);
                prop_assert!(!decision.reason.to_string().is_empty());
                if decision.reason == PoolReason::Unknown {
                    prop_assert_eq!(decision.proxies, warm);
                }
                if decision.proxies < warm {
                    prop_assert_eq!(decision.proxies, warm - 1);
                    if let Some(before) = shrunk {
                        prop_assert!(now >= before + settings.behavior.scale_in_delay, "{before:?} and {now:?}");
                    }
                    shrunk = Some(now);
                }
                warm = decision.proxies;
            }
        }
    }

    #[test]
    fn nothing_goes_that_was_there_before_anything_was_measured(warm in 0_u32..9, seconds in 1_u64..2_000) {
        let pool = Pool { min: 1, max: 5, is_auto: true };
        let mut scaler = Scaler::new(Settings::default());
        let mut there = warm;
        for second in 0..seconds {
            let now = Duration::from_secs(1_000_000_000 + second);
            scaler.decide(now, 2);
            there = scaler.decide_pool(now, pool, 2, there).proxies;
        }
        prop_assert_eq!(there, warm.clamp(1, 5));
    }
}

#[test]
fn a_pool_that_load_sizes_serves_more_of_what_is_not_foreseen_and_is_paid_for() {
    let trace = generate(Kind::HourlyStorm, 90_210, 6, Duration::from_secs(10));
    let replayed = |pool| {
        let mut settings = Settings {
            capacity_delay: Duration::from_secs(180),
            ..Settings::default()
        };
        settings.predict.enabled = false;
        let backtest = Backtest {
            settings,
            pool,
            history: Duration::from_secs(2 * 86_400),
        };
        let mut most = 0;
        let score = replay(&trace, &backtest, Policy::Freshet, |row| most = most.max(row.warm));
        (score, most)
    };
    let (fixed, of_fixed) = replayed(Pool::fixed(1));
    let (auto, of_auto) = replayed(Pool {
        min: 1,
        max: 5,
        is_auto: true,
    });
    assert_eq!(of_fixed, 1);
    assert!((2..=5).contains(&of_auto), "{of_auto} were warm");
    assert!(
        auto.bad_minutes < fixed.bad_minutes,
        "{} and {} bad minutes",
        auto.bad_minutes,
        fixed.bad_minutes
    );
    assert!(auto.proxy_hours > fixed.proxy_hours);
}
