//! The bytes of queued messages: once each, as long as some light queue names them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use freshet_storage_contract::{Message, Position};

use super::{QueueId, ROW_BYTES};
use crate::codec::{Code, DecodeError, Reader};
use crate::planted::planted;
use crate::state::rows::{Changes, RowError};

/// Queued messages by position.
#[derive(Debug, Default)]
pub(super) struct Messages {
    by_position: BTreeMap<Position, Queued>,
    by_expiry: BTreeSet<(u64, Position)>,
    bytes: u64,
    pub(super) changes: Changes<Position>,
    /// Of which queues have it.
    pub(super) references: Changes<Position>,
}

#[derive(Debug)]
struct Queued {
    message: Message,
    /// Queues that had it when it came.
    queues: Box<[QueueId]>,
    /// Of these, that still have it.
    references: u32,
    /// Log time, ms.
    came_ms: u64,
    /// Log time, ms.
    expires_ms: Option<u64>,
}

/// A message that waits, without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) position: Position,
    /// Log time, ms.
    pub(crate) came_ms: u64,
    /// What is charged for it and its rows.
    pub(crate) bytes: u64,
}

impl Messages {
    pub(super) fn len(&self) -> usize {
        self.by_position.len()
    }

    /// Bytes charged for messages.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn insert(&mut self, position: Position, message: &Message, queues: &[QueueId], log_time_ms: u64) {
        let expires_ms = message
            .message_expiry_interval_s
            .map(|s| log_time_ms.saturating_add(u64::from(s).saturating_mul(1_000)));
        if let Some(expires_ms) = expires_ms {
            self.by_expiry.insert((expires_ms, position));
        }
        self.bytes += message.charged_bytes() as u64;
        let queued = Queued {
            message: own_copy(message),
            queues: queues.into(),
            references: u32::try_from(queues.len()).unwrap_or(u32::MAX),
            came_ms: log_time_ms,
            expires_ms,
        };
        self.changes.add(position);
        self.references.add(position);
        self.by_position.insert(position, queued);
    }

    /// A queue no longer has the message.
    pub(super) fn release(&mut self, position: Position) {
        if let Some(queued) = self.by_position.get_mut(&position) {
            queued.references = queued.references.saturating_sub(1);
            self.references.change(position);
            if queued.references == 0 {
                self.remove(position);
            }
        }
    }

    pub(super) fn remove(&mut self, position: Position) {
        if let Some(queued) = self.by_position.remove(&position) {
            self.changes.remove(position);
            self.references.remove(position);
            self.bytes -= queued.message.charged_bytes() as u64;
            if let Some(expires_ms) = queued.expires_ms {
                self.by_expiry.remove(&(expires_ms, position));
            }
        }
    }

    /// Queues that had the message when it came.
    pub(super) fn queues_of(&self, position: Position) -> Option<&[QueueId]> {
        Some(&self.by_position.get(&position)?.queues)
    }

    pub(super) fn row(&self, position: Position) -> Option<Bytes> {
        Some(self.by_position.get(&position)?.to_bytes())
    }

    /// Takes a message back; which queues have it is a row that comes later.
    pub(super) fn restore_row(&mut self, position: Position, value: Bytes) -> Result<(), RowError> {
        let queued = Queued::from_bytes(value)?;
        if let Some(expires_ms) = queued.expires_ms {
            self.by_expiry.insert((expires_ms, position));
        }
        self.bytes += queued.message.charged_bytes() as u64;
        self.by_position.insert(position, queued);
        Ok(())
    }

    pub(super) fn restore_references(&mut self, position: Position, queues: Vec<QueueId>) -> Result<(), RowError> {
        let queued = self.by_position.get_mut(&position).ok_or(RowError::Missing)?;
        queued.references = u32::try_from(queues.len()).unwrap_or(u32::MAX);
        queued.queues = queues.into();
        Ok(())
    }

    /// Bytes charged for one message.
    pub(super) fn bytes_of(&self, position: Position) -> u64 {
        self.by_position
            .get(&position)
            .map_or(0, |queued| queued.message.charged_bytes() as u64)
    }

    /// The message with what remains of its expiry interval, begun seconds counted in full, and whether it has passed.
    pub(super) fn read(&self, position: Position, log_time_ms: u64) -> Option<(Message, bool)> {
        let queued = self.by_position.get(&position)?;
        Some(remaining(&queued.message, queued.expires_ms, log_time_ms))
    }

    /// When the message came, ms of log time.
    pub(super) fn came_ms(&self, position: Position) -> Option<u64> {
        Some(self.by_position.get(&position)?.came_ms)
    }

    /// The message as it came, and when it expires.
    pub(super) fn get(&self, position: Position) -> Option<(&Message, Option<u64>)> {
        let queued = self.by_position.get(&position)?;
        Some((&queued.message, queued.expires_ms))
    }

    pub(super) fn next_expiry(&self) -> Option<u64> {
        self.by_expiry.first().map(|(expires_ms, _)| *expires_ms)
    }

    pub(super) fn next_expired(&self, log_time_ms: u64) -> Option<Position> {
        let (expires_ms, position) = self.by_expiry.first()?;
        (*expires_ms <= log_time_ms).then_some(*position)
    }

    /// The message that came first, and when.
    pub(super) fn oldest(&self) -> Option<(Position, u64)> {
        self.by_position
            .first_key_value()
            .map(|(position, queued)| (*position, queued.came_ms))
    }

    /// All messages, in the order in which they came.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = Waiting> + '_ {
        self.by_position.iter().map(|(position, queued)| Waiting {
            position: *position,
            came_ms: queued.came_ms,
            bytes: queued.message.charged_bytes() as u64 + u64::from(queued.references) * ROW_BYTES,
        })
    }
}

#[cfg(test)]
impl Messages {
    pub(super) fn mark_all(&mut self) {
        self.by_position
            .keys()
            .for_each(|position| self.changes.change(*position));
        self.by_position
            .keys()
            .for_each(|position| self.references.change(*position));
    }
}

/// Without the queues, which change while the message does not.
impl Code for Queued {
    fn write(&self, out: &mut Vec<u8>) {
        self.came_ms.write(out);
        self.expires_ms.write(out);
        self.message.write(out);
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            queues: Box::default(),
            references: 0,
            came_ms: Code::read(from)?,
            expires_ms: Code::read(from)?,
            message: Code::read(from)?,
        })
    }
}

/// A message with what remains of its expiry interval, begun seconds counted in full, and whether it has passed.
pub(in crate::state) fn remaining(message: &Message, expires_ms: Option<u64>, log_time_ms: u64) -> (Message, bool) {
    let mut message = message.clone();
    if !planted!(ExpiryNotReduced) {
        message.message_expiry_interval_s = expires_ms.map(|expires_ms| {
            let remaining_s = expires_ms.saturating_sub(log_time_ms).div_ceil(1_000);
            u32::try_from(remaining_s).unwrap_or(u32::MAX)
        });
    }
    let has_expired = expires_ms.is_some_and(|expires_ms| expires_ms <= log_time_ms);
    (message, has_expired)
}

/// The message in one allocation of its own: what is kept for long does not keep the frame that brought it.
pub(crate) fn own_copy(message: &Message) -> Message {
    let parts = [&message.topic_name, &message.payload, &message.forwarded_properties];
    let mut buffer = BytesMut::with_capacity(parts.iter().map(|p| p.len()).sum());
    for part in parts {
        buffer.put_slice(part);
    }
    let mut all = buffer.freeze();
    let [topic_name, payload, forwarded_properties]: [Bytes; 3] = parts.map(|part| all.split_to(part.len()));
    Message {
        topic_name,
        payload,
        forwarded_properties,
        ..message.clone()
    }
}
