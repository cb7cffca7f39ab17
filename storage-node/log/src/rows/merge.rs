//! Rows of several sorted sources in one order; of a key that several have, the newest counts.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, VecDeque},
};

use super::{Row, RowKey, file::FileReader};
use crate::error::OpenError;

/// Files that follow each other in the order of their keys.
#[derive(Debug)]
pub(super) struct Chain(pub(super) VecDeque<FileReader>);

impl Chain {
    fn next_row(&mut self) -> Result<Option<Row>, OpenError> {
        while let Some(reader) = self.0.front_mut() {
            match reader.next_row()? {
                Some(row) => return Ok(Some(row)),
                None => self.0.pop_front(),
            };
        }
        Ok(None)
    }
}

/// All sources as one.
#[derive(Debug)]
pub(super) struct Merge {
    /// Oldest first.
    sources: Vec<Chain>,
    /// The next row of each source that has one; the smallest key first, of equal ones the newest source.
    heads: BinaryHeap<Reverse<Head>>,
}

#[derive(Debug)]
struct Head {
    row: Row,
    source: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.row.key.cmp(&other.row.key).then(other.source.cmp(&self.source))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl Merge {
    /// Merges sources that are given oldest first.
    ///
    /// # Errors
    /// [`OpenError`] of the first block of one of them.
    pub(super) fn new(sources: Vec<Chain>) -> Result<Self, OpenError> {
        let mut merge = Self {
            heads: BinaryHeap::with_capacity(sources.len()),
            sources,
        };
        for source in 0..merge.sources.len() {
            merge.advance(source)?;
        }
        Ok(merge)
    }

    /// The next key, and its newest row. One without a value comes as well.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn next_row(&mut self) -> Result<Option<Row>, OpenError> {
        let Some(Reverse(newest)) = self.heads.pop() else {
            return Ok(None);
        };
        self.advance(newest.source)?;
        while let Some(Reverse(older)) = self.heads.peek()
            && older.row.key == newest.row.key
        {
            let source = older.source;
            self.heads.pop();
            self.advance(source)?;
        }
        Ok(Some(newest.row))
    }

    /// As [`Merge::next_row`], when that key lies below the bound.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn next_row_below(&mut self, bound: Option<&RowKey>) -> Result<Option<Row>, OpenError> {
        let is_below = self
            .heads
            .peek()
            .is_some_and(|Reverse(head)| bound.is_none_or(|bound| head.row.key < *bound));
        if is_below { self.next_row() } else { Ok(None) }
    }

    /// Whether no source but the oldest has a key below the bound any more.
    pub(super) fn only_oldest_below(&self, bound: Option<&RowKey>) -> bool {
        let is_below = |key: &RowKey| bound.is_none_or(|bound| key < bound);
        let mut newer = self.heads.iter().filter(|Reverse(head)| head.source > 0);
        newer.all(|Reverse(head)| !is_below(&head.row.key))
    }

    /// Passes over the file of the oldest source whose first row is next.
    ///
    /// # Errors
    /// [`OpenError`] of the file behind it.
    pub(super) fn skip_file(&mut self) -> Result<(), OpenError> {
        self.heads.retain(|Reverse(head)| head.source > 0);
        if let Some(oldest) = self.sources.first_mut() {
            oldest.0.pop_front();
            self.advance(0)?;
        }
        Ok(())
    }

    fn advance(&mut self, source: usize) -> Result<(), OpenError> {
        if let Some(row) = self.sources[source].next_row()? {
            self.heads.push(Reverse(Head { row, source }));
        }
        Ok(())
    }
}
