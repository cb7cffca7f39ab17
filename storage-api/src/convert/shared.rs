//! Shared subscriptions: a proxy's part of a group, leased messages, and what became of them.

use std::sync::Arc;

use freshet_storage_contract::{
    FilterId, Lease, RequestId, SettleShared, Settlement, SharedGroup, SharedMessage, SharedStrategy,
};

use super::{copied, counted, list, member, parts::topic_filter, required, session::position, shard, utf8};
use crate::{WireError, proto};

impl From<SharedGroup> for proto::SharedGroup {
    fn from(group: SharedGroup) -> Self {
        Self {
            filter_id: Some(group.filter_id.0),
            share_name: group.share_name,
            topic_filter: group.topic_filter,
            strategy: proto::SharedStrategy::from(group.strategy).into(),
            members: group.members,
            window: group.window,
        }
    }
}

impl TryFrom<proto::SharedGroup> for SharedGroup {
    type Error = WireError;

    fn try_from(group: proto::SharedGroup) -> Result<Self, WireError> {
        let field = "SharedGroup.share_name";
        let name = utf8(&group.share_name, field)?;
        // MQTT-4.8.2-1, -2
        if name.is_empty() || name.contains(['/', '+', '#']) {
            return Err(WireError::Invalid {
                field,
                why: "not a share name",
            });
        }
        if group.members == 0 {
            return Err(WireError::Missing {
                field: "SharedGroup.members",
            });
        }
        Ok(Self {
            filter_id: FilterId(required(group.filter_id, "SharedGroup.filter_id")?),
            share_name: copied(&group.share_name),
            topic_filter: topic_filter(&group.topic_filter, "SharedGroup.topic_filter")?,
            strategy: member::<proto::SharedStrategy>(group.strategy, "SharedGroup.strategy")?.try_into()?,
            members: group.members,
            window: group.window,
        })
    }
}

impl From<SharedStrategy> for proto::SharedStrategy {
    fn from(strategy: SharedStrategy) -> Self {
        match strategy {
            SharedStrategy::RoundRobin => Self::RoundRobin,
            SharedStrategy::LeastInflight => Self::LeastInflight,
        }
    }
}

impl TryFrom<proto::SharedStrategy> for SharedStrategy {
    type Error = WireError;

    fn try_from(strategy: proto::SharedStrategy) -> Result<Self, WireError> {
        match strategy {
            proto::SharedStrategy::Unspecified => Err(WireError::Missing {
                field: "SharedGroup.strategy",
            }),
            proto::SharedStrategy::RoundRobin => Ok(Self::RoundRobin),
            proto::SharedStrategy::LeastInflight => Ok(Self::LeastInflight),
        }
    }
}

impl From<SharedMessage> for proto::SharedMessage {
    fn from(shared: SharedMessage) -> Self {
        Self {
            filter_id: Some(shared.filter_id.0),
            message: Some(Arc::unwrap_or_clone(shared.message).into()),
            lease: shared.lease.map(Into::into),
        }
    }
}

impl TryFrom<proto::SharedMessage> for SharedMessage {
    type Error = WireError;

    fn try_from(shared: proto::SharedMessage) -> Result<Self, WireError> {
        Ok(Self {
            filter_id: FilterId(required(shared.filter_id, "SharedMessage.filter_id")?),
            message: Arc::new(required(shared.message, "SharedMessage.message")?.try_into()?),
            lease: shared.lease.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<Lease> for proto::SharedLease {
    fn from(lease: Lease) -> Self {
        Self {
            position: Some(lease.position.0),
            number: lease.number,
        }
    }
}

impl TryFrom<proto::SharedLease> for Lease {
    type Error = WireError;

    fn try_from(lease: proto::SharedLease) -> Result<Self, WireError> {
        Ok(Self {
            position: position(lease.position, "SharedLease.position")?,
            number: counted(lease.number, "SharedLease.number")?,
        })
    }
}

impl From<SettleShared> for proto::SettleShared {
    fn from(settle: SettleShared) -> Self {
        let settled = |(lease, settlement): (Lease, Settlement)| proto::SettledLease {
            lease: Some(lease.into()),
            settlement: proto::Settlement::from(settlement).into(),
        };
        Self {
            request: Some(settle.request.0),
            shard: Some(settle.shard.0.into()),
            filter_id: Some(settle.filter_id.0),
            settled: settle.settled.into_iter().map(settled).collect(),
        }
    }
}

impl TryFrom<proto::SettleShared> for SettleShared {
    type Error = WireError;

    fn try_from(settle: proto::SettleShared) -> Result<Self, WireError> {
        Ok(Self {
            request: RequestId(required(settle.request, "SettleShared.request")?),
            shard: shard(settle.shard, "SettleShared.shard")?,
            filter_id: FilterId(required(settle.filter_id, "SettleShared.filter_id")?),
            settled: list(settle.settled, "SettleShared.settled", |settled| {
                let lease = required(settled.lease, "SettledLease.lease")?.try_into()?;
                let settlement = member::<proto::Settlement>(settled.settlement, "SettledLease.settlement")?;
                Ok((lease, settlement.try_into()?))
            })?,
        })
    }
}

impl From<Settlement> for proto::Settlement {
    fn from(settlement: Settlement) -> Self {
        match settlement {
            Settlement::Done => Self::Done,
            Settlement::Returned => Self::Returned,
        }
    }
}

impl TryFrom<proto::Settlement> for Settlement {
    type Error = WireError;

    fn try_from(settlement: proto::Settlement) -> Result<Self, WireError> {
        match settlement {
            proto::Settlement::Unspecified => Err(WireError::Missing {
                field: "SettledLease.settlement",
            }),
            proto::Settlement::Done => Ok(Self::Done),
            proto::Settlement::Returned => Ok(Self::Returned),
        }
    }
}
