//! Retained messages as rows: one for each, by its topic name.

use bytes::Bytes;

use super::{Kept, Retained, RetainedSet};
use crate::codec::{Code, code_fields};
use crate::state::rows::{RowError, Sink, Table};

code_fields! {
    Retained { message, position, expires_ms }
}

impl RetainedSet {
    pub(in crate::state) fn track_changes(&mut self) {
        self.changes.track();
    }

    pub(in crate::state) fn changed_rows(&self) -> usize {
        self.changes.len()
    }

    pub(in crate::state) fn take_changes(&mut self, sink: &mut Sink<'_>) {
        let Self { by_topic, changes, .. } = self;
        sink.hand_over(
            Table::Retained,
            changes,
            |topic_name, out| out.extend_from_slice(topic_name),
            |topic_name| Some(by_topic.get(&**topic_name)?.retained().to_bytes()),
        );
    }

    /// Takes a row back; its message names the topic.
    pub(in crate::state) fn restore_row(&mut self, value: Bytes) -> Result<(), RowError> {
        let Retained {
            message,
            position,
            expires_ms,
        } = Retained::from_bytes(value)?;
        self.insert(Kept::new(&message, position, expires_ms));
        Ok(())
    }
}

#[cfg(test)]
impl RetainedSet {
    /// All rows count as changed.
    pub(in crate::state) fn mark_all(&mut self) {
        let Self { by_topic, changes, .. } = self;
        let topic_names = by_topic.iter().map(Kept::topic_name);
        topic_names.for_each(|name| changes.change(Bytes::copy_from_slice(name)));
    }
}
