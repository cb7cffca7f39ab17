//! What a shard holds: what it adds to the sums of its node, which bounds are held against, and its gauges.

use super::Shard;
use crate::log::CommitLog;
use crate::state::State;
use crate::stats::{QueuedSince, ShardGauges, ShardStats};
use crate::usage::Usage;

impl<L: CommitLog> Shard<L> {
    /// Brings the node's sums up to date.
    pub(crate) fn count(&mut self, usage: &mut Usage) {
        let now = Usage {
            retained: self.ahead.retained(&self.state),
            sessions: self.sessions.len() as u64 + self.peers.superseded_sessions() + self.ahead.offline(&self.state),
            session_bytes: self.session_bytes(),
            interest_bytes: self.filter_bytes(),
            queued_bytes: self.queued_bytes(),
            waiting_bytes: self.state.queues.waiting_bytes(),
            resident_bytes: self.state.queues.resident_bytes(),
            queue_memory_bytes: self.queue_memory_bytes(),
        };
        let before = std::mem::replace(&mut self.counted, now);
        usage.retained.exchange(before.retained, now.retained);
        usage.sessions = usage.sessions + now.sessions - before.sessions;
        usage.session_bytes = usage.session_bytes + now.session_bytes - before.session_bytes;
        usage.interest_bytes = usage.interest_bytes + now.interest_bytes - before.interest_bytes;
        usage.queued_bytes = usage.queued_bytes + now.queued_bytes - before.queued_bytes;
        usage.waiting_bytes = usage.waiting_bytes + now.waiting_bytes - before.waiting_bytes;
        usage.resident_bytes = usage.resident_bytes + now.resident_bytes - before.resident_bytes;
        usage.queue_memory_bytes = usage.queue_memory_bytes + now.queue_memory_bytes - before.queue_memory_bytes;
    }

    /// Bytes that count towards the bound on sessions.
    fn session_bytes(&self) -> u64 {
        let State {
            wills,
            sessions,
            effects,
            notes,
            ..
        } = &self.state;
        self.sessions.bytes()
            + self.peers.left_bytes()
            + self.recovery.bytes()
            + sessions.bytes()
            + wills.bytes()
            + effects.bytes()
            + notes.bytes()
            + self.ahead.session_bytes()
    }

    pub(crate) fn stats(&self) -> ShardStats {
        let peers = self.peers.living();
        let mut gauges = ShardGauges {
            filters_one_shard: self.interest.one_shard(),
            filters_all_shards: self.interest.all_shards(),
            interest_bytes: self.filter_bytes(),
            sessions: self.sessions.len() as u64,
            sessions_stored: self.state.sessions.len() as u64,
            sessions_offline: self.state.sessions.offline(),
            session_bytes: self.session_bytes(),
            durable_filters: self.state.queues.len() as u64,
            shared_groups: self.state.queues.groups() as u64,
            shared_groups_online: self.groups.len() as u64,
            shared_leases: self.groups.leases(),
            shared_kept: self.state.queues.kept() as u64,
            queued_rows: self.state.queues.rows(),
            queued_messages: self.state.queues.messages() as u64,
            queued_bytes: self.queued_bytes(),
            queued_resident_bytes: self.state.queues.resident_bytes(),
            reads_waiting: self.loads.reads() as u64,
            packets: self.state.packets.rows() + self.state.origins.rows(),
            wills_waiting: self.state.wills.len() as u64,
            retained_messages: self.state.retained.usage().messages,
            retained_bytes: self.state.retained.usage().bytes,
            publications_held: self.intake.held.len() as u64,
            held_bytes: self.intake.held_bytes as u64,
            attaches_held: self.recovery.waiting() as u64,
            ..ShardGauges::default()
        };
        for peer in peers {
            gauges.ring_deliveries += peer.ring.len() as u64;
            gauges.ring_bytes += peer.ring.bytes() as u64;
            gauges.publications_waiting += peer.publisher.waiting() as u64;
            gauges.reads_waiting += peer.reads.len() as u64;
        }
        ShardStats {
            shard: self.id,
            gauges,
            counters: self.counters,
            oldest_queued: self.state.queues.oldest_came().map(|came_ms| QueuedSince {
                came_ms,
                clock: self.clock,
            }),
        }
    }
}
