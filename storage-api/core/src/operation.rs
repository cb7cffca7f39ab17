//! The stream of operations: what a proxy asks, what storage answers.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    EnsureDurable, Fetch, FilterId, IncarnationId, InterestVersion, Message, Position, ProxyReport, PublishSeq, Pull,
    Release, RequestId, SessionEpoch, SettleShared, ShardId, SharedGroup, StoredSession, UpdateSession, Will,
};

/// From a proxy to storage. Operations of one link are taken in the order in which they were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Renews the incarnation's lease; answered with [`Answer::LeaseRenewed`]. A proxy has one renewal under way at a
    /// time: the next one on the same link proves that everything answered before the last one has arrived.
    RenewLease,
    /// Changes what the proxy wants of a shard; confirmed in the stream of deliveries by
    /// [`crate::Delivery::Marker`].
    Interest(InterestDelta),
    /// Publications, answered in order by [`Answer::Published`].
    Publish(PublishBatch),
    /// A client has connected and been authenticated. Goes to the shard of the client id.
    AttachSession(AttachSession),
    /// After a change of leader: sessions that this proxy holds, so that the registry is rebuilt. Not answered;
    /// a session that is newer elsewhere is answered by [`Answer::TakeOver`].
    RegisterSessions {
        /// Shard of the client ids.
        shard: ShardId,
        /// The sessions.
        sessions: Vec<RegisteredSession>,
    },
    /// The connection of a session has ended, or the proxy has answered [`Answer::TakeOver`]. Of an epoch that is no
    /// longer current: passed over.
    DetachSession {
        /// Client Identifier.
        client_id: Bytes,
        /// Epoch of the attach.
        epoch: SessionEpoch,
        /// Why; decides what happens to the will.
        reason: DetachReason,
        /// Session Expiry Interval of the DISCONNECT, in seconds (MQTT 5.0, 3.14.2.2.2); none: as it was.
        session_expiry_interval_s: Option<u32>,
    },
    /// Reads retained messages, answered in the stream of deliveries by [`crate::Delivery::Retained`].
    ReadRetained(ReadRetained),
    /// Changes a stored session. Goes to the shard of the client id.
    UpdateSession(UpdateSession),
    /// Asks for a durable filter.
    EnsureDurable(EnsureDurable),
    /// Reads what is queued.
    Pull(Pull),
    /// Reads messages by position.
    Fetch(Fetch),
    /// Ends a QoS 2 exchange of a publisher.
    Release(Release),
    /// Settles messages of a shared subscription.
    SettleShared(SettleShared),
    /// What the proxy has done since its last report, where both sides have [`crate::REPORTS_FEATURE`]. Not answered.
    Report(ProxyReport),
}

/// From storage to a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The lease holds for `lease_ttl_ms` from when the renewal was *sent*.
    LeaseRenewed,
    /// What became of the publications from `first` on, one outcome each, in order and without gaps.
    Published {
        /// The shard.
        shard: ShardId,
        /// Number of the first publication answered.
        first: PublishSeq,
        /// One outcome per publication.
        outcomes: Vec<PublishOutcome>,
    },
    /// The session belongs to this connection.
    SessionAttached {
        /// The request.
        request: RequestId,
        /// Epoch of this attach; greater than every earlier one of the client id.
        epoch: SessionEpoch,
        /// Whether state of an earlier connection was found (MQTT 5.0, 3.2.2.1.1).
        session_present: bool,
        /// What was found. Without it the session begins now: its generation is `epoch`.
        session: Option<Box<StoredSession>>,
    },
    /// The session was not attached.
    SessionRefused {
        /// The request.
        request: RequestId,
        /// Why.
        refusal: SessionRefusal,
    },
    /// The client has connected elsewhere: end this connection with 0x8E, flush its publications, then send
    /// [`Operation::DetachSession`] with [`DetachReason::TakenOver`]. The new connection waits for it.
    TakeOver {
        /// Client Identifier.
        client_id: Bytes,
        /// Epoch that has been superseded.
        epoch: SessionEpoch,
    },
    /// The changes of a session are committed.
    SessionUpdated {
        /// The request.
        request: RequestId,
    },
    /// The changes of a session were not made.
    UpdateRefused {
        /// The request.
        request: RequestId,
        /// Why.
        refusal: SessionRefusal,
    },
    /// A durable filter does not fit into the bound on filters (reason code 0x97).
    EnsureRefused {
        /// The request.
        request: RequestId,
    },
    /// The release of a QoS 2 exchange is committed.
    Released {
        /// The request.
        request: RequestId,
        /// Whether the shard knew the exchange. None did: reason code 0x92.
        found: bool,
    },
    /// Messages of a shared subscription are settled.
    SharedSettled {
        /// The request.
        request: RequestId,
    },
}

/// Changes of what a proxy wants of a shard. One version = one delta; storage takes `version = last + 1` only, unless
/// `complete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterestDelta {
    /// The shard.
    pub shard: ShardId,
    /// Version of the interest after this delta.
    pub version: InterestVersion,
    /// The changes start from nothing: what is not named is no longer wanted.
    pub complete: bool,
    /// The changes, in order.
    pub changes: Vec<InterestChange>,
}

/// One change of interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterestChange {
    /// The proxy wants messages whose topic matches `topic_filter` (well formed, without `$share` prefix).
    Add {
        /// The proxy's name for the filter.
        filter_id: FilterId,
        /// Topic Filter, UTF-8.
        topic_filter: Bytes,
    },
    /// The proxy has members of a group.
    SetGroup(SharedGroup),
    /// It no longer does. What was leased for a group goes to other members.
    Remove {
        /// The proxy's name for the filter.
        filter_id: FilterId,
    },
}

/// Publications of one incarnation to one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishBatch {
    /// Shard of the messages' topics.
    pub shard: ShardId,
    /// Number of the first message; the others follow without gaps. Storage takes `last + 1` only: what it has seen
    /// is answered again and not routed again.
    pub first: PublishSeq,
    /// The messages, in the order of their clients.
    pub messages: Vec<Arc<Message>>,
    /// Numbers of the messages of QoS 1 and 2 among them, if there are any: [`PublishSeq`] begins anew with each leader.
    pub lasting: Option<LastingNumbers>,
}

/// Numbers by which publications of QoS 1 and 2 are known again whatever becomes of leaders and leases: a proxy asks again
/// for what was not answered. Those of a session that outlives its connection have their exchange beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastingNumbers {
    /// The first incarnation of the process that counts.
    pub origin: IncarnationId,
    /// Number of the first message of QoS 1 or 2 of the batch; the others follow without gaps. They grow by shard.
    pub first: u64,
    /// What has a lower number was answered and does not come again.
    pub oldest: u64,
}

/// What became of a publication. Says nothing before each interested proxy has acknowledged the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// Every interested proxy has it.
    Delivered,
    /// Nobody is interested (reason code 0x10).
    NoMatchingSubscribers,
    /// A user's limit on retained messages is reached; nothing was stored or delivered (reason code 0x97).
    QuotaExceeded,
}

/// A client's connection asks for its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachSession {
    /// Names the request.
    pub request: RequestId,
    /// Client Identifier, not empty.
    pub client_id: Bytes,
    /// Clean Start (5.0), Clean Session (3.1.1).
    pub clean_start: bool,
    /// Session Expiry Interval in seconds that was granted; 0: the session ends with the connection.
    pub session_expiry_interval_s: u32,
    /// The will.
    pub will: Option<Box<Will>>,
}

/// A session that a proxy holds while storage has forgotten it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredSession {
    /// Client Identifier.
    pub client_id: Bytes,
    /// Epoch of its attach; of two proxies that claim the same client the greater one wins.
    pub epoch: SessionEpoch,
    /// The will.
    pub will: Option<Will>,
    /// Session Expiry Interval in seconds that was granted; 0: the session ends with the connection.
    pub session_expiry_interval_s: u32,
    /// The session as the proxy knows it, when it outlives its connection. Used by a leader that has no memory of it:
    /// positions of a new life of storage are behind all earlier ones, so starts and cursors stay as they are.
    pub session: Option<Box<StoredSession>>,
}

/// Why a session was not attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRefusal {
    /// `limits.cluster.sessions` is reached, or the bound on what storage keeps of sessions (reason code 0x97).
    QuotaExceeded,
    /// A still newer connection of the same client came before this one was attached (reason code 0x8E). Of an update:
    /// the epoch is not the present one's, or the session does not outlive its connection.
    Superseded,
}

/// Why a connection of a session has ended, as far as the will is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetachReason {
    /// DISCONNECT 0x00: the will is deleted (MQTT 5.0, 3.1.2.5).
    ByClient,
    /// DISCONNECT 0x04, network loss, keep-alive, protocol error: the will is published after its delay.
    WillDue,
    /// The server has ended the connection to move it: the will waits `willGraceOnMove` beside its delay and is
    /// dropped when the client attaches again.
    Moved,
    /// Answer to [`Answer::TakeOver`].
    TakenOver,
}

/// Reads retained messages that match a filter, at one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRetained {
    /// Names the request; each chunk of one read has a request of its own.
    pub request: RequestId,
    /// The shard.
    pub shard: ShardId,
    /// Topic Filter, UTF-8.
    pub topic_filter: Bytes,
    /// Continue behind this topic name; none: from the beginning.
    pub after: Option<Bytes>,
    /// Pass over messages retained later than this: the reader got them live. None on the first read, which
    /// establishes it ([`crate::Delivery::Retained`]).
    pub up_to: Option<Position>,
    /// Bytes of messages that the reader has room for. At least one message is returned, unless there is none or the
    /// search was long: then `next` tells where it goes on, perhaps behind no message at all.
    pub max_bytes: u32,
}
