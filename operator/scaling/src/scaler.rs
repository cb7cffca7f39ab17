//! The scaler: takes samples in, and decides how many proxies there are to be.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bounds::{Changes, Greatest};
use crate::capacity::LearnedCapacity;
use crate::decision::{Decision, Held, Reason};
use crate::exact;
use crate::forecast::{Ahead, Forecast, Forecaster, Peak, find_forecast, find_usual};
use crate::number::{count_up, fraction};
use crate::pool::{Needs, Pool, PoolDecision};
use crate::reactive::{Demand, Panic, find_demand, find_present};
use crate::recent::Recent;
use crate::sample::Sample;
use crate::schedule::Calendar;
use crate::settings::Settings;
use crate::signal::PerSignal;

/// Version of [`Scaler::state`]. Another one is not read.
const STATE_VERSION: u32 = 1;

/// Why a state is not taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StateError {
    /// Not a state.
    #[error("the scaler's state cannot be read")]
    Unreadable,
    /// A state of another version.
    #[error("the scaler's state has version {0}, and this one reads version {STATE_VERSION}")]
    Version(u32),
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    memory: Memory,
}

/// Decides how many proxies a cluster needs.
///
/// The same samples, settings and times give the same decisions. A decision is never below `min` or above `max`, never
/// takes a proxy away while a signal that is measured has no value of now, and never takes one away within a stable
/// window of adding one.
#[derive(Debug, Clone)]
pub struct Scaler {
    settings: Settings,
    memory: Memory,
    /// Follows from the settings and the time.
    calendar: Calendar,
}

/// Equal are those that go on alike.
impl PartialEq for Scaler {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.memory == other.memory
    }
}

/// What the scaler remembers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    recent: Recent,
    panic: Panic,
    recommended: Greatest,
    changes: Changes,
    capacity: LearnedCapacity,
    forecaster: Forecaster,
    /// Not in states that were written before there was a pool to size.
    #[serde(default)]
    needs: Needs,
}

impl Scaler {
    /// A scaler that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            memory: Memory::default(),
            calendar: Calendar::default(),
        }
    }

    /// A scaler that goes on where another one, in another process, was when it gave its [`Self::state`].
    ///
    /// # Errors
    /// [`StateError`] for what is no state, or one of another version: the caller begins with [`Self::new`].
    pub fn restore(settings: Settings, state: &str) -> Result<Self, StateError> {
        let Versioned { version } = serde_json::from_str(state).map_err(|_| StateError::Unreadable)?;
        if version != STATE_VERSION {
            return Err(StateError::Version(version));
        }
        let State { memory, .. } = exact::read(state).ok_or(StateError::Unreadable)?;
        Ok(Self {
            settings,
            memory,
            calendar: Calendar::default(),
        })
    }

    /// All that is remembered, as a text that fits a ConfigMap.
    pub fn state(&self) -> String {
        exact::write(&State {
            version: STATE_VERSION,
            memory: self.memory.clone(),
        })
    }

    /// Takes other settings from now on; what was learned stays.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
        self.calendar = Calendar::default();
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What was measured, and what was learned from it.
    pub(crate) fn measured(&self) -> (&Recent, &LearnedCapacity) {
        (&self.memory.recent, &self.memory.capacity)
    }

    /// Takes a sample in.
    pub fn observe(&mut self, sample: &Sample) {
        let windows = &self.settings.windows;
        let sample = sample.sane();
        let memory = &mut self.memory;
        memory.recent.push(sample, windows.stable.max(windows.panic));
        if self.settings.predict.enabled {
            memory.forecaster.observe(&sample, &self.settings);
        }
        if sample.proxies.is_some() {
            memory.capacity.learn(&memory.recent, &self.settings, sample.at);
        }
    }

    /// Decides how many proxies there are to be, when `current` are asked for.
    pub fn decide(&mut self, now: Duration, current: u32) -> Decision {
        let forecast = self.foresee(now);
        self.decide_with(now, current, forecast)
    }

    /// Decides as [`Self::decide`] does, by what `foresee` says of each signal in place of what the scaler would, whether it
    /// is to look ahead or not: so that other forecasts can be compared with its own.
    pub fn decide_foreseen(
        &mut self,
        now: Duration,
        current: u32,
        foresee: impl FnMut(&Ahead) -> Option<Peak>,
    ) -> Decision {
        let forecast = self.foresee_by(now, foresee);
        self.decide_with(now, current, forecast)
    }

    fn decide_with(&mut self, now: Duration, current: u32, forecast: Option<Forecast>) -> Decision {
        let (to, reason) = self.choose(now, current, forecast);
        if to != current {
            self.memory.changes.push(current, to, now);
        }
        Decision {
            at: now,
            from: current,
            to,
            reason,
        }
    }

    /// Takes up what load needs as [`Self::decide`] does, and leaves it to others how many there are to be.
    pub fn look(&mut self, now: Duration, current: u32) {
        let forecast = self.foresee(now);
        self.choose(now, current, forecast);
    }

    /// Decides how many proxies are to wait, when `current` do and `active` are asked for to serve: for the time of the last
    /// [`Self::decide`] or [`Self::look`].
    ///
    /// A decision is never outside of the pool's bounds, takes one away at most once in `scaleInDelay`, and none while a
    /// signal that is measured has no value of now.
    pub fn decide_pool(&mut self, now: Duration, pool: Pool, active: u32, current: u32) -> PoolDecision {
        self.memory.needs.decide(pool, &self.settings, active, current, now)
    }

    fn choose(&mut self, now: Duration, current: u32, forecast: Option<Forecast>) -> (u32, Reason) {
        let scheduled = self.calendar.in_force(&self.settings, now);
        let scheduled_min = scheduled
            .and_then(|place| self.settings.scheduled.get(place))
            .map_or(0, |scheduled| scheduled.min);
        let (min, max) = self.settings.bounds(scheduled_min);
        self.memory.changes.forget(&self.settings, now);
        let demand = self.find_demand(now, current);
        let needed = demand.map_or(current, |demand| self.beyond_tolerance(&demand, current));
        let forecast = forecast.filter(|_| demand.is_some());
        let foreseen = forecast.map_or(0, |forecast| forecast.proxies);
        // Fewer count as enough only where that is known.
        let believed = if demand.is_some_and(|demand| demand.is_complete) {
            needed
        } else {
            needed.max(current)
        };
        if let Some(demand) = demand.filter(|demand| demand.is_complete) {
            self.memory.needs.note(demand.proxies, foreseen, &self.settings, now);
        }
        let delay = self.settings.behavior.scale_in_delay;
        let max_gap = self.settings.windows.stable.max(Duration::from_secs(30));
        self.memory
            .recommended
            .push(believed.max(foreseen).clamp(min, max), delay, max_gap, now);
        if current < min || current > max {
            let scheduled = scheduled
                .and_then(|place| self.settings.scheduled.get(place))
                .filter(|_| min > self.settings.min && current < min);
            let reason = scheduled.map_or(Reason::Bounds { min, max }, |scheduled| Reason::Scheduled {
                name: scheduled.name.clone(),
                min,
            });
            return (current.clamp(min, max), reason);
        }
        let Some(demand) = demand else {
            return (current, Reason::NotEnoughData);
        };
        match forecast.filter(|_| foreseen > needed.max(current)) {
            Some(forecast) => {
                let (to, held) = self.grow(foreseen, current);
                (to, self.ahead(&forecast, held, now))
            }
            None if needed > current => {
                let (to, held) = self.grow(needed, current);
                (to, self.load(&demand, held))
            }
            None if needed.max(foreseen) < current => self.shrink(&demand, needed, current, min, now),
            None => (current, fits(&demand)),
        }
    }

    pub(crate) fn foresee(&self, now: Duration) -> Option<Forecast> {
        if !self.settings.predict.enabled {
            return None;
        }
        self.foresee_by(now, |ahead| self.memory.forecaster.foresee(ahead, &self.settings))
    }

    fn foresee_by(&self, now: Duration, foresee: impl FnMut(&Ahead) -> Option<Peak>) -> Option<Forecast> {
        let carried = self.memory.capacity.carried(&self.settings);
        let present = PerSignal::of(|signal| find_present(&self.memory.recent, signal, &self.settings, now));
        find_forecast(&present, &carried, &self.settings, now, foresee)
    }

    fn find_demand(&mut self, now: Duration, current: u32) -> Option<Demand> {
        let memory = &mut self.memory;
        let capacity = memory.capacity.carried(&self.settings);
        find_demand(
            &memory.recent,
            &mut memory.panic,
            &self.settings,
            &capacity,
            current,
            now,
        )
    }

    /// The need, or the present count where they differ by no more than the tolerance.
    fn beyond_tolerance(&self, demand: &Demand, current: u32) -> u32 {
        let tolerance = fraction(self.settings.behavior.tolerance_percent);
        if (demand.utilisation - 1.0).abs() <= tolerance && current > 0 {
            current
        } else {
            demand.proxies
        }
    }

    /// The count for a need that is above the present one, and what keeps it below the need.
    fn grow(&self, needed: u32, current: u32) -> (u32, Option<Held>) {
        let ceiling = self.memory.changes.ceiling(current, &self.settings);
        let max = self.settings.max;
        let (to, held) = if self.memory.changes.is_full() {
            (current, Some(Held::Step))
        } else if needed > ceiling && ceiling < max {
            (ceiling, Some(Held::Step))
        } else if needed > max {
            (max, Some(Held::Max))
        } else {
            (needed, None)
        };
        (to.max(current), held)
    }

    fn shrink(&self, demand: &Demand, needed: u32, current: u32, min: u32, now: Duration) -> (u32, Reason) {
        let kept = |by| (current, Reason::Kept { needs: needed, by });
        if !demand.is_complete {
            return (current, Reason::PartlyUnknown);
        }
        if self.memory.changes.has_grown() || self.memory.panic.is_on(now) {
            return kept(Held::JustGrown);
        }
        let recommended = &self.memory.recommended;
        let for_long = recommended.over(self.settings.behavior.scale_in_delay, now);
        let for_long = for_long.filter(|enough| *enough < current);
        let Some(enough) = for_long.or_else(|| self.foresee_enough(now).filter(|enough| *enough < current)) else {
            return kept(Held::ScaleInDelay);
        };
        let floor = self.memory.changes.floor(current, &self.settings);
        if current <= min {
            return kept(Held::Min);
        }
        let to = enough.max(floor).max(min).min(current);
        if to == current || self.memory.changes.is_full() {
            return kept(Held::Step);
        }
        let held = if to == min && needed < to {
            Some(Held::Min)
        } else if to == floor && enough < floor {
            Some(Held::Step)
        } else {
            (to > needed).then_some(Held::ScaleInDelay)
        };
        let mut reason = self.load(demand, held);
        if let Reason::Load { is_foreseen, .. } = &mut reason {
            *is_foreseen = for_long.is_none();
        }
        (to, reason)
    }

    /// What has been enough for a stable window and is foreseen to be enough for the scale-in delay, where no more was asked
    /// for within that than is usual: load that comes and goes by the clock needs no proof that it has gone.
    fn foresee_enough(&self, now: Duration) -> Option<u32> {
        let (settings, memory) = (&self.settings, &self.memory);
        if !settings.predict.enabled {
            return None;
        }
        let window = settings.windows.stable.min(settings.behavior.scale_in_delay);
        let enough = memory.recommended.over(window, now)?;
        let carried = memory.capacity.carried(settings);
        let present = PerSignal::of(|signal| find_present(&memory.recent, signal, settings, now));
        let usual = find_usual(&memory.forecaster, &present, &carried, settings, now)?;
        // Ends of intervals, foreseen a while apart, may differ by one.
        let asked = memory.recommended.over(settings.behavior.scale_in_delay, now)?;
        (asked <= usual.before + 1).then(|| enough.max(usual.from_now))
    }

    fn ahead(&self, forecast: &Forecast, held: Option<Held>, now: Duration) -> Reason {
        Reason::Forecast {
            signal: forecast.signal,
            high: forecast.high,
            confidence_percent: self.settings.predict.confidence_percent,
            within: forecast.until.saturating_sub(now),
            needs: forecast.proxies,
            capacity: forecast.capacity,
            method: forecast.method,
            held,
        }
    }

    fn load(&self, demand: &Demand, held: Option<Held>) -> Reason {
        Reason::Load {
            signal: demand.signal,
            value: demand.value,
            needs: demand.proxies,
            capacity: demand.capacity,
            is_learned: self.settings.targets[demand.signal].is_some_and(|target| demand.capacity < target),
            is_foreseen: false,
            held,
        }
    }
}

fn fits(demand: &Demand) -> Reason {
    Reason::Fits {
        signal: demand.signal,
        percent: count_up(demand.utilisation * 100.0),
    }
}
