//! How well a method has foreseen: its loss against that of "as now", and its errors.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// What happened three days ago counts for a third.
const MEMORY_MINUTES: f64 = 3.0 * 1440.0;

/// Errors that are kept.
const MAX_ERRORS: usize = 240;

/// A proxy too many costs less than one too few.
const COST_OF_TOO_MANY: f64 = 0.02;

/// How well a method has foreseen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    loss: f64,
    loss_of_present: f64,
    /// In thousandths of what was foreseen, positive for more; the newest last. Only where a rise was foreseen,
    /// since that is what is acted on; all of "as now".
    errors: VecDeque<i16>,
    /// The same in order of size.
    ordered: Vec<i16>,
}

impl Record {
    /// Judges one forecast. What is within the tolerance changes no count, and costs nothing.
    pub(super) fn judge(&mut self, present: f64, foreseen: f64, peak: f64, tolerance: f64) {
        let memory = (-1.0 / MEMORY_MINUTES).exp();
        self.loss = self.loss * memory + loss(foreseen.max(present), peak, tolerance);
        self.loss_of_present = self.loss_of_present * memory + loss(present, peak, tolerance);
    }

    /// Notes how far the peak was from what was foreseen; `with_next` is that with one minute more, and counts where the
    /// peak was above.
    pub(super) fn note_error(&mut self, foreseen: f64, with_next: f64, peak: f64) {
        let above = (peak / with_next.max(foreseen).max(1.0) - 1.0).max(0.0);
        let below = (peak / foreseen.max(1.0) - 1.0).min(0.0);
        let error = (above + below).clamp(-1.0, 10.0) * 1000.0;
        #[allow(clippy::cast_possible_truncation, reason = "from -1,000 to 10,000")]
        let error = error.round() as i16;
        self.errors.push_back(error);
        self.ordered
            .insert(self.ordered.partition_point(|other| *other < error), error);
        if self.errors.len() > MAX_ERRORS
            && let Some(oldest) = self.errors.pop_front()
            && let Ok(index) = self.ordered.binary_search(&oldest)
        {
            self.ordered.remove(index);
        }
    }

    /// The method's loss, and that of "as now" over the same time.
    pub(super) fn losses(&self) -> (f64, f64) {
        (self.loss, self.loss_of_present)
    }

    /// The error below which this share of the errors lies; 0 without any.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let Some(last) = self.ordered.len().checked_sub(1) else {
            return 0.0;
        };
        let index = crate::number::count_up(share.clamp(0.0, 1.0) * last as f64);
        let index = usize::try_from(index).map_or(last, |index| index.min(last));
        f64::from(self.ordered[index]) / 1000.0
    }

    pub(super) fn mean_error(&self) -> f64 {
        let sum: f64 = self.errors.iter().map(|error| f64::from(*error).abs() / 1000.0).sum();
        sum / (self.errors.len().max(1) as f64)
    }
}

fn loss(expected: f64, peak: f64, tolerance: f64) -> f64 {
    let scale = peak.max(1.0);
    let short = ((peak - expected) / scale - tolerance).max(0.0);
    let over = ((expected - peak) / scale - tolerance).clamp(0.0, 1.0);
    short + over * COST_OF_TOO_MANY
}
