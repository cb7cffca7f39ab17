//! What the load of now needs, by the idea of Knative's autoscaler: a stable window for quiet times, and a short one that
//! takes over in a panic.
//!
//! Called by [`crate::Scaler`]; leaves out how fast a count may change.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::number::{count_up, fraction};
use crate::recent::Recent;
use crate::settings::Settings;
use crate::signal::{PerSignal, Signal};

/// What the load of now needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Proxies.
    pub proxies: u32,
    /// The signal that needs the most.
    pub signal: Signal,
    /// Its value, over all proxies.
    pub value: f64,
    /// What one proxy carries of it.
    pub capacity: f64,
    /// Load of the signal as a share of what the present proxies are to carry; 1 is just right.
    pub utilisation: f64,
    /// Whether every signal that is measured has a value of now. Without that nothing is taken away.
    pub is_complete: bool,
}

/// Whether there is a panic, which lasts one stable window beyond the last reason for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Panic {
    until: Option<Duration>,
}

impl Panic {
    pub(crate) fn is_on(self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Begins or prolongs a panic when the short window asks for far more than there is. A panic that would last longer
    /// than one can was begun by a clock since set back, and is over.
    fn update(&mut self, asked: u32, current: u32, settings: &Settings, now: Duration) {
        let stable = settings.windows.stable;
        self.until = self.until.filter(|until| *until <= now + stable);
        let threshold = f64::from(current.max(1)) * fraction(settings.windows.panic_threshold_percent);
        if f64::from(asked) >= threshold {
            self.until = Some(now + stable);
        }
    }
}

/// Finds what the load of now needs; `None` when nothing that has a target has a value.
pub(crate) fn find_demand(
    recent: &Recent,
    panic: &mut Panic,
    settings: &Settings,
    capacity: &PerSignal<Option<f64>>,
    current: u32,
    now: Duration,
) -> Option<Demand> {
    let load = |signal: Signal| Load::find(recent, signal, capacity[signal], settings, now);
    let loads = PerSignal::of(load);
    let asked = Signal::ALL
        .into_iter()
        .filter_map(|signal| loads[signal])
        .map(|load| count_up(load.short / load.capacity))
        .max()?;
    panic.update(asked, current, settings, now);
    let in_panic = panic.is_on(now);
    let is_complete = Signal::ALL
        .into_iter()
        .filter(|signal| capacity[*signal].is_some() && recent.has_seen(*signal))
        .all(|signal| recent.is_fresh(signal, now));
    Signal::ALL
        .into_iter()
        .filter_map(|signal| {
            let load = loads[signal]?;
            let value = load.deciding(in_panic, signal);
            let utilisation = value / (load.capacity * f64::from(current.max(1)));
            Some(Demand {
                proxies: count_up(value / load.capacity),
                signal,
                value,
                capacity: load.capacity,
                utilisation,
                is_complete,
            })
        })
        .max_by(|a, b| a.utilisation.total_cmp(&b.utilisation))
}

/// The load of now as it counts in quiet: a rate by its mean over the stable window.
pub(crate) fn find_present(recent: &Recent, signal: Signal, settings: &Settings, now: Duration) -> Option<f64> {
    let load = Load::find(recent, signal, Some(f64::INFINITY), settings, now)?;
    Some(if signal.is_level() { load.short } else { load.stable })
}

/// One signal over both windows.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Load {
    stable: f64,
    short: f64,
    /// What the two newest samples agree on.
    agreed: f64,
    capacity: f64,
}

impl Load {
    fn find(
        recent: &Recent,
        signal: Signal,
        capacity: Option<f64>,
        settings: &Settings,
        now: Duration,
    ) -> Option<Self> {
        let windows = &settings.windows;
        let stable = recent.mean(signal, windows.stable, now)?;
        // Samples may be further apart than the panic window is long.
        let short = recent
            .mean(signal, windows.panic, now)
            .or_else(|| recent.newest(signal, windows.stable, now))?;
        Some(Self {
            stable,
            short,
            agreed: recent.agreed(signal, windows.panic, now).unwrap_or(short),
            capacity: capacity?,
        })
    }

    /// The greater one where the short window counts: it adds at once, and takes away as slowly as the stable one. In a
    /// panic also what two samples agree on: the mean of a rise reaches its height only when the window is full of it, and
    /// each step on the way there would be a decision.
    fn deciding(self, in_panic: bool, signal: Signal) -> f64 {
        if in_panic {
            self.stable.max(self.short).max(self.agreed)
        } else if signal.is_level() {
            self.stable.max(self.short)
        } else {
            self.stable
        }
    }
}
