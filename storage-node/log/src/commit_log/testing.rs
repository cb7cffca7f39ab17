//! The log's steps one by one, without its threads, for the tests of this crate.

use std::collections::{BTreeMap, VecDeque};

use super::{CommitLog, LogMark, Record, keeper::Keeper, read, room::Room};
use crate::error::{FatalError, ReadError};

/// What the keeper does, now. Returns how many segments went.
pub(crate) fn keep(log: &CommitLog, through: &BTreeMap<u32, u64>) -> Result<u64, FatalError> {
    let options = &log.options;
    let disk = log.directory.disk.clone();
    let keeper = Keeper {
        disk: &*disk,
        segments: &log.segments,
        segment_bytes: options.segment_bytes,
        spare_segments: options.spare_segments,
    };
    let released = keeper.release(through)?;
    let room = Room::new(
        disk.clone(),
        log.segments.clone(),
        options.segment_bytes,
        options.reserve_bytes,
    );
    keeper.make_spares(&room)?;
    Ok(released)
}

/// A record by its position.
pub(crate) fn read_record(log: &CommitLog, shard: u32, position: u64) -> Result<Option<Record>, ReadError> {
    read::read_record(&log.segments, shard, position)
}

/// One flush. Returns how many records it made durable, and the end of what is; none: it failed.
pub(crate) fn append(log: &mut CommitLog, pending: &mut VecDeque<Record>) -> Option<(usize, LogMark)> {
    let appended = log.appender.append(pending).ok()?;
    Some((appended.records, appended.durable.mark))
}
