//! Forecasts of a series, fitted anew every some minutes to what was there before.

use std::borrow::Cow;
use std::error::Error;
use std::ops::RangeInclusive;
use std::time::Duration;

use augurs_core::{Fit as _, Forecast, Predict as _};
use augurs_ets::AutoETS;
use augurs_mstl::{FittedTrendModel, MSTLModel, TrendModel};

use crate::cpu::timed;
use crate::methods::{Fit, Model, Scale, Trend};
use crate::series::Series;

const DAY_MINUTES: u64 = 24 * 60;
/// What is looked ahead of a refit beyond the next one: at least the horizon of a capacity delay of 180 s.
const AHEAD_MINUTES: u64 = 10;
/// How much of a series exponential smoothing is fitted to where it is not all of it.
const RECENT_MINUTES: u64 = 6 * 60;
/// Deviations from the mean below which 95 % lie, for an interval of 90 %.
const NORMAL_95: f64 = 1.645;
const LEVEL: f64 = 0.9;

/// What was foreseen at one time.
#[derive(Debug, Clone, PartialEq)]
struct Outlook {
    /// The first bin that is foreseen: the one in which it was fitted.
    first: u64,
    point: Vec<f64>,
    upper: Vec<f64>,
}

/// What was foreseen over a trace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fits {
    outlooks: Vec<Outlook>,
    bin_minutes: u64,
    /// Mean CPU time of a fit with its forecast.
    pub(crate) cpu: Duration,
    /// That of the last day, with the longest series.
    pub(crate) last_cpu: Duration,
}

impl Fits {
    /// Fits the model again and again from `start_s` on, each time to the bins that are over.
    pub(crate) fn run(series: &Series, fit: &Fit, start_s: u64) -> anyhow::Result<Self> {
        let every = (fit.refit_minutes / series.bin_minutes).max(1);
        let end = series.first + count(series.values.len());
        let horizon = every + AHEAD_MINUTES.div_ceil(series.bin_minutes) + 1;
        let mut outlooks = Vec::new();
        let mut times = Vec::new();
        for first in (series.bin_of(start_s)..end).step_by(size(every)) {
            let (outlook, cpu) = timed(|| foresee(series, fit.model, first, size(horizon)));
            outlooks.push(outlook?);
            times.push(cpu);
        }
        let a_day = size(DAY_MINUTES / fit.refit_minutes);
        Ok(Self {
            outlooks,
            bin_minutes: series.bin_minutes,
            cpu: mean(&times),
            last_cpu: mean(&times[times.len().saturating_sub(a_day)..]),
        })
    }

    /// The greatest point and the greatest upper end within these minutes, as the last fit before `now` foresees it.
    pub(crate) fn peak(&self, now_s: u64, seconds: RangeInclusive<u64>) -> Option<(f64, f64)> {
        let bin = |second: u64| second / 60 / self.bin_minutes;
        let next = self.outlooks.partition_point(|outlook| outlook.first <= bin(now_s));
        let outlook = self.outlooks.get(next.checked_sub(1)?)?;
        let index = |second: u64| size(bin(second).saturating_sub(outlook.first));
        let bins = index(*seconds.start())..=index(*seconds.end());
        let greatest = |values: &[f64]| values.get(bins.clone())?.iter().copied().reduce(f64::max);
        Some((greatest(&outlook.point)?, greatest(&outlook.upper)?))
    }
}

fn foresee(series: &Series, model: Model, first: u64, horizon: usize) -> anyhow::Result<Outlook> {
    let known = series.before(first);
    let day = size(DAY_MINUTES / series.bin_minutes);
    let (point, upper) = match model {
        Model::SeasonalNaive => seasonal_naive(known, if known.len() >= 14 * day { 7 * day } else { day }, horizon),
        Model::Mstl { on, trend } => {
            let mut periods = vec![day];
            if known.len() >= 14 * day {
                periods.push(7 * day);
            }
            let values: Vec<f64> = match on {
                Scale::Linear => known.to_vec(),
                Scale::Logarithm => known.iter().map(|value| value.ln_1p()).collect(),
            };
            let mut forecast = MSTLModel::new(periods, trend_model(trend, series.bin_minutes))
                .fit(&values)?
                .predict(horizon, LEVEL)?;
            if on == Scale::Logarithm {
                to_linear(&mut forecast);
            }
            let upper = forecast.intervals.map(|intervals| intervals.upper).unwrap_or_default();
            (forecast.point, upper)
        }
    };
    Ok(Outlook { first, point, upper })
}

fn to_linear(forecast: &mut Forecast) {
    let ends = forecast.intervals.iter_mut().flat_map(|intervals| &mut intervals.upper);
    forecast
        .point
        .iter_mut()
        .chain(ends)
        .for_each(|value| *value = value.exp_m1());
}

fn seasonal_naive(known: &[f64], season: usize, horizon: usize) -> (Vec<f64>, Vec<f64>) {
    let squares: Vec<f64> = known
        .windows(season + 1)
        .map(|window| (window[season] - window[0]).powi(2))
        .collect();
    let deviation = (squares.iter().sum::<f64>() / squares.len().max(1) as f64).sqrt();
    let point: Vec<f64> = known[known.len().saturating_sub(season)..]
        .iter()
        .copied()
        .take(horizon)
        .collect();
    let upper = point.iter().map(|value| value + NORMAL_95 * deviation).collect();
    (point, upper)
}

/// A trend model of the last values only: smoothing forgets what was before anyway, and its search does not get longer.
#[derive(Debug)]
struct Recent {
    model: AutoETS,
    values: usize,
}

impl TrendModel for Recent {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("AutoETS of the last values")
    }

    fn fit(&self, y: &[f64]) -> Result<Box<dyn FittedTrendModel + Sync + Send>, Box<dyn Error + Send + Sync>> {
        let recent = &y[y.len().saturating_sub(self.values)..];
        self.model.clone().into_trend_model().fit(recent)
    }
}

fn trend_model(trend: Trend, bin_minutes: u64) -> Box<dyn TrendModel> {
    let values = size(RECENT_MINUTES / bin_minutes);
    let model = AutoETS::non_seasonal();
    match trend {
        Trend::AutoEts => Box::new(model.into_trend_model()),
        Trend::RecentAutoEts => Box::new(Recent { model, values }),
    }
}

fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>() / u32::try_from(times.len().max(1)).unwrap_or(u32::MAX)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
