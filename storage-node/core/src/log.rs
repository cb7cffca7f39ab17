//! The commit log as a shard sees it: entries go in, and come back in order when they are safe.
//!
//! [`CommitLog`] is what the replicated log will implement; [`MemoryLog`] is the log of a node that is alone and
//! forgets. Whatever has to be the same on every replica ([`crate::state`]) changes only by an entry that came back.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use freshet_storage_contract::{Message, MonotonicMs, Position, ShardId};

use crate::state::WillRow;

/// Version of entries that this code writes. New commands get a higher one, used when all replicas know it.
pub(crate) const ENTRY_VERSION: u16 = 1;

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
    /// A publication with RETAIN: stored, or with an empty payload deletes (MQTT 5.0, 3.3.1.3).
    Retain { message: Message },
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
    /// An effect of another shard arrives; none: it was refused here.
    ReceiveEffect {
        from: ShardId,
        number: u64,
        message: Option<Message>,
    },
    /// Another shard has everything up to `number`.
    ConfirmEffects { target: ShardId, number: u64 },
}

/// The log of one shard.
pub(crate) trait CommitLog {
    /// Hands an entry in; it has no effect until it comes back. Positions grow.
    fn propose(&mut self, entry: Entry) -> Position;

    /// The next entry that is safe, in order of positions.
    fn next_committed(&mut self) -> Option<(Position, Entry)>;
}

/// A log without replicas and without memory: what goes in is committed.
#[derive(Debug, Default)]
pub(crate) struct MemoryLog {
    last: Position,
    committed: VecDeque<(Position, Entry)>,
}

impl CommitLog for MemoryLog {
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
#[derive(Debug, Clone, Copy)]
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
