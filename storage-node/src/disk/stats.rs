//! The disk at one moment, in figures.

use freshet_storage_log::{LogStats, RowStats};

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskStats {
    /// Of the log.
    pub log: LogStats,
    /// Of the checkpoints.
    pub rows: RowStats,
    /// Only the reserve is left.
    pub is_full: bool,
}
