//! The bytes of a storage node on disk: the commit log of all its shards, and checkpoints of their state.
//!
//! A node has one [`DataDirectory`], and in it two things. The [`CommitLog`] is one physical log for all shards: a
//! thread gathers what waits, writes it at once, flushes once, and then says what is durable. The [`RowStore`] holds
//! what the shards' state was at some position of the log, as rows; what the log has beyond that is applied again at
//! the next start. Nothing here knows what a record or a row means.
//!
//! What is promised, whatever happens to process or power: what was reported as durable is there after the next
//! start, in its order; what is returned is what was appended; bytes that are damaged below what was durable are
//! reported with file and offset, never passed over; and a checkpoint is there as a whole or not at all. A sector is
//! taken to be written as a whole or not at all, as disks do.
//!
//! Everything goes through [`Disk`], so that tests can cut the power (`SimulatedDisk`, feature `simulated`). Leaves
//! out what a process does about a failed flush ([`abort_process`] is for programs), and when checkpoints are taken.

mod commit_log;
mod directory;
mod disk;
mod error;
pub mod fault_points;
mod format;
mod planted;
mod rows;
#[cfg(test)]
mod tests;

pub use commit_log::{
    Class, CommitLog, Durable, FLUSH_BUCKETS_SECONDS, LogHandle, LogMark, LogOptions, LogStats, Record, Records,
    Recovery, Refused, RefusedBecause, abort_process,
};
pub use directory::DataDirectory;
#[cfg(any(test, feature = "simulated"))]
pub use disk::SimulatedDisk;
#[cfg(any(test, feature = "planted-faults"))]
pub use disk::VolatileDisk;
pub use disk::{Disk, DiskFile, RealDisk, Space};
pub use error::{FatalError, OpenError, ReadError};
#[cfg(feature = "planted-faults")]
pub use planted::plant_everywhere;
pub use rows::{Checkpoint, RowError, RowIter, RowLookup, RowOptions, RowStats, RowStore};
