//! The scaler: takes samples in, and decides how many proxies there are to be.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounds::{Changes, Greatest};
use crate::capacity::LearnedCapacity;
use crate::decision::{Decision, Held, Reason};
use crate::number::{count_up, fraction};
use crate::reactive::{Demand, Panic, find_demand};
use crate::recent::Recent;
use crate::sample::Sample;
use crate::settings::Settings;

/// Decides how many proxies a cluster needs.
///
/// The same samples, settings and times give the same decisions. A decision is never below `min` or above `max`, never
/// takes a proxy away while a signal that is measured has no value of now, and never takes one away within a stable
/// window of adding one.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaler {
    settings: Settings,
    memory: Memory,
}

/// What the scaler remembers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    recent: Recent,
    panic: Panic,
    recommended: Greatest,
    changes: Changes,
    capacity: LearnedCapacity,
}

impl Scaler {
    /// A scaler that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            memory: Memory::default(),
        }
    }

    /// Takes a sample in.
    pub fn observe(&mut self, sample: &Sample) {
        let windows = &self.settings.windows;
        let sample = sample.sane();
        let memory = &mut self.memory;
        memory.recent.push(sample, windows.stable.max(windows.panic));
        if let Some(proxies) = sample.proxies {
            memory.capacity.learn(&memory.recent, proxies, &self.settings, sample.at);
        }
    }

    /// Decides how many proxies there are to be, when `current` are asked for.
    pub fn decide(&mut self, now: Duration, current: u32) -> Decision {
        let (to, reason) = self.choose(now, current);
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

    fn choose(&mut self, now: Duration, current: u32) -> (u32, Reason) {
        let (min, max) = (self.settings.min, self.settings.max.max(self.settings.min));
        self.memory.changes.forget(&self.settings, now);
        let demand = self.find_demand(now, current);
        let needed = demand.map_or(current, |demand| self.beyond_tolerance(&demand, current));
        // Fewer count as enough only where that is known.
        let believed = if demand.is_some_and(|demand| demand.is_complete) {
            needed
        } else {
            needed.max(current)
        };
        let delay = self.settings.behavior.scale_in_delay;
        let max_gap = self.settings.windows.stable.max(Duration::from_secs(30));
        self.memory
            .recommended
            .push(believed.clamp(min, max), delay, max_gap, now);
        if current < min || current > max {
            return (current.clamp(min, max), Reason::Bounds { min, max });
        }
        let Some(demand) = demand else {
            return (current, Reason::NotEnoughData);
        };
        if needed > current {
            self.grow(&demand, needed, current)
        } else if needed < current {
            self.shrink(&demand, needed, current, now)
        } else {
            (current, fits(&demand))
        }
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

    fn grow(&self, demand: &Demand, needed: u32, current: u32) -> (u32, Reason) {
        let ceiling = self.memory.changes.ceiling(current, &self.settings);
        let (to, held) = if self.memory.changes.is_full() {
            (current, Some(Held::Step))
        } else if needed > self.settings.max && ceiling >= self.settings.max {
            (self.settings.max, Some(Held::Max))
        } else if needed > ceiling {
            (ceiling, Some(Held::Step))
        } else {
            (needed, None)
        };
        (to.max(current), self.load(demand, held))
    }

    fn shrink(&self, demand: &Demand, needed: u32, current: u32, now: Duration) -> (u32, Reason) {
        let kept = |by| (current, Reason::Kept { needs: needed, by });
        if !demand.is_complete {
            return (current, Reason::PartlyUnknown);
        }
        if self.memory.changes.has_grown() || self.memory.panic.is_on(now) {
            return kept(Held::JustGrown);
        }
        let delay = self.settings.behavior.scale_in_delay;
        let Some(enough) = self
            .memory
            .recommended
            .over(delay, now)
            .filter(|enough| *enough < current)
        else {
            return kept(Held::ScaleInDelay);
        };
        let floor = self.memory.changes.floor(current, &self.settings);
        if current <= self.settings.min {
            return kept(Held::Min);
        }
        let to = enough.max(floor).max(self.settings.min).min(current);
        if to == current || self.memory.changes.is_full() {
            return kept(Held::Step);
        }
        let held = if to == self.settings.min && needed < to {
            Some(Held::Min)
        } else if to == floor && enough < floor {
            Some(Held::Step)
        } else {
            (to > needed).then_some(Held::ScaleInDelay)
        };
        (to, self.load(demand, held))
    }

    fn load(&self, demand: &Demand, held: Option<Held>) -> Reason {
        Reason::Load {
            signal: demand.signal,
            value: demand.value,
            needs: demand.proxies,
            capacity: demand.capacity,
            is_learned: self.settings.targets[demand.signal].is_some_and(|target| demand.capacity < target),
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
