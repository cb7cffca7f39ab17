//! A trace as a library for time series takes it: one value for each minute, or for each few.

use freshet_scaling::Signal;
use freshet_scaling::trace::Trace;

/// What becomes of the load within a bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Means,
    Maxima,
}

/// A load over time, in bins of some minutes each.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    /// The first bin, counted from the Unix epoch.
    pub(crate) first: u64,
    pub(crate) bin_minutes: u64,
    pub(crate) values: Vec<f64>,
}

impl Series {
    /// Takes the load of a signal apart. A bin without any value is as the one before.
    pub(crate) fn of_trace(trace: &Trace, signal: Signal, bin_minutes: u64, of: Of) -> Self {
        let bin = |index: usize| trace.rows.get(index).map(|row| row.at.as_secs() / 60 / bin_minutes);
        let first = bin(0).unwrap_or_default();
        let mut values: Vec<f64> = Vec::new();
        for rows in trace
            .rows
            .chunk_by(|a, b| a.at.as_secs() / 60 / bin_minutes == b.at.as_secs() / 60 / bin_minutes)
        {
            let known: Vec<f64> = rows.iter().filter_map(|row| row.values[signal]).collect();
            let value = match of {
                _ if known.is_empty() => values.last().copied().unwrap_or_default(),
                Of::Means => known.iter().sum::<f64>() / known.len() as f64,
                Of::Maxima => known.iter().copied().fold(0.0, f64::max),
            };
            values.push(value);
        }
        Self {
            first,
            bin_minutes,
            values,
        }
    }

    /// The bin of a second.
    pub(crate) fn bin_of(&self, second: u64) -> u64 {
        second / 60 / self.bin_minutes
    }

    /// The values of all bins before this one.
    pub(crate) fn before(&self, bin: u64) -> &[f64] {
        let end = usize::try_from(bin.saturating_sub(self.first)).unwrap_or(usize::MAX);
        &self.values[..end.min(self.values.len())]
    }
}
