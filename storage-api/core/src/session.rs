//! Sessions that outlive their connection: what storage keeps of one, and how a proxy changes it.
//!
//! A session lives at the shard of its client id. What it subscribed to with QoS >= 1 is a *durable filter* at each
//! shard that the filter concerns: a queue of the [`Position`]s of matching messages, one for all sessions of a session
//! shard that have the filter. How far a session has come in them is its [`Cursor`], one per shard.

use bytes::Bytes;
use freshet_mqtt::{PacketId, SubscriptionOptions};

use crate::{FilterId, Message, Position, QoS, RequestId, SessionEpoch, ShardId};

/// [`crate::Feature`] of peers that know the types of this module. A proxy uses them only when storage has named it.
pub const SESSIONS_FEATURE: &str = "sessions";

/// A session as storage keeps it between connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// Epoch at which the session began: a Clean Start begins a new one, taking a session over does not.
    pub generation: SessionEpoch,
    /// Subscriptions, in order of their filters.
    pub subscriptions: Vec<StoredSubscription>,
    /// How far the session has come, in order of shards. A shard that is not named: nothing of it was acknowledged.
    pub cursors: Vec<Cursor>,
    /// Exchanges towards the client that are not finished, in the order in which they began.
    pub outbound: Vec<OutboundExchange>,
}

/// A subscription of a stored session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSubscription {
    /// Topic Filter, UTF-8; of a shared subscription the whole `$share/name/filter`.
    pub topic_filter: Bytes,
    /// Options as they were granted.
    pub options: SubscriptionOptions,
    /// Subscription Identifier, 1 to 268,435,455 (MQTT 5.0, 3.8.2.1.2).
    pub subscription_identifier: Option<u32>,
    /// Where it begins at each shard of the filter, in order of shards. None when it was never granted QoS >= 1.
    pub starts: Vec<SubscriptionStart>,
}

/// Where a subscription begins at a shard; from [`crate::Delivery::Started`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionStart {
    /// The shard of the messages.
    pub shard: ShardId,
    /// The subscription has every matching message behind this position.
    pub position: Position,
}

/// What a session has done with at one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The shard of the messages.
    pub shard: ShardId,
    /// Everything up to here is done.
    pub acknowledged: Position,
    /// Positions behind it that are done too, ascending; at most as many as the client's Receive Maximum.
    pub beyond: Vec<Position>,
}

/// A QoS 1 or 2 exchange towards the client that is not finished. Its packet id stays taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundExchange {
    /// Packet Identifier.
    pub packet_id: PacketId,
    /// Shard of the message.
    pub shard: ShardId,
    /// The message.
    pub position: Position,
    /// QoS it was sent with: 1 or 2.
    pub qos: QoS,
    /// How far it has come.
    pub stage: OutboundStage,
    /// The shared subscription it came by, as `$share/name/filter`: it says nothing of whether the session has had the
    /// message by its other subscriptions.
    pub shared: Option<Bytes>,
    /// The message, where the session itself keeps it: `position` is 0 then.
    pub message: Option<Box<Message>>,
}

/// How far an exchange towards the client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboundStage {
    /// PUBLISH may have been sent: it is sent again with DUP (`[MQTT-4.4.0-1]`).
    Sent,
    /// PUBREC has arrived: PUBREL is sent, never PUBLISH again (`[MQTT-4.3.3-6]`).
    Received,
}

/// Changes of a session by the connection that has it, applied together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateSession {
    /// Answered by [`crate::Answer::SessionUpdated`] when it is there. Without it nobody waits, and a refusal shows only
    /// as [`crate::Answer::TakeOver`].
    pub request: Option<RequestId>,
    /// Client Identifier.
    pub client_id: Bytes,
    /// Epoch of the attach; of another one than the present the changes are refused.
    pub epoch: SessionEpoch,
    /// The changes, in order. None: the client was told of a session that begins with this connection, as any change says.
    pub changes: Vec<SessionChange>,
}

/// One change of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionChange {
    /// A subscription. Of an equal filter the options and the identifier are replaced; where it begins, and with it
    /// what it has not delivered, is kept (`[MQTT-3.8.4-4]`), also when it is now granted QoS 0.
    Subscribe(StoredSubscription),
    /// The subscription ends, and what it has not sent is dropped.
    Unsubscribe {
        /// Topic Filter, UTF-8.
        topic_filter: Bytes,
    },
    /// The session has done with more. Never moves back; `beyond` takes the place of what it was.
    Advance(Cursor),
    /// A PUBLISH is about to be sent, or, at the end of a connection, was sent and not acknowledged. Takes the place of
    /// an exchange with the same packet id.
    Sending {
        /// Packet Identifier.
        packet_id: PacketId,
        /// Shard of the message.
        shard: ShardId,
        /// The message.
        position: Position,
        /// QoS it is sent with: 1 or 2.
        qos: QoS,
        /// The shared subscription it came by, as `$share/name/filter`: the message is this session's from now on
        /// (`[MQTT-4.8.2-4]`), its lease settled, and its bytes are kept until the exchange or the session has ended.
        /// For QoS 2 alone; QoS 1 is returned to the group when the connection ends.
        shared: Option<Bytes>,
        /// The message as it is sent, when no shard keeps it for the session: a retained one that a subscription has
        /// brought. The session keeps it until PUBREC has arrived or the exchange has ended, if there is room; `position`
        /// is 0.
        message: Option<Box<Message>>,
    },
    /// PUBREC has arrived.
    Received {
        /// Packet Identifier.
        packet_id: PacketId,
    },
    /// The exchange is finished; what it was about is done with by [`SessionChange::Advance`].
    Completed {
        /// Packet Identifier.
        packet_id: PacketId,
    },
}

/// Asks a shard to queue what matches a filter, for the sessions of a session shard. Answered in the stream of
/// deliveries by [`crate::Delivery::Started`], or by [`crate::Answer::EnsureRefused`].
///
/// The filter acts from then on; without a [`SessionChange::Subscribe`] that names it within 60 s it is removed, unless
/// another session has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnsureDurable {
    /// Names the request.
    pub request: RequestId,
    /// Shard of the messages.
    pub shard: ShardId,
    /// Shard of the client id.
    pub session_shard: ShardId,
    /// Topic Filter, UTF-8; of a shared subscription the whole `$share/name/filter`.
    pub topic_filter: Bytes,
}

/// Reads what is queued for a session at one shard. Answered in the stream of deliveries by
/// [`crate::Delivery::Pulled`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Names the request; each chunk has a request of its own.
    pub request: RequestId,
    /// Shard of the messages.
    pub shard: ShardId,
    /// Shard of the client id.
    pub session_shard: ShardId,
    /// Only messages behind this position.
    pub after: Position,
    /// The session's filters with QoS >= 1 at this shard.
    pub filters: Vec<PullFilter>,
    /// Messages that the reader has room for, at least 1.
    pub max_messages: u32,
    /// Bytes that the reader has room for. At least one message is returned, unless there is none or the search was
    /// long: then `up_to` has moved on, perhaps without any message.
    pub max_bytes: u32,
}

/// A durable filter in a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullFilter {
    /// How [`PulledMessage::filter_ids`] names it; chosen by the proxy.
    pub filter_id: FilterId,
    /// Topic Filter, UTF-8.
    pub topic_filter: Bytes,
    /// Only messages behind this position: where the subscription begins.
    pub start: Position,
}

/// A message that was queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledMessage {
    /// Its position.
    pub position: Position,
    /// The filters of the pull that have it, in the order in which the pull named them.
    pub filter_ids: Vec<FilterId>,
    /// The message; its expiry interval is what remains.
    pub message: Message,
}

/// Reads messages by position, for exchanges that are to be sent again. Answered in the stream of deliveries by
/// [`crate::Delivery::Fetched`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Names the request.
    pub request: RequestId,
    /// Shard of the messages.
    pub shard: ShardId,
    /// The messages, at most [`MAX_FETCHED`].
    pub positions: Vec<Position>,
}

/// Positions that one [`Fetch`] may name.
pub const MAX_FETCHED: usize = 65_536;

/// A message as [`Fetch`] found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedMessage {
    /// Its position.
    pub position: Position,
    /// The message; its expiry interval is what remains, 0 when it has passed: an exchange that has begun goes on.
    pub message: Message,
}

/// Which QoS 2 PUBLISH of which session a message is. Named for sessions that outlive their connection: the shard of the
/// topic knows it again until [`Release`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExactlyOnce {
    /// Client Identifier.
    pub client_id: Bytes,
    /// [`StoredSession::generation`].
    pub generation: SessionEpoch,
    /// Packet Identifier.
    pub packet_id: PacketId,
    /// The connection that says so; none: its proxy does not name it. What comes of an earlier connection than the one
    /// that goes on with the exchange is late, and acts no more.
    pub epoch: Option<SessionEpoch>,
}

/// PUBREL has arrived: the packet id may come again with another message. Answered by [`crate::Answer::Released`];
/// PUBCOMP leaves only then. Goes to all shards when the proxy does not know the message's (after a reconnect).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Names the request.
    pub request: RequestId,
    /// Shard of the message.
    pub shard: ShardId,
    /// The exchange.
    pub of: ExactlyOnce,
}
