//! Replays one trace with every forecast.

use std::time::Duration;

use anyhow::Context;
use freshet_scaling::backtest::{Backtest, Policy, Score, replay, replay_foreseen};
use freshet_scaling::trace::{Kind, Trace, generate};
use freshet_scaling::{Ahead, ForecastMethod, Peak, Pool, Settings, Signal};

use crate::cpu::timed;
use crate::fits::Fits;
use crate::methods::{End, Fit, Method};
use crate::series::Series;

/// A trace, and which signal of it is foreseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
    pub(crate) days: u32,
    pub(crate) history_days: u32,
    /// Fits take long, so only the signal that decides is fitted; [`run`] fails where another one does.
    pub(crate) signal: Signal,
}

/// What came of a trace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) case: Case,
    pub(crate) replays: Vec<Replays>,
    /// Mean CPU of a fit by method, and over the last day.
    pub(crate) fits: Vec<(&'static str, Duration, Duration)>,
    /// CPU that the scaler's own forecast takes for a day of load and all signals.
    pub(crate) own_cpu_of_a_day: Duration,
}

/// The scores with one capacity delay.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Replays {
    pub(crate) delay_s: u64,
    pub(crate) reactive: Score,
    pub(crate) oracle: Score,
    /// The scaler's own forecast, and then the others.
    pub(crate) foreseen: Vec<Score>,
}

/// Fits each model over the trace, and replays it with each forecast and delay.
pub(crate) fn run(case: &Case, methods: &[&Method], delays_s: &[u64]) -> anyhow::Result<Outcome> {
    let trace = generate(case.kind, case.seed, case.days, Duration::from_secs(10));
    ensure_decides(&trace, case.signal, &Settings::default())?;
    let start = trace.rows.first().context("an empty trace")?.at;
    let history = Duration::from_secs(u64::from(case.history_days) * 86_400);
    // From an hour before what is scored, so that it is scored as it goes on.
    let fit_from_s = (start + history).as_secs() - 3600;
    let mut fitted: Vec<(Fit, Fits)> = Vec::new();
    for fit in methods.iter().filter_map(|method| method.fit) {
        if !fitted.iter().any(|(known, _)| *known == fit) {
            let series = Series::of_trace(&trace, case.signal, fit.bin_minutes, fit.of);
            fitted.push((fit, Fits::run(&series, &fit, fit_from_s)?));
        }
    }
    let fits_of = |method: &Method| {
        fitted
            .iter()
            .find(|(fit, _)| Some(*fit) == method.fit)
            .map(|(_, fits)| fits)
    };
    let mut own_cpu_of_a_day = Duration::ZERO;
    let mut replays = Vec::new();
    for delay_s in delays_s {
        let backtest = Backtest {
            settings: Settings {
                capacity_delay: Duration::from_secs(*delay_s),
                ..Settings::default()
            },
            pool: Pool::fixed(1),
            history,
        };
        let (reactive, without) = timed(|| replay(&trace, &backtest, Policy::Reactive, |_| {}));
        let (freshet, with) = timed(|| replay(&trace, &backtest, Policy::Freshet, |_| {}));
        own_cpu_of_a_day = with.saturating_sub(without) / case.days;
        let oracle = replay(&trace, &backtest, Policy::Oracle, |_| {});
        let half_tolerance = 1.0 + backtest.settings.behavior.tolerance_percent / 200.0;
        let mut foreseen = vec![freshet];
        for method in methods {
            let fits = fits_of(method);
            let mut foresee = |ahead: &Ahead| {
                let ahead = Some(ahead).filter(|ahead| ahead.signal == case.signal)?;
                let seconds = ahead.from.as_secs()..=ahead.until.as_secs();
                let fitted = fits.and_then(|fits| fits.peak(ahead.now.as_secs(), seconds));
                let fitted = fitted.map(|(point, upper)| match method.decides {
                    End::Point => point,
                    End::Upper => upper,
                });
                let present = method.with_present.then_some(ahead.present * half_tolerance);
                let high = fitted.into_iter().chain(present).reduce(f64::max)?;
                Some(Peak {
                    value: high,
                    low: high,
                    high,
                    method: ForecastMethod::Season { minutes: 24 * 60 },
                    error_percent: 0.0,
                })
            };
            foreseen.push(replay_foreseen(&trace, &backtest, method.name, &mut foresee));
        }
        replays.push(Replays {
            delay_s: *delay_s,
            reactive,
            oracle,
            foreseen,
        });
    }
    Ok(Outcome {
        case: *case,
        replays,
        fits: methods
            .iter()
            .filter_map(|method| Some((method.name, fits_of(method)?)))
            .map(|(name, fits)| (name, fits.cpu, fits.last_cpu))
            .collect(),
        own_cpu_of_a_day,
    })
}

/// Fails when publishes ever need more than the fewest proxies: what is scored is connections and publishes.
fn ensure_decides(trace: &Trace, decides: Signal, settings: &Settings) -> anyhow::Result<()> {
    for signal in [Signal::Connections, Signal::PublishesInPerSecond] {
        let carried = settings.targets[signal].unwrap_or(f64::INFINITY)
            * (1.0 + settings.behavior.tolerance_percent / 100.0)
            * f64::from(settings.min);
        let values = trace.rows.iter().filter_map(|row| row.values[signal]);
        let greatest = values.fold(0.0, f64::max);
        anyhow::ensure!(
            signal == decides || greatest <= carried,
            "{} decides as well: {greatest}",
            signal.name()
        );
    }
    Ok(())
}
