//! The rows that are there.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    Checkpoint, RowError, RowIter,
    file::{self, FileReader, id_in},
    fold::{Fold, Into},
    lookup::{Current, RowLookup},
    manifest::Manifest,
    merge::{Chain, Merge},
};
use crate::{directory::DataDirectory, error::OpenError};

/// Sizes of what is written.
#[derive(Debug, Clone)]
pub struct RowOptions {
    /// Bytes of rows that a checkpoint sorts in memory. Default: 16 MiB.
    pub buffer_bytes: usize,
    /// Bytes that are read at once and have one CRC. Default: 32 KiB.
    pub block_bytes: usize,
    /// Bytes of a file of the base. Default: 16 MiB.
    pub file_bytes: u64,
    /// Deltas and dead rows below this do not begin a merge. Default: 8 MiB.
    pub slack_bytes: u64,
    /// Deltas that are kept before they are made one. Default: 32.
    pub max_deltas: usize,
}

impl Default for RowOptions {
    fn default() -> Self {
        Self {
            buffer_bytes: 16 << 20,
            block_bytes: 32 << 10,
            file_bytes: 16 << 20,
            slack_bytes: 8 << 20,
            max_deltas: 32,
        }
    }
}

/// What the store has and has done since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowStats {
    /// Files of older checkpoints' rows.
    pub base_files: u64,
    /// Their bytes.
    pub base_bytes: u64,
    /// Rows in them.
    pub base_rows: u64,
    /// Files of rows since.
    pub delta_files: u64,
    /// Their bytes.
    pub delta_bytes: u64,
    /// Rows in them.
    pub delta_rows: u64,
    /// Checkpoints that were committed.
    pub checkpoints: u64,
    /// Rows written by checkpoints.
    pub rows_written: u64,
    /// Bytes written by checkpoints.
    pub bytes_written: u64,
    /// Merges that came to their end.
    pub merges: u64,
    /// Bytes written by merges.
    pub merged_bytes: u64,
}

/// Rows of all shards, of one checkpoint.
#[derive(Debug)]
pub struct RowStore {
    pub(super) directory: DataDirectory,
    pub(super) options: RowOptions,
    pub(super) manifest: Manifest,
    /// The manifest as other threads see it.
    current: Arc<Current>,
    /// What is being merged.
    fold: Option<Fold>,
    pub(super) counters: RowStats,
}

impl RowStore {
    /// Opens the rows of a directory, which begin empty. What an unfinished checkpoint or merge has left goes.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when the manifest is, or a file it names is missing or of another length; rows
    /// themselves are checked when they are read. [`OpenError::Format`], and what the disk says.
    pub fn open(directory: &DataDirectory, options: RowOptions) -> Result<Self, OpenError> {
        let manifest = Manifest::read(directory)?;
        for meta in manifest.files() {
            file::check(directory, meta)?;
        }
        let store = Self {
            directory: directory.clone(),
            options,
            current: Arc::new(Current::default()),
            manifest,
            fold: None,
            counters: RowStats::default(),
        };
        store.tell();
        store.remove_leftovers()?;
        Ok(store)
    }

    fn remove_leftovers(&self) -> Result<(), OpenError> {
        let disk = &*self.directory.disk;
        let named: BTreeSet<u64> = self.manifest.files().map(|meta| meta.id).collect();
        for name in disk.list().map_err(|error| OpenError::io(".", 0, error))? {
            if id_in(&name).is_some_and(|id| !named.contains(&id)) {
                disk.remove(&name).map_err(|error| OpenError::io(&name, 0, error))?;
            }
        }
        Ok(())
    }

    /// Positions that the rows are of, by shard: entries of the log up to there are in them, all later ones are not.
    #[must_use]
    pub fn applied(&self) -> &[(u32, u64)] {
        &self.manifest.applied
    }

    /// The rows of a shard in the order of their keys.
    ///
    /// # Errors
    /// [`OpenError`]; also of single rows.
    pub fn rows(&self, shard: u32) -> Result<RowIter, OpenError> {
        let of_shard = |meta| FileReader::of_shard(&self.directory, meta, shard);
        let mut sources = vec![Chain(self.manifest.base.iter().filter_map(of_shard).collect())];
        for reader in self.manifest.deltas.iter().filter_map(of_shard) {
            sources.push(Chain(VecDeque::from([reader])));
        }
        Merge::new(sources).map(RowIter::new)
    }

    /// For another thread, which looks up single rows, and keeps up to `kept_bytes` of blocks for that.
    #[must_use]
    pub fn lookup(&self, kept_bytes: usize) -> RowLookup {
        RowLookup::new(&self.directory, self.current.clone(), kept_bytes)
    }

    /// Another manifest counts, before any file that only the one before names is removed.
    pub(super) fn tell(&self) {
        self.current.set(self.manifest.clone());
    }

    /// Begins a checkpoint.
    pub fn checkpoint(&mut self) -> Checkpoint<'_> {
        Checkpoint::new(self)
    }

    /// Makes files fewer and smaller when it is time, about the bytes of one file at a time; to be called after every
    /// checkpoint until there is no more to do (false). Checkpoints may be taken in between, unless that
    /// [goes first](Self::must_merge_first).
    ///
    /// # Errors
    /// [`RowError`]: after [`RowError::Full`] or [`RowError::Unreadable`] everything is as it was, or partly better.
    pub fn merge_some(&mut self) -> Result<bool, RowError> {
        let mut fold = match self.fold.take() {
            Some(fold) => fold,
            None => match self.due_fold() {
                Some(into) => Fold::begin(self, into)?,
                None => return Ok(false),
            },
        };
        if fold.step(self)? {
            self.counters.merges += 1;
        } else {
            self.fold = Some(fold);
        }
        Ok(true)
    }

    /// Merges all that it is time for. True: something was done.
    ///
    /// # Errors
    /// As [`Self::merge_some`].
    pub fn merge_if_needed(&mut self) -> Result<bool, RowError> {
        let mut is_done = false;
        while self.merge_some()? {
            is_done = true;
        }
        Ok(is_done)
    }

    /// Whether the merge that is under way has to end before the next checkpoint: the directory would become too large, or
    /// its files too many.
    #[must_use]
    pub fn must_merge_first(&self) -> bool {
        let manifest = &self.manifest;
        let bound_bytes = manifest.base_bytes() / 3 + 2 * self.options.slack_bytes;
        let is_much = || self.useless_bytes() >= bound_bytes;
        self.fold.is_some() && (manifest.deltas.len() > 2 * self.options.max_deltas || is_much())
    }

    fn due_fold(&self) -> Option<Into> {
        let manifest = &self.manifest;
        if self.useless_bytes() >= manifest.base_bytes() / 4 + self.options.slack_bytes {
            Some(Into::Base)
        } else {
            (manifest.deltas.len() > self.options.max_deltas).then_some(Into::Delta)
        }
    }

    /// Bytes of deltas, and of what they have made useless in the base, at most.
    fn useless_bytes(&self) -> u64 {
        self.manifest.delta_bytes() + self.manifest.most_dead_bytes()
    }

    /// What the store has and has done.
    #[must_use]
    pub fn stats(&self) -> RowStats {
        let manifest = &self.manifest;
        RowStats {
            base_files: manifest.base.len() as u64,
            base_bytes: manifest.base_bytes(),
            base_rows: manifest.base.iter().map(|meta| meta.rows).sum(),
            delta_files: manifest.deltas.len() as u64,
            delta_bytes: manifest.delta_bytes(),
            delta_rows: manifest.deltas.iter().map(|meta| meta.rows).sum(),
            ..self.counters
        }
    }
}
