//! What proxies and storage say to each other, as plain types.
//!
//! Spoken by `proxy/core` (the link of a proxy) and `storage-node/core` (the shards). Between processes the parent
//! crate turns it into protobuf frames; in `freshet standalone` the very same values cross without encoding.
//! Leaves out encoding, transport and every decision.
//!
//! A link has two streams. **Operations** carries [`Operation`]s to storage and [`Answer`]s back; both directions are
//! always drained. **Deliveries** carries numbered [`Delivery`]s to the proxy and [`DeliveryControl`] back, under byte
//! credits, so that a proxy full of slow subscribers never delays an acknowledgement.

mod attach;
mod client_id;
mod delivery;
mod ids;
mod message;
mod operation;
mod placement;
mod report;
mod session;
mod shard_set;
mod shared;
mod time;

pub use attach::{AttachProxy, AttachRefusal, Attached, Feature, PROTOCOL_VERSION, ShardAttachment, ShardResume};
pub use client_id::ClientId;
pub use delivery::{Delivery, DeliveryControl, FilterIds, NumberedDelivery, RetainedMessage};
pub use freshet_mqtt::{PacketId, QoS, RetainHandling, SubscriptionOptions};
pub use ids::{
    ClusterUid, DeliverySeq, FilterId, IncarnationId, InterestVersion, Position, PublishSeq, PublisherId, RequestId,
    SessionEpoch, ShardId, Term,
};
pub use message::{Message, Will};
pub use operation::{
    Answer, AttachSession, DetachReason, InterestChange, InterestDelta, LastingNumbers, Operation, PublishBatch,
    PublishOutcome, ReadRetained, RegisteredSession, SessionRefusal,
};
pub use placement::{FilterShards, Placement, PlacementError, PlacementRule};
pub use report::{ProxyReport, REPORTS_FEATURE};
pub use session::{
    Cursor, EnsureDurable, ExactlyOnce, Fetch, FetchedMessage, MAX_FETCHED, OutboundExchange, OutboundStage, Pull,
    PullFilter, PulledMessage, Release, SESSIONS_FEATURE, SessionChange, StoredSession, StoredSubscription,
    SubscriptionStart, UpdateSession,
};
pub use shard_set::ShardSet;
pub use shared::{
    Lease, SHARED_SUBSCRIPTIONS_FEATURE, SettleShared, Settlement, SharedGroup, SharedMessage, SharedStrategy,
};
pub use time::MonotonicMs;
