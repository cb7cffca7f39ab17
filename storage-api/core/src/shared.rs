//! Shared subscriptions (MQTT 5.0, 4.8.2): groups whose members share what matches.
//!
//! A group is a share name and a topic filter. Each shard of the filter has a queue for it and gives each message to one
//! proxy, the proxy to one of its members. A message of QoS >= 1 is *leased* to the proxy until that settles it. The
//! group lives as long as some proxy has members, or a stored session has the subscription
//! ([`crate::EnsureDurable`] with the whole `$share/name/filter`); with neither, nothing is queued.

use std::sync::Arc;

use bytes::Bytes;

use crate::{FilterId, Message, Position, RequestId, ShardId};

/// [`crate::Feature`] of peers that know the types of this module.
pub const SHARED_SUBSCRIPTIONS_FEATURE: &str = "shared_subscriptions";

/// A proxy's part of a group; of a change of interest, so it is confirmed by a marker and named again as a whole. Named
/// again with the same `filter_id` it changes the part in place: leases stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedGroup {
    /// The proxy's name for the group; of the same numbers as other filters.
    pub filter_id: FilterId,
    /// Share name, UTF-8; `$queue` for `$queue/filter`.
    pub share_name: Bytes,
    /// Topic Filter without the prefix, UTF-8.
    pub topic_filter: Bytes,
    /// How members are chosen; of the last proxy that named the group.
    pub strategy: SharedStrategy,
    /// Members that are connected to this proxy: its share of the messages.
    pub members: u32,
    /// Messages that may be leased to this proxy at a time: what the windows of its members can take together. 0 while none
    /// of them has room.
    pub window: u32,
}

/// How a message's receiver is chosen, among proxies and among the members of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SharedStrategy {
    /// In turns.
    RoundRobin,
    /// The one with the fewest messages in flight.
    #[default]
    LeastInflight,
}

/// A message for one member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedMessage {
    /// The proxy's name for the group.
    pub filter_id: FilterId,
    /// The message.
    pub message: Arc<Message>,
    /// None at QoS 0: whoever gets it, nobody says what became of it.
    pub lease: Option<Lease>,
}

/// A message that a proxy has to settle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The message.
    pub position: Position,
    /// Tells this lease from others of the same message. Grows.
    pub number: u64,
}

/// Settles leases. Answered by [`crate::Answer::SharedSettled`]; asked again after a broken link until it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleShared {
    /// Names the request.
    pub request: RequestId,
    /// The shard.
    pub shard: ShardId,
    /// The proxy's name for the group.
    pub filter_id: FilterId,
    /// What became of the messages.
    pub settled: Vec<(Lease, Settlement)>,
}

/// What became of a leased message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Nobody gets it any more: its member has acknowledged it, also with a reason code of 0x80 or more
    /// (`[MQTT-4.8.2-6]`), it has expired, or it was sent at QoS 2 to a session that ends with its connection
    /// (`[MQTT-4.8.2-5]`). Not for one that [`crate::SessionChange::Sending`] gave to a stored session: that settles it.
    Done,
    /// Another member shall have it: its member has gone with QoS 1 unacknowledged, or none could take it.
    Returned,
}
