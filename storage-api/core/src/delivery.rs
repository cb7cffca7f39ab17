//! The stream of deliveries: messages and in-stream answers, numbered, acknowledged, under byte credits.

use bytes::Bytes;

use crate::{DeliverySeq, FilterId, InterestVersion, Message, Position, RequestId, ShardId, Term};

/// A delivery with its number. Numbers of one (shard, term, incarnation) have no gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedDelivery {
    /// The shard.
    pub shard: ShardId,
    /// The leader's term; numbers start again at 1 with each.
    pub term: Term,
    /// The number.
    pub seq: DeliverySeq,
    /// What is delivered.
    pub delivery: Delivery,
}

/// From a shard to a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// One copy of a message for all of the proxy's subscribers.
    Message {
        /// The proxy's own names of all filters that matched, ascending.
        filter_ids: Vec<FilterId>,
        /// The message.
        message: Message,
    },
    /// Everything up to this interest version acts on every later delivery of this shard.
    Marker {
        /// Version that has been applied.
        version: InterestVersion,
    },
    /// Part of a retained read.
    Retained {
        /// The request.
        request: RequestId,
        /// Messages in order of their topic names.
        messages: Vec<RetainedMessage>,
        /// To be given as `up_to` of the next read.
        up_to: Position,
        /// To be given as `after` of the next read; none: there is no more.
        next: Option<Bytes>,
    },
    /// The ring towards this proxy was full: deliveries before this one were lost, some with QoS >= 1. Sessions with
    /// QoS >= 1 subscriptions at this shard must not go on as if nothing had happened.
    Overrun,
}

/// A retained message as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedMessage {
    /// The message; its expiry interval is what remains.
    pub message: Message,
}

/// From a proxy to storage, on the stream of deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryControl {
    /// Everything up to `seq` has been handed to the clients' queues.
    Acknowledge {
        /// The shard.
        shard: ShardId,
        /// Term of the numbers.
        term: Term,
        /// Last delivery, cumulative.
        seq: DeliverySeq,
    },
    /// Storage may send this many more bytes ([`Message::charged_bytes`]). Each link begins without credit. QoS 0
    /// beyond the credit is shed and counted, QoS >= 1 waits in the ring; markers and overruns need no credit.
    Credit {
        /// Bytes.
        bytes: u64,
    },
}
