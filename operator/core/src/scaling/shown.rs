//! What `status.scaling` says. Numbers are rounded to two digits, so that a load that sways does not write a status for
//! each of its values; times stay as they were while what they stand at does.

use std::time::Duration;

use freshet_operator_api::{ForecastStatus, LearnedCapacityStatus, ScalingMode, ScalingStatus, SignalStatus};
use freshet_scaling::{Forecast, ForecastMethod, Signal, View};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// Shows what the scaler goes by. Decisions are those of `before`.
pub(super) fn show(
    view: &View,
    mode: ScalingMode,
    desired: u32,
    objective_ms: Option<f64>,
    proxies: Option<u32>,
    now: Duration,
    before: &ScalingStatus,
) -> ScalingStatus {
    let load = Signal::ALL.into_iter().filter_map(|signal| {
        let shown = view.signals[signal]?;
        let unit = if matches!(signal, Signal::CpuPercent | Signal::MemoryPercent) {
            "%"
        } else {
            ""
        };
        let per_proxy = proxies.filter(|proxies| *proxies > 0);
        Some(SignalStatus {
            name: signal.name().to_owned(),
            current: shown.value.map(|value| text(value, unit)),
            per_proxy: shown
                .value
                .zip(per_proxy)
                .map(|(value, proxies)| text(value / f64::from(proxies), unit)),
            target: format!("{}{unit}", shown.target),
            desired: shown.needs,
            valid: shown.value.is_some(),
        })
    });
    let round_trip = objective_ms.map(|objective| SignalStatus {
        name: "publishRoundTripP99".to_owned(),
        current: view.round_trip_p99_ms.map(|ms| text(ms, "ms")),
        per_proxy: None,
        target: format!("{objective}ms"),
        desired: None,
        valid: view.round_trip_p99_ms.is_some(),
    });
    ScalingStatus {
        mode,
        desired,
        signals: load.chain(round_trip).collect(),
        learned_capacity: learned(view, now, before),
        forecast: view.forecast.as_ref().map(|forecast| foreseen(forecast, before)),
        last_decision: before.last_decision.clone(),
        decisions: before.decisions.clone(),
        warm: None,
        next_scheduled: None,
        ceiling: None,
    }
}

/// A time since the Unix epoch, to the second, as it is stored.
pub(super) fn time(at: Duration) -> Time {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    Time(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}

fn learned(view: &View, now: Duration, before: &ScalingStatus) -> Option<LearnedCapacityStatus> {
    let of = |signal: Signal| view.learned[signal].map(|learned| whole(rounded(learned)));
    let mut learned = LearnedCapacityStatus {
        connections: of(Signal::Connections),
        connects_per_second: of(Signal::ConnectsPerSecond),
        publishes_in_per_second: of(Signal::PublishesInPerSecond),
        deliveries_out_per_second: of(Signal::DeliveriesOutPerSecond),
        as_of: time(now),
    };
    let is_any = [
        learned.connections,
        learned.connects_per_second,
        learned.publishes_in_per_second,
        learned.deliveries_out_per_second,
    ]
    .iter()
    .any(Option::is_some);
    if let Some(before) = &before.learned_capacity {
        let same = LearnedCapacityStatus {
            as_of: before.as_of.clone(),
            ..learned.clone()
        };
        if same == *before {
            learned = same;
        }
    }
    is_any.then_some(learned)
}

fn foreseen(forecast: &Forecast, before: &ScalingStatus) -> ForecastStatus {
    let number = |value: f64| u64::from(whole(rounded(value)));
    let shown = ForecastStatus {
        at: time(forecast.until),
        signal: forecast.signal.name().to_owned(),
        value: number(forecast.value),
        low: number(forecast.low),
        high: number(forecast.high),
        desired: forecast.proxies,
        method: match forecast.method {
            ForecastMethod::Season { minutes } => format!("season-{}h", minutes / 60),
            ForecastMethod::Trend => "rise".to_owned(),
            ForecastMethod::Present => "as-now".to_owned(),
        },
        mape_percent: whole(rounded(forecast.error_percent)),
    };
    match &before.forecast {
        Some(before)
            if *before
                == (ForecastStatus {
                    at: before.at.clone(),
                    ..shown.clone()
                }) =>
        {
            before.clone()
        }
        _ => shown,
    }
}

fn text(value: f64, unit: &str) -> String {
    format!("{}{unit}", rounded(value))
}

/// Two digits; whole numbers below 100 as they are.
fn rounded(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 0.0;
    }
    if value >= 10.0 {
        let unit = 10_f64.powf(value.log10().floor() - 1.0);
        return (value / unit).round() * unit.round();
    }
    (value * 10.0).round() / 10.0
}

fn whole(value: f64) -> u32 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what the number holds"
    )]
    let whole = value.round().clamp(0.0, f64::from(u32::MAX)) as u32;
    whole
}

#[cfg(test)]
mod tests {
    use freshet_scaling::{PerSignal, SignalView};

    use super::*;

    #[test]
    fn numbers_have_two_digits() {
        for (value, expected) in [
            (0.0, "0"),
            (0.04, "0"),
            (3.12, "3.1"),
            (9.99, "10"),
            (38.4, "38"),
            (99.6, "100"),
            (31_249.0, "31000"),
            (1_250_000.0, "1300000"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(text(value, ""), expected, "{value}");
        }
    }

    #[test]
    fn times_stay_while_what_they_stand_at_does() {
        let forecast = |value, until| Forecast {
            signal: Signal::Connections,
            until: Duration::from_secs(until),
            value,
            low: value,
            high: value,
            capacity: 10_000.0,
            proxies: 3,
            method: ForecastMethod::Season { minutes: 1_440 },
            error_percent: 6.2,
        };
        let before = ScalingStatus {
            forecast: Some(foreseen(&forecast(30_000.0, 100), &ScalingStatus::default())),
            ..ScalingStatus::default()
        };
        assert_eq!(
            foreseen(&forecast(30_100.0, 101), &before).at,
            time(Duration::from_secs(100))
        );
        let risen = foreseen(&forecast(33_000.0, 102), &before);
        assert_eq!(
            (risen.at, risen.method.as_str()),
            (time(Duration::from_secs(102)), "season-24h")
        );
    }

    fn view(learned: Option<f64>) -> View {
        let mut view = View {
            signals: PerSignal::default(),
            round_trip_p99_ms: None,
            forecast: None,
            learned: PerSignal::default(),
        };
        view.signals[Signal::Connections] = Some(SignalView {
            value: Some(35_000.0),
            target: 10_000.0,
            needs: Some(4),
        });
        view.learned[Signal::Connections] = learned;
        view
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_each_proxy_has_is_shown_when_it_is_known_how_many_there_are() {
        let per_proxy = |proxies: Option<u32>| {
            let before = ScalingStatus::default();
            let shown = show(&view(None), ScalingMode::Scale, 4, None, proxies, at(1), &before);
            shown.signals[0].per_proxy.clone()
        };
        assert_eq!(per_proxy(Some(4)).as_deref(), Some("8800"));
        assert_eq!((per_proxy(Some(0)), per_proxy(None)), (None, None));
    }

    #[test]
    fn what_was_learned_is_shown_with_the_time_at_which_it_changed() {
        let mut before = ScalingStatus::default();
        let mut shown = |value: Option<f64>, seconds: u64| {
            let view = view(value);
            before = show(&view, ScalingMode::Scale, 4, None, Some(4), at(seconds), &before);
            let learned = before.learned_capacity.as_ref();
            learned.map(|learned| (learned.connections, learned.as_of.0.as_second()))
        };
        assert_eq!(shown(None, 1), None);
        assert_eq!(shown(Some(8_123.0), 2), Some((Some(8_100), 2)));
        assert_eq!(shown(Some(8_124.0), 3), Some((Some(8_100), 2)));
        assert_eq!(shown(Some(7_000.0), 4), Some((Some(7_000), 4)));
    }
}
