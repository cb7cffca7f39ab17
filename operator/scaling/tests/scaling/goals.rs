//! What looking ahead must be worth, on traces with seeds that were not used while it was made.

use std::time::Duration;

use freshet_scaling::backtest::{Backtest, Policy, Score, replay};
use freshet_scaling::trace::{Kind, generate};
use freshet_scaling::{Pool, Settings};

const SEED: u64 = 90_210;

struct Outcome {
    freshet: Score,
    reactive: Score,
    oracle: Score,
}

fn run(kind: Kind, delay_s: u64) -> Outcome {
    let trace = generate(kind, SEED, 10, Duration::from_secs(10));
    let backtest = Backtest {
        settings: Settings {
            capacity_delay: Duration::from_secs(delay_s),
            ..Settings::default()
        },
        pool: Pool::fixed(1),
        history: Duration::from_secs(3 * 86_400),
    };
    let replayed = |policy| replay(&trace, &backtest, policy, |_| {});
    Outcome {
        freshet: replayed(Policy::Freshet),
        reactive: replayed(Policy::Reactive),
        oracle: replayed(Policy::Oracle),
    }
}

/// Bad minutes as a number that can be divided.
fn bad(score: &Score) -> f64 {
    score.bad_minutes as f64
}

fn unserved(score: &Score) -> f64 {
    score.unserved_connection_seconds + score.unserved_publish_seconds
}

#[test]
fn with_a_season_most_of_the_gap_to_one_who_knows_is_closed() {
    for kind in [Kind::HourlyStorm, Kind::DeviceReports, Kind::Weekend, Kind::Drift] {
        let Outcome {
            freshet,
            reactive,
            oracle,
        } = run(kind, 180);
        assert!(reactive.bad_minutes >= 30, "{}: nothing to close", kind.name());
        for measure in [bad, unserved] {
            let gap = measure(&reactive) - measure(&oracle);
            let closed = (measure(&reactive) - measure(&freshet)) / gap;
            assert!(closed >= 0.8, "{}: {closed}", kind.name());
        }
        let more = freshet.proxy_hours / reactive.proxy_hours - 1.0;
        assert!(more <= 0.15, "{}: {more} more proxy-hours", kind.name());
    }
}

#[test]
fn capacity_that_comes_at_once_costs_hardly_more_and_serves_no_less() {
    for kind in [Kind::HourlyStorm, Kind::Weekend, Kind::Walk] {
        let Outcome { freshet, reactive, .. } = run(kind, 3);
        assert!(freshet.bad_minutes <= reactive.bad_minutes, "{}", kind.name());
        assert!(unserved(&freshet) <= unserved(&reactive) * 1.05, "{}", kind.name());
        let more = freshet.proxy_hours / reactive.proxy_hours - 1.0;
        assert!(more <= 0.05, "{}: {more} more proxy-hours", kind.name());
    }
}

#[test]
fn one_who_knows_leaves_nothing_unserved_for_the_least_proxy_hours() {
    for kind in Kind::ALL {
        let Outcome {
            freshet,
            reactive,
            oracle,
        } = run(kind, 180);
        assert_eq!(oracle.bad_minutes, 0, "{}", kind.name());
        assert!(oracle.proxy_hours < reactive.proxy_hours && oracle.proxy_hours < freshet.proxy_hours);
    }
}
