//! Retained messages as rows: one for each, by its topic name.

use bytes::Bytes;
use freshet_storage_contract::Message;

use super::{Retained, RetainedSet};
use crate::codec::{Code, code_fields};
use crate::state::rows::{RowError, Sink, Table};
use crate::usage::RetainedUsage;

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
            |topic_name| Some(by_topic.get(topic_name)?.to_bytes()),
        );
    }

    /// Takes a row back; its message names the topic.
    pub(in crate::state) fn restore_row(&mut self, value: Bytes) -> Result<(), RowError> {
        let retained = Retained::from_bytes(value)?;
        let Message { topic_name, .. } = &retained.message;
        let topic_name = topic_name.clone();
        if let Some(expires_ms) = retained.expires_ms {
            self.by_expiry.insert((expires_ms, topic_name.clone()));
        }
        self.usage.exchange(RetainedUsage::default(), retained.usage());
        self.by_topic.insert(topic_name, retained);
        Ok(())
    }
}

#[cfg(test)]
impl RetainedSet {
    /// All rows count as changed.
    pub(in crate::state) fn mark_all(&mut self) {
        self.by_topic.keys().for_each(|key| self.changes.change(key.clone()));
    }
}
