//! One way to foresee a peak, and how well it has done.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::Peak;
use super::history::{History, Minute};
use super::record::Record;
use crate::number::fraction;
use crate::settings::Settings;

/// So many seasons back are asked.
const MAX_ANALOGUES: usize = 7;

/// Over how long today is compared with what was there seasons ago.
const LEVEL_MEMORY_MINUTES: f64 = 20.0;

/// How slowly less than usual becomes usual: through an outage, what was there before is expected back.
const PATIENCE_MINUTES: f64 = 120.0;

/// More than usual by more than this is not a level, but something else.
const MAX_LEVEL: f64 = 1.25;

/// Less than this share of the loss of "as now" is proof.
const PROVEN: f64 = 0.7;

/// So much loss of "as now" must there have been to prove anything on: some storms.
const EVIDENCE: f64 = 1.0;

/// How a peak is foreseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// As it was seasons ago, times how today compares.
    Season {
        /// Length of the season.
        minutes: u64,
    },
    /// As the last minutes rose.
    Trend,
    /// As it is now.
    Present,
}

/// A method and its record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Expert {
    method: Method,
    /// Sums over the last while: what was there, and what there was seasons ago.
    sums: (f64, f64),
    level: f64,
    pending: VecDeque<Pending>,
    record: Record,
}

/// A peak that was foreseen, until it is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Pending {
    last: Minute,
    present: f64,
    foreseen: f64,
    /// What is foreseen with one minute more: a storm that comes a little early is not a larger one.
    with_next: f64,
    peak: f64,
}

impl Expert {
    pub(super) fn new(method: Method) -> Self {
        Self {
            method,
            sums: (0.0, 0.0),
            level: 1.0,
            pending: VecDeque::new(),
            record: Record::default(),
        }
    }

    pub(super) fn method(&self) -> Method {
        self.method
    }

    pub(super) fn forget_pending(&mut self) {
        self.pending.clear();
    }

    /// The peak of some minutes, foreseen in the minute `at` from what is known before it and from what is there.
    pub(super) fn peak(
        &self,
        history: &History,
        at: Minute,
        minutes: RangeInclusive<Minute>,
        present: f64,
    ) -> Option<f64> {
        let (first, last) = minutes.into_inner();
        match self.method {
            Method::Season { minutes } => Some(self.level * analogue(history, minutes, first, last)?),
            Method::Trend => {
                let before = history.get(at.checked_sub(3)?)?;
                let ahead = u32::try_from(last.saturating_sub(at) + 1).map_or(f64::MAX, f64::from);
                Some((present + (present - before).max(0.0) / 3.0 * ahead).min(present * 2.0))
            }
            Method::Present => Some(present),
        }
    }

    /// Takes in how a minute came out: for the level, and for the record of what was foreseen.
    pub(super) fn learn(&mut self, history: &History, minute: Minute, value: Option<f64>, tolerance: f64) {
        if let (Method::Season { minutes }, Some(value)) = (self.method, value)
            && let Some(before) = analogue(history, minutes, minute, minute)
        {
            self.learn_level(value, before);
        }
        for pending in &mut self.pending {
            pending.peak = pending.peak.max(value.unwrap_or(0.0));
        }
        while let Some(pending) = self.pending.front().copied().filter(|pending| pending.last <= minute) {
            self.pending.pop_front();
            // After a gap nobody knows how it came out.
            if pending.last == minute && value.is_some() {
                self.record
                    .judge(pending.present, pending.foreseen, pending.peak, tolerance);
                let is_rise = pending.foreseen > pending.present * (1.0 + tolerance / 2.0);
                if is_rise || self.method == Method::Present {
                    self.record
                        .note_error(pending.foreseen, pending.with_next, pending.peak);
                }
            }
        }
    }

    fn learn_level(&mut self, value: f64, before: f64) {
        let memory = (-1.0 / LEVEL_MEMORY_MINUTES).exp();
        self.sums = (self.sums.0 * memory + value, self.sums.1 * memory + before);
        if self.sums.1 <= 0.0 {
            return;
        }
        let level = (self.sums.0 / self.sums.1).clamp(0.0, MAX_LEVEL);
        if level < self.level.min(1.0) {
            self.level = self.level.min(1.0);
            self.level += (level - self.level) / PATIENCE_MINUTES;
        } else {
            self.level = level;
        }
    }

    /// Foresees the peak of the minutes after this one.
    pub(super) fn predict(&mut self, history: &History, minute: Minute, present: f64, horizon: u64) {
        let last = minute + horizon;
        if let Some(foreseen) = self.peak(history, minute + 1, minute + 1..=last, present) {
            // The horizon may have become shorter: the queue stays in order.
            while self.pending.back().is_some_and(|pending| pending.last >= last) {
                self.pending.pop_back();
            }
            let with_next = self
                .peak(history, minute + 1, minute + 1..=last + 1, present)
                .unwrap_or(foreseen);
            self.pending.push_back(Pending {
                last,
                present,
                foreseen,
                with_next,
                peak: 0.0,
            });
        }
    }

    /// Loss as a share of that of "as now"; `None` until the method has shown itself better.
    pub(super) fn proven_loss(&self) -> Option<f64> {
        let (loss, of_present) = self.record.losses();
        (of_present >= EVIDENCE && loss < of_present * PROVEN).then(|| loss / of_present)
    }

    pub(super) fn is_season(&self) -> bool {
        matches!(self.method, Method::Season { .. })
    }

    /// The peak with its interval.
    pub(super) fn around(&self, value: f64, present: f64, settings: &Settings) -> Peak {
        let outside = (1.0 - fraction(settings.predict.confidence_percent)) / 2.0;
        let half_tolerance = fraction(settings.behavior.tolerance_percent) / 2.0;
        let low = self.record.quantile(outside).min(0.0);
        let mut high = self.record.quantile(1.0 - outside).max(0.0);
        if value <= present * (1.0 + half_tolerance) {
            // No rise, so the errors of rises say nothing, and what "as now" did not see coming is not its to say.
            high = high.min(half_tolerance);
        }
        Peak {
            value,
            low: value * (1.0 + low),
            high: value * (1.0 + high),
            method: self.method,
            error_percent: self.record.mean_error() * 100.0,
        }
    }
}

/// Of the peaks that there were one season ago, two ago and so on, one that a third of them reach or exceed: days off do
/// not make working days forgotten, and one outlier decides nothing.
fn analogue(history: &History, season: u64, first: Minute, last: Minute) -> Option<f64> {
    let mut peaks = [0.0_f64; MAX_ANALOGUES];
    let mut count = 0;
    for back in (1_u64..).take(MAX_ANALOGUES) {
        let (Some(first), Some(last)) = (first.checked_sub(season * back), last.checked_sub(season * back)) else {
            break;
        };
        if let Some(peak) = history.peak(first, last) {
            peaks[count] = peak;
            count += 1;
        }
    }
    let peaks = &mut peaks[..count];
    peaks.sort_by(f64::total_cmp);
    peaks.get((2 * count.saturating_sub(1) + 1) / 3).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HORIZON: u64 = 4;

    /// Lets a method foresee a load, minute by minute.
    fn watched(method: Method, minutes: u64, load: impl Fn(u64) -> f64) -> (Expert, History) {
        let mut expert = Expert::new(method);
        let mut history = History::default();
        for minute in 10_080..10_080 + minutes {
            let value = load(minute);
            history.push(minute, Some(value), 3000);
            expert.learn(&history, minute, Some(value), 0.1);
            expert.predict(&history, minute, value, HORIZON);
        }
        (expert, history)
    }

    fn storms(minute: u64) -> f64 {
        if minute % 60 < 5 { 20_000.0 } else { 5_000.0 }
    }

    #[test]
    fn a_storm_of_each_hour_is_foreseen_and_proven_after_a_few() {
        let (expert, history) = watched(Method::Season { minutes: 60 }, 600, storms);
        assert!(expert.proven_loss().is_some());
        let foreseen = |minute: u64| {
            expert
                .peak(&history, minute, minute..=minute + 3, 5_000.0)
                .map(f64::round)
        };
        let hour = 10_080 + 600;
        assert!(foreseen(hour - 3).is_some_and(|peak| (peak / 20_000.0 - 1.0).abs() < 0.01));
        assert!(foreseen(hour + 20).is_some_and(|peak| (peak / 5_000.0 - 1.0).abs() < 0.01));
    }

    #[test]
    fn a_season_that_is_none_is_never_proven() {
        for season in [45, 50, 100] {
            let (expert, _) = watched(Method::Season { minutes: season }, 2880, storms);
            assert!(expert.proven_loss().is_none(), "{season}");
        }
    }

    #[test]
    fn through_an_outage_of_half_an_hour_the_usual_is_expected_back() {
        let load = |minute: u64| if minute >= 10_080 + 1000 { 100.0 } else { 10_000.0 };
        let (expert, history) = watched(Method::Season { minutes: 60 }, 1030, load);
        let next = 10_080 + 1030;
        let expected = expert.peak(&history, next, next..=next + 3, 100.0).expect("a peak");
        assert!(expected > 7_500.0, "{expected}");
    }

    #[test]
    fn one_odd_season_decides_nothing() {
        let load = |minute: u64| {
            if (10_080 + 300..10_080 + 360).contains(&minute) {
                90_000.0
            } else {
                10_000.0
            }
        };
        let (_, history) = watched(Method::Season { minutes: 60 }, 600, load);
        let peak = analogue(&history, 60, 10_080 + 630, 10_080 + 633).expect("a peak");
        assert!((peak / 10_000.0 - 1.0).abs() < 0.01, "{peak}");
    }
}
