//! One who knows what comes: at each time the least count that carries what comes within the capacity delay.

use std::collections::VecDeque;

use super::needed;
use crate::number::fraction;
use crate::settings::Settings;
use crate::trace::Trace;

/// For each row the greatest need from it until the capacity delay later, both included.
pub(super) fn needed_within_delay(trace: &Trace, settings: &Settings) -> Vec<u32> {
    let share = 1.0 + fraction(settings.behavior.tolerance_percent);
    let mut known = 0;
    let needs: Vec<u32> = trace
        .rows
        .iter()
        .map(|row| {
            // What is unknown is taken to be as before.
            if super::SCORED.into_iter().any(|signal| row.values[signal].is_some()) {
                known = needed(row, settings, share);
            }
            known
        })
        .collect();
    let mut greatest: VecDeque<usize> = VecDeque::new();
    let mut next = 0;
    let mut result = Vec::with_capacity(needs.len());
    for (index, row) in trace.rows.iter().enumerate() {
        while trace
            .rows
            .get(next)
            .is_some_and(|later| later.at <= row.at + settings.capacity_delay)
        {
            while greatest.back().is_some_and(|last| needs[*last] <= needs[next]) {
                greatest.pop_back();
            }
            greatest.push_back(next);
            next += 1;
        }
        while greatest.front().is_some_and(|first| *first < index) {
            greatest.pop_front();
        }
        result.push(greatest.front().map_or(needs[index], |first| needs[*first]));
    }
    result
}
