//! A checkpoint that is being taken: rows come in any order, are sorted in pieces, and count together or not at all.

use bytes::Bytes;

use super::{
    Row, RowError, RowKey,
    block::row_bytes,
    file::{FileWriter, file_name},
    meta::FileMeta,
    store::RowStore,
};
use crate::fault_points::reach;

/// Changed rows on their way to disk. Dropped without [`Checkpoint::commit`], it has never been.
#[derive(Debug)]
pub struct Checkpoint<'a> {
    store: &'a mut RowStore,
    buffer: Vec<Row>,
    buffered_bytes: usize,
    /// The buffer is written when it has come to this.
    write_at_bytes: usize,
    /// Oldest first.
    written: Vec<FileMeta>,
}

impl<'a> Checkpoint<'a> {
    pub(super) fn new(store: &'a mut RowStore) -> Self {
        let write_at_bytes = store.options.buffer_bytes;
        Self {
            store,
            buffer: Vec::new(),
            buffered_bytes: 0,
            write_at_bytes,
            written: Vec::new(),
        }
    }

    /// Takes a row; without a value, it goes. Of several for one key the last counts. On a full disk rows are kept in
    /// memory, and [`Checkpoint::commit`] says so.
    ///
    /// # Errors
    /// [`RowError::Fatal`].
    pub fn put(&mut self, shard: u32, key: Bytes, value: Option<Bytes>) -> Result<(), RowError> {
        let row = Row {
            key: RowKey { shard, key },
            value,
        };
        self.buffered_bytes += row_bytes(&row) + size_of::<Row>();
        self.buffer.push(row);
        if self.buffered_bytes < self.write_at_bytes {
            return Ok(());
        }
        match self.write_buffer() {
            Err(RowError::Full { .. }) => {
                self.write_at_bytes = 2 * self.buffered_bytes;
                Ok(())
            }
            written => written,
        }
    }

    /// Makes all of it count, with the positions it is of: those shards' state is as of there, rows of any shard
    /// included; shards that are not named keep their position. After that it is empty.
    ///
    /// # Errors
    /// [`RowError::Full`]: the checkpoint before counts; to be called again when there may be room, for what was
    /// put is still here. [`RowError::Fatal`].
    pub fn commit(&mut self, applied: &[(u32, u64)]) -> Result<(), RowError> {
        self.write_buffer()?;
        let mut manifest = self.store.manifest.clone();
        manifest.set_applied(applied);
        manifest.deltas.extend(self.written.iter().cloned());
        if let Err(error) = manifest.write(&self.store.directory) {
            if matches!(error, RowError::Fatal(_)) {
                // The new manifest may be there by now, and then it counts at the next start: its files stay.
                self.written.clear();
            }
            return Err(error);
        }
        self.store.manifest = manifest;
        self.store.tell();
        self.store.counters.checkpoints += 1;
        for meta in self.written.drain(..) {
            self.store.counters.rows_written += meta.rows;
            self.store.counters.bytes_written += meta.bytes;
        }
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), RowError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        // Stable: of equal keys the last stays the last.
        self.buffer.sort_by(|a, b| a.key.cmp(&b.key));
        let id = self.store.manifest.take_id();
        let mut file = FileWriter::create(&self.store.directory, id, self.store.options.block_bytes)?;
        for (at, row) in self.buffer.iter().enumerate() {
            if self.buffer.get(at + 1).is_none_or(|next| next.key != row.key) {
                file.put(row)?;
            }
        }
        self.written.extend(file.finish()?);
        reach("rows_written");
        self.buffer.clear();
        self.buffered_bytes = 0;
        self.write_at_bytes = self.store.options.buffer_bytes;
        Ok(())
    }
}

impl Drop for Checkpoint<'_> {
    fn drop(&mut self) {
        for meta in &self.written {
            // What is left when this fails goes at the next start.
            let _ = self.store.directory.disk.remove(&file_name(meta.id));
        }
    }
}
