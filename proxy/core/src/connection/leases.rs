//! Messages of shared subscriptions that a client was given and has not acknowledged.
//!
//! One of QoS 1 goes back to its group when the client leaves. One of QoS 2 that was sent stays with its session and goes
//! to nobody else (MQTT-4.8.2-4, -5): its lease has ended when it is written, or, where the session outlives the
//! connection, when storage has it among the session's exchanges.

use std::num::NonZeroU16;

use bytes::Bytes;
use foldhash::fast::FixedState;
use freshet_storage_contract::{FilterId, Lease, ShardId};
use hashbrown::HashMap;

/// A message that a shard has given to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SharedLease {
    pub(crate) shard: ShardId,
    pub(crate) filter_id: FilterId,
    pub(crate) lease: Lease,
    /// `$share/name/filter`.
    pub(crate) name: Bytes,
}

/// Leases of QoS 1 messages in flight by packet id. Bounded by the client's window.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    // Sixteen bits, chosen by the server.
    in_flight: HashMap<NonZeroU16, Box<SharedLease>, FixedState>,
}

impl Leases {
    pub(crate) fn insert(&mut self, packet_id: NonZeroU16, lease: Box<SharedLease>) {
        self.in_flight.insert(packet_id, lease);
    }

    /// The exchange has ended.
    pub(crate) fn remove(&mut self, packet_id: NonZeroU16) -> Option<Box<SharedLease>> {
        self.in_flight.remove(&packet_id)
    }

    /// All of them, in the order of their messages.
    pub(crate) fn into_sorted(self) -> Vec<SharedLease> {
        let mut all: Vec<_> = self.in_flight.into_values().map(|lease| *lease).collect();
        all.sort_unstable_by_key(|shared| (shared.shard, shared.lease.position));
        all
    }
}
