//! A schedule in a backtest: what was asked for beforehand is there when load comes that nothing foretold.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use freshet_scaling::backtest::{Backtest, Policy, TimelineRow, replay};
use freshet_scaling::trace::{Trace, TraceRow};
use freshet_scaling::{PerSignal, Pool, Scheduled, Settings, Signal};

/// Midnight in Berlin, on Sunday 29 March 2026: at two the clock is set to three.
const MIDNIGHT_S: u64 = 1_774_738_800;
const STEP_S: u64 = 10;

/// Five hours of quiet, but for a firmware campaign from 01:00 UTC on, of half an hour.
fn campaign() -> Trace {
    let rows = (0..5 * 3600 / STEP_S)
        .map(|step| {
            let second = step * STEP_S;
            let is_campaign = (7200..9000).contains(&second);
            TraceRow {
                at: Duration::from_secs(MIDNIGHT_S + second),
                values: PerSignal::of(|signal| {
                    (signal == Signal::Connections).then_some(if is_campaign { 60_000.0 } else { 12_000.0 })
                }),
                round_trip_p99_ms: None,
            }
        })
        .collect();
    Trace { rows }
}

/// Bad minutes and the timeline of a policy.
fn run(policy: Policy, scheduled: Vec<Scheduled>) -> (u64, Vec<TimelineRow>) {
    let backtest = Backtest {
        settings: Settings {
            scheduled,
            capacity_delay: Duration::from_secs(180),
            ..Settings::default()
        },
        pool: Pool::fixed(1),
        history: Duration::ZERO,
    };
    let mut timeline = Vec::new();
    let score = replay(&campaign(), &backtest, policy, |row| timeline.push(*row));
    (score.bad_minutes, timeline)
}

/// At three in Berlin, which is 01:00 UTC on that day: the first moment after those that are skipped.
fn night() -> Vec<Scheduled> {
    let hour = Duration::from_secs(3600);
    vec![Scheduled::read("firmware-night", "30 2 * * SUN", "Europe/Berlin", hour, 6).expect("an entry")]
}

#[test]
fn load_that_was_announced_is_served_from_its_first_second() {
    for policy in [Policy::Freshet, Policy::Reactive] {
        let (unannounced, _) = run(policy, Vec::new());
        assert!(
            unannounced > 0,
            "{policy:?}: nothing was missed that could be announced"
        );
        let (announced, _) = run(policy, night());
        assert_eq!(announced, 0, "{policy:?}");
    }
}

#[test]
fn what_was_asked_for_is_there_from_begin_to_end_and_not_before() {
    let (_, timeline) = run(Policy::Freshet, night());
    let begin = MIDNIGHT_S + 7200;
    for row in &timeline {
        let second = row.at.as_secs();
        if second < begin - 180 {
            assert_eq!(row.desired, 2, "{second}");
        } else if second < begin + 3600 {
            assert!(row.desired >= 6, "{} at {second}", row.desired);
        }
        if (begin..begin + 3600).contains(&second) {
            assert!(row.serving >= 6, "{} serve at {second}", row.serving);
        }
    }
    assert_eq!(timeline.last().map(|row| row.desired), Some(2));
}

#[test]
fn policies_without_a_calendar_go_on_without_one() {
    for policy in [Policy::Hpa, Policy::Oracle] {
        assert_eq!(run(policy, night()), run(policy, Vec::new()), "{policy:?}");
    }
}
