//! The log of a node with a disk: entries leave as records, and come back once they are flushed.
//!
//! Whoever writes records to the disk takes them ([`CommitLog::take_records`]) and says how far they are flushed
//! ([`CommitLog::flushed`]). Until then an entry is kept here and has no effect.

use std::collections::VecDeque;

use bytes::Bytes;
use freshet_storage_contract::{Position, Term};

use super::{CommitLog, Entry, MemoryLog, floor_of};
use crate::codec::Code;

/// A log that is flushed by somebody else.
#[derive(Debug)]
pub(crate) struct DurableLog {
    last: Position,
    flushed: Position,
    /// Entries that are not flushed, or flushed and not handed back yet.
    entries: VecDeque<(Position, Entry)>,
    /// Of these, how many have been taken as records.
    taken: usize,
}

impl DurableLog {
    /// A log whose last entry stands at `last`; 0: it is empty.
    pub(crate) fn new(last: Position) -> Self {
        Self {
            last,
            flushed: last,
            entries: VecDeque::new(),
            taken: 0,
        }
    }
}

impl CommitLog for DurableLog {
    /// Positions of a log that has entries go on, whatever the term.
    fn begin(&mut self, term: Term) {
        if self.last == Position::default() {
            self.last = floor_of(term);
        }
    }

    fn propose(&mut self, entry: Entry) -> Position {
        self.last.0 += 1;
        self.entries.push_back((self.last, entry));
        self.last
    }

    fn next_committed(&mut self) -> Option<(Position, Entry)> {
        let flushed = self.flushed;
        let next = self.entries.pop_front_if(|(position, _)| *position <= flushed)?;
        self.taken = self.taken.saturating_sub(1);
        Some(next)
    }

    fn take_records(&mut self, out: &mut Vec<(Position, Bytes)>) {
        let new = self.entries.iter().skip(self.taken);
        out.extend(new.map(|(position, entry)| (*position, entry.to_bytes())));
        self.taken = self.entries.len();
    }

    /// What was never taken cannot be flushed, whatever is said.
    fn flushed(&mut self, through: Position) {
        let taken = self.taken.checked_sub(1).and_then(|at| self.entries.get(at));
        let through = taken.map_or(self.flushed, |(last, _)| through.min(*last));
        self.flushed = self.flushed.max(through);
    }

    fn flushed_through(&self) -> Option<Position> {
        Some(self.flushed)
    }
}

/// The log of one shard of a node.
#[derive(Debug)]
pub(crate) enum NodeLog {
    /// It ends with the process.
    Memory(MemoryLog),
    /// It is on a disk.
    Durable(DurableLog),
}

impl CommitLog for NodeLog {
    fn begin(&mut self, term: Term) {
        match self {
            Self::Memory(log) => log.begin(term),
            Self::Durable(log) => log.begin(term),
        }
    }

    fn propose(&mut self, entry: Entry) -> Position {
        match self {
            Self::Memory(log) => log.propose(entry),
            Self::Durable(log) => log.propose(entry),
        }
    }

    fn next_committed(&mut self) -> Option<(Position, Entry)> {
        match self {
            Self::Memory(log) => log.next_committed(),
            Self::Durable(log) => log.next_committed(),
        }
    }

    fn take_records(&mut self, out: &mut Vec<(Position, Bytes)>) {
        if let Self::Durable(log) = self {
            log.take_records(out);
        }
    }

    fn flushed(&mut self, through: Position) {
        if let Self::Durable(log) = self {
            log.flushed(through);
        }
    }

    fn flushed_through(&self) -> Option<Position> {
        match self {
            Self::Memory(log) => log.flushed_through(),
            Self::Durable(log) => log.flushed_through(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Command, ENTRY_VERSION};

    fn entry(limit: usize) -> Entry {
        Entry {
            version: ENTRY_VERSION,
            log_time_ms: 7,
            command: Command::ExpireRetained { limit },
        }
    }

    #[test]
    fn an_entry_comes_back_when_it_is_flushed_and_not_before() {
        let mut log = DurableLog::new(Position(40));
        log.begin(Term(9));
        let first = log.propose(entry(1));
        let second = log.propose(entry(2));
        assert_eq!((first, second), (Position(41), Position(42)), "the log goes on");
        log.flushed(second);
        assert_eq!(log.next_committed(), None, "nobody has taken it");
        let mut records = Vec::new();
        log.take_records(&mut records);
        assert_eq!(records.len(), 2);
        assert_eq!(Entry::from_bytes(records[1].1.clone()), Ok(entry(2)));
        assert_eq!(log.next_committed(), None);
        log.flushed(first);
        assert_eq!(log.next_committed(), Some((first, entry(1))));
        assert_eq!(log.next_committed(), None);
        let third = log.propose(entry(3));
        records.clear();
        log.take_records(&mut records);
        assert_eq!(
            records.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
            [third],
            "once each"
        );
        log.flushed(third);
        assert_eq!(log.next_committed(), Some((second, entry(2))));
        assert_eq!(log.next_committed(), Some((third, entry(3))));
    }

    #[test]
    fn an_empty_log_begins_above_the_positions_of_lives_without_a_disk() {
        let mut log = DurableLog::new(Position::default());
        log.begin(Term(3));
        assert!(log.propose(entry(1)) > floor_of(Term(3)));
    }
}
