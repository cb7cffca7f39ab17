//! What the shards' state was at some position of the log, as rows of key and value: the checkpoint.
//!
//! The state itself lives in memory. From time to time [`RowStore::checkpoint`] takes the rows that have changed, and writes
//! them with the position they are of as one: after a crash the older checkpoint is there or the newer one, whole. All rows
//! are read at a start, and what the log has beyond them is applied again; single ones may be read at any time by another
//! thread ([`RowLookup`]).
//!
//! On disk a checkpoint is one sorted file or several (a *delta*), and a manifest that names all files and is replaced by a
//! rename. The *base* is the sorted rows of all older checkpoints, in files of some MiB. When deltas and what they have made
//! useless in the base come to a quarter of the base, [`RowStore::merge_some`] folds them into it, file by file, and each
//! old file goes as soon as its successor is named; one that they do not touch stays. Other checkpoints may be taken
//! meanwhile, until what is useless comes to a third. With V bytes of live rows the disk holds at most 2 V, and a constant
//! of [`RowOptions::slack_bytes`] and [`RowOptions::file_bytes`]. Memory is bounded by [`RowOptions::buffer_bytes`] and a
//! block for each file that is read.
//!
//! Belongs to one thread, which is not the one that has the state: everything here waits for the disk.

mod block;
mod blocks;
mod checkpoint;
mod file;
mod fold;
mod iter;
mod lookup;
mod manifest;
mod merge;
mod meta;
mod store;

use std::io;

use bytes::Bytes;
use thiserror::Error;

pub use self::{
    checkpoint::Checkpoint,
    iter::RowIter,
    lookup::RowLookup,
    store::{RowOptions, RowStats, RowStore},
};
use crate::error::{FatalError, OpenError};

/// Why rows were not written.
#[derive(Debug, Error)]
pub enum RowError {
    /// The disk is full. Nothing was lost: what was there is there, and the same call can be made again.
    #[error("no room for {file}: {source}")]
    Full {
        /// Name of the file in the data directory.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
    /// A file cannot be read that a merge needs. What is there stays as it is.
    #[error(transparent)]
    Unreadable(#[from] OpenError),
    /// Nobody knows what is on disk: the process has to end. The older checkpoint is whole.
    #[error(transparent)]
    Fatal(#[from] FatalError),
}

impl RowError {
    /// An error of a file that nothing refers to yet, so that a full disk loses nothing.
    pub(super) fn of_new_file(file: &str, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full {
                file: file.to_owned(),
                source: error,
            },
            _ => FatalError::new(file, action, error).into(),
        }
    }
}

/// Where a row is: rows are sorted by shard, then by key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey {
    shard: u32,
    key: Bytes,
}

/// A row; without a value it says that there is none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    key: RowKey,
    value: Option<Bytes>,
}
