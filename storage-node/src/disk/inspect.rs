//! The disk as people look at it.

use freshet_storage_contract::MonotonicMs;
use freshet_storage_core::StorageCore;
use freshet_storage_core::inspect::{PositionsView, Wide};
use serde::{Deserialize, Serialize};

use super::NodeDisk;

/// The commit log, its marks, and the checkpoints behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogView {
    /// Only the reserve is left.
    pub is_full: bool,
    /// What can be written before the disk is full.
    pub free_bytes: u64,
    /// How much of it messages may not use.
    pub reserve_bytes: u64,
    /// Segments with records.
    pub segments: u64,
    /// Their bytes on disk.
    pub segment_bytes: u64,
    /// Files that are ready to become segments.
    pub spare_segments: u64,
    /// Records that wait for the disk.
    pub waiting_records: u64,
    /// Bytes of them.
    pub waiting_bytes: u64,
    /// Flushes since the start.
    pub flushes: u64,
    /// What the start found torn and cut.
    pub torn_bytes: u64,
    /// What the state has on disk.
    pub checkpoint: CheckpointView,
    /// The marks, in order of shards.
    pub shards: Vec<MarksView>,
}

/// Checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointView {
    /// Since the last one ended; none: none has since the start.
    pub age_ms: Option<u64>,
    /// One is being taken.
    pub is_running: bool,
    /// Those that ended since the start.
    pub count: u64,
    /// Rows in its files, former ones of the same key included.
    pub rows: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes of the log that a start would apply, at most.
    pub replay_bytes: u64,
}

/// Where a shard's log stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MarksView {
    /// The shard.
    pub shard: u16,
    /// Proposed, flushed, applied.
    pub positions: PositionsView,
    /// The last entry that the last checkpoint has; none: it has nothing of this shard.
    pub checkpointed: Option<Wide>,
}

impl NodeDisk {
    /// The log and its marks, for people.
    #[must_use]
    pub fn view(&self, core: &StorageCore, now: MonotonicMs) -> LogView {
        let log = self.log.stats();
        let checkpointed = self.checkpoints.applied();
        let marks = core.inspect_positions().map(|(shard, positions)| MarksView {
            shard: shard.0,
            positions,
            checkpointed: checkpointed
                .iter()
                .find(|(of, _)| *of == u32::from(shard.0))
                .map(|(_, position)| Wide(*position)),
        });
        LogView {
            is_full: self.log.is_full(),
            free_bytes: log.free_bytes,
            reserve_bytes: log.reserve_bytes,
            segments: log.segments,
            segment_bytes: log.segment_bytes,
            spare_segments: log.spare_segments,
            waiting_records: log.queue_records + self.waiting.len() as u64,
            waiting_bytes: log.queue_bytes + self.waiting.iter().map(|r| r.bytes.len() as u64).sum::<u64>(),
            flushes: log.flushes,
            torn_bytes: log.torn_bytes,
            checkpoint: self.checkpoints.view(self.appended_bytes, now),
            shards: marks.collect(),
        }
    }
}
