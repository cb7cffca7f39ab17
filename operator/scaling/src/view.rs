//! What the scaler goes by at the moment, for people: each signal, the forecast, what was learned.

use std::time::Duration;

use crate::forecast::Forecast;
use crate::number::count_up;
use crate::reactive::find_present;
use crate::scaler::Scaler;
use crate::signal::{PerSignal, Signal};

/// A look at what decisions are made from.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Each signal that has a target; `None` for the others.
    pub signals: PerSignal<Option<SignalView>>,
    /// Round trip of a publish, P99 in milliseconds, as it counts; `None` when it is not known or has no objective.
    pub round_trip_p99_ms: Option<f64>,
    /// What needs the most in the next minutes, if anything is known of them.
    pub forecast: Option<Forecast>,
    /// What one proxy was learned to carry, where that is less than its target.
    pub learned: PerSignal<Option<f64>>,
}

/// A signal that has a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignalView {
    /// Its value over all proxies, as it counts in quiet; `None` when it is not known.
    pub value: Option<f64>,
    /// What one proxy is to carry.
    pub target: f64,
    /// Proxies that the value needs, if it is known.
    pub needs: Option<u32>,
}

impl Scaler {
    /// Shows what decisions at `now` are made from.
    pub fn view(&self, now: Duration) -> View {
        let settings = self.settings();
        let (recent, capacity) = self.measured();
        let carried = capacity.carried(settings);
        let signals = PerSignal::of(|signal| {
            let target = settings.targets[signal]?;
            let value = find_present(recent, signal, settings, now);
            let carried = carried[signal].filter(|carried| *carried > 0.0);
            let needs = value.zip(carried).map(|(value, carried)| count_up(value / carried));
            Some(SignalView { value, target, needs })
        });
        let is_learned = |signal: Signal| carried[signal].filter(|carried| Some(*carried) < settings.targets[signal]);
        View {
            signals,
            round_trip_p99_ms: settings
                .publish_round_trip_p99_ms
                .and_then(|_| recent.median_round_trip_ms(settings.windows.stable, now)),
            forecast: self.foresee(now),
            learned: PerSignal::of(is_learned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sample, Settings};

    #[test]
    fn a_signal_is_shown_with_what_it_needs_or_as_unknown() {
        let mut settings = Settings::default();
        settings.targets[Signal::CpuPercent] = None;
        let mut scaler = Scaler::new(settings);
        let now = Duration::from_secs(1_000_000);
        let mut sample = Sample {
            at: now,
            proxies: Some(2),
            round_trip_p99_ms: Some(38.0),
            ..Sample::default()
        };
        sample.values[Signal::Connections] = Some(31_000.0);
        scaler.observe(&sample);
        let view = scaler.view(now);
        let connections = view.signals[Signal::Connections].expect("a target");
        assert_eq!((connections.value, connections.needs), (Some(31_000.0), Some(4)));
        let publishes = view.signals[Signal::PublishesInPerSecond].expect("a target");
        assert_eq!((publishes.value, publishes.needs), (None, None));
        assert_eq!(view.signals[Signal::CpuPercent], None);
        assert_eq!(view.round_trip_p99_ms, Some(38.0));
        assert_eq!(view.learned, PerSignal::default());
    }
}
