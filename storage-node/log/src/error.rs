//! What can go wrong, split by what the caller does next: refuse to start, end the process, or answer one reader.

use std::io;

use thiserror::Error;

/// A data directory cannot be used as it is. Nothing was changed.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Bytes that had been durable are not what was written. The caller decides: a node that has replicas begins
    /// anew and is repaired by them, one that is alone must not go on as if nothing was missing.
    #[error("{file} is damaged at byte {offset}: {what}")]
    Damaged {
        /// Name of the file in the data directory.
        file: String,
        /// Where the damage begins, bytes from the start of the file.
        offset: u64,
        /// What was expected there.
        what: &'static str,
    },
    /// Another version of the program wrote the directory.
    #[error("{file} has format {found}, and this program reads format {supported}: {}", advice(*.found, *.supported))]
    Format {
        /// Name of the file in the data directory.
        file: String,
        /// The format that it has.
        found: u32,
        /// The format that can be read.
        supported: u32,
    },
    /// The directory belongs to another cluster.
    #[error(
        "the data directory belongs to the cluster {found:?}, not to {expected:?}: give this node the volume that is its \
         own, or an empty one"
    )]
    ForeignCluster {
        /// The cluster that was asked for.
        expected: String,
        /// The cluster that the directory names.
        found: String,
    },
    /// The disk answered with an error.
    #[error("{file} cannot be read or written at byte {offset}: {source}")]
    Io {
        /// Name of the file in the data directory; `.` is the directory itself.
        file: String,
        /// Where, bytes from the start of the file.
        offset: u64,
        /// What the disk said.
        source: io::Error,
    },
}

impl OpenError {
    /// An error of the disk at a byte of a file.
    pub(crate) fn io(file: &str, offset: u64, source: io::Error) -> Self {
        Self::Io {
            file: file.to_owned(),
            offset,
            source,
        }
    }

    /// Damage at a byte of a file.
    pub(crate) fn damaged(file: &str, offset: u64, what: &'static str) -> Self {
        Self::Damaged {
            file: file.to_owned(),
            offset,
            what,
        }
    }
}

fn advice(found: u32, supported: u32) -> &'static str {
    if found > supported {
        "start the version that wrote it, or a later one; going back needs an empty directory"
    } else {
        "start a version in between first, which brings the directory to its own format"
    }
}

/// A write or a flush failed. What was written since the last flush may be on disk or not, and another flush would
/// not tell: the pages may count as clean by now. The process has to end; its next start reads what is there.
#[derive(Debug, Error)]
#[error("{action} {file} failed: {source}")]
pub struct FatalError {
    /// Name of the file in the data directory; `.` is the directory itself.
    pub file: String,
    /// What was tried.
    pub action: &'static str,
    /// What the disk said.
    pub source: io::Error,
}

impl FatalError {
    pub(crate) fn new(file: &str, action: &'static str, source: io::Error) -> Self {
        Self {
            file: file.to_owned(),
            action,
            source,
        }
    }
}

/// A record cannot be read. The log goes on; the reader is told.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The bytes on disk are not those that were written.
    #[error("{file} is damaged at byte {offset}: {what}")]
    Damaged {
        /// Name of the file in the data directory.
        file: String,
        /// Where, bytes from the start of the file.
        offset: u64,
        /// What was expected there.
        what: &'static str,
    },
    /// The disk answered with an error.
    #[error("{file} cannot be read at byte {offset}: {source}")]
    Io {
        /// Name of the file in the data directory.
        file: String,
        /// Where, bytes from the start of the file.
        offset: u64,
        /// What the disk said.
        source: io::Error,
    },
}
