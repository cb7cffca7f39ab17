//! QoS 2 publications as rows: one for each generation of a session.

use bytes::Bytes;

use super::{Generation, Packets, Publisher, ROW_BYTES, publisher_bytes};
use crate::codec::{Code, Reader, code_fields};
use crate::state::rows::{RowError, Sink, Table};

code_fields! {
    Publisher { epoch, packet_ids, goes_ms }
}

impl Packets {
    pub(in crate::state) fn track_changes(&mut self) {
        self.changes.track();
    }

    pub(in crate::state) fn changed_rows(&self) -> usize {
        self.changes.len()
    }

    pub(in crate::state) fn take_changes(&mut self, sink: &mut Sink<'_>) {
        let Self {
            publishers, changes, ..
        } = self;
        sink.hand_over(
            Table::Packets,
            changes,
            |generation, out| generation.write(out),
            |generation| Some(publishers.get(generation)?.to_bytes()),
        );
    }

    pub(in crate::state) fn restore_row(&mut self, key: &mut Reader, value: Bytes) -> Result<(), RowError> {
        let (client_id, generation) = Generation::read(key)?;
        key.end()?;
        // What the key is read from may be large.
        let name = (Bytes::copy_from_slice(&client_id), generation);
        let publisher = Publisher::from_bytes(value)?;
        let rows = publisher.packet_ids.len() as u64;
        self.rows += rows;
        self.bytes += publisher_bytes(&name.0) + rows * ROW_BYTES;
        if let Some(goes_ms) = publisher.goes_ms {
            self.ended.insert((goes_ms, name.clone()));
        }
        self.publishers.insert(name, publisher);
        Ok(())
    }
}

#[cfg(test)]
impl Packets {
    /// All rows count as changed.
    pub(in crate::state) fn mark_all(&mut self) {
        self.publishers.keys().for_each(|key| self.changes.change(key.clone()));
    }
}
