//! The state as rows: what a checkpoint writes, and what a shard is put together from.
//!
//! A row is a key and a value. The key begins with the number of its table ([`Table`]); behind it stands what the row is
//! found by. Every change of the state notes the keys of the rows that it changes ([`Changes`]), once each, so that a
//! checkpoint writes these and no others. What follows from other rows (indexes, sums, queues of positions) has none.
//!
//! **A round** ([`State::take_changes`]) hands changed rows over a part at a time, in between other work. A row that changes
//! again in the round is handed over again. The round ends when no changed row is left: at that moment all rows that were
//! ever handed over are the state at the position that has been applied then, whatever has changed in between, because the
//! last that was handed over of each row is what the row is now. Entries behind that position are applied to what is
//! restored, those before it never again ([`State::applied`] is in the rows).

use std::collections::BTreeMap;

use bytes::Bytes;
use freshet_storage_contract::{Position, Term};
use thiserror::Error;

use super::State;
use crate::codec::{Code, DecodeError, Reader, code_fields};

/// A row that is larger counts for several, so that what is handed over at once is bounded in bytes, too.
const BYTES_PER_ROW: usize = 4 << 10;

/// Version of rows that this code writes. It reads those before it:
///
/// - 2: a session's row says whether its client was told of it;
/// - 3: counters say which leader has begun to route last, and a queue's row up to where nobody needs its messages.
const ROWS_VERSION: u16 = 3;

/// Kinds of rows, in the order in which they are restored. Numbers are never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    Counters = 0,
    Sessions = 1,
    Readers = 2,
    Queues = 3,
    Messages = 4,
    References = 5,
    Kept = 6,
    Retained = 7,
    Wills = 8,
    Packets = 9,
    Effects = 10,
    Notes = 11,
    EffectMarks = 12,
    NoteMarks = 13,
    Origins = 14,
    Held = 15,
    Passed = 16,
}

impl Table {
    const ALL: [Self; 17] = [
        Self::Counters,
        Self::Sessions,
        Self::Readers,
        Self::Queues,
        Self::Messages,
        Self::References,
        Self::Kept,
        Self::Retained,
        Self::Wills,
        Self::Packets,
        Self::Effects,
        Self::Notes,
        Self::EffectMarks,
        Self::NoteMarks,
        Self::Origins,
        Self::Held,
        Self::Passed,
    ];

    fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table as u8 == number)
    }
}

/// Why rows are not a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RowError {
    /// There is no such table.
    #[error("table {0} is unknown")]
    Table(u8),
    /// A key or a value cannot be read.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// A row names another one that is missing, or rows did not come in the order of their keys.
    #[error("another row is missing")]
    Missing,
    /// They were written by a later version.
    #[error("rows have version {found}, only those up to {ROWS_VERSION} are known: a later release wrote them")]
    Version {
        /// What was found.
        found: u16,
    },
}

/// Keys of rows that have changed since they were last handed over.
#[derive(Debug)]
pub(super) struct Changes<K> {
    /// None: nobody asks. True: nothing was handed over of the row that is there.
    keys: Option<BTreeMap<K, bool>>,
}

impl<K> Default for Changes<K> {
    fn default() -> Self {
        Self { keys: None }
    }
}

impl<K: Ord> Changes<K> {
    /// Somebody asks from now on.
    pub(super) fn track(&mut self) {
        self.keys.get_or_insert_default();
    }

    /// Whether somebody asks.
    pub(super) fn are_tracked(&self) -> bool {
        self.keys.is_some()
    }

    /// A row has begun.
    pub(super) fn add(&mut self, key: K) {
        if let Some(keys) = &mut self.keys {
            keys.entry(key).or_insert(true);
        }
    }

    /// A row has changed.
    pub(super) fn change(&mut self, key: K) {
        if let Some(keys) = &mut self.keys {
            keys.entry(key).or_insert(false);
        }
    }

    /// A row has ended. One of which nothing was handed over leaves no trace.
    pub(super) fn remove(&mut self, key: K) {
        if let Some(keys) = &mut self.keys
            && keys.get(&key) == Some(&true)
        {
            keys.remove(&key);
        } else {
            self.change(key);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.as_ref().map_or(0, BTreeMap::len)
    }

    /// Whether a row has changed and was not handed over.
    pub(super) fn contains(&self, key: &K) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.contains_key(key))
    }

    fn pop(&mut self) -> Option<K> {
        Some(self.keys.as_mut()?.pop_first()?.0)
    }
}

/// Where changed rows go.
pub(super) struct Sink<'s> {
    /// Rows that may still be handed over.
    budget: usize,
    take: &'s mut dyn FnMut(Bytes, Option<Bytes>),
}

impl Sink<'_> {
    /// Hands over rows of a table as far as the budget goes: `key` writes what is behind its number, `value` the row
    /// as it is, if it is there.
    pub(super) fn hand_over<K: Ord>(
        &mut self,
        table: Table,
        changes: &mut Changes<K>,
        mut key: impl FnMut(&K, &mut Vec<u8>),
        mut value: impl FnMut(&K) -> Option<Bytes>,
    ) {
        while self.budget > 0
            && let Some(changed) = changes.pop()
        {
            let value = value(&changed);
            let value_bytes = value.as_ref().map_or(0, Bytes::len);
            self.budget = self.budget.saturating_sub(1 + value_bytes / BYTES_PER_ROW);
            let mut bytes = vec![table as u8];
            key(&changed, &mut bytes);
            (self.take)(Bytes::from(bytes), value);
        }
    }
}

/// What is counted, and where the state stands.
struct Counters {
    version: u16,
    applied: Position,
    log_time_ms: u64,
    terms: (Term, Term),
    queues_version: u64,
    routed: Term,
}

/// The same up to version 2: each leader had begun to route with its term.
struct CountersBefore3 {
    version: u16,
    applied: Position,
    log_time_ms: u64,
    terms: (Term, Term),
    queues_version: u64,
}

code_fields! {
    Counters { version, applied, log_time_ms, terms, queues_version, routed }
    CountersBefore3 { version, applied, log_time_ms, terms, queues_version }
}

impl From<CountersBefore3> for Counters {
    fn from(before: CountersBefore3) -> Self {
        let CountersBefore3 {
            version,
            applied,
            log_time_ms,
            terms,
            queues_version,
        } = before;
        Self {
            version,
            applied,
            log_time_ms,
            terms,
            queues_version,
            routed: terms.1,
        }
    }
}

impl State {
    /// Notes from now on which rows change.
    pub(crate) fn track_changes(&mut self) {
        self.sessions.track_changes();
        self.queues.track_changes();
        self.retained.track_changes();
        self.wills.track_changes();
        self.packets.track_changes();
        self.origins.track_changes();
        self.passed.track_changes();
        self.effects.track_changes();
        self.notes.track_changes();
    }

    /// Rows that have changed and were not handed over.
    pub(crate) fn changed_rows(&self) -> usize {
        self.sessions.changed_rows()
            + self.queues.changed_rows()
            + self.retained.changed_rows()
            + self.wills.changed_rows()
            + self.packets.changed_rows()
            + self.origins.changed_rows()
            + self.passed.changed_rows()
            + self.effects.changed_rows()
            + self.notes.changed_rows()
    }

    /// Hands over up to about `max_rows` rows that have changed, fewer large ones, each with its value, none: it has ended. Returns the
    /// position at which the rows handed over so far are the state; none: the round goes on with the next call.
    pub(crate) fn take_changes(
        &mut self,
        max_rows: usize,
        take: &mut dyn FnMut(Bytes, Option<Bytes>),
    ) -> Option<Position> {
        let mut sink = Sink { budget: max_rows, take };
        self.sessions.take_changes(&mut sink);
        self.queues.take_changes(&mut sink);
        self.retained.take_changes(&mut sink);
        self.wills.take_changes(&mut sink);
        self.packets.take_changes(&mut sink);
        self.origins.take_changes(&mut sink);
        self.passed.take_changes(&mut sink);
        self.effects
            .take_changes((Table::Effects, Table::EffectMarks), &mut sink);
        self.notes.take_changes((Table::Notes, Table::NoteMarks), &mut sink);
        if self.changed_rows() > 0 {
            return None;
        }
        let counters = Counters {
            version: ROWS_VERSION,
            applied: self.applied,
            log_time_ms: self.log_time_ms,
            terms: self.terms,
            queues_version: self.queues.version(),
            routed: self.routed,
        };
        take(Bytes::from_static(&[Table::Counters as u8]), Some(counters.to_bytes()));
        Some(self.applied)
    }

    /// Takes a row back. Rows come in the order of their keys, before any entry is applied.
    ///
    /// # Errors
    /// [`RowError`].
    pub(crate) fn restore_row(&mut self, key: Bytes, value: &[u8]) -> Result<(), RowError> {
        let mut key = Reader::new(key);
        let number = key.byte()?;
        let table = Table::of(number).ok_or(RowError::Table(number))?;
        // In an allocation of its own, which what is read shares: the row may stand in the middle of a large block.
        let value = Bytes::copy_from_slice(value);
        match table {
            Table::Counters => self.restore_counters(value),
            Table::Sessions => self.sessions.restore_row(&key.rest(), value),
            Table::Readers => self.sessions.restore_reader(&mut key, value),
            Table::Queues => self.queues.restore_queue(&mut key, value),
            Table::Messages => self.queues.restore_message(&mut key, &value),
            Table::References => self.queues.restore_references(&mut key, value),
            Table::Kept => self.queues.restore_kept(&mut key, value),
            Table::Retained => self.retained.restore_row(value),
            Table::Wills => self.wills.restore_row(&key.rest(), value),
            Table::Packets => self.packets.restore_row(&mut key, value),
            Table::Effects => self.effects.restore_effect(&mut key, value),
            Table::Notes => self.notes.restore_effect(&mut key, value),
            Table::EffectMarks => self.effects.restore_marks(&mut key, value),
            Table::NoteMarks => self.notes.restore_marks(&mut key, value),
            Table::Origins => self.origins.restore_row(&mut key, value),
            Table::Held => self.queues.restore_held(&mut key, value),
            Table::Passed => self.passed.restore_row(&mut key, value),
        }
    }

    /// All rows have been taken back: gives back the room that this has left.
    pub(crate) fn tighten(&mut self) {
        self.sessions.tighten();
        self.queues.tighten();
    }

    fn restore_counters(&mut self, value: Bytes) -> Result<(), RowError> {
        let found = u16::read(&mut Reader::new(value.clone()))?;
        if found > ROWS_VERSION {
            return Err(RowError::Version { found });
        }
        let counters = if found < 3 {
            CountersBefore3::from_bytes(value)?.into()
        } else {
            Counters::from_bytes(value)?
        };
        self.applied = counters.applied;
        self.queues.checkpointed(counters.applied);
        self.log_time_ms = counters.log_time_ms;
        self.terms = counters.terms;
        self.routed = counters.routed;
        self.queues.set_version(counters.queues_version);
        Ok(())
    }
}

/// A number in a key: in this form keys are in the order of their numbers.
pub(super) fn write_ordered(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// Takes a number off a key.
pub(super) fn read_ordered(key: &mut Reader) -> Result<u64, DecodeError> {
    let mut number = 0;
    for _ in 0..8 {
        number = number << 8 | u64::from(key.byte()?);
    }
    Ok(number)
}

#[cfg(test)]
mod tests;
