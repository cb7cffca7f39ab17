//! What a node holds, for people who ask: shards, a session, the queues of a filter ([`crate::inspect`]).
//!
//! Called by the shell's admin port, between two turns. Changes nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use freshet_storage_contract::{FilterShards, MonotonicMs, ShardId};

use super::StorageCore;
use crate::inspect::{
    MOST_COUNTED, MOST_ENTRIES, MOST_SESSIONS, PositionsView, QueuesView, SessionSummary, SessionView, SessionsView,
    ShardsView, Wide, text,
};
use crate::state::matched_by;

/// Queues that are looked up for one page.
const LOOK_UPS: usize = 16_384;

impl StorageCore {
    /// All shards, and the proxies whose lease holds.
    #[must_use]
    pub fn inspect_shards(&self, now: MonotonicMs) -> ShardsView {
        let proxies = self.incarnations.living().map(|(_, proxy)| proxy.view(now));
        ShardsView {
            term: Wide(self.term.0),
            proxies: proxies.collect(),
            shards: self.shards.iter().map(|shard| shard.view(now)).collect(),
        }
    }

    /// Where the logs of the shards stand, in order of shards.
    pub fn inspect_positions(&self) -> impl Iterator<Item = (ShardId, PositionsView)> + '_ {
        let shards = (0..).map(ShardId).zip(&self.shards);
        shards.map(|(id, shard)| (id, shard.positions()))
    }

    /// Sessions that outlive their connection and whose client id begins with `prefix`, in order of client ids: those
    /// behind `after`, at most `limit` of them ([`MOST_SESSIONS`]).
    #[must_use]
    pub fn inspect_sessions(&self, prefix: &str, after: Option<&str>, limit: usize, now: MonotonicMs) -> SessionsView {
        let limit = limit.clamp(1, MOST_SESSIONS);
        let mut of_shards: Vec<_> = self
            .shards
            .iter()
            .map(|shard| shard.stored_from(prefix.as_bytes(), after.map(str::as_bytes)))
            .collect();
        let mut next_of: BinaryHeap<_> = (0..)
            .zip(&mut of_shards)
            .filter_map(|(at, sessions)| Some(Reverse((sessions.next()?, at))))
            .collect();
        let mut sessions: Vec<SessionSummary> = Vec::new();
        while let Some(Reverse((client_id, at))) = next_of.pop() {
            if sessions.len() == limit {
                let next = sessions.last().map(|last| last.client_id.clone());
                return SessionsView { sessions, next };
            }
            let (shard, of_shard) = (self.shards.get(at), of_shards.get_mut(at));
            sessions.extend(shard.and_then(|shard| shard.session_summary(client_id, &self.incarnations, now)));
            next_of.extend(of_shard.and_then(Iterator::next).map(|next| Reverse((next, at))));
        }
        let next = None;
        SessionsView { sessions, next }
    }

    /// The session of a client; none: it is not connected, and nothing of it is stored.
    #[must_use]
    pub fn inspect_session(&self, client_id: &str, now: MonotonicMs) -> Option<SessionView> {
        let at = self.placement.shard_of_client(client_id.as_bytes());
        let shard = self.shards.get(usize::from(at.0))?;
        let mut view = shard.session_view(client_id.as_bytes(), &self.incarnations, now)?;
        if let Some(stored) = &mut view.stored {
            let mut left = MOST_COUNTED;
            for (other, place) in shard.places_of(client_id.as_bytes(), stored) {
                if let Some(other) = self.shards.get(usize::from(other.0)) {
                    other.add_place(at, &place, stored, &mut left, now);
                    other.add_inbound(client_id.as_bytes(), &place, stored);
                }
            }
        }
        Some(view)
    }

    /// The queues of a topic filter at its shards, beginning with shard `from`. None of a filter that nobody has with a
    /// session that outlives its connection.
    #[must_use]
    pub fn inspect_queues(&self, topic_filter: &str, from: ShardId, now: MonotonicMs) -> QueuesView {
        let name = Bytes::copy_from_slice(topic_filter.as_bytes());
        let (name, matched) = matched_by(&name);
        let is_group = name.len() != matched.len();
        let shards = match self.placement.shards_of_filter(&text(&matched)) {
            FilterShards::One(only) if only >= from => only.0..only.0.saturating_add(1),
            FilterShards::One(_) => 0..0,
            FilterShards::All => from.0..self.settings.shards,
        };
        let mut view = QueuesView {
            topic_filter: text(&name),
            queues: Vec::new(),
            next: None,
        };
        let mut looked_up = 0;
        for at in shards {
            if looked_up >= LOOK_UPS || view.queues.len() >= MOST_ENTRIES {
                view.next = Some(at);
                return view;
            }
            let Some(shard) = self.shards.get(usize::from(at)) else {
                break;
            };
            if is_group {
                view.queues.extend(shard.group_view(&name, now));
                looked_up += 1;
                continue;
            }
            for of_sessions in &self.shards {
                view.queues.extend(shard.queue_view(of_sessions, &name, now));
            }
            looked_up += self.shards.len();
        }
        view
    }
}
