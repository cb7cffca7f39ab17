//! A scaler that was written down and read again goes on as if nothing had happened, and what it writes is small.

use std::time::Duration;

use freshet_scaling::trace::{Kind, generate};
use freshet_scaling::{Sample, Scaler, Settings, StateError};

/// A ConfigMap holds 1 MiB.
const ROOM: usize = 1 << 20;

#[test]
fn a_scaler_that_restarts_decides_as_one_that_does_not() {
    let trace = generate(Kind::HourlyStorm, 11, 3, Duration::from_secs(10));
    let settings = Settings {
        capacity_delay: Duration::from_secs(180),
        ..Settings::default()
    };
    let mut steady = Scaler::new(settings.clone());
    let mut restarted = Scaler::new(settings.clone());
    let mut count = 4;
    let mut changes = 0;
    for (index, row) in trace.rows.iter().enumerate() {
        if index % 2_500 == 2_499 {
            restarted = Scaler::restore(settings.clone(), &restarted.state()).expect("its own state");
        }
        let sample = Sample {
            at: row.at,
            proxies: Some(count),
            is_partial: false,
            values: row.values,
            round_trip_p99_ms: row.round_trip_p99_ms,
            ..Sample::default()
        };
        steady.observe(&sample);
        restarted.observe(&sample);
        let decision = steady.decide(row.at, count);
        assert_eq!(decision, restarted.decide(row.at, count), "row {index}");
        changes += u32::from(decision.to != count);
        count = decision.to;
    }
    assert!(changes > 50, "only {changes} changes to compare");
    assert_eq!(steady, restarted);
}

#[test]
fn weeks_of_history_fit_a_config_map_four_times() {
    let trace = generate(Kind::Drift, 12, 20, Duration::from_secs(60));
    let mut scaler = Scaler::new(Settings::default());
    for row in &trace.rows {
        scaler.observe(&Sample {
            at: row.at,
            proxies: Some(4),
            is_partial: false,
            values: row.values,
            round_trip_p99_ms: row.round_trip_p99_ms,
            ..Sample::default()
        });
    }
    let size = scaler.state().len();
    assert!(size < ROOM / 4 && size > 100_000, "{size} bytes");
}

#[test]
fn what_is_no_state_is_refused() {
    let restore = |state: &str| Scaler::restore(Settings::default(), state).expect_err("no state");
    assert_eq!(restore(""), StateError::Unreadable);
    assert_eq!(restore("{\"version\":1}"), StateError::Unreadable);
    assert_eq!(restore("{\"version\":7,\"memory\":null}"), StateError::Version(7));
    let state = Scaler::new(Settings::default()).state();
    assert_eq!(restore(&state[..state.len() / 2]), StateError::Unreadable);
}

/// The longest windows that the resource allows, with a look each second.
#[test]
fn so_do_the_samples_of_the_longest_window() {
    let mut settings = Settings::default();
    settings.windows.stable = Duration::from_secs(3_600);
    let mut scaler = Scaler::new(settings);
    for second in 0..8_000_u32 {
        let load = |signal: f64| Some(signal * f64::from(second).mul_add(0.123_456_789, 98_765.432_1));
        let mut place = 1.0;
        let mut values = || {
            freshet_scaling::PerSignal::of(|_| {
                place *= 1.1;
                load(place)
            })
        };
        scaler.observe(&Sample {
            at: Duration::from_millis(1_767_571_200_123 + u64::from(second) * 1_001),
            proxies: Some(1_000),
            is_partial: false,
            values: values(),
            round_trip_p99_ms: Some(f64::from(second % 97)),
            slowest: values(),
        });
    }
    let size = scaler.state().len();
    assert!(size < ROOM / 4, "{size} bytes");
}
