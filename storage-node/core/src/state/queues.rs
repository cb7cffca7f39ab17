//! The light queues of a shard: the positions of the messages that match a filter.
//!
//! A *durable filter* is one queue for all sessions of a session shard that have the filter. That shard says when the
//! first one has it, when the last one has gone ([`filters`]), and below which position nobody needs anything
//! ([`Queues::trim`]); what is many of that goes by and by ([`unneeded`]). A *group* is one queue for all members of a
//! shared subscription, whose rows go one by one ([`groups`]). Message bytes are kept once, as long as some queue names
//! them ([`messages`]): in memory, or on disk alone ([`cold`]).

mod cold;
mod filters;
mod groups;
mod inspect;
mod kept;
mod messages;
mod names;
mod pull;
mod rows;
mod slots;
mod unneeded;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use freshet_config::QueueLimits;
use freshet_storage_contract::{Message, Position, ShardId};

pub(crate) use self::cold::Content;
pub(crate) use self::groups::{group_name, is_group};
pub(crate) use self::inspect::{Queued, matched_by};
use self::kept::Kept;
use self::messages::Messages;
pub(in crate::state) use self::messages::remaining;
pub(crate) use self::messages::{Waiting, own_copy};
use self::names::Names;
pub(crate) use self::pull::Missing;
pub(crate) use self::slots::QueueId;
use self::slots::Slots;
use super::rows::Changes;
use crate::filters::{At, FilterIndex};
use crate::hash::KeyedHash;

/// What a position in a light queue is charged with, in bytes: the row, and the message's reference to its queue.
const ROW_BYTES: u64 = 16;

/// A queue's shard of sessions, none for a group, and its filter, a group's with its prefix.
type Name = (Option<ShardId>, Bytes);

/// The light queues of a shard and what is in them.
#[derive(Debug)]
pub(crate) struct Queues {
    queues: Slots,
    names: Names,
    index: FilterIndex<QueueId>,
    /// Grows with every change of the set of queues.
    version: u64,
    /// What no session has, by the log time at which it goes.
    unconfirmed: BTreeSet<(u64, QueueId, ShardId)>,
    messages: Messages,
    kept: Kept,
    rows: u64,
    filter_bytes: u64,
    /// Of the queues, groups.
    groups: usize,
    /// Groups that the last message went to.
    reached: Vec<QueueId>,
    /// Queues with rows that nobody needs.
    unneeded: BTreeSet<QueueId>,
    /// Of these, queues that nobody has.
    leaving: usize,
    changes: Changes<QueueId>,
}

#[derive(Debug)]
struct LightQueue {
    name: Name,
    /// None: nobody has it, and no message comes to it any more.
    at: Option<At>,
    charged_bytes: u64,
    /// Shards of sessions that have it or have asked for it. Of a durable filter one.
    holds: Vec<Hold>,
    /// Of a group: some proxy has members.
    is_live: bool,
    rows: VecDeque<Position>,
    /// Bytes charged for the messages of its rows.
    row_bytes: u64,
    /// Nobody needs its rows up to here.
    unneeded_through: Position,
}

/// Why a queue is there.
#[derive(Debug, Clone, Copy)]
struct Hold {
    session_shard: ShardId,
    /// Position of the last request for the queue.
    ensured: Position,
    /// When the hold ends unless a session has the filter by then; none: one has it.
    goes_ms: Option<u64>,
}

/// Which queues have taken a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Taken {
    /// Some durable filter's.
    pub(crate) durable: bool,
    /// Some group's.
    pub(crate) shared: bool,
}

/// The queues that a message belongs to, as the leader found them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Matched {
    /// Ascending.
    pub(crate) queues: Vec<QueueId>,
    /// Version of the set of filters that was looked at.
    pub(crate) version: u64,
}

#[cfg(test)]
impl Matched {
    /// These queues, by slot and number.
    pub(crate) fn of(queues: &[(u32, u32)], version: u64) -> Self {
        let queues = queues.iter().map(|(slot, number)| QueueId {
            slot: *slot,
            number: *number,
        });
        Self {
            queues: queues.collect(),
            version,
        }
    }
}

/// What the limits on a light queue dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Dropped {
    /// Rows beyond `queuedMessages`.
    pub(crate) by_count: u64,
    /// Rows beyond `queuedBytes`.
    pub(crate) by_bytes: u64,
}

impl Queues {
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Self {
            queues: Slots::default(),
            names: Names::new(hash.clone()),
            index: FilterIndex::new(hash),
            version: 0,
            unconfirmed: BTreeSet::new(),
            messages: Messages::default(),
            kept: Kept::default(),
            rows: 0,
            filter_bytes: 0,
            groups: 0,
            reached: Vec::new(),
            unneeded: BTreeSet::new(),
            leaving: 0,
            changes: Changes::default(),
        }
    }

    /// Durable filters.
    pub(crate) fn len(&self) -> usize {
        self.queues.len() - self.groups - self.leaving
    }

    /// Groups.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// Rows of all light queues.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Messages that some queue names.
    pub(crate) fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Bytes charged for messages and rows, and for what sessions have taken.
    pub(crate) fn bytes(&self) -> u64 {
        self.waiting_bytes() + self.kept.bytes()
    }

    /// Bytes charged for messages and rows.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.messages.bytes() + self.rows * ROW_BYTES
    }

    /// Bytes charged for the filters of queues.
    pub(crate) fn filter_bytes(&self) -> u64 {
        self.filter_bytes
    }

    /// Finds the queues of a message.
    pub(crate) fn find(&mut self, topic_name: &[u8]) -> Matched {
        let mut queues = Vec::new();
        self.index.find(topic_name, &mut queues);
        Matched {
            queues,
            version: self.version,
        }
    }

    /// The queue of a filter that somebody has.
    fn id_of(&self, session_shard: Option<ShardId>, topic_filter: &[u8]) -> Option<QueueId> {
        self.names.find(session_shard, topic_filter, &self.queues)
    }

    /// What a message with these queues will be charged with, in bytes.
    pub(crate) fn cost_of_message(message: &Message, matched: &Matched) -> u64 {
        message.charged_bytes() as u64 + matched.queues.len() as u64 * ROW_BYTES
    }

    /// Queues a message of QoS >= 1; returns what has taken it, and what the limits dropped for it.
    pub(super) fn push(
        &mut self,
        position: Position,
        message: &Message,
        matched: &Matched,
        limits: QueueLimits,
        log_time_ms: u64,
    ) -> (Taken, Dropped) {
        self.reached.clear();
        let again;
        let queues = if matched.version == self.version {
            &matched.queues
        } else {
            // A filter has come or gone between the leader's look and this entry.
            again = self.find(&message.topic_name);
            &again.queues
        };
        let (mut taken, mut dropped) = (Taken::default(), Dropped::default());
        if queues.is_empty() {
            return (taken, dropped);
        }
        let bytes = self.messages.insert(position, message, queues, log_time_ms);
        for id in queues {
            let Some(queue) = self.queues.get_mut(*id) else {
                continue;
            };
            if queue.is_group() {
                taken.shared = true;
                self.reached.push(*id);
            } else {
                taken.durable = true;
            }
            queue.push(position, bytes);
            self.rows += 1;
            while limits.messages > 0 && queue.rows.len() as u64 > limits.messages {
                dropped.by_count += drop_oldest(queue, &mut self.messages, &mut self.rows);
            }
            while limits.bytes > 0 && queue.row_bytes > limits.bytes && !queue.rows.is_empty() {
                dropped.by_bytes += drop_oldest(queue, &mut self.messages, &mut self.rows);
            }
        }
        (taken, dropped)
    }

    /// Removes up to `limit` messages whose expiry interval has passed; returns how many rows went.
    pub(super) fn expire_messages(&mut self, log_time_ms: u64, limit: usize) -> u64 {
        let mut rows = 0;
        for _ in 0..limit {
            let Some(position) = self.messages.next_expired(log_time_ms) else {
                break;
            };
            rows += self.remove_message(position);
        }
        rows
    }

    /// Removes up to `limit` messages that came at `came_ms` or before; returns how many rows went.
    pub(super) fn drop_older(&mut self, came_ms: u64, limit: usize) -> u64 {
        let mut rows = 0;
        for _ in 0..limit {
            let Some((position, _)) = self.messages.oldest().filter(|(_, at_ms)| *at_ms <= came_ms) else {
                break;
            };
            rows += self.remove_message(position);
        }
        rows
    }

    /// Removes the messages up to `through`; returns how many rows went.
    pub(super) fn drop_through(&mut self, through: Position) -> u64 {
        let mut rows = 0;
        while let Some((position, _)) = self.messages.oldest().filter(|(position, _)| *position <= through) {
            rows += self.remove_message(position);
        }
        rows
    }

    fn remove_message(&mut self, position: Position) -> u64 {
        let mut gone = 0;
        let queues = self.messages.queues_of(position).unwrap_or_default().to_vec();
        for id in queues {
            gone += u64::from(self.remove_row(id, position));
        }
        self.messages.remove(position);
        gone
    }

    /// Removes one row of a queue. False: it was not there.
    fn remove_row(&mut self, id: QueueId, position: Position) -> bool {
        let Some(queue) = self.queues.get_mut(id) else {
            return false;
        };
        let Ok(at) = queue.rows.binary_search(&position) else {
            return false;
        };
        queue.rows.remove(at);
        queue.row_bytes -= self.messages.release(position);
        queue.give_back();
        self.rows -= 1;
        true
    }

    /// When the first message expires, ms of log time.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.messages.next_expiry()
    }

    /// When the oldest message came, ms of log time.
    pub(crate) fn oldest_came(&self) -> Option<u64> {
        self.messages.oldest().map(|(_, at_ms)| at_ms)
    }

    /// When the first message will be older than `age_ms`, ms of log time; none: there is none, or `age_ms` is 0.
    pub(crate) fn next_older(&self, age_ms: u64) -> Option<u64> {
        let came_ms = self.oldest_came().filter(|_| age_ms > 0)?;
        Some(came_ms.saturating_add(age_ms))
    }

    /// What is in queues, in the order in which it came.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = Waiting> + '_ {
        self.messages.oldest_first()
    }

    /// When the first filter that no session has goes, ms of log time.
    pub(crate) fn next_unconfirmed(&self) -> Option<u64> {
        self.unconfirmed.first().map(|(goes_ms, ..)| *goes_ms)
    }
}

/// An empty queue gives back what it has beyond this many rows.
const IDLE_CAPACITY: usize = 64;

impl LightQueue {
    fn is_group(&self) -> bool {
        self.name.0.is_none()
    }

    /// Whether some session, or for a group some proxy, has it.
    fn is_held(&self) -> bool {
        self.is_live || !self.holds.is_empty()
    }

    /// Adds a message behind all others.
    fn push(&mut self, position: Position, bytes: u64) {
        // There are millions with one message, which needs no room for three more.
        if self.rows.capacity() == 0 {
            self.rows.reserve_exact(1);
        }
        self.rows.push_back(position);
        self.row_bytes += bytes;
    }

    /// An empty queue keeps little.
    fn give_back(&mut self) {
        if self.rows.is_empty() && self.rows.capacity() > IDLE_CAPACITY {
            self.rows = VecDeque::new();
        }
    }
}

/// Takes the first row off a queue; returns 1.
fn drop_oldest(queue: &mut LightQueue, messages: &mut Messages, rows: &mut u64) -> u64 {
    if let Some(position) = queue.rows.pop_front() {
        queue.row_bytes -= messages.release(position);
        *rows -= 1;
    }
    1
}

#[cfg(test)]
mod tests;
