//! The rows of one shard, for a start.

use bytes::Bytes;

use super::merge::Merge;
use crate::error::OpenError;

/// Rows of a shard in the order of their keys, each with memory of its own. Ends after the first error.
#[derive(Debug)]
pub struct RowIter {
    merge: Merge,
    failed: bool,
}

impl RowIter {
    pub(super) fn new(merge: Merge) -> Self {
        Self { merge, failed: false }
    }
}

impl Iterator for RowIter {
    type Item = Result<(Bytes, Bytes), OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            match self.merge.next_row() {
                Ok(Some(row)) => {
                    if let Some(value) = row.value {
                        // Copies: or one small row would keep its whole block in memory.
                        let own = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
                        return Some(Ok((own(row.key.key), own(value))));
                    }
                }
                Ok(None) => return None,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
