//! One look at a cluster.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::signal::{PerSignal, Signal};

/// What was measured of all active proxies at one time. A value that could not be had is `None`, which is not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When, since the Unix epoch: seasons are days and weeks.
    pub at: Duration,
    /// Active proxies that were measured.
    pub proxies: Option<u32>,
    /// Some proxies were not measured: what is known adds proxies, and takes none away.
    #[serde(default)]
    pub is_partial: bool,
    /// Sums over the active proxies.
    pub values: PerSignal<Option<f64>>,
    /// Round trip of a publish to its acknowledgement, P99, in milliseconds, of the proxy where it takes longest.
    pub round_trip_p99_ms: Option<f64>,
    /// What that proxy carried. Without a value its share is taken to be even.
    #[serde(default)]
    pub slowest: PerSignal<Option<f64>>,
}

impl Sample {
    /// The sample without what no measurement can be: negative numbers, infinities and NaN become unknown.
    pub(crate) fn sane(mut self) -> Self {
        let known = |value: Option<f64>| value.filter(|value| value.is_finite() && *value >= 0.0);
        self.values = PerSignal::of(|signal| known(self.values[signal]));
        self.round_trip_p99_ms = known(self.round_trip_p99_ms);
        self.slowest = PerSignal::of(|signal| known(self.slowest[signal]));
        self
    }

    /// What the proxy carried that the round trip is of, or each of them when that one had less than its share: then it is
    /// not what it carries that makes it slow.
    pub(crate) fn load_of_one(&self, signal: Signal) -> Option<f64> {
        let proxies = self.proxies.filter(|proxies| *proxies > 0)?;
        let share = self.values[signal]? / f64::from(proxies);
        Some(self.slowest[signal].map_or(share, |slowest| slowest.max(share)))
    }
}
