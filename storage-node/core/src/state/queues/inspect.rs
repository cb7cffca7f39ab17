//! Light queues as people look at them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use freshet_storage_contract::{Position, ShardId};

use super::filters::name_of;
use super::groups::{group_filter, group_name};
use super::{LightQueue, Queues};

/// A queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueLook {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest: Option<Queued>,
}

/// A queued message, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) position: Position,
    /// Log time, ms.
    pub(crate) came_ms: u64,
}

/// What is queued for a session at a shard, each message once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Depth {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// There is more.
    pub(crate) at_least: bool,
    pub(crate) oldest: Option<Queued>,
}

/// What the queues of a topic filter are called, and what they are matched with.
pub(crate) fn matched_by(topic_filter: &Bytes) -> (Bytes, Bytes) {
    match group_name(topic_filter) {
        Some(group) => {
            let filter = Bytes::copy_from_slice(group_filter(&group));
            (group, filter)
        }
        None => (topic_filter.clone(), topic_filter.clone()),
    }
}

impl Queues {
    /// The queue of a filter for a shard of sessions; of a shared subscription the one of all members.
    pub(crate) fn look(&self, session_shard: ShardId, topic_filter: &Bytes) -> Option<QueueLook> {
        let queue = self.named(session_shard, topic_filter)?;
        Some(QueueLook {
            messages: queue.rows.len() as u64,
            bytes: queue.row_bytes,
            oldest: queue.rows.front().and_then(|position| self.queued(*position)),
        })
    }

    /// Rows of a queue behind a position.
    pub(crate) fn rows_behind(&self, session_shard: ShardId, topic_filter: &Bytes, after: Position) -> u64 {
        self.named(session_shard, topic_filter)
            .map_or(0, |queue| (queue.rows.len() - first_behind(queue, after)) as u64)
    }

    /// The message that came first.
    pub(crate) fn oldest(&self) -> Option<Queued> {
        let (position, came_ms) = self.messages.oldest()?;
        Some(Queued { position, came_ms })
    }

    /// Counts what is in these queues of a session, each behind its position and without `done` (ascending). Looks at no
    /// more than `left` rows, which it lowers.
    pub(crate) fn depth(
        &self,
        session_shard: ShardId,
        filters: &[(&Bytes, Position)],
        done: &[Position],
        left: &mut usize,
    ) -> Depth {
        let mut depth = Depth::default();
        // The next row of each queue, and those behind it.
        let (mut heads, mut queues) = (BinaryHeap::new(), Vec::new());
        for (topic_filter, after) in filters {
            let Some(queue) = self.named(session_shard, topic_filter) else {
                continue;
            };
            let mut rows = queue.rows.range(first_behind(queue, *after)..);
            heads.extend(rows.next().map(|first| Reverse((*first, queues.len()))));
            queues.push(rows);
        }
        let mut last = None;
        while let Some(Reverse((position, queue))) = heads.pop() {
            if *left == 0 {
                depth.at_least = true;
                break;
            }
            *left -= 1;
            let next = queues.get_mut(queue).and_then(Iterator::next);
            heads.extend(next.map(|next| Reverse((*next, queue))));
            if last.replace(position) == Some(position) || done.binary_search(&position).is_ok() {
                continue;
            }
            depth.messages += 1;
            depth.bytes += self.messages.bytes_of(position);
            depth.oldest = depth.oldest.or_else(|| self.queued(position));
        }
        depth
    }

    fn named(&self, session_shard: ShardId, topic_filter: &Bytes) -> Option<&LightQueue> {
        let name = name_of(session_shard, topic_filter);
        self.queues.get(self.id_of(name.0, &name.1)?)
    }

    fn queued(&self, position: Position) -> Option<Queued> {
        let came_ms = self.messages.came_ms(position)?;
        Some(Queued { position, came_ms })
    }
}

fn first_behind(queue: &LightQueue, after: Position) -> usize {
    queue.rows.partition_point(|position| *position <= after)
}
