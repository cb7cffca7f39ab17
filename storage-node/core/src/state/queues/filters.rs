//! Which queues there are, and who has them: shards of sessions, and for a group the proxies with members.

use std::collections::VecDeque;

use bytes::Bytes;
use freshet_storage_contract::{Position, ShardId};

use super::groups::{group_filter, group_name};
use super::{Hold, LightQueue, Name, QueueId, Queues};
use crate::filters::FilterKind;
use crate::state::tight;

/// How long a queue is there before a session has its filter, ms of log time.
const UNCONFIRMED_MS: u64 = 60_000;
/// What a queue costs beside its registration, in bytes.
const OVERHEAD_BYTES: u64 = 240;

impl Queues {
    /// What another queue would be charged with; none: its filter is malformed. 0: it is there.
    pub(crate) fn cost_of(&self, session_shard: ShardId, topic_filter: &Bytes) -> Option<u64> {
        let name = name_of(session_shard, topic_filter);
        let kind = kind_of(&name)?;
        Some(if self.id_of(name.0, &name.1).is_some() {
            0
        } else {
            charged_bytes(&name, kind)
        })
    }

    /// Makes a filter act from `position` on.
    pub(in crate::state) fn ensure(
        &mut self,
        session_shard: ShardId,
        topic_filter: &Bytes,
        position: Position,
        log_time_ms: u64,
    ) {
        let goes_ms = Some(log_time_ms.saturating_add(UNCONFIRMED_MS));
        let Some(id) = self.find_or_add(&name_of(session_shard, topic_filter)) else {
            return;
        };
        match self.hold_mut(id, session_shard) {
            Some(hold) => {
                hold.ensured = position;
                let is_unconfirmed = hold.goes_ms.is_some();
                self.changes.change(id);
                if is_unconfirmed {
                    self.set_goes(id, session_shard, goes_ms);
                }
            }
            None => self.add_hold(id, session_shard, position, goes_ms),
        }
    }

    /// A session shard has the filter, as of the request at `ensured`. One that is gone begins again.
    pub(in crate::state) fn confirm(&mut self, session_shard: ShardId, topic_filter: &Bytes, ensured: Position) {
        let Some(id) = self.find_or_add(&name_of(session_shard, topic_filter)) else {
            return;
        };
        match self.hold_mut(id, session_shard) {
            Some(hold) => {
                hold.ensured = hold.ensured.max(ensured);
                self.changes.change(id);
                self.set_goes(id, session_shard, None);
            }
            None => self.add_hold(id, session_shard, ensured, None),
        }
    }

    /// No session has the filter any more; a request behind `ensured` lets it act for its time.
    pub(in crate::state) fn drop_filter(
        &mut self,
        session_shard: ShardId,
        topic_filter: &Bytes,
        ensured: Position,
        log_time_ms: u64,
    ) {
        let name = name_of(session_shard, topic_filter);
        let Some(id) = self.id_of(name.0, &name.1) else {
            return;
        };
        if self
            .hold_mut(id, session_shard)
            .is_some_and(|hold| hold.ensured > ensured)
        {
            let goes_ms = Some(log_time_ms.saturating_add(UNCONFIRMED_MS));
            self.set_goes(id, session_shard, goes_ms);
        } else {
            self.end_hold(id, session_shard);
        }
    }

    /// Ends up to `limit` holds that no session has and whose time has passed; returns how many.
    pub(in crate::state) fn expire_filters(&mut self, log_time_ms: u64, limit: usize) -> usize {
        let mut count = 0;
        while count < limit
            && let Some((goes_ms, id, session_shard)) = self.unconfirmed.first().copied()
            && goes_ms <= log_time_ms
        {
            self.end_hold(id, session_shard);
            count += 1;
        }
        count
    }

    pub(super) fn find_or_add(&mut self, name: &Name) -> Option<QueueId> {
        if let Some(id) = self.id_of(name.0, &name.1) {
            return Some(id);
        }
        let kind = kind_of(name)?;
        let name = (name.0, Bytes::copy_from_slice(&name.1));
        let charged_bytes = charged_bytes(&name, kind);
        // The version grows with each queue, and goes round only after four billion of them.
        let number = u32::try_from(self.version & u64::from(u32::MAX)).unwrap_or_default();
        let id = self.queues.next_id(number);
        self.groups += usize::from(name.0.is_none());
        let queue = LightQueue {
            at: Some(self.index.insert(matched_part(&name), kind, id)),
            name,
            charged_bytes,
            holds: Vec::new(),
            is_live: false,
            rows: VecDeque::new(),
            row_bytes: 0,
            unneeded_through: Position::default(),
        };
        self.queues.insert(id, queue);
        self.names.insert(id, &self.queues);
        self.changes.add(id);
        self.filter_bytes += charged_bytes;
        self.version += 1;
        Some(id)
    }

    fn hold_mut(&mut self, id: QueueId, session_shard: ShardId) -> Option<&mut Hold> {
        let queue = self.queues.get_mut(id)?;
        queue.holds.iter_mut().find(|hold| hold.session_shard == session_shard)
    }

    fn add_hold(&mut self, id: QueueId, session_shard: ShardId, ensured: Position, goes_ms: Option<u64>) {
        if let Some(queue) = self.queues.get_mut(id) {
            let hold = Hold {
                session_shard,
                ensured,
                goes_ms: None,
            };
            tight::push(&mut queue.holds, hold);
            self.set_goes(id, session_shard, goes_ms);
        }
    }

    fn set_goes(&mut self, id: QueueId, session_shard: ShardId, goes_ms: Option<u64>) {
        let Some(hold) = self.hold_mut(id, session_shard) else {
            return;
        };
        let before = std::mem::replace(&mut hold.goes_ms, goes_ms);
        self.changes.change(id);
        if let Some(before) = before {
            self.unconfirmed.remove(&(before, id, session_shard));
        }
        if let Some(after) = goes_ms {
            self.unconfirmed.insert((after, id, session_shard));
        }
    }

    fn end_hold(&mut self, id: QueueId, session_shard: ShardId) {
        self.set_goes(id, session_shard, None);
        if let Some(queue) = self.queues.get_mut(id) {
            queue.holds.retain(|hold| hold.session_shard != session_shard);
            self.changes.change(id);
        }
        self.remove_unheld(id);
    }

    /// Lets go of a queue that nobody has: no message comes to it any more, and it goes with its rows.
    pub(super) fn remove_unheld(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(id).filter(|queue| !queue.is_held()) else {
            return;
        };
        let Some(at) = queue.at.take() else { return };
        self.index.remove(at, id);
        self.groups -= usize::from(queue.is_group());
        self.filter_bytes -= queue.charged_bytes;
        self.names.remove(id, &self.queues);
        self.version += 1;
        self.leaving += 1;
        self.let_all_rows_go(id);
    }
}

pub(super) fn name_of(session_shard: ShardId, topic_filter: &Bytes) -> Name {
    match group_name(topic_filter) {
        Some(group) => (None, group),
        None => (Some(session_shard), topic_filter.clone()),
    }
}

/// What topics are matched with.
pub(super) fn matched_part(name: &Name) -> &[u8] {
    match name {
        (Some(_), topic_filter) => topic_filter,
        (None, group) => group_filter(group),
    }
}

pub(super) fn kind_of(name: &Name) -> Option<FilterKind> {
    FilterKind::of(std::str::from_utf8(matched_part(name)).ok()?)
}

pub(super) fn charged_bytes(name: &Name, kind: FilterKind) -> u64 {
    kind.bytes + name.1.len() as u64 + OVERHEAD_BYTES
}
