//! Sessions as rows: one for each, by its client id, and one for each filter that some session reads at a shard. How far
//! the readers of a filter have come follows from their sessions.

use bytes::Bytes;
use freshet_storage_contract::ShardId;

use super::StoredSessions;
use super::row::SessionRow;
use crate::codec::{Code, Reader};
use crate::state::rows::{RowError, Sink, Table, read_ordered, write_ordered};

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
            |client_id| Some(rows.get(client_id)?.to_bytes()),
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
        let client_id = Bytes::copy_from_slice(client_id);
        let row = SessionRow::from_bytes(value)?;
        if let Some(ends_ms) = row.ends_ms {
            self.by_end.insert((ends_ms, client_id.clone()));
        }
        self.offline += u64::from(!row.connected);
        self.bytes += row.bytes(&client_id);
        row.restore_readers(&mut self.readers);
        self.rows.insert(client_id, Box::new(row));
        Ok(())
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
        self.rows.keys().for_each(|key| self.changes.change(key.clone()));
        self.readers.mark_all();
    }
}
