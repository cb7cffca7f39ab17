//! One physical log for all shards of a node.
//!
//! [`CommitLog::open`] reads what is there and says where it ends; [`CommitLog::records`] gives it back, for what the
//! last checkpoint does not cover; [`CommitLog::start`] begins to write. From then on a [`LogHandle`] takes records
//! from any thread, and the flush cycle alone makes batches of them: while a flush runs, what comes waits; when it
//! ends, everything that waits is the next one. There is no timer.
//!
//! On disk the log is a row of segments of one size, filled with zeros or with an older life's bytes before they are
//! used, so that a flush has no metadata to commit. A segment is a row of frames, one for each flush; a frame names
//! the end of what was durable before it, and holds records, each with a CRC of its own. The CRCs are salted with a
//! random number of the segment: neither an older life's bytes nor what a client put into its payload can be taken
//! for a frame.

mod appender;
mod frame;
mod handle;
mod keeper;
mod open;
mod options;
mod queue;
mod read;
mod recovery;
mod room;
mod segment;
mod segment_index;
mod segments;
mod stats;
#[cfg(test)]
pub(crate) mod testing;
mod writer;

use bytes::Bytes;

pub use self::{
    handle::{LogHandle, Refused, RefusedBecause},
    open::{CommitLog, Recovery},
    options::LogOptions,
    read::Records,
    stats::{FLUSH_BUCKETS_SECONDS, LogStats},
    writer::abort_process,
};

/// One record: a shard's entry, whose bytes mean nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The shard.
    pub shard: u32,
    /// Its position there. Positions of a shard grow, not always by one.
    pub position: u64,
    /// What the bytes are; the caller's own numbers.
    pub kind: u8,
    /// The entry.
    pub bytes: Bytes,
}

/// A place in the log of this node. Of no meaning to other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogMark {
    /// Sequence number of the segment, from 1 on.
    pub segment: u64,
    /// Bytes from the start of its file.
    pub offset: u64,
}

/// A flush has ended: everything up to here outlives a power cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// The end of what is durable.
    pub mark: LogMark,
    /// The highest durable position of each shard that has moved.
    pub positions: Vec<(u32, u64)>,
}

/// Whether a record may use what is kept free for the time when the disk is nearly full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Refused below the reserve: what makes the stored state grow.
    Ordinary,
    /// Taken while there is any room: what makes it smaller, and what the cluster needs to go on.
    Control,
}
