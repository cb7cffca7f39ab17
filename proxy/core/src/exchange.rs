//! What the workers of a proxy and its link to storage tell each other.
//!
//! A *worker* owns connections; the *link* owns the streams to storage, the proxy's interest (the union over workers)
//! and the numbering of publications. Messages of one direction between one worker and the link stay in order, and
//! deliveries, joins and retained messages of a shard reach a worker in the order in which the shard sent them: that
//! is what keeps an older retained message from following a newer live one. Both sides are pure; the shell carries
//! these values between them (a bounded mailbox per worker), or calls one from the other where they share a thread.
//! Leaves out storage's own language (`freshet_storage_contract`).

use std::sync::Arc;

use bytes::Bytes;
use freshet_storage_contract::{
    DeliverySeq, DetachReason, ExactlyOnce, Fetch, FetchedMessage, FilterId, FilterIds, FilterShards, Lease, Message,
    Placement, Position, PublishOutcome, Pull, PulledMessage, RegisteredSession, RequestId, RetainedMessage,
    SessionEpoch, SessionRefusal, Settlement, ShardId, SharedMessage, StoredSession, Term, UpdateSession, Will,
};

/// Index of a worker within its proxy, 0 to `workers - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// Names a request of a worker, unique within an incarnation; each is answered exactly once unless withdrawn.
///
/// Carries the worker in its upper 16 bits, so that answers find their way without a table.
#[must_use]
pub fn request_id(worker: WorkerId, counter: u64) -> RequestId {
    const COUNTER_BITS: u32 = 48;
    RequestId(u64::from(worker.0) << COUNTER_BITS | counter & ((1 << COUNTER_BITS) - 1))
}

/// The worker that made a request.
#[must_use]
pub fn worker_of(request: RequestId) -> WorkerId {
    // The shift leaves 16 bits.
    #[allow(clippy::cast_possible_truncation)]
    WorkerId((request.0 >> 48) as u16)
}

/// A worker's own name for a publication it waits for; means nothing to the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PublishTicket(pub u64);

/// A worker's members of a shared subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupPart {
    /// How many.
    pub members: u32,
    /// Messages that they can have in flight together.
    pub window: u32,
}

/// For which of the sessions that outlive their connection lost deliveries are queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueuedFor {
    /// All of them.
    All,
    /// Those that have not expired: storage had given the proxy up for lost.
    Unexpired,
    /// None: storage had no memory of them.
    Nobody,
}

/// From a worker to the link.
#[derive(Debug, Clone, PartialEq)]
pub enum ToLink {
    /// A publication that has been checked and authorized. Answered by [`ToWorker::Published`], QoS 0 too: the worker
    /// bounds what is outstanding.
    Publish {
        /// To be given back.
        ticket: PublishTicket,
        /// The message.
        message: Arc<Message>,
    },
    /// A client of this worker wants `topic_filter`. Answered at once by [`ToWorker::Subscribed`], then by one
    /// [`ToWorker::Joined`] per shard of the filter. Sent for every subscription, also when the worker already has
    /// the filter for another client.
    Subscribe {
        /// Names the subscription.
        request: RequestId,
        /// Topic Filter without `$share` prefix, well formed.
        topic_filter: Bytes,
        /// Whether retained messages are wanted: [`ToWorker::Retained`] follows each join, also when there are none.
        retained: bool,
        /// The session outlives its connection and has not begun with this filter: what matches is to be queued for
        /// sessions of this shard. Each join then tells where the subscription begins, unless
        /// [`ToWorker::SubscriptionRefused`] comes in their place.
        durable: Option<ShardId>,
        /// The session comes back: what is on its way may have been given to its former connection, so that it joins
        /// behind that.
        is_restored: bool,
        /// Of a shared subscription, whose topic filter is the whole `$share/name/filter`: the worker's members with this
        /// one.
        group: Option<GroupPart>,
    },
    /// The worker's members of a shared subscription are others, and still some.
    ResizeGroup {
        /// The whole `$share/name/filter`.
        topic_filter: Bytes,
        /// The members there are now.
        part: GroupPart,
        /// Whether [`ToWorker::Resized`] is to say under this name that all that was given before has come.
        confirm: Option<RequestId>,
    },
    /// What became of messages of a shared subscription.
    Settle {
        /// The shard.
        shard: ShardId,
        /// The proxy's name for the group.
        filter_id: FilterId,
        /// The messages.
        settled: Vec<(Lease, Settlement)>,
    },
    /// The worker's last client of this filter has gone.
    Unsubscribe {
        /// The filter.
        filter_id: FilterId,
    },
    /// The subscriber has room for more retained messages of a shard after [`ToWorker::Retained`] said `more`.
    MoreRetained {
        /// The subscription.
        request: RequestId,
        /// The shard.
        shard: ShardId,
    },
    /// The subscriber has gone or lost interest: what `request` would still have brought is not sent.
    Withdraw {
        /// The subscription, pull or fetch.
        request: RequestId,
    },
    /// A client has connected. Answered by [`ToWorker::SessionAttached`] or [`ToWorker::SessionRefused`].
    AttachSession {
        /// Names the request.
        request: RequestId,
        /// Client Identifier, not empty.
        client_id: Bytes,
        /// Clean Start (5.0), Clean Session (3.1.1).
        clean_start: bool,
        /// Granted Session Expiry Interval, seconds.
        session_expiry_interval_s: u32,
        /// The will.
        will: Option<Box<Will>>,
    },
    /// A session's connection has ended (also in answer to [`ToWorker::TakeOver`], after the publications it had sent
    /// before were answered).
    DetachSession {
        /// Client Identifier.
        client_id: Bytes,
        /// Epoch of the attach.
        epoch: SessionEpoch,
        /// Why.
        reason: DetachReason,
        /// Session Expiry Interval of the DISCONNECT, in seconds.
        session_expiry_interval_s: Option<u32>,
        /// What is named to a leader that has not heard of the connection, if its will is due and may come twice.
        left: Option<Box<RegisteredSession>>,
    },
    /// Changes of a stored session, with a request: answered by [`ToWorker::SessionUpdated`] or
    /// [`ToWorker::UpdateRefused`]. Those of one session reach storage in this order, before its detach.
    UpdateSession(UpdateSession),
    /// Reads what is queued for a session; answered by [`ToWorker::Pulled`].
    Pull(Pull),
    /// Reads messages by position; answered by [`ToWorker::Fetched`].
    Fetch(Fetch),
    /// Ends a QoS 2 exchange of a publisher; answered by [`ToWorker::Released`].
    Release {
        /// Names the request.
        request: RequestId,
        /// Shard of the message; none: any may have it.
        shard: Option<ShardId>,
        /// The exchange.
        of: ExactlyOnce,
    },
    /// Answer to [`ToWorker::RegisterSessions`].
    RegisterSessions {
        /// The shard.
        shard: ShardId,
        /// Sessions of this worker whose client id belongs to the shard.
        sessions: Vec<RegisteredSession>,
    },
    /// Deliveries of a shard up to `seq` are in the clients' queues. One per shard and turn is enough.
    Accepted {
        /// The shard.
        shard: ShardId,
        /// Term of the number.
        term: Term,
        /// The last one.
        seq: DeliverySeq,
    },
}

/// From the link to a worker.
#[derive(Debug, Clone, PartialEq)]
pub enum ToWorker {
    /// What became of a publication.
    Published {
        /// The worker's ticket.
        ticket: PublishTicket,
        /// The outcome.
        outcome: PublishOutcome,
    },
    /// The name of a filter and the shards whose joins are to be waited for.
    Subscribed {
        /// The subscription.
        request: RequestId,
        /// The filter's name from now on.
        filter_id: FilterId,
        /// Its shards.
        shards: FilterShards,
    },
    /// From here on the shard's deliveries that name the filter belong to this subscriber.
    Joined {
        /// The subscription.
        request: RequestId,
        /// The shard.
        shard: ShardId,
        /// Where a durable subscription begins; none: it is none, or it was one before.
        start: Option<Position>,
    },
    /// All shards of a shared subscription know of the members that [`ToLink::ResizeGroup`] named: what comes from now on
    /// was given with those in mind.
    Resized {
        /// The worker's name for it.
        request: RequestId,
    },
    /// A shard has no room for the durable filter (reason code 0x97): nothing more comes of the subscription.
    SubscriptionRefused {
        /// The subscription.
        request: RequestId,
    },
    /// Retained messages for a subscriber, after its join at the shard.
    Retained {
        /// The subscription.
        request: RequestId,
        /// The shard.
        shard: ShardId,
        /// In order of topic names.
        messages: Vec<RetainedMessage>,
        /// The next part waits for [`ToLink::MoreRetained`].
        more: bool,
    },
    /// One message for all subscribers of `filter_ids` on this worker.
    Deliver {
        /// The shard.
        shard: ShardId,
        /// Term of the number.
        term: Term,
        /// To be given back by [`ToLink::Accepted`].
        seq: DeliverySeq,
        /// Ascending; only filters that this worker has.
        filter_ids: FilterIds,
        /// The message.
        message: Arc<Message>,
        /// Its position, when a durable filter has queued it.
        position: Option<Position>,
    },
    /// A message for one of this worker's members of a shared subscription.
    Shared {
        /// The shard.
        shard: ShardId,
        /// Term of the number.
        term: Term,
        /// To be given back by [`ToLink::Accepted`].
        seq: DeliverySeq,
        /// The message.
        shared: SharedMessage,
    },
    /// Deliveries of this shard were lost: sessions that have a QoS >= 1 subscription there are closed with 0x97, unless
    /// what they missed is queued for them.
    Overrun {
        /// The shard.
        shard: ShardId,
        /// Which sessions find them in storage.
        queued: QueuedFor,
    },
    /// The session belongs to this connection.
    SessionAttached {
        /// The request.
        request: RequestId,
        /// Its epoch.
        epoch: SessionEpoch,
        /// Whether earlier state was found.
        session_present: bool,
        /// That state; none: the session begins now.
        session: Option<Box<StoredSession>>,
    },
    /// The session was not attached.
    SessionRefused {
        /// The request.
        request: RequestId,
        /// Why.
        refusal: SessionRefusal,
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
    /// A chunk of what is queued for a session.
    Pulled {
        /// The request.
        request: RequestId,
        /// Messages, ascending by position.
        messages: Vec<PulledMessage>,
        /// Nothing else is queued up to here.
        up_to: Position,
        /// There is no more; what comes later comes live, behind this.
        caught_up: bool,
    },
    /// Messages by position; those that are missing of the positions that were looked at are gone.
    Fetched {
        /// The request.
        request: RequestId,
        /// The messages.
        messages: Vec<FetchedMessage>,
        /// How many positions of the request were looked at; the rest is to be asked for again.
        answered: u32,
    },
    /// The release of a QoS 2 exchange is committed.
    Released {
        /// The request.
        request: RequestId,
        /// Whether any shard knew the exchange.
        found: bool,
    },
    /// The client has connected elsewhere: end the connection with 0x8E, then [`ToLink::DetachSession`] with
    /// [`DetachReason::TakenOver`]. Sent to every worker; one that does not hold this epoch passes over it.
    TakeOver {
        /// Client Identifier.
        client_id: Bytes,
        /// The superseded epoch.
        epoch: SessionEpoch,
    },
    /// Storage has forgotten the sessions of this shard: name those of this worker.
    RegisterSessions {
        /// The shard.
        shard: ShardId,
    },
    /// The link has reached storage for the first time or again.
    StorageBack {
        /// Shards of topics and client ids, for what the worker computes by itself.
        placement: Arc<Placement>,
        /// Whether storage keeps sessions that outlive their connection.
        keeps_sessions: bool,
        /// Whether storage knows shared subscriptions.
        shares: bool,
    },
    /// The link has lost storage or its lease. Connections stay; nothing of QoS >= 1 is acknowledged until
    /// [`ToWorker::StorageBack`].
    StorageAway,
}
