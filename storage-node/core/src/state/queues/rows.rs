//! Light queues as rows: one for each queue, one for each message with its bytes, one for each message that says which
//! queues still have it, and one for each message that sessions have taken: with its bytes, or saying that they are in the
//! message's own row, which stays for it. What is in a queue follows from its messages.

use std::collections::VecDeque;

use bytes::Bytes;
use freshet_storage_contract::{Position, ShardId};

use super::filters::{charged_bytes, kind_of, matched_part};
use super::{Hold, LightQueue, QueueId, Queues};
use crate::codec::{Code, DecodeError, Reader, code_fields};
use crate::state::rows::{RowError, Sink, Table, read_ordered, write_ordered};

/// A queue without what is in it.
struct QueueRow {
    session_shard: Option<ShardId>,
    topic_filter: Bytes,
    holds: Vec<Hold>,
    is_live: bool,
    /// None in rows of version 2 and before, and where nothing is to go.
    unneeded_through: Option<Position>,
}

code_fields! {
    Hold { session_shard, ensured, goes_ms }
}

impl Code for QueueRow {
    fn write(&self, out: &mut Vec<u8>) {
        self.session_shard.write(out);
        self.topic_filter.write(out);
        self.holds.write(out);
        self.is_live.write(out);
        if let Some(through) = self.unneeded_through {
            through.write(out);
        }
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            session_shard: Code::read(from)?,
            topic_filter: Code::read(from)?,
            holds: Code::read(from)?,
            is_live: Code::read(from)?,
            unneeded_through: from.end().is_err().then(|| Code::read(from)).transpose()?,
        })
    }
}

impl Queues {
    /// Version of the set of queues.
    pub(in crate::state) fn version(&self) -> u64 {
        self.version
    }

    pub(in crate::state) fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    pub(in crate::state) fn track_changes(&mut self) {
        self.changes.track();
        self.messages.changes.track();
        self.messages.references.track();
        self.kept.changes.track();
        self.kept.held_changes.track();
    }

    pub(in crate::state) fn changed_rows(&self) -> usize {
        self.changes.len()
            + self.messages.changes.len()
            + self.messages.references.len()
            + self.kept.changes.len()
            + self.kept.held_changes.len()
    }

    pub(in crate::state) fn take_changes(&mut self, sink: &mut Sink<'_>) {
        let Self {
            queues,
            changes,
            messages,
            kept,
            ..
        } = self;
        let position_key = |position: &Position, out: &mut Vec<u8>| write_ordered(position.0, out);
        sink.hand_over(
            Table::Queues,
            changes,
            |id, out| {
                write_ordered(u64::from(id.slot), out);
                write_ordered(u64::from(id.number), out);
            },
            |id| queues.get(*id).map(|queue| queue.row().to_bytes()),
        );
        let mut of_messages = std::mem::take(&mut messages.changes);
        sink.hand_over(Table::Messages, &mut of_messages, position_key, |position| {
            messages.row(*position)
        });
        messages.changes = of_messages;
        let mut references = std::mem::take(&mut messages.references);
        sink.hand_over(Table::References, &mut references, position_key, |position| {
            let mut having = messages.queues_of(*position)?.to_vec();
            having.retain(|id| {
                let queue = queues.get(*id);
                queue.is_some_and(|queue| queue.rows.binary_search(position).is_ok())
            });
            Some(having.to_bytes())
        });
        messages.references = references;
        let mut of_kept = std::mem::take(&mut kept.changes);
        sink.hand_over(Table::Kept, &mut of_kept, position_key, |position| kept.row(*position));
        kept.changes = of_kept;
        let mut of_held = std::mem::take(&mut kept.held_changes);
        sink.hand_over(Table::Held, &mut of_held, position_key, |position| {
            kept.held_row(*position)
        });
        kept.held_changes = of_held;
    }

    pub(in crate::state) fn restore_queue(&mut self, key: &mut Reader, value: Bytes) -> Result<(), RowError> {
        let id = QueueId {
            slot: read_u32(key)?,
            number: read_u32(key)?,
        };
        key.end()?;
        let row = QueueRow::copied_from(value)?;
        let name = (row.session_shard, row.topic_filter);
        let kind = kind_of(&name).ok_or(RowError::Missing)?;
        let charged_bytes = charged_bytes(&name, kind);
        for hold in &row.holds {
            if let Some(goes_ms) = hold.goes_ms {
                self.unconfirmed.insert((goes_ms, id, hold.session_shard));
            }
        }
        let is_held = row.is_live || !row.holds.is_empty();
        let is_group = name.0.is_none();
        let queue = LightQueue {
            at: is_held.then(|| self.index.insert(matched_part(&name), kind, id)),
            name,
            charged_bytes,
            holds: row.holds,
            is_live: row.is_live,
            rows: VecDeque::new(),
            row_bytes: 0,
            unneeded_through: row.unneeded_through.unwrap_or_default(),
        };
        if row.unneeded_through.is_some() {
            self.unneeded.insert(id);
        }
        self.queues.insert(id, queue);
        if is_held {
            self.groups += usize::from(is_group);
            self.filter_bytes += charged_bytes;
            self.names.insert(id, &self.queues);
        } else {
            self.leaving += 1;
        }
        Ok(())
    }

    pub(in crate::state) fn restore_message(&mut self, key: &mut Reader, value: &Bytes) -> Result<(), RowError> {
        let position = read_position(key)?;
        self.messages.restore_row(position, value)
    }

    pub(in crate::state) fn restore_references(&mut self, key: &mut Reader, value: Bytes) -> Result<(), RowError> {
        let position = read_position(key)?;
        let having = Vec::<QueueId>::from_bytes(value)?;
        let bytes = self.messages.bytes_of(position);
        for id in &having {
            let queue = self.queues.get_mut(*id).ok_or(RowError::Missing)?;
            if queue.rows.back().is_some_and(|last| *last >= position) {
                return Err(RowError::Missing);
            }
            queue.push(position, bytes);
            self.rows += 1;
        }
        self.messages.restore_references(position, &having)
    }

    pub(in crate::state) fn tighten(&mut self) {
        self.messages.tighten();
    }

    pub(in crate::state) fn restore_kept(&mut self, key: &mut Reader, value: Bytes) -> Result<(), RowError> {
        let position = read_position(key)?;
        self.kept.restore_row(position, value)
    }

    pub(in crate::state) fn restore_held(&mut self, key: &mut Reader, value: Bytes) -> Result<(), RowError> {
        let position = read_position(key)?;
        let references = self.messages.by_position.get(&position).map(|queued| queued.references);
        self.kept.restore_held(position, value)?;
        self.messages.hold_row(position);
        match references {
            None => Err(RowError::Missing),
            // No queue has it any more.
            Some(0) => {
                self.messages.remove(position);
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    /// The key of the row of a message.
    pub(crate) fn message_key(position: Position) -> Bytes {
        let mut key = vec![Table::Messages as u8];
        write_ordered(position.0, &mut key);
        Bytes::from(key)
    }
}

impl LightQueue {
    fn row(&self) -> QueueRow {
        QueueRow {
            session_shard: self.name.0,
            topic_filter: self.name.1.clone(),
            holds: self.holds.clone(),
            is_live: self.is_live,
            unneeded_through: (self.unneeded_through > Position::default()).then_some(self.unneeded_through),
        }
    }
}

fn read_u32(key: &mut Reader) -> Result<u32, RowError> {
    u32::try_from(read_ordered(key)?).map_err(|_| RowError::Decode(DecodeError::Number))
}

fn read_position(key: &mut Reader) -> Result<Position, RowError> {
    let position = Position(read_ordered(key)?);
    key.end()?;
    Ok(position)
}

#[cfg(test)]
impl Queues {
    /// All rows count as changed.
    pub(in crate::state) fn mark_all(&mut self) {
        self.queues.iter().for_each(|(id, _)| self.changes.change(id));
        self.messages.mark_all();
        self.kept.mark_all();
    }
}
