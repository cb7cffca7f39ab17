//! Messages of shared subscriptions that stored sessions have taken for themselves: a QoS 2 message that was sent to one
//! member goes to nobody else (`[MQTT-4.8.2-4]`), and may have to be sent again to that one.
//!
//! Bounded by the packet ids of sessions, and charged like queued messages.

use std::collections::BTreeMap;

use bytes::Bytes;
use freshet_storage_contract::{Message, Position};

use super::messages::remaining;
use crate::codec::{Code, code_fields};
use crate::state::rows::{Changes, RowError};

/// What a message costs beside its bytes.
const OVERHEAD_BYTES: u64 = 64;

/// Kept messages by position.
#[derive(Debug, Default)]
pub(super) struct Kept {
    by_position: BTreeMap<Position, KeptMessage>,
    bytes: u64,
    pub(super) changes: Changes<Position>,
}

#[derive(Debug)]
struct KeptMessage {
    message: Message,
    /// Log time, ms.
    expires_ms: Option<u64>,
    /// Sessions that have it: one of each group at most.
    sessions: u32,
}

code_fields! {
    KeptMessage { message, expires_ms, sessions }
}

impl Kept {
    pub(super) fn len(&self) -> usize {
        self.by_position.len()
    }

    /// Bytes charged for them.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Another session has the message.
    pub(super) fn insert(&mut self, position: Position, message: &Message, expires_ms: Option<u64>) {
        self.changes.change(position);
        let kept = self.by_position.entry(position).or_insert_with(|| {
            self.bytes += charged_bytes(message);
            KeptMessage {
                message: message.clone(),
                expires_ms,
                sessions: 0,
            }
        });
        kept.sessions = kept.sessions.saturating_add(1);
    }

    /// A session no longer has the message.
    pub(super) fn release(&mut self, position: Position) {
        let Some(kept) = self.by_position.get_mut(&position) else {
            return;
        };
        self.changes.change(position);
        kept.sessions = kept.sessions.saturating_sub(1);
        if kept.sessions == 0
            && let Some(gone) = self.by_position.remove(&position)
        {
            self.bytes -= charged_bytes(&gone.message);
            self.changes.remove(position);
        }
    }

    pub(super) fn row(&self, position: Position) -> Option<Bytes> {
        Some(self.by_position.get(&position)?.to_bytes())
    }

    pub(super) fn restore_row(&mut self, position: Position, value: Bytes) -> Result<(), RowError> {
        let kept = KeptMessage::from_bytes(value)?;
        self.bytes += charged_bytes(&kept.message);
        self.by_position.insert(position, kept);
        Ok(())
    }

    pub(super) fn read(&self, position: Position, log_time_ms: u64) -> Option<(Message, bool)> {
        let kept = self.by_position.get(&position)?;
        Some(remaining(&kept.message, kept.expires_ms, log_time_ms))
    }
}

#[cfg(test)]
impl Kept {
    pub(super) fn mark_all(&mut self) {
        self.by_position
            .keys()
            .for_each(|position| self.changes.change(*position));
    }
}

fn charged_bytes(message: &Message) -> u64 {
    message.charged_bytes() as u64 + OVERHEAD_BYTES
}
