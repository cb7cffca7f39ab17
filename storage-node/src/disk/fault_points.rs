//! The places at which a test lets a storage node die, in the order in which an entry comes by: each lies between two
//! steps, and whatever was done by then has to be enough. `FRESHET_FAULT_POINT=NAME:N` chooses one
//! (`freshet_storage_log::fault_points`). Without the feature `planted-faults` they cost nothing.

pub(super) use freshet_storage_log::fault_points::reach;

/// The places of this crate.
#[cfg(feature = "planted-faults")]
pub(crate) const PLACES: [&str; 6] = [
    "first_records_flushed",
    "before_append",
    "after_append",
    "before_answers",
    "before_checkpoint_commit",
    "after_checkpoint_commit",
];
