//! Kubernetes' HorizontalPodAutoscaler with a target of 70 % CPU, as its documentation describes the algorithm: looks
//! every 15 s, 10 % tolerance, up by 4 pods or 100 % each 15 s, down after 300 s.
//!
//! A trace has no CPU: a proxy is taken to be at 70 % when it carries its targets, in proportion otherwise, and never
//! above 100 %, which is all that there is to measure of an overloaded one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::number::count_up;
use crate::settings::Settings;
use crate::trace::{SIGNALS, TraceRow};

const PERIOD: Duration = Duration::from_secs(15);
const DOWN_DELAY: Duration = Duration::from_secs(300);
const TARGET_PERCENT: f64 = 70.0;
const TOLERANCE: f64 = 0.1;

/// The autoscaler with its memory.
#[derive(Debug, Clone)]
pub(super) struct Hpa {
    settings: Settings,
    next_look: Option<Duration>,
    recommended: VecDeque<(Duration, u32)>,
}

impl Hpa {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            next_look: None,
            recommended: VecDeque::new(),
        }
    }

    pub(super) fn decide(&mut self, row: &TraceRow, desired: u32, serving: u32) -> u32 {
        if self.next_look.is_some_and(|next| row.at < next) {
            return desired;
        }
        self.next_look = Some(row.at + PERIOD);
        let Some(cpu) = self.cpu_percent(row, serving) else {
            return desired;
        };
        let raw = recommend(cpu, desired, serving).clamp(self.settings.min, self.settings.max.max(self.settings.min));
        self.recommended.push_back((row.at, raw));
        while self
            .recommended
            .front()
            .is_some_and(|(at, _)| *at + DOWN_DELAY < row.at)
        {
            self.recommended.pop_front();
        }
        let held = self.recommended.iter().map(|(_, count)| *count).max().unwrap_or(raw);
        if raw > desired {
            raw.min((desired + 4).max(desired * 2))
        } else {
            held.min(desired)
        }
    }

    /// Mean CPU of the proxies that serve; `None` without any load that is known.
    fn cpu_percent(&self, row: &TraceRow, serving: u32) -> Option<f64> {
        SIGNALS
            .into_iter()
            .filter_map(|signal| {
                let target = self.settings.targets[signal].filter(|target| *target > 0.0)?;
                Some(row.values[signal]? / (target * f64::from(serving.max(1))))
            })
            .reduce(f64::max)
            .map(|share| (share * TARGET_PERCENT).min(100.0))
    }
}

/// What the ratio asks for. Pods that do not serve yet count as idle where more are asked for.
fn recommend(cpu: f64, desired: u32, serving: u32) -> u32 {
    let ratio = cpu / TARGET_PERCENT;
    if (ratio - 1.0).abs() <= TOLERANCE {
        return desired;
    }
    if ratio < 1.0 {
        return count_up(ratio * f64::from(serving)).min(desired);
    }
    let over_all = ratio * f64::from(serving) / f64::from(desired.max(1));
    if over_all <= 1.0 + TOLERANCE {
        return desired;
    }
    count_up(over_all * f64::from(desired))
}
