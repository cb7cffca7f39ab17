//! Folds deltas: into the base, or into one.
//!
//! The base is rewritten file by file, and files between whose keys the deltas have none stay: what is only added to, as
//! queued messages are, is not written again and again. As soon as the successors of a file are flushed, a manifest names
//! them in its place, and it goes. The deltas stay until the end, and lie over old and new files alike: what of them has
//! been folded in already is said twice, and means the same.

use std::{collections::VecDeque, mem};

use tracing::debug;

use super::{
    Row, RowError,
    file::{FileReader, FileWriter, file_name},
    manifest::Manifest,
    merge::{Chain, Merge},
    meta::FileMeta,
    store::RowStore,
};
use crate::fault_points::reach;

/// Files that a fold has written and no manifest names yet.
struct Output<'a> {
    store: &'a mut RowStore,
    file: Option<FileWriter>,
    finished: Vec<FileMeta>,
}

impl Output<'_> {
    fn put(&mut self, row: &Row, file_bytes: u64) -> Result<(), RowError> {
        if self.file.as_ref().is_some_and(|file| file.bytes() >= file_bytes) {
            self.finish_file()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let id = self.store.manifest.take_id();
                let file = FileWriter::create(&self.store.directory, id, self.store.options.block_bytes)?;
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

    fn bytes(&self) -> u64 {
        let finished: u64 = self.finished.iter().map(|meta| meta.bytes).sum();
        finished + self.file.as_ref().map_or(0, FileWriter::bytes)
    }

    /// Puts what was written into the place of `gone` files of the base, from the one at `at` on. Returns how many files
    /// that were.
    fn replace_in_base(&mut self, at: usize, gone: usize) -> Result<usize, RowError> {
        let mut count = 0;
        self.replace(|manifest, written| {
            count = written.len();
            manifest.base.splice(at..at + gone, written);
        })?;
        Ok(count)
    }

    /// Makes a manifest count that names what was written, and removes what it does not name any more.
    fn replace(&mut self, change: impl FnOnce(&mut Manifest, Vec<FileMeta>)) -> Result<(), RowError> {
        self.finish_file()?;
        let mut manifest = self.store.manifest.clone();
        change(&mut manifest, self.finished.clone());
        if let Err(error) = manifest.write(&self.store.directory) {
            if matches!(error, RowError::Fatal(_)) {
                // The new manifest may be there by now, and then it counts at the next start: its files stay.
                self.finished.clear();
            }
            return Err(error);
        }
        self.store.counters.merged_bytes += self.finished.iter().map(|meta| meta.bytes).sum::<u64>();
        self.finished.clear();
        let before = mem::replace(&mut self.store.manifest, manifest);
        reach("old_rows_useless");
        self.store.tell();
        for meta in before.files() {
            if !self.store.manifest.files().any(|there| there.id == meta.id) {
                // What is left when this fails goes at the next start.
                let _ = self.store.directory.disk.remove(&file_name(meta.id));
            }
        }
        reach("old_rows_removed");
        Ok(())
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        for meta in &self.finished {
            let _ = self.store.directory.disk.remove(&file_name(meta.id)); // as above
        }
    }
}

/// Makes deltas and base one base.
pub(super) fn fold_into_base(store: &mut RowStore) -> Result<(), RowError> {
    let base = store.manifest.base.clone();
    let deltas = store.manifest.deltas.len();
    let file_bytes = store.options.file_bytes;
    let mut sources = vec![chain(store, &base)];
    for delta in &store.manifest.deltas {
        sources.push(chain(store, std::slice::from_ref(delta)));
    }
    let mut merge = Merge::new(sources)?;
    let mut output = Output {
        store,
        file: None,
        finished: Vec::new(),
    };
    // New files lie in front of old ones in the manifest until all are new.
    let (mut new_files, mut consumed, mut consumed_bytes) = (0, 0, 0);
    for (at, old) in base.iter().enumerate() {
        let bound = base.get(at + 1).map(|next| &next.first);
        if old.bytes >= file_bytes / 2 && merge.only_oldest_below(bound) {
            // It stays as it is. What was written lies in front of it.
            if consumed > 0 {
                consumed_bytes = 0;
                new_files += output.replace_in_base(new_files, mem::take(&mut consumed))?;
            }
            new_files += 1;
            merge.skip_file()?;
            continue;
        }
        while let Some(row) = merge.next_row_below(bound)? {
            if row.value.is_some() {
                output.put(&row, file_bytes)?;
            }
        }
        consumed += 1;
        consumed_bytes += old.bytes;
        if bound.is_some() && (output.bytes() >= file_bytes || consumed_bytes >= file_bytes) {
            consumed_bytes = 0;
            new_files += output.replace_in_base(new_files, mem::take(&mut consumed))?;
        }
    }
    while let Some(row) = merge.next_row()? {
        if row.value.is_some() {
            output.put(&row, file_bytes)?;
        }
    }
    output.replace(|manifest, written| {
        manifest.base.splice(new_files..new_files + consumed, written);
        manifest.deltas.drain(..deltas);
    })?;
    debug!(
        deltas,
        bytes = output.store.manifest.base_bytes(),
        "rows of checkpoints were merged"
    );
    Ok(())
}

/// Makes all deltas one. Rows without a value stay: the base may have one.
pub(super) fn fold_deltas(store: &mut RowStore) -> Result<(), RowError> {
    let deltas = store.manifest.deltas.clone();
    let sources = deltas
        .iter()
        .map(|delta| chain(store, std::slice::from_ref(delta)))
        .collect();
    let mut merge = Merge::new(sources)?;
    let mut output = Output {
        store,
        file: None,
        finished: Vec::new(),
    };
    while let Some(row) = merge.next_row()? {
        output.put(&row, u64::MAX)?;
    }
    output.replace(|manifest, written| {
        manifest.deltas.splice(..deltas.len(), written);
    })
}

fn chain(store: &RowStore, files: &[FileMeta]) -> Chain {
    let readers = files.iter().map(|meta| FileReader::new(&store.directory, meta));
    Chain(readers.collect::<VecDeque<_>>())
}
