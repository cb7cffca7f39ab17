//! Load over time: read from CSV, written as CSV, or made from a seed.

mod csv;
mod kinds;
mod load;
mod random;

use std::time::Duration;

use crate::signal::{PerSignal, Signal};

pub use csv::{HEADER, TraceError, TraceErrorKind, parse_trace, write_header, write_row};
pub use kinds::{Kind, generate};

/// Load over time, with times that increase.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// At least two.
    pub rows: Vec<TraceRow>,
}

/// Load at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TraceRow {
    /// Since the Unix epoch, or since whatever the trace begins with.
    pub at: Duration,
    /// Over the whole cluster; CPU and memory are never in a trace.
    pub values: PerSignal<Option<f64>>,
    /// Round trip of a publish, P99 in milliseconds.
    pub round_trip_p99_ms: Option<f64>,
}

/// The signals of a trace, in the order of its columns.
pub const SIGNALS: [Signal; 4] = [
    Signal::Connections,
    Signal::ConnectsPerSecond,
    Signal::PublishesInPerSecond,
    Signal::DeliveriesOutPerSecond,
];

impl Trace {
    /// How long the load of a row lasts: until the next one; the last lasts as long as the one before it.
    pub fn step(&self, index: usize) -> Duration {
        let at = |index: usize| self.rows.get(index).map(|row| row.at);
        match (at(index), at(index + 1)) {
            (Some(this), Some(next)) => next.saturating_sub(this),
            _ => match (index.checked_sub(1).and_then(at), at(index)) {
                (Some(before), Some(this)) => this.saturating_sub(before),
                _ => Duration::ZERO,
            },
        }
    }
}
