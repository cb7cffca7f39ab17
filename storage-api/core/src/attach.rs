//! How a link begins: who the proxy is, what both sides speak, and where each shard's streams resume.

use thiserror::Error;

use crate::{ClusterUid, DeliverySeq, IncarnationId, InterestVersion, PublishSeq, ShardId, Term};

/// Version of the contract that this code speaks. Neighbouring versions work together.
pub const PROTOCOL_VERSION: u32 = 1;

/// What a peer can do beyond the base of its protocol version. Unknown names are passed over: a side uses only what
/// both have named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Feature(pub String);

/// First frame of a link, sent on each of its streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachProxy {
    /// The cluster the proxy belongs to; a foreign one is refused.
    pub cluster_uid: ClusterUid,
    /// This life of the proxy.
    pub incarnation: IncarnationId,
    /// Pod name, for people.
    pub proxy_name: String,
    /// [`PROTOCOL_VERSION`] of the proxy.
    pub protocol_version: u32,
    /// What the proxy can do beyond it.
    pub features: Vec<Feature>,
    /// Highest term the proxy has seen; a storage node without memory starts above it.
    pub highest_term: Term,
    /// Where the deliveries of each shard shall resume. Empty on the first attach of an incarnation.
    pub resume: Vec<ShardResume>,
}

/// What the proxy has of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardResume {
    /// The shard.
    pub shard: ShardId,
    /// Term that the numbers below belong to.
    pub term: Term,
    /// Last delivery that the proxy received.
    pub received: DeliverySeq,
}

/// Answer to [`AttachProxy`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Protocol version to be spoken: not above the proxy's own.
    pub protocol_version: u32,
    /// Features that both sides have.
    pub features: Vec<Feature>,
    /// How long the incarnation lives without a renewal, in ms.
    pub lease_ttl_ms: u32,
    /// Number of shards and placement rules: the proxy computes shards by itself.
    pub shards: u16,
    /// See [`crate::Placement`].
    pub placement_rules: Vec<String>,
    /// One per shard that this node leads.
    pub attachments: Vec<ShardAttachment>,
}

/// What storage has of an incarnation at a shard. All zero when it knows nothing: the proxy then sends its whole
/// interest, its sessions and every unacknowledged publication again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardAttachment {
    /// The shard.
    pub shard: ShardId,
    /// The leader's term.
    pub term: Term,
    /// Last interest delta applied.
    pub interest_version: InterestVersion,
    /// Last publication taken in; 0: none. The proxy sends again what it has no outcome of, under the same numbers:
    /// what was taken in is answered again and not routed again.
    pub publish_seq: PublishSeq,
    /// The ring of deliveries could not be resumed: deliveries were lost, and sessions with QoS >= 1 must be told.
    pub overrun: bool,
}

/// Why a proxy is not attached. Never a matter of time: trying again does not help until somebody acts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AttachRefusal {
    /// The proxy belongs to another cluster.
    #[error("this storage belongs to cluster {expected}, the proxy to {found}: check the proxy's storage endpoints")]
    ForeignCluster {
        /// UID of the storage's cluster.
        expected: String,
        /// UID that the proxy named.
        found: String,
    },
    /// The versions have nothing in common.
    #[error("storage speaks protocol versions {lowest} to {highest}, the proxy {found}: upgrade one step at a time")]
    UnknownVersion {
        /// Lowest version that storage speaks.
        lowest: u32,
        /// Highest version that storage speaks.
        highest: u32,
        /// Version that the proxy named.
        found: u32,
    },
    /// The frame named an operation that this version does not have.
    #[error("operation {name} is not known to this version of storage")]
    UnknownOperation {
        /// Name or number of the operation.
        name: String,
    },
    /// The incarnation's lease ran out and its state is gone: the process goes on under a new incarnation.
    #[error("the lease of incarnation {incarnation} has run out")]
    IncarnationGone {
        /// The incarnation.
        incarnation: IncarnationId,
    },
}
