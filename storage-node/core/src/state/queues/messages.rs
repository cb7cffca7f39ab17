//! Queued messages: once each, as long as some light queue names them. Where their content is, in memory or on disk alone,
//! is [`super::cold`]'s.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use freshet_storage_contract::{Message, Position};

use super::cold::Residence;
use super::{QueueId, ROW_BYTES};
use crate::codec::{Code, code_fields};
use crate::planted::planted;
use crate::state::rows::{Changes, RowError};
use crate::state::tight;

/// Room for the next row that is kept.
const SCRATCH_BYTES: usize = 64 << 10;
/// Rows up to this length are copied for a checkpoint.
const COPIED_BYTES: usize = 1 << 10;

/// Queued messages by position.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) by_position: BTreeMap<Position, Queued>,
    by_expiry: BTreeSet<(u64, Position)>,
    bytes: u64,
    /// What of them is in memory.
    pub(super) residence: Residence,
    /// Rows that stay though no queue has their messages: sessions have taken these.
    pub(super) held: BTreeSet<Position>,
    pub(super) changes: Changes<Position>,
    /// Of which queues have it.
    pub(super) references: Changes<Position>,
    // Reused from call to call.
    scratch: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Queued {
    /// The message's row, in an allocation of its own: what is kept for long does not keep the frame that brought it, and a
    /// row is half of the value that it stands for. None: it is on disk alone.
    pub(super) content: Option<Bytes>,
    /// Queues that had it when it came.
    queues: Owners,
    /// Log time, ms.
    pub(super) came_ms: u64,
    /// Log time, ms.
    pub(super) expires_ms: Option<u64>,
    /// Bytes charged for the message.
    pub(super) charged_bytes: u32,
    /// Of the queues, that still have it.
    pub(super) references: u32,
}

/// Queues of a message: mostly one, which needs no allocation.
#[derive(Debug)]
enum Owners {
    One([QueueId; 1]),
    Many(Box<[QueueId]>),
}

/// The row of a message. Which queues have it changes while the message does not, and is another row.
pub(super) struct MessageRow {
    came_ms: u64,
    expires_ms: Option<u64>,
    pub(super) message: Message,
}

code_fields! {
    MessageRow { came_ms, expires_ms, message }
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

    /// Takes a message; returns what it is charged with, in bytes.
    pub(super) fn insert(
        &mut self,
        position: Position,
        message: &Message,
        queues: &[QueueId],
        log_time_ms: u64,
    ) -> u64 {
        let expires_ms = message
            .message_expiry_interval_s
            .map(|s| log_time_ms.saturating_add(u64::from(s).saturating_mul(1_000)));
        write_row(message, log_time_ms, expires_ms, &mut self.scratch);
        let row = Bytes::copy_from_slice(&self.scratch);
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_BYTES);
        let queued = Queued::new(row, message, queues, log_time_ms, expires_ms);
        let bytes = u64::from(queued.charged_bytes);
        self.changes.add(position);
        self.references.add(position);
        self.add(position, queued);
        bytes
    }

    fn add(&mut self, position: Position, queued: Queued) {
        if let Some(expires_ms) = queued.expires_ms {
            self.by_expiry.insert((expires_ms, position));
        }
        self.bytes += u64::from(queued.charged_bytes);
        self.residence.added(&queued);
        self.by_position.insert(position, queued);
    }

    /// A queue no longer has the message. Returns what it is charged with, in bytes.
    pub(super) fn release(&mut self, position: Position) -> u64 {
        let Entry::Occupied(mut queued) = self.by_position.entry(position) else {
            return 0;
        };
        let bytes = u64::from(queued.get().charged_bytes);
        let references = &mut queued.get_mut().references;
        *references = references.saturating_sub(1);
        if *references == 0 {
            let queued = queued.remove();
            self.removed(position, &queued);
        } else {
            self.references.change(position);
        }
        bytes
    }

    pub(super) fn remove(&mut self, position: Position) {
        if let Some(queued) = self.by_position.remove(&position) {
            self.removed(position, &queued);
        }
    }

    fn removed(&mut self, position: Position, queued: &Queued) {
        if !self.held.contains(&position) {
            self.changes.remove(position);
        }
        self.references.remove(position);
        self.bytes -= u64::from(queued.charged_bytes);
        self.residence.removed(queued);
        if let Some(expires_ms) = queued.expires_ms {
            self.by_expiry.remove(&(expires_ms, position));
        }
    }

    /// The row of a message stays when no queue has it any more.
    pub(super) fn hold_row(&mut self, position: Position) {
        if !planted!(HeldRowDropped) {
            self.held.insert(position);
        }
    }

    /// The row of a message goes with the last queue that has it, which may have been.
    pub(super) fn let_row_go(&mut self, position: Position) {
        if self.held.remove(&position) && !self.by_position.contains_key(&position) {
            self.changes.remove(position);
        }
    }

    /// Queues that had the message when it came.
    pub(super) fn queues_of(&self, position: Position) -> Option<&[QueueId]> {
        Some(self.by_position.get(&position)?.queues.ids())
    }

    /// The row of a message whose content is in memory.
    pub(super) fn row(&self, position: Position) -> Option<Bytes> {
        let row = self.by_position.get(&position)?.content.as_ref()?;
        // What is shared for the first time takes another allocation, and has it from then on.
        let is_small = row.len() <= COPIED_BYTES;
        Some(if is_small {
            Bytes::copy_from_slice(row)
        } else {
            row.clone()
        })
    }

    /// Takes a message back; which queues have it is a row that comes later.
    pub(super) fn restore_row(&mut self, position: Position, value: &Bytes) -> Result<(), RowError> {
        let MessageRow {
            came_ms,
            expires_ms,
            message,
        } = MessageRow::from_bytes(value.clone())?;
        let row = Bytes::copy_from_slice(value);
        self.add(position, Queued::new(row, &message, &[], came_ms, expires_ms));
        Ok(())
    }

    pub(super) fn restore_references(&mut self, position: Position, queues: &[QueueId]) -> Result<(), RowError> {
        let queued = self.by_position.get_mut(&position).ok_or(RowError::Missing)?;
        queued.references = u32::try_from(queues.len()).unwrap_or(u32::MAX);
        queued.queues = Owners::of(queues);
        Ok(())
    }

    pub(super) fn tighten(&mut self) {
        tight::fill(&mut self.by_position);
        tight::fill_set(&mut self.by_expiry);
    }

    /// Bytes charged for one message.
    pub(super) fn bytes_of(&self, position: Position) -> u64 {
        let queued = self.by_position.get(&position);
        queued.map_or(0, |queued| u64::from(queued.charged_bytes))
    }

    /// When the message came, ms of log time.
    pub(super) fn came_ms(&self, position: Position) -> Option<u64> {
        Some(self.by_position.get(&position)?.came_ms)
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
            bytes: u64::from(queued.charged_bytes) + u64::from(queued.references) * ROW_BYTES,
        })
    }
}

impl Queued {
    fn new(row: Bytes, message: &Message, queues: &[QueueId], came_ms: u64, expires_ms: Option<u64>) -> Self {
        Self {
            // What fits into a frame is far below a u32.
            charged_bytes: u32::try_from(message.charged_bytes()).unwrap_or(u32::MAX),
            content: Some(row),
            queues: Owners::of(queues),
            came_ms,
            expires_ms,
            references: u32::try_from(queues.len()).unwrap_or(u32::MAX),
        }
    }
}

/// The message that a row is; none: the row is none.
pub(super) fn message_of(row: &Bytes) -> Option<Message> {
    MessageRow::from_bytes(row.clone()).ok().map(|row| row.message)
}

fn write_row(message: &Message, came_ms: u64, expires_ms: Option<u64>, out: &mut Vec<u8>) {
    came_ms.write(out);
    expires_ms.write(out);
    message.write(out);
}

impl Owners {
    fn of(queues: &[QueueId]) -> Self {
        match queues {
            [only] => Self::One([*only]),
            many => Self::Many(many.into()),
        }
    }

    fn ids(&self) -> &[QueueId] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

#[cfg(test)]
impl Messages {
    pub(super) fn mark_all(&mut self) {
        let in_memory = self.by_position.iter().filter(|(_, queued)| queued.content.is_some());
        in_memory.for_each(|(position, _)| self.changes.change(*position));
        self.by_position
            .keys()
            .for_each(|position| self.references.change(*position));
    }
}

/// A message with what remains of its expiry interval, begun seconds counted in full, and whether it has passed.
pub(in crate::state) fn remaining(mut message: Message, expires_ms: Option<u64>, log_time_ms: u64) -> (Message, bool) {
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
