//! The stream of deliveries: messages and in-stream answers, numbered, acknowledged, under byte credits.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    DeliverySeq, FetchedMessage, FilterId, InterestVersion, Message, Position, PulledMessage, RequestId, ShardId,
    SharedMessage, Term,
};

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
        filter_ids: FilterIds,
        /// The message.
        message: Arc<Message>,
        /// Its position, when a durable filter has queued it: it can be pulled and fetched by that. Positions of a
        /// shard's deliveries ascend.
        position: Option<Position>,
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
    Overrun {
        /// What was lost is not queued for sessions that outlive their connection either: the shard had no memory of
        /// their filters.
        queues_lost: bool,
    },
    /// A durable filter acts: every message that matches it and is delivered later is behind `position`, every earlier
    /// one is not.
    Started {
        /// The request.
        request: RequestId,
        /// Where a subscription that asked for it begins.
        position: Position,
    },
    /// A message for one member of a shared subscription.
    Shared(SharedMessage),
    /// A chunk of what is queued for a session.
    Pulled {
        /// The request.
        request: RequestId,
        /// Messages, ascending by position, each once.
        messages: Vec<PulledMessage>,
        /// To be given as `after` of the next pull: nothing else is queued up to here.
        up_to: Position,
        /// There is no more: what later matches is delivered behind this, live, and is behind `up_to`.
        caught_up: bool,
    },
    /// Messages by position.
    Fetched {
        /// The request.
        request: RequestId,
        /// Those that are still there, in the order of the request.
        messages: Vec<FetchedMessage>,
        /// How many positions of the request were looked at, at least 1: what is not among `messages` of these is gone,
        /// the rest is to be asked for again.
        answered: u32,
    },
}

/// Filters that a message matches. Most messages match one, which needs no memory of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterIds {
    /// This one.
    One(FilterId),
    /// These.
    Many(Arc<[FilterId]>),
}

impl FilterIds {
    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[FilterId] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(all) => all,
        }
    }
}

impl From<Vec<FilterId>> for FilterIds {
    fn from(filter_ids: Vec<FilterId>) -> Self {
        match filter_ids[..] {
            [one] => Self::One(one),
            _ => Self::Many(filter_ids.into()),
        }
    }
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
