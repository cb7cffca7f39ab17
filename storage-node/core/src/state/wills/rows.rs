//! Waiting wills as rows: one for each, by its client id.

use bytes::Bytes;

use super::{WillRow, Wills};
use crate::codec::Code;
use crate::state::rows::{RowError, Sink, Table};

impl Wills {
    pub(in crate::state) fn track_changes(&mut self) {
        self.changes.track();
    }

    pub(in crate::state) fn changed_rows(&self) -> usize {
        self.changes.len()
    }

    pub(in crate::state) fn take_changes(&mut self, sink: &mut Sink<'_>) {
        let Self { by_client, changes, .. } = self;
        sink.hand_over(
            Table::Wills,
            changes,
            |client_id, out| out.extend_from_slice(client_id),
            |client_id| Some(by_client.get(client_id)?.to_bytes()),
        );
    }

    pub(in crate::state) fn restore_row(&mut self, client_id: &[u8], value: Bytes) -> Result<(), RowError> {
        let row = WillRow::from_bytes(value)?;
        self.insert(Bytes::copy_from_slice(client_id), row);
        Ok(())
    }
}

#[cfg(test)]
impl Wills {
    /// All rows count as changed.
    pub(in crate::state) fn mark_all(&mut self) {
        self.by_client.keys().for_each(|key| self.changes.change(key.clone()));
    }
}
