//! The commit log as a shard sees it: entries go in, and come back in order when they are safe.
//!
//! [`CommitLog`] is what the replicated log will implement; [`MemoryLog`] is the log of a node that is alone and
//! forgets, [`DurableLog`] that of one that flushes to its disk. Whatever has to be the same on every replica
//! ([`crate::state`]) changes only by an entry that came back.

mod durable;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use freshet_config::QueueLimits;
use freshet_storage_contract::{
    ExactlyOnce, IncarnationId, Message, MonotonicMs, Position, SessionChange, SessionEpoch, ShardId, StoredSession,
    Term,
};

pub(crate) use self::durable::{DurableLog, NodeLog};
use crate::state::{Matched, Note, WillRow};

/// Version of entries that this code writes. New commands get a higher one, used when all replicas know it.
pub(crate) const ENTRY_VERSION: u16 = 2;
/// From this version on a leader says when it begins to route. One before has begun with its term.
pub(crate) const ROUTING_SAID_FROM: u16 = 2;

/// One change of a shard's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) version: u16,
    /// Time of the log, ms: the only clock of the state machine.
    pub(crate) log_time_ms: u64,
    pub(crate) command: Command,
}

/// What changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// A publication that leaves something behind: retained, queued, or known again.
    Publish(Box<Publish>),
    /// Retained messages whose interval has passed at the entry's time go, at most `limit` of them.
    ExpireRetained { limit: usize },
    /// A will begins to wait.
    HoldWill { client_id: Bytes, row: WillRow },
    /// A will that waits is dropped.
    DropWill { client_id: Bytes },
    /// A will that waits is published: it goes to the shard of its topic.
    FireWill { client_id: Bytes, target: ShardId },
    /// A will is published at once.
    SendWill { message: Message, target: ShardId },
    /// A will of another shard arrives; none: it was refused here.
    ReceiveEffect {
        from: ShardId,
        number: u64,
        publish: Option<Box<Publish>>,
    },
    /// Another shard has everything up to `number`.
    ConfirmEffects { target: ShardId, number: u64 },
    /// Notes of another shard arrive, numbered from `first` on.
    ReceiveNotes {
        from: ShardId,
        first: u64,
        notes: Vec<Note>,
    },
    /// Another shard has all notes up to `number`.
    ConfirmNotes { target: ShardId, number: u64 },
    /// A connection gets the session of its client; with an interval of 0 only one that is there.
    AttachSession {
        client_id: Bytes,
        epoch: SessionEpoch,
        clean_start: bool,
        session_expiry_interval_s: u32,
    },
    /// A proxy names a session that it holds; none: it ends with its connection.
    RegisterSession {
        client_id: Bytes,
        epoch: SessionEpoch,
        session_expiry_interval_s: u32,
        session: Option<Box<StoredSession>>,
    },
    /// The connection of a session has ended.
    DetachSession {
        client_id: Bytes,
        epoch: SessionEpoch,
        session_expiry_interval_s: u32,
    },
    /// The connection that has a session changes it.
    UpdateSession {
        client_id: Bytes,
        epoch: SessionEpoch,
        changes: Vec<SessionChange>,
    },
    /// A leader begins with this term.
    BeginTerm { term: Term },
    /// The leader of this term routes publications from here on.
    BeginRouting { term: Term },
    /// Publications pass a proxy by that should have had them, or it has all of them or was told.
    PassBy { proxy: IncarnationId, is_passed: bool },
    /// No connection of any session is known any more.
    SuspendSessions,
    /// Sessions whose interval has passed at the entry's time end, at most `limit` of them.
    ExpireSessions { limit: usize },
    /// Shards of messages are told what nobody needs any more, about `limit` filters.
    SendTrims { limit: usize },
    /// A durable filter is asked for.
    EnsureDurable {
        session_shard: ShardId,
        topic_filter: Bytes,
    },
    /// Durable filters that no session has go, at most `limit` of them.
    ExpireFilters { limit: usize },
    /// Queued messages whose interval has passed at the entry's time go, at most `limit` of them.
    ExpireQueued { limit: usize },
    /// Queued messages that are older than `age_ms` at the entry's time go, at most `limit` of them.
    DropOldQueued { age_ms: u64, limit: usize },
    /// The same by the age that all queues have as their bound.
    DropOutdated { age_ms: u64, limit: usize },
    /// Queued messages up to a position go, whatever their queues: all of them come to more than they may. As many as the
    /// leader has counted.
    DropThrough { through: Position },
    /// Rows of queues that nobody needs go, at most `limit` of them.
    DropUnneeded { limit: usize },
    /// A QoS 2 publication is released by its publisher.
    Release { of: Box<ExactlyOnce> },
    /// QoS 2 publications of generations that ended long enough ago are forgotten, and numbers of proxies that have sent none
    /// for as long, those of at most `limit` generations and proxies.
    ExpirePackets { limit: usize },
    /// Some proxy has members of a group, or none has any more.
    ShareGroup { group: Bytes, is_live: bool },
    /// Messages of a group that nobody needs any more.
    SettleShared { group: Bytes, positions: Vec<Position> },
}

/// A publication as it goes into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) message: Message,
    pub(crate) known_by: KnownBy,
    /// Queues that the leader found for it.
    pub(crate) matched: Matched,
    /// Limits of each queue.
    pub(crate) limits: QueueLimits,
}

/// What a publication is known again by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KnownBy {
    /// It acts as often as it comes.
    Nothing,
    /// The exchange of a session.
    Exchange {
        of: ExactlyOnce,
        /// Shard of the session.
        session_shard: ShardId,
    },
    /// What its proxy has numbered it.
    Number { number: LastingNumber },
}

/// The lasting number of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastingNumber {
    /// Which process of a proxy counts.
    pub(crate) origin: IncarnationId,
    pub(crate) number: u64,
    /// Lower ones were answered and do not come again.
    pub(crate) oldest: u64,
}

/// The log of one shard.
pub(crate) trait CommitLog {
    /// A leader begins with this term.
    fn begin(&mut self, term: Term);

    /// Hands an entry in; it has no effect until it comes back. Positions grow.
    fn propose(&mut self, entry: Entry) -> Position;

    /// The next entry that is safe, in order of positions.
    fn next_committed(&mut self) -> Option<(Position, Entry)>;

    /// Takes the bytes of entries that have to be made safe and were not taken before, in order.
    fn take_records(&mut self, _out: &mut Vec<(Position, Bytes)>) {}

    /// Entries up to this position are safe.
    fn flushed(&mut self, _through: Position) {}

    /// Up to where entries are safe; none: nobody flushes them.
    fn flushed_through(&self) -> Option<Position> {
        None
    }
}

/// A log without replicas and without memory: what goes in is committed.
#[derive(Debug, Default)]
pub(crate) struct MemoryLog {
    last: Position,
    committed: VecDeque<(Position, Entry)>,
}

/// Positions per unit of a term, which is about a millisecond: a life without memory begins above all positions of
/// earlier ones, so that cursors which proxies kept stay below what is new.
const POSITIONS_PER_TERM: u64 = 1 << 20;
/// Terms above do not move positions any further: what is left is enough for all entries to come.
const HIGHEST_TERM: u64 = 1 << 42;

/// Where the positions of a log without memory begin in this term.
pub(crate) fn floor_of(term: Term) -> Position {
    Position(term.0.min(HIGHEST_TERM) * POSITIONS_PER_TERM)
}

impl CommitLog for MemoryLog {
    fn begin(&mut self, term: Term) {
        self.last = self.last.max(floor_of(term));
    }

    fn propose(&mut self, entry: Entry) -> Position {
        self.last.0 += 1;
        self.committed.push_back((self.last, entry));
        self.last
    }

    fn next_committed(&mut self) -> Option<(Position, Entry)> {
        self.committed.pop_front()
    }
}

/// The leader's clock of the log: the time of the last entry it found, and what has passed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogClock {
    last_entry_ms: u64,
    started: MonotonicMs,
}

impl LogClock {
    pub(crate) fn new(last_entry_ms: u64, started: MonotonicMs) -> Self {
        Self { last_entry_ms, started }
    }

    /// Log time of `now`, ms.
    pub(crate) fn log_time_ms(self, now: MonotonicMs) -> u64 {
        let since = u64::try_from(now.since(self.started).as_millis()).unwrap_or(u64::MAX);
        self.last_entry_ms.saturating_add(since)
    }

    /// When the log's time will be `log_time_ms`.
    pub(crate) fn when(self, log_time_ms: u64) -> MonotonicMs {
        self.started
            .plus(Duration::from_millis(log_time_ms.saturating_sub(self.last_entry_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_goes_on_from_its_last_entry() {
        let clock = LogClock::new(1_000, MonotonicMs(50));
        assert_eq!(clock.log_time_ms(MonotonicMs(60)), 1_010);
        assert_eq!(clock.log_time_ms(MonotonicMs(40)), 1_000, "never back");
        assert_eq!(clock.when(1_010), MonotonicMs(60));
    }

    #[test]
    fn a_later_life_begins_above_the_positions_of_an_earlier_one() {
        let entry = || Entry {
            version: 1,
            log_time_ms: 0,
            command: Command::SuspendSessions,
        };
        let mut earlier = MemoryLog::default();
        earlier.begin(Term(1_790_000_000_000));
        let last = (0..1_000).map(|_| earlier.propose(entry())).last().unwrap();
        let mut later = MemoryLog::default();
        later.begin(Term(1_790_000_000_001));
        assert!(later.propose(entry()) > last);
        later.begin(Term(u64::MAX));
        let highest = later.propose(entry());
        assert!(highest > last && highest < Position(u64::MAX / 2));
    }

    #[test]
    fn entries_come_back_in_order_at_positions_that_grow() {
        let mut log = MemoryLog::default();
        let entry = |limit| Entry {
            version: 1,
            log_time_ms: 0,
            command: Command::ExpireRetained { limit },
        };
        let positions = [log.propose(entry(1)), log.propose(entry(2))];
        assert_eq!(positions, [Position(1), Position(2)]);
        assert_eq!(log.next_committed(), Some((Position(1), entry(1))));
        assert_eq!(log.next_committed(), Some((Position(2), entry(2))));
        assert_eq!(log.next_committed(), None);
    }
}
