//! Numbered publications as rows: one for each process of a proxy.

use bytes::Bytes;
use freshet_storage_contract::{IncarnationId, Position};

use super::{Origin, Origins};
use crate::codec::{Code, Reader, code_fields};
use crate::state::rows::{RowError, Sink, Table};

/// A process as it is written.
struct Row {
    goes_ms: u64,
    numbers: Vec<(u64, Position)>,
}

code_fields! {
    Row { goes_ms, numbers }
}

impl Origins {
    pub(in crate::state) fn track_changes(&mut self) {
        self.changes.track();
    }

    pub(in crate::state) fn changed_rows(&self) -> usize {
        self.changes.len()
    }

    pub(in crate::state) fn take_changes(&mut self, sink: &mut Sink<'_>) {
        let Self { origins, changes, .. } = self;
        sink.hand_over(
            Table::Origins,
            changes,
            |origin, out| origin.write(out),
            |origin| {
                let Origin { numbers, goes_ms } = origins.get(origin)?;
                let row = Row {
                    goes_ms: *goes_ms,
                    numbers: numbers.iter().map(|(number, at)| (*number, *at)).collect(),
                };
                Some(row.to_bytes())
            },
        );
    }

    pub(in crate::state) fn restore_row(&mut self, key: &mut Reader, value: Bytes) -> Result<(), RowError> {
        let name = IncarnationId::read(key)?;
        key.end()?;
        let Row { goes_ms, numbers } = Row::from_bytes(value)?;
        let origin = Origin {
            numbers: numbers.into_iter().collect(),
            goes_ms,
        };
        self.numbers += origin.numbers.len() as u64;
        self.ends.insert((goes_ms, name));
        self.origins.insert(name, origin);
        Ok(())
    }
}

#[cfg(test)]
impl Origins {
    /// All rows count as changed.
    pub(in crate::state) fn mark_all(&mut self) {
        self.origins.keys().for_each(|origin| self.changes.change(*origin));
    }
}
