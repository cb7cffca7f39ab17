//! Proxies that were passed by, as rows: one for each.

use bytes::Bytes;
use freshet_storage_contract::IncarnationId;

use super::Passed;
use crate::codec::{Code, Reader};
use crate::state::rows::{RowError, Sink, Table};

impl Passed {
    pub(in crate::state) fn track_changes(&mut self) {
        self.changes.track();
    }

    pub(in crate::state) fn changed_rows(&self) -> usize {
        self.changes.len()
    }

    pub(in crate::state) fn take_changes(&mut self, sink: &mut Sink<'_>) {
        let Self { proxies, changes, .. } = self;
        sink.hand_over(
            Table::Passed,
            changes,
            |proxy, out| proxy.write(out),
            |proxy| Some(proxies.get(proxy)?.to_bytes()),
        );
    }

    pub(in crate::state) fn restore_row(&mut self, key: &mut Reader, value: Bytes) -> Result<(), RowError> {
        let proxy = IncarnationId::read(key)?;
        key.end()?;
        let goes_ms = u64::from_bytes(value)?;
        self.ends.insert((goes_ms, proxy));
        self.proxies.insert(proxy, goes_ms);
        Ok(())
    }
}

#[cfg(test)]
impl Passed {
    /// All rows count as changed.
    pub(in crate::state) fn mark_all(&mut self) {
        self.proxies.keys().for_each(|proxy| self.changes.change(*proxy));
    }
}
