//! Queues of shared subscriptions (MQTT 5.0, 4.8.2): one for all members of a group, whose rows go when their messages
//! are settled, in any order.
//!
//! A group is there as long as some proxy has members, or some stored session has the subscription. Leaves out who has
//! which message at present: that is the leader's (`crate::shard`).

use bytes::Bytes;
use freshet_storage_contract::Position;

use super::messages::message_of;
use super::{QueueId, Queues};

const PREFIX: &[u8] = b"$share/";
/// What some clients write for the group of the same name.
const QUEUE_PREFIX: &[u8] = b"$queue/";

/// Whether a topic filter is a shared subscription's.
pub(crate) fn is_group(topic_filter: &[u8]) -> bool {
    topic_filter.starts_with(PREFIX) || topic_filter.starts_with(QUEUE_PREFIX)
}

/// The name of the group that a topic filter is about, `$share/name/filter`; none: it is a filter like others.
pub(crate) fn group_name(topic_filter: &Bytes) -> Option<Bytes> {
    if topic_filter.starts_with(QUEUE_PREFIX) {
        return Some(Bytes::from([PREFIX, topic_filter].concat()));
    }
    topic_filter.starts_with(PREFIX).then(|| topic_filter.clone())
}

/// What topics are matched with; empty, which is no filter, when the name is malformed.
pub(super) fn group_filter(name: &[u8]) -> &[u8] {
    let behind = name.strip_prefix(PREFIX).unwrap_or_default();
    let slash = behind.iter().position(|byte| *byte == b'/');
    slash.map_or(&[], |at| behind.get(at + 1..).unwrap_or_default())
}

impl Queues {
    /// Some proxy has members of a group, or none has any more.
    pub(in crate::state) fn set_live(&mut self, group: &Bytes, is_live: bool) {
        let known = self.group(group);
        let id = if is_live {
            known.or_else(|| self.find_or_add(&(None, group.clone())))
        } else {
            known
        };
        let Some(id) = id else { return };
        if let Some(queue) = self.queues.get_mut(id) {
            queue.is_live = is_live;
            self.changes.change(id);
        }
        self.remove_unheld(id);
    }

    /// Messages of a group that nobody needs any more.
    pub(in crate::state) fn settle(&mut self, group: &Bytes, positions: &[Position]) -> u64 {
        let Some(id) = self.group(group) else { return 0 };
        let removed = positions.iter().filter(|position| self.remove_row(id, **position));
        removed.count() as u64
    }

    /// A stored session takes a message of a group for itself: nobody else gets it, and its bytes are kept until
    /// [`Self::release_kept`].
    pub(in crate::state) fn keep(&mut self, group: &Bytes, position: Position) {
        if let Some(queued) = self.messages.by_position.get(&position)
            && !self.kept.insert_again(position)
        {
            match queued.content.as_ref().and_then(message_of) {
                Some(message) => self.kept.insert(position, message, queued.expires_ms),
                None => {
                    let bytes = u64::from(queued.charged_bytes);
                    self.kept.hold(position, bytes, queued.expires_ms);
                    self.messages.hold_row(position);
                }
            }
        }
        self.settle(group, &[position]);
    }

    /// The session has done with it.
    pub(in crate::state) fn release_kept(&mut self, position: Position) {
        if self.kept.release(position) {
            self.messages.let_row_go(position);
        }
    }

    /// Messages that stored sessions have taken.
    pub(crate) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// The queue of a group.
    pub(crate) fn group(&self, name: &Bytes) -> Option<QueueId> {
        self.id_of(None, name)
    }

    /// Groups of which some proxy had members when they were last changed.
    pub(crate) fn live_groups(&self) -> impl Iterator<Item = &Bytes> {
        let groups = self.queues.iter().filter(|(_, queue)| queue.is_live);
        groups.map(|(_, queue)| &queue.name.1)
    }

    /// The first row of a queue behind `after`.
    pub(crate) fn next_row(&self, id: QueueId, after: Position) -> Option<Position> {
        let rows = &self.queues.get(id)?.rows;
        if rows.back().is_none_or(|last| *last <= after) {
            return None;
        }
        rows.get(rows.partition_point(|position| *position <= after)).copied()
    }

    /// The rows of a queue behind `after`.
    pub(crate) fn rows_after(&self, id: QueueId, after: Position) -> impl Iterator<Item = Position> + '_ {
        let rows = self.queues.get(id).map(|queue| &queue.rows);
        let behind = rows.map(|rows| rows.range(rows.partition_point(|position| *position <= after)..));
        behind.into_iter().flatten().copied()
    }

    /// Whether a queue has a row.
    pub(crate) fn has_row(&self, id: QueueId, position: Position) -> bool {
        let queue = self.queues.get(id);
        queue.is_some_and(|queue| queue.rows.binary_search(&position).is_ok())
    }

    /// Takes the groups that the last message went to, and gives the list back with [`Self::return_reached`].
    pub(crate) fn take_reached(&mut self) -> Vec<QueueId> {
        std::mem::take(&mut self.reached)
    }

    /// Gives the list back, to be used again.
    pub(crate) fn return_reached(&mut self, mut reached: Vec<QueueId>) {
        reached.clear();
        self.reached = reached;
    }
}
