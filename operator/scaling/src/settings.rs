//! How a cluster is to be scaled: `spec.proxy.scaling` with its texts parsed. Defaults are the resource's.

use std::time::Duration;

use crate::schedule::Scheduled;
use crate::signal::{PerSignal, Signal};

/// How a cluster is to be scaled.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Fewest active proxies.
    pub min: u32,
    /// Most active proxies.
    pub max: u32,
    /// What one proxy is to carry of each signal; `None` leaves the signal out.
    pub targets: PerSignal<Option<f64>>,
    /// Round trip of a publish, P99 in milliseconds, that proxies keep to; `None` learns no capacity.
    pub publish_round_trip_p99_ms: Option<f64>,
    /// Over how long load is averaged.
    pub windows: Windows,
    /// How fast counts change.
    pub behavior: Behavior,
    /// Looking ahead.
    pub predict: Predict,
    /// Times at which more than `min` are to serve.
    pub scheduled: Vec<Scheduled>,
    /// From the decision to start a proxy until it serves, when none is warm. Measured, not asked for.
    pub capacity_delay: Duration,
}

impl Settings {
    /// The fewest and the most proxies there may be while the schedule asks for `scheduled`.
    pub(crate) fn bounds(&self, scheduled: u32) -> (u32, u32) {
        let max = self.max.max(self.min);
        (self.min.max(scheduled).min(max), max)
    }
}

/// Over how long load is averaged.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// In quiet.
    pub stable: Duration,
    /// In a panic.
    pub panic: Duration,
    /// A panic begins when the panic window asks for this many percent of the proxies there are.
    pub panic_threshold_percent: f64,
}

/// How fast counts change.
#[derive(Debug, Clone, PartialEq)]
pub struct Behavior {
    /// Load beyond or short of the targets that changes nothing.
    pub tolerance_percent: f64,
    /// The most that the count grows within a stable window, as a factor; above 1.
    pub max_step_up: f64,
    /// The most that the count shrinks within a stable window, in percent; one proxy can always go.
    pub max_step_down_percent: f64,
    /// How long fewer proxies must have been enough.
    pub scale_in_delay: Duration,
}

/// Looking ahead.
#[derive(Debug, Clone, PartialEq)]
pub struct Predict {
    /// Whether to.
    pub enabled: bool,
    /// How far; `None` is as far as capacity needs to arrive.
    pub horizon: Option<Duration>,
    /// After how long load repeats itself.
    pub seasons: Vec<Duration>,
    /// Share of the outcomes that the forecast's interval is to hold, in percent.
    pub confidence_percent: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            min: 2,
            max: 10,
            targets: PerSignal::of(|signal| {
                Some(match signal {
                    Signal::Connections | Signal::PublishesInPerSecond => 10_000.0,
                    Signal::ConnectsPerSecond => 500.0,
                    Signal::DeliveriesOutPerSecond => 50_000.0,
                    Signal::CpuPercent => 70.0,
                    Signal::MemoryPercent => 75.0,
                })
            }),
            publish_round_trip_p99_ms: Some(100.0),
            windows: Windows {
                stable: Duration::from_secs(60),
                panic: Duration::from_secs(6),
                panic_threshold_percent: 200.0,
            },
            behavior: Behavior {
                tolerance_percent: 10.0,
                max_step_up: 4.0,
                max_step_down_percent: 25.0,
                scale_in_delay: Duration::from_secs(300),
            },
            predict: Predict {
                enabled: true,
                horizon: None,
                seasons: vec![Duration::from_secs(24 * 3600), Duration::from_secs(168 * 3600)],
                confidence_percent: 90.0,
            },
            scheduled: Vec::new(),
            capacity_delay: Duration::from_secs(45),
        }
    }
}
