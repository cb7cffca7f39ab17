//! Sessions as rows: one for each, by its client id, and one for each filter that some session reads at a shard. How far
//! the readers of a filter have come follows from their sessions.

#[cfg(test)]
use std::ops::Bound;

use bytes::Bytes;
use freshet_storage_contract::ShardId;

use super::StoredSessions;
use super::row::SessionRow;
use crate::codec::{Code, Reader};
use crate::state::rows::{RowError, Sink, Table, read_ordered, write_ordered};
use crate::state::tight;

impl StoredSessions {
    pub(in crate::state) fn track_changes(&mut self) {
        self.changes.track();
        self.readers.changes.track();
    }

    pub(in crate::state) fn changed_rows(&self) -> usize {
        self.changes.len() + self.readers.changes.len()
    }

    pub(in crate::state) fn take_changes(&mut self, sink: &mut Sink<'_>) {
        let Self {
            rows, changes, readers, ..
        } = self;
        sink.hand_over(
            Table::Sessions,
            changes,
            |client_id, out| out.extend_from_slice(client_id),
            |client_id| rows.row_of(client_id),
        );
        let mut of_readers = std::mem::take(&mut readers.changes);
        sink.hand_over(
            Table::Readers,
            &mut of_readers,
            |(shard, topic_filter), out| {
                write_ordered(u64::from(shard.0), out);
                out.extend_from_slice(topic_filter);
            },
            |name| readers.row(name),
        );
        readers.changes = of_readers;
    }

    pub(in crate::state) fn restore_row(&mut self, client_id: &[u8], value: Bytes) -> Result<(), RowError> {
        let row = SessionRow::copied_from(value)?;
        let ends_ms = row.ends_ms;
        self.offline += u64::from(!row.connected);
        self.bytes += row.bytes(client_id);
        row.restore_readers(&mut self.readers);
        self.rows.insert(client_id, row);
        if let (Some(ends_ms), Some(id)) = (ends_ms, self.rows.id_of(client_id)) {
            self.by_end.insert((ends_ms, id.clone()));
        }
        Ok(())
    }

    pub(in crate::state) fn tighten(&mut self) {
        self.rows.tighten();
        tight::fill_set(&mut self.by_end);
        self.readers.tighten();
    }

    pub(in crate::state) fn restore_reader(&mut self, key: &mut Reader, value: Bytes) -> Result<(), RowError> {
        let shard = u16::try_from(read_ordered(key)?).map_err(|_| RowError::Missing)?;
        self.readers.restore_row(&(ShardId(shard), key.rest()), value)
    }
}

#[cfg(test)]
impl StoredSessions {
    /// All rows count as changed.
    pub(in crate::state) fn mark_all(&mut self) {
        for id in self.rows.ids_from(Bound::Unbounded) {
            self.changes.change(Bytes::copy_from_slice(id));
        }
        self.readers.mark_all();
    }
}
