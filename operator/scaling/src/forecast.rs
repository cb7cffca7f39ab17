//! What the next minutes need: load that repeats itself is expected again.
//!
//! For each signal, the greatest load of each minute is kept for a season and a day. Methods foresee the peak until new
//! capacity could serve: what was there one season ago and before, the rise of the last minutes going on, and "as now".
//! Each foresees every minute and is judged when the outcome is there; its errors so far are its interval. Every season
//! speaks that has shown itself better than "as now", since a day may be like yesterday or like a week ago, or the rise
//! where that has done better than any season. "As now" always does, within narrow bounds: load that crept up to what is
//! carried at most goes beyond it with the next measurement.

mod codes;
mod expert;
mod history;
mod record;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::number::{count_up, fraction};
use crate::sample::Sample;
use crate::settings::Settings;
use crate::signal::{PerSignal, Signal};

use expert::Expert;
use history::{History, Minute, minute_of};

pub use expert::Method;

/// Time from a sample to the decision and to its effect, at most; a sixth of the delay where that is less. That storms do
/// not come to the second is in the history.
const MAX_MARGIN: Duration = Duration::from_secs(10);

/// No further than this is looked ahead.
const MAX_HORIZON: Duration = Duration::from_secs(3600);

/// What the next minutes need.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// The signal that will need the most.
    pub signal: Signal,
    /// The peak that is expected until then.
    pub until: Duration,
    /// Its expected value, over all proxies.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval, which decides.
    pub high: f64,
    /// What one proxy carries, tolerance included.
    pub capacity: f64,
    /// Proxies that carry the upper end.
    pub proxies: u32,
    /// How it was foreseen.
    pub method: Method,
    /// Mean absolute error of the method so far, in percent.
    pub error_percent: f64,
}

/// The peak that is to be foreseen of a signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ahead {
    /// The signal.
    pub signal: Signal,
    /// Its load of now, over all proxies.
    pub present: f64,
    /// Now.
    pub now: Duration,
    /// From when on load counts: what comes before was asked for before.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
}

/// The peak that is foreseen of a signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// Its expected value, over all proxies.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval, which decides.
    pub high: f64,
    /// How it was foreseen.
    pub method: Method,
    /// Mean absolute error of the method so far, in percent.
    pub error_percent: f64,
}

/// Finds what will need the most proxies, from the load of now and what is foreseen of each signal; `None` when nothing is.
pub(crate) fn find_forecast(
    present: &PerSignal<Option<f64>>,
    carried: &PerSignal<Option<f64>>,
    settings: &Settings,
    now: Duration,
    mut foresee: impl FnMut(&Ahead) -> Option<Peak>,
) -> Option<Forecast> {
    let tolerance = 1.0 + fraction(settings.behavior.tolerance_percent);
    let until = now + horizon(settings);
    Signal::ALL
        .into_iter()
        .filter_map(|signal| {
            let capacity = carried[signal].filter(|capacity| *capacity > 0.0)? * tolerance;
            let peak = foresee(&Ahead {
                signal,
                present: present[signal]?,
                now,
                from: now + nearest(settings),
                until,
            })?;
            Some(Forecast {
                signal,
                until,
                value: peak.value,
                low: peak.low,
                high: peak.high,
                capacity,
                proxies: count_up(peak.high / capacity),
                method: peak.method,
                error_percent: peak.error_percent,
            })
        })
        .max_by_key(|forecast| forecast.proxies)
}

/// What the seasons say of the while of the scale-in delay: that before now, and that after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usual {
    /// Proxies that it usually needs, and that signals without a season needed.
    pub(crate) before: u32,
    /// Proxies that are needed until the delay has passed and new capacity could serve after that.
    pub(crate) from_now: u32,
}

/// Finds what is usual; `None` where no season has proven itself, or what was there before now is not known. A signal without
/// such a season, or that had more than is usual, counts with what it had.
pub(crate) fn find_usual(
    forecaster: &Forecaster,
    present: &PerSignal<Option<f64>>,
    carried: &PerSignal<Option<f64>>,
    settings: &Settings,
    now: Duration,
) -> Option<Usual> {
    let tolerance = 1.0 + fraction(settings.behavior.tolerance_percent);
    let delay = settings.behavior.scale_in_delay;
    let since = now.saturating_sub(delay);
    let mut is_known = false;
    let mut needs = Usual { before: 0, from_now: 0 };
    for signal in Signal::ALL.into_iter().filter(|signal| signal.is_load()) {
        let (Some(capacity), Some(present)) = (carried[signal].filter(|capacity| *capacity > 0.0), present[signal])
        else {
            continue;
        };
        let proxies = |load: f64| count_up(load / (capacity * tolerance));
        let series = &forecaster.series[signal];
        let foresee = |from, until| {
            let ahead = Ahead {
                signal,
                present,
                now,
                from,
                until,
            };
            series.foresee_by_season(&ahead, settings)
        };
        let had = series.peak_since(since, now)?;
        let before = foresee(since, now).filter(|usual| had <= usual * tolerance);
        let from_now = before.and_then(|_| foresee(now, now + horizon(settings) + delay));
        needs.before = needs.before.max(proxies(before.unwrap_or(had).max(had)));
        needs.from_now = needs.from_now.max(proxies(from_now.unwrap_or(had).max(present)));
        is_known |= from_now.is_some();
    }
    is_known.then_some(needs)
}

/// Foresees each signal that clients' load is measured by.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Forecaster {
    series: PerSignal<Series>,
}

impl Forecaster {
    /// Takes a sample in.
    pub(crate) fn observe(&mut self, sample: &Sample, settings: &Settings) {
        for signal in Signal::ALL.into_iter().filter(|signal| signal.is_load()) {
            if settings.targets[signal].is_some() {
                self.series[signal].observe(sample.at, sample.values[signal], settings);
            }
        }
    }

    /// Foresees a peak; `None` when nothing is known of the signal.
    pub(crate) fn foresee(&self, ahead: &Ahead, settings: &Settings) -> Option<Peak> {
        self.series[ahead.signal].foresee(ahead, settings)
    }
}

/// How far ahead a decision must look.
fn horizon(settings: &Settings) -> Duration {
    let delay = settings.capacity_delay;
    let horizon = settings.predict.horizon.unwrap_or(delay + MAX_MARGIN.min(delay / 6));
    horizon.min(MAX_HORIZON)
}

/// From when on the peak counts: what is needed before capacity could arrive was asked for before, and the scale-in delay
/// keeps it.
fn nearest(settings: &Settings) -> Duration {
    let kept = settings.behavior.scale_in_delay.max(Duration::from_secs(60));
    settings.capacity_delay.min(kept).min(horizon(settings))
}

fn horizon_minutes(settings: &Settings) -> u64 {
    horizon(settings).as_secs().div_ceil(60).max(1)
}

/// What is known of one signal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Series {
    history: History,
    /// The minute that is not over yet, with its greatest value so far.
    open: Option<(Minute, Option<f64>)>,
    experts: Vec<Expert>,
}

impl Series {
    fn observe(&mut self, at: Duration, value: Option<f64>, settings: &Settings) {
        self.match_experts(settings);
        let minute = minute_of(at);
        match self.open {
            Some((open, greatest)) if open == minute => {
                self.open = Some((open, maximum(greatest, value)));
            }
            Some((open, greatest)) if open < minute => {
                self.close(open, greatest, settings);
                self.open = Some((minute, value));
            }
            // The clock was set back: what it said of the time since is dropped with what was foreseen for it.
            Some(_) => {
                self.history.truncate(minute);
                self.experts.iter_mut().for_each(Expert::forget_pending);
                self.open = Some((minute, value));
            }
            None => self.open = Some((minute, value)),
        }
    }

    fn match_experts(&mut self, settings: &Settings) {
        let seasons = settings.predict.seasons.iter().map(|season| Method::Season {
            minutes: season.as_secs() / 60,
        });
        let methods = || seasons.clone().chain([Method::Trend, Method::Present]);
        if self.experts.iter().map(Expert::method).eq(methods()) {
            return;
        }
        let mut known = std::mem::take(&mut self.experts);
        self.experts = methods()
            .map(|method| {
                let same = known.iter().position(|expert| expert.method() == method);
                same.map_or_else(|| Expert::new(method), |index| known.swap_remove(index))
            })
            .collect();
    }

    fn close(&mut self, minute: Minute, value: Option<f64>, settings: &Settings) {
        let longest = settings.predict.seasons.iter().max().copied().unwrap_or_default();
        self.history.push(minute, value, longest.as_secs() / 60 + 1440);
        let tolerance = fraction(settings.behavior.tolerance_percent);
        let horizon = horizon_minutes(settings);
        for expert in &mut self.experts {
            expert.learn(&self.history, minute, value, tolerance);
            if let Some(present) = value {
                expert.predict(&self.history, minute, present, horizon);
            }
        }
    }

    /// The greatest load of the minutes from `since` on; `None` when nothing is known of one of them.
    fn peak_since(&self, since: Duration, now: Duration) -> Option<f64> {
        let (open, greatest) = self.open.filter(|(open, _)| *open == minute_of(now))?;
        let first = minute_of(since);
        let known = (first..open)
            .map(|minute| self.history.get(minute))
            .collect::<Option<Vec<f64>>>()?;
        Some(known.into_iter().chain(greatest).fold(0.0, f64::max))
    }

    /// The upper end of what the seasons foresee that have proven themselves, all that speak together; `None` when none has,
    /// or the rise does better.
    fn foresee_by_season(&self, ahead: &Ahead, settings: &Settings) -> Option<f64> {
        let speaks = self
            .experts
            .iter()
            .any(|expert| expert.is_season() && self.speaks(expert));
        let peak = self.foresee(ahead, settings).filter(|_| speaks)?;
        Some(peak.high)
    }

    fn speaks(&self, expert: &Expert) -> bool {
        let least_loss = |seasons: bool| {
            let of_kind = self.experts.iter().filter(move |expert| expert.is_season() == seasons);
            of_kind.filter_map(Expert::proven_loss).reduce(f64::min)
        };
        let rise_speaks = match (least_loss(false), least_loss(true)) {
            (Some(rise), Some(season)) => rise < season,
            (rise, _) => rise.is_some(),
        };
        match expert.method() {
            Method::Season { .. } => expert.proven_loss().is_some() && !rise_speaks,
            Method::Trend => rise_speaks,
            Method::Present => true,
        }
    }

    fn foresee(&self, ahead: &Ahead, settings: &Settings) -> Option<Peak> {
        let (open, _) = self.open?;
        if open != minute_of(ahead.now) {
            return None;
        }
        let present = ahead.present;
        let first = minute_of(ahead.from);
        let last = minute_of(ahead.until).max(first);
        self.experts
            .iter()
            .filter(|expert| self.speaks(expert))
            .filter_map(|expert| {
                let value = expert.peak(&self.history, open, first..=last, present)?;
                Some(expert.around(value, present, settings))
            })
            .max_by(|a, b| a.high.total_cmp(&b.high))
    }
}

fn maximum(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}
