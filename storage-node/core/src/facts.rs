//! What the core has to tell people: facts worth a log line, and why a link was ended.

use freshet_storage_contract::{AttachRefusal, DeliverySeq, IncarnationId, InterestVersion, PublishSeq, ShardId, Term};
use thiserror::Error;

/// Something that happened and that an operator may want to read. Holds no client id, topic or payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageFact {
    /// A proxy attached.
    ProxyAttached {
        /// The incarnation.
        incarnation: IncarnationId,
        /// Pod name.
        proxy_name: String,
        /// Whether it was known: its streams resume.
        resumed: bool,
    },
    /// A proxy was not attached.
    AttachRefused {
        /// The incarnation.
        incarnation: IncarnationId,
        /// Pod name.
        proxy_name: String,
        /// Why.
        refusal: AttachRefusal,
    },
    /// A lease ran out: the incarnation is gone and its clients' wills wait for their grace.
    IncarnationGone {
        /// The incarnation.
        incarnation: IncarnationId,
        /// Pod name.
        proxy_name: String,
    },
    /// The core ended a link; see [`crate::ProxyOutput::close`].
    LinkEnded {
        /// The incarnation.
        incarnation: IncarnationId,
        /// Pod name.
        proxy_name: String,
        /// Why.
        fault: LinkFault,
    },
    /// The ring towards a proxy is full: QoS >= 1 messages for it are lost until it has caught up.
    RingOverrun {
        /// The incarnation.
        incarnation: IncarnationId,
        /// The shard.
        shard: ShardId,
    },
    /// The proxy has caught up and has been told of the overrun.
    RingRecovered {
        /// The incarnation.
        incarnation: IncarnationId,
        /// The shard.
        shard: ShardId,
        /// QoS >= 1 messages that were lost.
        lost: u64,
    },
    /// The proxy owes acknowledgements and is silent: publishers no longer wait for it. Nothing is lost yet.
    ProxySilent {
        /// The incarnation.
        incarnation: IncarnationId,
        /// The shard.
        shard: ShardId,
    },
    /// Filters of a proxy do not fit into the bound on interest: its subscribers are not confirmed until they do.
    InterestFull {
        /// The incarnation.
        incarnation: IncarnationId,
        /// The shard.
        shard: ShardId,
    },
    /// A proxy named its interest after publications had been routed without it: its clients with QoS >= 1 are told.
    InterestLate {
        /// The incarnation.
        incarnation: IncarnationId,
        /// The shard.
        shard: ShardId,
    },
    /// Publications are routed from now on.
    RecoveryHoldEnded {
        /// The shard.
        shard: ShardId,
        /// Publications that had been held.
        held: usize,
    },
    /// A proxy had seen a higher term than this node's clock gave: every proxy attaches anew.
    TermRaised {
        /// The term from now on.
        term: Term,
    },
}

/// Why the core ends a link. The proxy may attach again; a proxy that keeps to the contract meets only the last three.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LinkFault {
    /// A shard that does not exist was named.
    #[error("there is no shard {0}")]
    UnknownShard(ShardId),
    /// A delta does not follow the one before.
    #[error("interest of shard {shard}: version {found} does not follow {last}")]
    InterestGap {
        /// The shard.
        shard: ShardId,
        /// Last version applied.
        last: InterestVersion,
        /// Version of the delta.
        found: InterestVersion,
    },
    /// A publication does not follow the one before.
    #[error("publications to shard {shard}: number {found} does not follow {last}")]
    PublishGap {
        /// The shard.
        shard: ShardId,
        /// Last number taken in.
        last: PublishSeq,
        /// Number that came.
        found: PublishSeq,
    },
    /// A publication was repeated whose outcome the proxy had confirmed.
    #[error("publications to shard {shard}: number {found} was answered, and the answer confirmed by a renewal")]
    PublishForgotten {
        /// The shard.
        shard: ShardId,
        /// Number that came.
        found: PublishSeq,
    },
    /// A delivery was acknowledged that was not sent.
    #[error("deliveries of shard {shard}: number {found} was acknowledged, the last one sent is {sent}")]
    AcknowledgedUnsent {
        /// The shard.
        shard: ShardId,
        /// Last number sent.
        sent: DeliverySeq,
        /// Number that was acknowledged.
        found: DeliverySeq,
    },
    /// More publications without outcome, retained reads or markers than a shard keeps for a proxy.
    #[error("shard {shard}: more {what} than a proxy may have under way")]
    TooMuchUnderWay {
        /// The shard.
        shard: ShardId,
        /// Of what there is too much.
        what: &'static str,
    },
    /// The lease ran out while the streams were open.
    #[error("the lease has run out")]
    LeaseExpired,
    /// More was published during the recovery hold than is kept.
    #[error("shard {0} holds publications until proxies have named their interest, and can hold no more")]
    HoldFull(ShardId),
    /// The node starts a higher term.
    #[error("storage starts a higher term")]
    TermRaised,
}
