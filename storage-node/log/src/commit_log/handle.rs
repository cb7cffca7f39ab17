//! What everybody but the writer has of a log that is written.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use thiserror::Error;

use super::{Class, LogStats, Record, read, writer::Running};
use crate::error::ReadError;

/// Takes records for a log and reads them back. Clones are the same log; with the last one, it stops.
#[derive(Debug, Clone)]
pub struct LogHandle {
    pub(super) running: Arc<Running>,
}

/// Nothing of a call was taken.
#[derive(Error)]
#[error("the log takes nothing: {reason}")]
pub struct Refused {
    /// What was to be appended.
    pub records: Vec<Record>,
    /// Why it was not.
    pub reason: RefusedBecause,
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.records.len();
        f.debug_struct("Refused")
            .field("records", &records)
            .field("reason", &self.reason)
            .finish()
    }
}

/// Why the log takes nothing, split by what the caller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RefusedBecause {
    /// The disk is full down to the reserve, and the records are ordinary: hold or refuse what they are of.
    #[error("the disk is full down to its reserve")]
    DiskFull,
    /// Too much waits: come again when something has become durable, which is sure to happen.
    #[error("too much waits for the disk")]
    QueueFull,
    /// A record is larger than a segment takes: refuse what it is of.
    #[error("a record is larger than a segment of the log")]
    TooLarge,
    /// A position does not lie above the last one of its shard: a defect of the caller.
    #[error("a position does not follow the one before")]
    OutOfOrder,
    /// The log has stopped, or has failed.
    #[error("the log has stopped")]
    Stopped,
}

impl LogHandle {
    /// Hands records over, all of them or none. They become durable in this order, soon, and `on_durable` says so:
    /// nothing may be acknowledged before. One call for everything that a turn has, whatever the number of shards.
    ///
    /// # Errors
    /// [`Refused`] gives the records back.
    pub fn append(&self, records: Vec<Record>, class: Class) -> Result<(), Refused> {
        if records.is_empty() {
            return Ok(());
        }
        let running = &self.running;
        if class == Class::Ordinary && running.room.is_full() {
            running.counters.refused_disk_full.fetch_add(1, Relaxed);
            let reason = RefusedBecause::DiskFull;
            return Err(Refused { records, reason });
        }
        running.queue.push(records).map_err(|(records, reason)| {
            if reason == RefusedBecause::QueueFull {
                running.counters.refused_queue_full.fetch_add(1, Relaxed);
            }
            Refused { records, reason }
        })
    }

    /// Reads a durable record. Reads at most 64 KiB of the log and one flush; none: it is not there, or not any more.
    ///
    /// # Errors
    /// [`ReadError`] names file and offset.
    pub fn read(&self, shard: u32, position: u64) -> Result<Option<Record>, ReadError> {
        read::read_record(&self.running.segments, shard, position)
    }

    /// A checkpoint covers everything through these positions: segments without any other record go, in their order
    /// and in the background. What the segment that is being written has stays.
    pub fn release(&self, through: &[(u32, u64)]) {
        self.running.work.release(through);
    }

    /// Whether ordinary records are refused because the disk is full down to the reserve. Ends by itself.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.running.room.is_full()
    }

    /// Size of the file system, as it was when somebody last looked; it may grow.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.running.room.total_bytes()
    }

    /// What the log has done and has.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let running = &self.running;
        let (segments, segment_bytes) = running.segments.count();
        let (queue_records, queue_bytes) = running.queue.depth();
        LogStats {
            segments,
            segment_bytes,
            spare_segments: running.segments.spares() as u64,
            queue_records: queue_records as u64,
            queue_bytes: queue_bytes as u64,
            torn_bytes: running.torn_bytes,
            free_bytes: running.room.free_bytes(),
            reserve_bytes: running.room.reserve_bytes(),
            ..running.counters.read()
        }
    }

    /// Writes what was taken, flushes it, reports it, and ends the threads. Not to be called from `on_durable`.
    pub fn stop(&self) {
        self.running.stop();
    }
}
