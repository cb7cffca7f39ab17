//! What a proxy asks.

use std::sync::Arc;

use freshet_storage_contract::{
    AttachSession, DetachReason, FilterId, InterestChange, InterestDelta, InterestVersion, LastingNumbers, Operation,
    Position, PublishBatch, PublishSeq, ReadRetained, RegisteredSession, RequestId,
};

use super::{
    client_id, copied, counted, incarnation, incarnation_bytes, list, member,
    parts::{epoch, topic_filter},
    required, shard, utf8,
};
use crate::{WireError, proto, proto::operation::Operation as Member};

impl From<Operation> for proto::Operation {
    fn from(operation: Operation) -> Self {
        let member = match operation {
            Operation::RenewLease => Member::RenewLease(proto::RenewLease {}),
            Operation::Interest(delta) => Member::Interest(delta.into()),
            Operation::Publish(batch) => Member::Publish(batch.into()),
            Operation::AttachSession(attach) => Member::AttachSession(attach.into()),
            Operation::RegisterSessions { shard, sessions } => Member::RegisterSessions(proto::RegisterSessions {
                shard: Some(shard.0.into()),
                sessions: sessions.into_iter().map(Into::into).collect(),
            }),
            Operation::DetachSession {
                client_id,
                epoch,
                reason,
                session_expiry_interval_s,
            } => Member::DetachSession(proto::DetachSession {
                client_id,
                epoch: Some(epoch.into()),
                reason: proto::DetachReason::from(reason).into(),
                session_expiry_interval_s,
            }),
            Operation::ReadRetained(read) => Member::ReadRetained(read.into()),
            Operation::UpdateSession(update) => Member::UpdateSession(update.into()),
            Operation::EnsureDurable(ensure) => Member::EnsureDurable(ensure.into()),
            Operation::Release(release) => Member::Release(release.into()),
            Operation::Pull(pull) => Member::Pull(pull.into()),
            Operation::Fetch(fetch) => Member::Fetch(fetch.into()),
            Operation::SettleShared(settle) => Member::SettleShared(settle.into()),
            Operation::Report(report) => Member::Report(report.into()),
        };
        Self {
            operation: Some(member),
        }
    }
}

impl TryFrom<proto::Operation> for Operation {
    type Error = WireError;

    fn try_from(operation: proto::Operation) -> Result<Self, WireError> {
        let unknown = WireError::UnknownMember {
            of: "operation",
            number: 0,
        };
        Ok(match operation.operation.ok_or(unknown)? {
            Member::RenewLease(proto::RenewLease {}) => Self::RenewLease,
            Member::Interest(delta) => Self::Interest(delta.try_into()?),
            Member::Publish(batch) => Self::Publish(batch.try_into()?),
            Member::AttachSession(attach) => Self::AttachSession(attach.try_into()?),
            Member::RegisterSessions(register) => Self::RegisterSessions {
                shard: shard(register.shard, "RegisterSessions.shard")?,
                sessions: list(register.sessions, "RegisterSessions.sessions", TryInto::try_into)?,
            },
            Member::DetachSession(detach) => Self::DetachSession {
                client_id: client_id(&detach.client_id, "DetachSession.client_id")?,
                epoch: epoch(detach.epoch, "DetachSession.epoch")?,
                reason: member::<proto::DetachReason>(detach.reason, "DetachSession.reason")?.try_into()?,
                session_expiry_interval_s: detach.session_expiry_interval_s,
            },
            Member::ReadRetained(read) => Self::ReadRetained(read.try_into()?),
            Member::UpdateSession(update) => Self::UpdateSession(update.try_into()?),
            Member::EnsureDurable(ensure) => Self::EnsureDurable(ensure.try_into()?),
            Member::Release(release) => Self::Release(release.try_into()?),
            Member::Pull(pull) => Self::Pull(pull.try_into()?),
            Member::Fetch(fetch) => Self::Fetch(fetch.try_into()?),
            Member::SettleShared(settle) => Self::SettleShared(settle.try_into()?),
            Member::Report(report) => Self::Report(report.into()),
        })
    }
}

impl From<InterestDelta> for proto::InterestDelta {
    fn from(delta: InterestDelta) -> Self {
        Self {
            shard: Some(delta.shard.0.into()),
            version: delta.version.0,
            complete: delta.complete,
            changes: delta.changes.into_iter().map(Into::into).collect(),
            continues: false,
        }
    }
}

impl TryFrom<proto::InterestDelta> for InterestDelta {
    type Error = WireError;

    fn try_from(delta: proto::InterestDelta) -> Result<Self, WireError> {
        Ok(Self {
            shard: shard(delta.shard, "InterestDelta.shard")?,
            version: InterestVersion(counted(delta.version, "InterestDelta.version")?),
            complete: delta.complete,
            changes: list(delta.changes, "InterestDelta.changes", TryInto::try_into)?,
        })
    }
}

impl From<InterestChange> for proto::InterestChange {
    fn from(change: InterestChange) -> Self {
        use proto::interest_change::Change;
        let change = match change {
            InterestChange::Add {
                filter_id,
                topic_filter,
            } => Change::Add(proto::AddInterest {
                filter_id: Some(filter_id.0),
                topic_filter,
            }),
            InterestChange::SetGroup(group) => Change::SetGroup(group.into()),
            InterestChange::Remove { filter_id } => Change::Remove(proto::RemoveInterest {
                filter_id: Some(filter_id.0),
            }),
        };
        Self { change: Some(change) }
    }
}

impl TryFrom<proto::InterestChange> for InterestChange {
    type Error = WireError;

    fn try_from(change: proto::InterestChange) -> Result<Self, WireError> {
        use proto::interest_change::Change;
        let unknown = WireError::UnknownMember {
            of: "interest change",
            number: 0,
        };
        Ok(match change.change.ok_or(unknown)? {
            Change::Add(add) => Self::Add {
                filter_id: FilterId(required(add.filter_id, "AddInterest.filter_id")?),
                topic_filter: topic_filter(&add.topic_filter, "AddInterest.topic_filter")?,
            },
            Change::SetGroup(group) => Self::SetGroup(group.try_into()?),
            Change::Remove(remove) => Self::Remove {
                filter_id: FilterId(required(remove.filter_id, "RemoveInterest.filter_id")?),
            },
        })
    }
}

impl From<PublishBatch> for proto::PublishBatch {
    fn from(batch: PublishBatch) -> Self {
        Self {
            shard: Some(batch.shard.0.into()),
            first: batch.first.0,
            messages: batch
                .messages
                .into_iter()
                .map(|m| Arc::unwrap_or_clone(m).into())
                .collect(),
            lasting: batch.lasting.map(Into::into),
        }
    }
}

impl TryFrom<proto::PublishBatch> for PublishBatch {
    type Error = WireError;

    fn try_from(batch: proto::PublishBatch) -> Result<Self, WireError> {
        let field = "PublishBatch.first";
        let first = counted(batch.first, field)?;
        let messages = list(batch.messages, "PublishBatch.messages", |m| m.try_into().map(Arc::new))?;
        // So that nobody has to wonder about it when the messages are counted.
        if first.checked_add(messages.len() as u64).is_none() {
            return Err(WireError::Invalid {
                field,
                why: "too large to count on from",
            });
        }
        Ok(Self {
            shard: shard(batch.shard, "PublishBatch.shard")?,
            first: PublishSeq(first),
            lasting: batch.lasting.map(TryInto::try_into).transpose()?,
            messages,
        })
    }
}

impl From<LastingNumbers> for proto::LastingNumbers {
    fn from(lasting: LastingNumbers) -> Self {
        Self {
            origin: incarnation_bytes(lasting.origin),
            first: lasting.first,
            oldest: lasting.oldest,
        }
    }
}

impl TryFrom<proto::LastingNumbers> for LastingNumbers {
    type Error = WireError;

    fn try_from(lasting: proto::LastingNumbers) -> Result<Self, WireError> {
        let first = counted(lasting.first, "LastingNumbers.first")?;
        let oldest = counted(lasting.oldest, "LastingNumbers.oldest")?;
        if oldest > first {
            return Err(WireError::Invalid {
                field: "LastingNumbers.oldest",
                why: "above the first number",
            });
        }
        Ok(Self {
            origin: incarnation(&lasting.origin, "LastingNumbers.origin")?,
            first,
            oldest,
        })
    }
}

impl From<AttachSession> for proto::AttachSession {
    fn from(attach: AttachSession) -> Self {
        Self {
            request: Some(attach.request.0),
            client_id: attach.client_id,
            clean_start: attach.clean_start,
            session_expiry_interval_s: Some(attach.session_expiry_interval_s),
            will: attach.will.map(|will| (*will).into()),
        }
    }
}

impl TryFrom<proto::AttachSession> for AttachSession {
    type Error = WireError;

    fn try_from(attach: proto::AttachSession) -> Result<Self, WireError> {
        Ok(Self {
            request: RequestId(required(attach.request, "AttachSession.request")?),
            client_id: client_id(&attach.client_id, "AttachSession.client_id")?,
            clean_start: attach.clean_start,
            session_expiry_interval_s: required(
                attach.session_expiry_interval_s,
                "AttachSession.session_expiry_interval_s",
            )?,
            will: attach.will.map(|will| will.try_into().map(Box::new)).transpose()?,
        })
    }
}

impl From<RegisteredSession> for proto::RegisteredSession {
    fn from(session: RegisteredSession) -> Self {
        Self {
            client_id: session.client_id,
            epoch: Some(session.epoch.into()),
            will: session.will.map(Into::into),
            session_expiry_interval_s: session.session_expiry_interval_s,
            session: session.session.map(|session| (*session).into()),
        }
    }
}

impl TryFrom<proto::RegisteredSession> for RegisteredSession {
    type Error = WireError;

    fn try_from(session: proto::RegisteredSession) -> Result<Self, WireError> {
        Ok(Self {
            client_id: client_id(&session.client_id, "RegisteredSession.client_id")?,
            epoch: epoch(session.epoch, "RegisteredSession.epoch")?,
            will: session.will.map(TryInto::try_into).transpose()?,
            session_expiry_interval_s: session.session_expiry_interval_s,
            session: session.session.map(TryInto::try_into).transpose()?.map(Box::new),
        })
    }
}

impl From<DetachReason> for proto::DetachReason {
    fn from(reason: DetachReason) -> Self {
        match reason {
            DetachReason::ByClient => Self::ByClient,
            DetachReason::WillDue => Self::WillDue,
            DetachReason::Moved => Self::Moved,
            DetachReason::TakenOver => Self::TakenOver,
        }
    }
}

impl TryFrom<proto::DetachReason> for DetachReason {
    type Error = WireError;

    fn try_from(reason: proto::DetachReason) -> Result<Self, WireError> {
        match reason {
            proto::DetachReason::Unspecified => Err(WireError::Missing {
                field: "DetachSession.reason",
            }),
            proto::DetachReason::ByClient => Ok(Self::ByClient),
            proto::DetachReason::WillDue => Ok(Self::WillDue),
            proto::DetachReason::Moved => Ok(Self::Moved),
            proto::DetachReason::TakenOver => Ok(Self::TakenOver),
        }
    }
}

impl From<ReadRetained> for proto::ReadRetained {
    fn from(read: ReadRetained) -> Self {
        Self {
            request: Some(read.request.0),
            shard: Some(read.shard.0.into()),
            topic_filter: read.topic_filter,
            after: read.after,
            up_to: read.up_to.map(|p| p.0),
            max_bytes: Some(read.max_bytes),
        }
    }
}

impl TryFrom<proto::ReadRetained> for ReadRetained {
    type Error = WireError;

    fn try_from(read: proto::ReadRetained) -> Result<Self, WireError> {
        if let Some(after) = &read.after {
            utf8(after, "ReadRetained.after")?;
        }
        Ok(Self {
            request: RequestId(required(read.request, "ReadRetained.request")?),
            shard: shard(read.shard, "ReadRetained.shard")?,
            topic_filter: topic_filter(&read.topic_filter, "ReadRetained.topic_filter")?,
            after: read.after.as_ref().map(copied),
            up_to: read.up_to.map(Position),
            max_bytes: required(read.max_bytes, "ReadRetained.max_bytes")?,
        })
    }
}
