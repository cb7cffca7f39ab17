//! What programs of tests have and no product has, behind the feature `planted-faults`: mistakes that they make when they
//! are asked to, places to die at, and a disk that forgets with the process what was not flushed.
//!
//! Called by the programs before anything else, and when the disk is opened. The history checker (`checker/`) runs them.

use std::io::Write as _;

use freshet_storage_core::planted::Step;
use freshet_storage_log::fault_points::reach;
use freshet_storage_log::{LogOptions, RowOptions};

use crate::disk::FAULT_POINTS;

/// What the variable of the fault points says when they are to be named.
const LIST: &str = "list";
/// Bytes of a segment of the log: some are used up in a second, and what happens then happens often.
const SEGMENT_BYTES: u64 = 128 << 10;
/// Files of rows that are kept before they are made one.
const MAX_DELTAS: usize = 2;
/// Deltas and dead rows below this do not begin a merge.
const SLACK_BYTES: u64 = 64 << 10;

/// Makes the mistake and watches for the place that the environment names. False: it asks for the names of all places,
/// which have been printed, and that is all.
///
/// # Errors
/// A mistake that there is not.
pub fn prepare() -> anyhow::Result<bool> {
    if std::env::var("FRESHET_FAULT_POINT").is_ok_and(|asked| asked == LIST) {
        let steps = Step::ALL.iter().map(|step| step.name());
        let places = freshet_storage_log::fault_points::PLACES.into_iter();
        let mut out = std::io::stdout().lock();
        for place in FAULT_POINTS.into_iter().chain(steps).chain(places) {
            writeln!(out, "{place}")?;
        }
        return Ok(false);
    }
    freshet_storage_core::planted::watch_steps(|step| reach(step.name()));
    freshet_process::plant(&[
        ("storage", freshet_storage_core::planted::plant_everywhere),
        ("log", freshet_storage_log::plant_everywhere),
    ])?;
    Ok(true)
}

/// Makes files so small that all that is done with them is done within a short life.
pub(crate) fn shrunk(log: &LogOptions, rows: &RowOptions) -> (LogOptions, RowOptions) {
    let log = LogOptions {
        segment_bytes: SEGMENT_BYTES,
        ..log.clone()
    };
    let rows = RowOptions {
        max_deltas: MAX_DELTAS,
        slack_bytes: SLACK_BYTES,
        ..rows.clone()
    };
    (log, rows)
}
