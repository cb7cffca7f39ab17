//! Durable filters of a shard, each with its light queue: the positions of the messages that match it.
//!
//! One for all sessions of a session shard that have the filter: the session shard says when the first one has it
//! ([`Queues::confirm`]), when the last one has gone ([`Queues::drop_filter`]), and below which position nobody needs
//! anything ([`Queues::trim`]). Message bytes are kept once, as long as some queue names them ([`messages`]).

mod messages;
mod pull;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use freshet_config::QueueLimits;
use freshet_storage_contract::{Message, Position, ShardId};
use slab::Slab;

use self::messages::Messages;
pub(crate) use self::messages::own_copy;
use crate::filters::{At, FilterIndex, FilterKind};
use crate::hash::KeyedHash;

/// How long a durable filter acts before a session has it, ms of log time.
const UNCONFIRMED_MS: u64 = 60_000;
/// What a position in a light queue is charged with, in bytes: the row, and the message's reference to its queue.
const ROW_BYTES: u64 = 16;
/// What a durable filter costs beside its registration, in bytes.
const FILTER_OVERHEAD_BYTES: u64 = 192;

/// Names a light queue. The same on every replica: it is given by the entries that make and remove them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct QueueId(u32);

/// The durable filters of a shard and what is queued for them.
#[derive(Debug)]
pub(crate) struct Queues {
    filters: Slab<DurableFilter>,
    by_name: BTreeMap<(ShardId, Bytes), QueueId>,
    index: FilterIndex<QueueId>,
    /// Grows with every change of the set of filters.
    version: u64,
    /// Filters that no session has, by the log time at which they go.
    unconfirmed: BTreeSet<(u64, QueueId)>,
    messages: Messages,
    rows: u64,
    filter_bytes: u64,
}

#[derive(Debug)]
struct DurableFilter {
    topic_filter: Bytes,
    session_shard: ShardId,
    at: At,
    charged_bytes: u64,
    /// Position of the last request for it.
    ensured: Position,
    /// When the filter goes unless a session has it by then; none: one has it.
    goes_ms: Option<u64>,
    rows: VecDeque<Position>,
    /// Bytes charged for the messages of its rows.
    row_bytes: u64,
}

/// The queues that a message belongs to, as the leader found them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Matched {
    /// Ascending.
    pub(crate) queues: Vec<QueueId>,
    /// Version of the set of filters that was looked at.
    version: u64,
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
            filters: Slab::new(),
            by_name: BTreeMap::new(),
            index: FilterIndex::new(hash),
            version: 0,
            unconfirmed: BTreeSet::new(),
            messages: Messages::default(),
            rows: 0,
            filter_bytes: 0,
        }
    }

    /// Durable filters.
    pub(crate) fn len(&self) -> usize {
        self.filters.len()
    }

    /// Rows of all light queues.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Messages that some queue names.
    pub(crate) fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Bytes charged for messages and rows.
    pub(crate) fn bytes(&self) -> u64 {
        self.messages.bytes() + self.rows * ROW_BYTES
    }

    /// Bytes charged for durable filters.
    pub(crate) fn filter_bytes(&self) -> u64 {
        self.filter_bytes
    }

    /// What another durable filter would be charged with; none: it is malformed. 0: it is there.
    pub(crate) fn cost_of(&self, session_shard: ShardId, topic_filter: &Bytes) -> Option<u64> {
        let kind = FilterKind::of(std::str::from_utf8(topic_filter).ok()?)?;
        let is_there = self.by_name.contains_key(&(session_shard, topic_filter.clone()));
        Some(if is_there {
            0
        } else {
            kind.bytes + topic_filter.len() as u64 + FILTER_OVERHEAD_BYTES
        })
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

    /// What a message with these queues will be charged with, in bytes.
    pub(crate) fn cost_of_message(message: &Message, matched: &Matched) -> u64 {
        message.charged_bytes() as u64 + matched.queues.len() as u64 * ROW_BYTES
    }

    /// Makes a filter act from `position` on.
    pub(super) fn ensure(
        &mut self,
        session_shard: ShardId,
        topic_filter: &Bytes,
        position: Position,
        log_time_ms: u64,
    ) {
        let Some(id) = self.find_or_add(session_shard, topic_filter) else {
            return;
        };
        let Some(filter) = self.filters.get_mut(id.0 as usize) else {
            return;
        };
        let is_new = filter.ensured == Position::default();
        filter.ensured = position;
        if is_new || filter.goes_ms.is_some() {
            self.set_goes(id, Some(log_time_ms.saturating_add(UNCONFIRMED_MS)));
        }
    }

    /// A session shard has the filter, as of the request at `ensured`. One that is gone begins again.
    pub(super) fn confirm(&mut self, session_shard: ShardId, topic_filter: &Bytes, ensured: Position) {
        let Some(id) = self.find_or_add(session_shard, topic_filter) else {
            return;
        };
        if let Some(filter) = self.filters.get_mut(id.0 as usize) {
            filter.ensured = filter.ensured.max(ensured);
        }
        self.set_goes(id, None);
    }

    /// No session has the filter any more; a request behind `ensured` lets it act for its time.
    pub(super) fn drop_filter(
        &mut self,
        session_shard: ShardId,
        topic_filter: &Bytes,
        ensured: Position,
        log_time_ms: u64,
    ) {
        let Some(id) = self.by_name.get(&(session_shard, topic_filter.clone())).copied() else {
            return;
        };
        if self
            .filters
            .get(id.0 as usize)
            .is_some_and(|filter| filter.ensured > ensured)
        {
            self.set_goes(id, Some(log_time_ms.saturating_add(UNCONFIRMED_MS)));
        } else {
            self.remove(id);
        }
    }

    /// Removes up to `limit` filters that no session has and whose time has passed; returns how many.
    pub(super) fn expire_filters(&mut self, log_time_ms: u64, limit: usize) -> usize {
        let mut count = 0;
        while count < limit
            && let Some((goes_ms, id)) = self.unconfirmed.first().copied()
            && goes_ms <= log_time_ms
        {
            self.remove(id);
            count += 1;
        }
        count
    }

    fn find_or_add(&mut self, session_shard: ShardId, topic_filter: &Bytes) -> Option<QueueId> {
        let name = (session_shard, topic_filter.clone());
        if let Some(id) = self.by_name.get(&name) {
            return Some(*id);
        }
        let kind = FilterKind::of(std::str::from_utf8(topic_filter).ok()?)?;
        let own = Bytes::copy_from_slice(topic_filter);
        let charged_bytes = kind.bytes + own.len() as u64 + FILTER_OVERHEAD_BYTES;
        let entry = self.filters.vacant_entry();
        // Four billion filters go far beyond the bound on them.
        let id = QueueId(u32::try_from(entry.key()).unwrap_or(u32::MAX));
        entry.insert(DurableFilter {
            at: self.index.insert(&own, kind, id),
            topic_filter: own.clone(),
            session_shard,
            charged_bytes,
            ensured: Position::default(),
            goes_ms: None,
            rows: VecDeque::new(),
            row_bytes: 0,
        });
        self.by_name.insert((session_shard, own), id);
        self.filter_bytes += charged_bytes;
        self.version += 1;
        Some(id)
    }

    fn set_goes(&mut self, id: QueueId, goes_ms: Option<u64>) {
        let Some(filter) = self.filters.get_mut(id.0 as usize) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut filter.goes_ms, goes_ms) {
            self.unconfirmed.remove(&(before, id));
        }
        if let Some(after) = goes_ms {
            self.unconfirmed.insert((after, id));
        }
    }

    fn remove(&mut self, id: QueueId) {
        self.set_goes(id, None);
        let Some(filter) = self.filters.try_remove(id.0 as usize) else {
            return;
        };
        self.index.remove(filter.at, id);
        self.by_name.remove(&(filter.session_shard, filter.topic_filter));
        self.filter_bytes -= filter.charged_bytes;
        self.version += 1;
        self.rows -= filter.rows.len() as u64;
        for position in filter.rows {
            self.messages.release(position);
        }
    }

    /// Queues a message of QoS >= 1; returns whether any queue has it, and what the limits dropped for it.
    pub(super) fn push(
        &mut self,
        position: Position,
        message: &Message,
        matched: &Matched,
        limits: QueueLimits,
        log_time_ms: u64,
    ) -> (bool, Dropped) {
        let again;
        let queues = if matched.version == self.version {
            &matched.queues
        } else {
            // A filter has come or gone between the leader's look and this entry.
            again = self.find(&message.topic_name);
            &again.queues
        };
        let mut dropped = Dropped::default();
        if queues.is_empty() {
            return (false, dropped);
        }
        let bytes = message.charged_bytes() as u64;
        self.messages.insert(position, message, queues, log_time_ms);
        for id in queues {
            let Some(filter) = self.filters.get_mut(id.0 as usize) else {
                continue;
            };
            filter.rows.push_back(position);
            filter.row_bytes += bytes;
            self.rows += 1;
            while limits.messages > 0 && filter.rows.len() as u64 > limits.messages {
                dropped.by_count += drop_oldest(filter, &mut self.messages, &mut self.rows);
            }
            while limits.bytes > 0 && filter.row_bytes > limits.bytes && !filter.rows.is_empty() {
                dropped.by_bytes += drop_oldest(filter, &mut self.messages, &mut self.rows);
            }
        }
        (true, dropped)
    }

    /// Nobody of the session shard needs anything of the filter up to `through`.
    pub(super) fn trim(&mut self, session_shard: ShardId, topic_filter: &Bytes, through: Position) {
        let Some(filter) = self
            .by_name
            .get(&(session_shard, topic_filter.clone()))
            .and_then(|id| self.filters.get_mut(id.0 as usize))
        else {
            return;
        };
        while filter.rows.front().is_some_and(|position| *position <= through) {
            drop_oldest(filter, &mut self.messages, &mut self.rows);
        }
        if filter.rows.is_empty() && filter.rows.capacity() > IDLE_CAPACITY {
            filter.rows = VecDeque::new();
        }
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

    fn remove_message(&mut self, position: Position) -> u64 {
        let mut gone = 0;
        for id in self.messages.queues_of(position) {
            let Some(filter) = self.filters.get_mut(id.0 as usize) else {
                continue;
            };
            if let Ok(at) = filter.rows.binary_search(&position) {
                filter.rows.remove(at);
                filter.row_bytes -= self.messages.bytes_of(position);
                self.rows -= 1;
                gone += 1;
            }
        }
        self.messages.remove(position);
        gone
    }

    /// When the first message expires, ms of log time.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.messages.next_expiry()
    }

    /// When the oldest message came, ms of log time.
    pub(crate) fn oldest_came(&self) -> Option<u64> {
        self.messages.oldest().map(|(_, at_ms)| at_ms)
    }

    /// When the first filter that no session has goes, ms of log time.
    pub(crate) fn next_unconfirmed(&self) -> Option<u64> {
        self.unconfirmed.first().map(|(goes_ms, _)| *goes_ms)
    }
}

/// An empty queue gives back what it has beyond this many rows.
const IDLE_CAPACITY: usize = 64;

/// Takes the first row off a queue; returns 1.
fn drop_oldest(filter: &mut DurableFilter, messages: &mut Messages, rows: &mut u64) -> u64 {
    if let Some(position) = filter.rows.pop_front() {
        filter.row_bytes -= messages.bytes_of(position);
        *rows -= 1;
        messages.release(position);
    }
    1
}

#[cfg(test)]
mod tests;
