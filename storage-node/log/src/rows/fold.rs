//! Folds deltas: into the base, or into one.
//!
//! The base is rewritten file by file, and files between whose keys the deltas have none stay: what is only added to, as
//! queued messages are, is not written again and again. As soon as the successors of a file are flushed, a manifest names
//! them in its place, and it goes. The deltas stay until the end, and lie over old and new files alike: what of them has
//! been folded in already is said twice, and means the same. Deltas that come meanwhile lie over all of it, and are for the
//! next fold.

use std::mem;

use tracing::debug;

use super::{
    Row, RowError,
    block::row_bytes,
    file::{FileReader, FileWriter, file_name},
    manifest::Manifest,
    merge::{Chain, Merge},
    meta::FileMeta,
    store::RowStore,
};
use crate::{directory::DataDirectory, fault_points::reach};

/// A fold that is done a part at a time. Dropped before its end it has done what it has done, and what no manifest names
/// goes.
#[derive(Debug)]
pub(super) struct Fold {
    directory: DataDirectory,
    merge: Merge,
    into: Into,
    /// Deltas that are folded: the oldest ones.
    deltas: usize,
    /// The base as it was when this began; empty when only deltas are folded.
    base: Vec<FileMeta>,
    /// Which file of `base` is next.
    at: usize,
    /// Some rows of it have been read.
    is_begun: bool,
    /// Files at the front of the manifest's base that stand for what lies before.
    new_files: usize,
    /// Files of the manifest's base behind these that have been read, and their bytes.
    read_files: usize,
    read_bytes: u64,
    /// What was written and no manifest names yet.
    file: Option<FileWriter>,
    finished: Vec<FileMeta>,
}

/// What a fold makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// One base of base and deltas.
    Base,
    /// One delta. Rows without a value stay: the base may have one.
    Delta,
}

impl Fold {
    /// Begins with the deltas that there are.
    ///
    /// # Errors
    /// [`RowError::Unreadable`].
    pub(super) fn begin(store: &RowStore, into: Into) -> Result<Self, RowError> {
        let Manifest { base, deltas, .. } = &store.manifest;
        let base = match into {
            Into::Base => base.clone(),
            Into::Delta => Vec::new(),
        };
        let mut sources = vec![chain(store, &base)];
        sources.extend(deltas.iter().map(|delta| chain(store, std::slice::from_ref(delta))));
        Ok(Self {
            directory: store.directory.clone(),
            merge: Merge::new(sources)?,
            into,
            deltas: deltas.len(),
            base,
            at: 0,
            is_begun: false,
            new_files: 0,
            read_files: 0,
            read_bytes: 0,
            file: None,
            finished: Vec::new(),
        })
    }

    /// Goes on for about the bytes of one file. True: that was the end.
    ///
    /// # Errors
    /// [`RowError`]; the fold is of no use then.
    pub(super) fn step(&mut self, store: &mut RowStore) -> Result<bool, RowError> {
        let file_bytes = store.options.file_bytes;
        let mut stepped_bytes = 0;
        while let Some(old) = self.base.get(self.at) {
            let bound = self.base.get(self.at + 1).map(|next| next.first.clone());
            let old_bytes = old.bytes;
            if !self.is_begun && old_bytes >= file_bytes / 2 && self.merge.only_oldest_below(bound.as_ref()) {
                // It stays as it is. What was written lies in front of it.
                if self.read_files > 0 {
                    self.replace_in_base(store)?;
                    return Ok(false);
                }
                self.new_files += 1;
                self.merge.skip_file()?;
                self.at += 1;
                continue;
            }
            self.is_begun = true;
            while let Some(row) = self.merge.next_row_below(bound.as_ref())? {
                self.take(&row, store)?;
                stepped_bytes += row_bytes(&row) as u64;
                if stepped_bytes >= file_bytes {
                    return Ok(false);
                }
            }
            self.is_begun = false;
            self.at += 1;
            self.read_files += 1;
            self.read_bytes += old_bytes;
            if bound.is_some() && (self.unnamed_bytes() >= file_bytes || self.read_bytes >= file_bytes) {
                self.replace_in_base(store)?;
                return Ok(false);
            }
        }
        while let Some(row) = self.merge.next_row()? {
            self.take(&row, store)?;
            stepped_bytes += row_bytes(&row) as u64;
            if stepped_bytes >= file_bytes {
                return Ok(false);
            }
        }
        let (into, deltas, read) = (self.into, self.deltas, self.new_files..self.new_files + self.read_files);
        self.replace(store, |manifest, written| match into {
            Into::Base => {
                manifest.base.splice(read, written);
                manifest.deltas.drain(..deltas);
            }
            Into::Delta => {
                manifest.deltas.splice(..deltas, written);
            }
        })?;
        debug!(
            deltas,
            bytes = store.manifest.base_bytes(),
            "rows of checkpoints were merged"
        );
        Ok(true)
    }

    fn take(&mut self, row: &Row, store: &mut RowStore) -> Result<(), RowError> {
        if row.value.is_none() && self.into == Into::Base {
            return Ok(());
        }
        let is_full = |file: &FileWriter| self.into == Into::Base && file.bytes() >= store.options.file_bytes;
        if self.file.as_ref().is_some_and(is_full) {
            self.finish_file()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let id = store.manifest.take_id();
                let file = FileWriter::create(&self.directory, id, store.options.block_bytes)?;
                self.file.insert(file)
            }
        };
        file.put(row)
    }

    fn finish_file(&mut self) -> Result<(), RowError> {
        if let Some(file) = self.file.take() {
            self.finished.extend(file.finish()?);
        }
        Ok(())
    }

    /// Bytes that were written and that no manifest names yet.
    fn unnamed_bytes(&self) -> u64 {
        let finished: u64 = self.finished.iter().map(|meta| meta.bytes).sum();
        finished + self.file.as_ref().map_or(0, FileWriter::bytes)
    }

    /// Puts what was written into the place of the files that were read.
    fn replace_in_base(&mut self, store: &mut RowStore) -> Result<(), RowError> {
        let read = self.new_files..self.new_files + self.read_files;
        let mut count = 0;
        self.replace(store, |manifest, written| {
            count = written.len();
            manifest.base.splice(read, written);
        })?;
        self.new_files += count;
        (self.read_files, self.read_bytes) = (0, 0);
        Ok(())
    }

    /// Makes a manifest count that names what was written, and removes what it does not name any more.
    fn replace(
        &mut self,
        store: &mut RowStore,
        change: impl FnOnce(&mut Manifest, Vec<FileMeta>),
    ) -> Result<(), RowError> {
        self.finish_file()?;
        let mut manifest = store.manifest.clone();
        change(&mut manifest, self.finished.clone());
        if let Err(error) = manifest.write(&self.directory) {
            if matches!(error, RowError::Fatal(_)) {
                // The new manifest may be there by now, and then it counts at the next start: its files stay.
                self.finished.clear();
            }
            return Err(error);
        }
        store.counters.merged_bytes += self.finished.iter().map(|meta| meta.bytes).sum::<u64>();
        self.finished.clear();
        let before = mem::replace(&mut store.manifest, manifest);
        reach("old_rows_useless");
        store.tell();
        for meta in before.files() {
            if !store.manifest.files().any(|there| there.id == meta.id) {
                // What is left when this fails goes at the next start.
                let _ = self.directory.disk.remove(&file_name(meta.id));
            }
        }
        reach("old_rows_removed");
        Ok(())
    }
}

impl Drop for Fold {
    fn drop(&mut self) {
        for meta in &self.finished {
            let _ = self.directory.disk.remove(&file_name(meta.id)); // as above
        }
    }
}

fn chain(store: &RowStore, files: &[FileMeta]) -> Chain {
    let readers = files.iter().map(|meta| FileReader::new(&store.directory, meta));
    Chain(readers.collect())
}
