//! Messages of shared subscriptions that stored sessions have taken for themselves: a QoS 2 message that was sent to one
//! member goes to nobody else (`[MQTT-4.8.2-4]`), and may have to be sent again to that one.
//!
//! Bounded by the packet ids of sessions, and charged like queued messages. Of a message whose content is on disk alone
//! ([`super::cold`]) the row is *held*: it stays there when no queue has the message any more.

use std::collections::BTreeMap;

use bytes::Bytes;
use freshet_storage_contract::{Message, Position};

use super::cold::Content;
use super::messages::{Messages, remaining};
use crate::codec::{Code, code_fields};
use crate::state::rows::{Changes, RowError};

/// What a message costs beside its bytes.
const OVERHEAD_BYTES: u64 = 64;

/// Kept messages by position: each is in one of the two.
#[derive(Debug, Default)]
pub(super) struct Kept {
    by_position: BTreeMap<Position, KeptMessage>,
    held: BTreeMap<Position, HeldMessage>,
    bytes: u64,
    resident_bytes: u64,
    pub(super) changes: Changes<Position>,
    pub(super) held_changes: Changes<Position>,
}

#[derive(Debug)]
struct KeptMessage {
    message: Message,
    /// Log time, ms.
    expires_ms: Option<u64>,
    /// Sessions that have it: one of each group at most.
    sessions: u32,
}

/// A message whose content is in the row that it had in queues.
#[derive(Debug, Clone, Copy)]
struct HeldMessage {
    charged_bytes: u64,
    /// Log time, ms.
    expires_ms: Option<u64>,
    /// Sessions that have it.
    sessions: u32,
}

code_fields! {
    KeptMessage { message, expires_ms, sessions }
    HeldMessage { charged_bytes, expires_ms, sessions }
}

impl Kept {
    pub(super) fn len(&self) -> usize {
        self.by_position.len() + self.held.len()
    }

    /// Of these, those whose content is on disk alone.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Bytes charged for them.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes charged for those whose content is in memory.
    pub(super) fn resident_bytes(&self) -> u64 {
        self.resident_bytes
    }

    pub(super) fn is_held(&self, position: Position) -> bool {
        self.held.contains_key(&position)
    }

    /// Another session has the message, if some session has it. False: none has.
    pub(super) fn insert_again(&mut self, position: Position) -> bool {
        if let Some(kept) = self.by_position.get_mut(&position) {
            kept.sessions = kept.sessions.saturating_add(1);
            self.changes.change(position);
        } else if let Some(held) = self.held.get_mut(&position) {
            held.sessions = held.sessions.saturating_add(1);
            self.held_changes.change(position);
        } else {
            return false;
        }
        true
    }

    /// A session has the message.
    pub(super) fn insert(&mut self, position: Position, message: Message, expires_ms: Option<u64>) {
        let kept = KeptMessage {
            message,
            expires_ms,
            sessions: 1,
        };
        self.changes.change(position);
        self.add(position, kept);
    }

    /// A session has a message whose row is held for it.
    pub(super) fn hold(&mut self, position: Position, charged_bytes: u64, expires_ms: Option<u64>) {
        let held = HeldMessage {
            charged_bytes: charged_bytes + OVERHEAD_BYTES,
            expires_ms,
            sessions: 1,
        };
        self.held_changes.change(position);
        self.bytes += held.charged_bytes;
        self.held.insert(position, held);
    }

    fn add(&mut self, position: Position, kept: KeptMessage) {
        self.bytes += charged_bytes(&kept.message);
        self.resident_bytes += charged_bytes(&kept.message);
        self.by_position.insert(position, kept);
    }

    /// A session no longer has the message. True: its row is held no more.
    pub(super) fn release(&mut self, position: Position) -> bool {
        if let Some(held) = self.held.get_mut(&position) {
            held.sessions = held.sessions.saturating_sub(1);
            let left = *held;
            self.held_changes.change(position);
            if left.sessions == 0 {
                self.held.remove(&position);
                self.bytes -= left.charged_bytes;
            }
            return left.sessions == 0;
        }
        let Some(kept) = self.by_position.get_mut(&position) else {
            return false;
        };
        self.changes.change(position);
        kept.sessions = kept.sessions.saturating_sub(1);
        if kept.sessions == 0
            && let Some(gone) = self.by_position.remove(&position)
        {
            self.bytes -= charged_bytes(&gone.message);
            self.resident_bytes -= charged_bytes(&gone.message);
            self.changes.remove(position);
        }
        false
    }

    pub(super) fn row(&self, position: Position) -> Option<Bytes> {
        Some(self.by_position.get(&position)?.to_bytes())
    }

    pub(super) fn held_row(&self, position: Position) -> Option<Bytes> {
        Some(self.held.get(&position)?.to_bytes())
    }

    pub(super) fn restore_row(&mut self, position: Position, value: Bytes) -> Result<(), RowError> {
        self.add(position, KeptMessage::from_bytes(value)?);
        Ok(())
    }

    pub(super) fn restore_held(&mut self, position: Position, value: Bytes) -> Result<(), RowError> {
        let held = HeldMessage::from_bytes(value)?;
        self.bytes = self.bytes.saturating_add(held.charged_bytes);
        self.held.insert(position, held);
        Ok(())
    }

    /// The content of a message that only sessions have, and whether its expiry interval has passed.
    pub(super) fn read(&self, position: Position, rows: &Messages, log_time_ms: u64) -> Option<(Content, bool)> {
        if let Some(held) = self.held.get(&position) {
            let bytes = held.charged_bytes.saturating_sub(OVERHEAD_BYTES);
            return Some(rows.brought(position, bytes, held.expires_ms, log_time_ms));
        }
        let kept = self.by_position.get(&position)?;
        let (message, has_expired) = remaining(kept.message.clone(), kept.expires_ms, log_time_ms);
        Some((Content::Here(message), has_expired))
    }
}

#[cfg(test)]
impl Kept {
    pub(super) fn mark_all(&mut self) {
        self.by_position
            .keys()
            .for_each(|position| self.changes.change(*position));
        self.held
            .keys()
            .for_each(|position| self.held_changes.change(*position));
    }
}

fn charged_bytes(message: &Message) -> u64 {
    message.charged_bytes() as u64 + OVERHEAD_BYTES
}
