//! What a policy is judged by.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{SCORED, TimelineRow, carried};
use crate::settings::Settings;
use crate::trace::TraceRow;

/// What came of a policy, over the part of the trace that is scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The policy, or the forecast that took the place of the scaler's.
    pub name: String,
    /// Clients beyond what was carried x seconds.
    pub unserved_connection_seconds: f64,
    /// Messages beyond what was carried.
    pub unserved_publish_seconds: f64,
    /// Minutes with anything unserved.
    pub bad_minutes: u64,
    /// Active, starting and warm proxies x hours.
    pub proxy_hours: f64,
    /// Changes of the count asked for.
    pub scale_actions: u64,
    /// Changes against the direction of one less than a stable window before.
    pub reversals: u64,
}

/// What has been counted so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    unserved: [f64; 2],
    bad_minutes: u64,
    last_bad_minute: Option<u64>,
    proxy_seconds: f64,
    scale_actions: u64,
    reversals: u64,
    last_change: Option<(Duration, bool)>,
}

impl Tally {
    /// Counts the load of a row, which lasts for `step`.
    pub(super) fn add(&mut self, row: &TraceRow, shown: &TimelineRow, step: Duration, settings: &Settings) {
        let seconds = step.as_secs_f64();
        let mut is_bad = false;
        for (unserved, signal) in self.unserved.iter_mut().zip(SCORED) {
            let (Some(load), Some(each)) = (row.values[signal], carried(settings, signal)) else {
                continue;
            };
            let over = load - f64::from(shown.serving) * each;
            if over > 0.0 {
                *unserved += over * seconds;
                is_bad = true;
            }
        }
        let minute = row.at.as_secs() / 60;
        if is_bad && self.last_bad_minute != Some(minute) {
            self.last_bad_minute = Some(minute);
            self.bad_minutes += 1;
        }
        self.proxy_seconds += f64::from(shown.desired + shown.warm) * seconds;
    }

    /// Counts a change of the count asked for.
    pub(super) fn change(&mut self, from: u32, to: u32, now: Duration, stable: Duration) {
        if from == to {
            return;
        }
        let grows = to > from;
        self.scale_actions += 1;
        if self
            .last_change
            .is_some_and(|(at, grew)| grew != grows && now < at + stable)
        {
            self.reversals += 1;
        }
        self.last_change = Some((now, grows));
    }

    pub(super) fn score(&self, name: &str) -> Score {
        Score {
            name: name.to_owned(),
            unserved_connection_seconds: self.unserved[0],
            unserved_publish_seconds: self.unserved[1],
            bad_minutes: self.bad_minutes,
            proxy_hours: self.proxy_seconds / 3600.0,
            scale_actions: self.scale_actions,
            reversals: self.reversals,
        }
    }
}
