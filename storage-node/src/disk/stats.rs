//! The disk at one moment, in figures.

use freshet_storage_log::{LogStats, RowStats};

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskStats {
    /// Of the log.
    pub log: LogStats,
    /// Of the checkpoints.
    pub rows: RowStats,
    /// Bytes read from checkpoints since the start, for those who read what is queued.
    pub read_bytes: u64,
    /// Bytes of these that are kept in memory for the next reader.
    pub read_kept_bytes: u64,
    /// Only the reserve is left.
    pub is_full: bool,
}
