//! Another forecast in place of the scaler's, as `bench/forecasts` compares them.

use std::time::Duration;

use freshet_scaling::backtest::{Backtest, Policy, replay, replay_foreseen};
use freshet_scaling::trace::{Kind, Trace, generate};
use freshet_scaling::{Ahead, ForecastMethod, Peak, Pool, Settings};

const SEED: u64 = 4711;

fn storms() -> (Trace, Backtest) {
    let trace = generate(Kind::HourlyStorm, SEED, 3, Duration::from_secs(10));
    let backtest = Backtest {
        settings: Settings {
            capacity_delay: Duration::from_secs(180),
            ..Settings::default()
        },
        pool: Pool::fixed(1),
        history: Duration::from_secs(86_400),
    };
    (trace, backtest)
}

#[test]
fn a_forecast_that_says_nothing_leaves_what_load_decides() {
    let (trace, backtest) = storms();
    let mut reactive = replay(&trace, &backtest, Policy::Reactive, |_| {});
    reactive.name = "nothing".to_owned();
    assert_eq!(replay_foreseen(&trace, &backtest, "nothing", &mut |_| None), reactive);
}

#[test]
fn one_who_is_told_the_peak_in_time_has_no_bad_minute() {
    let (trace, backtest) = storms();
    let mut told = |ahead: &Ahead| {
        let first = trace.rows.partition_point(|row| row.at < ahead.now);
        let value = trace.rows[first..]
            .iter()
            .take_while(|row| row.at <= ahead.until)
            .filter_map(|row| row.values[ahead.signal])
            .reduce(f64::max)?;
        Some(Peak {
            value,
            low: value,
            high: value,
            method: ForecastMethod::Present,
            error_percent: 0.0,
        })
    };
    assert!(replay(&trace, &backtest, Policy::Reactive, |_| {}).bad_minutes > 100);
    assert_eq!(replay_foreseen(&trace, &backtest, "told", &mut told).bad_minutes, 0);
}
