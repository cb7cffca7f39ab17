//! What storage answers.

use freshet_storage_contract::{Answer, PublishOutcome, PublishSeq, RequestId, SessionRefusal};

use super::{client_id, counted, member, parts::epoch, required, shard};
use crate::{WireError, proto, proto::answer::Answer as Member};

impl From<Answer> for proto::Answer {
    fn from(answer: Answer) -> Self {
        let member = match answer {
            Answer::LeaseRenewed => Member::LeaseRenewed(proto::LeaseRenewed {}),
            Answer::Published { shard, first, outcomes } => Member::Published(proto::Published {
                shard: Some(shard.0.into()),
                first: first.0,
                outcomes: outcomes
                    .into_iter()
                    .map(|o| proto::PublishOutcome::from(o).into())
                    .collect(),
            }),
            Answer::SessionAttached {
                request,
                epoch,
                session_present,
                session,
            } => Member::SessionAttached(proto::SessionAttached {
                request: Some(request.0),
                epoch: Some(epoch.into()),
                session_present,
                session: session.map(|session| (*session).into()),
            }),
            Answer::SessionRefused { request, refusal } => Member::SessionRefused(proto::SessionRefused {
                request: Some(request.0),
                refusal: proto::SessionRefusal::from(refusal).into(),
            }),
            Answer::TakeOver { client_id, epoch } => Member::TakeOver(proto::TakeOver {
                client_id,
                epoch: Some(epoch.into()),
            }),
            Answer::SessionUpdated { request } => Member::SessionUpdated(proto::SessionUpdated {
                request: Some(request.0),
            }),
            Answer::UpdateRefused { request, refusal } => Member::UpdateRefused(proto::UpdateRefused {
                request: Some(request.0),
                refusal: proto::SessionRefusal::from(refusal).into(),
            }),
            Answer::EnsureRefused { request } => Member::EnsureRefused(proto::EnsureRefused {
                request: Some(request.0),
            }),
            Answer::Released { request, found } => Member::Released(proto::Released {
                request: Some(request.0),
                found,
            }),
            Answer::SharedSettled { request } => Member::SharedSettled(proto::SharedSettled {
                request: Some(request.0),
            }),
        };
        Self { answer: Some(member) }
    }
}

impl TryFrom<proto::Answer> for Answer {
    type Error = WireError;

    fn try_from(answer: proto::Answer) -> Result<Self, WireError> {
        let unknown = WireError::UnknownMember {
            of: "answer",
            number: 0,
        };
        Ok(match answer.answer.ok_or(unknown)? {
            Member::LeaseRenewed(proto::LeaseRenewed {}) => Self::LeaseRenewed,
            Member::Published(published) => {
                let field = "Published.first";
                let first = counted(published.first, field)?;
                if first.checked_add(published.outcomes.len() as u64).is_none() {
                    return Err(WireError::Invalid {
                        field,
                        why: "too large to count on from",
                    });
                }
                Self::Published {
                    shard: shard(published.shard, "Published.shard")?,
                    first: PublishSeq(first),
                    // Bounded by the frame: an outcome costs a byte on the wire and one here.
                    outcomes: published.outcomes.into_iter().map(outcome).collect::<Result<_, _>>()?,
                }
            }
            Member::SessionAttached(attached) => Self::SessionAttached {
                request: RequestId(required(attached.request, "SessionAttached.request")?),
                epoch: epoch(attached.epoch, "SessionAttached.epoch")?,
                session_present: attached.session_present,
                session: attached.session.map(TryInto::try_into).transpose()?.map(Box::new),
            },
            Member::SessionRefused(refused) => Self::SessionRefused {
                request: RequestId(required(refused.request, "SessionRefused.request")?),
                refusal: member::<proto::SessionRefusal>(refused.refusal, "SessionRefused.refusal")?.try_into()?,
            },
            Member::TakeOver(take_over) => Self::TakeOver {
                client_id: client_id(&take_over.client_id, "TakeOver.client_id")?,
                epoch: epoch(take_over.epoch, "TakeOver.epoch")?,
            },
            Member::SessionUpdated(updated) => Self::SessionUpdated {
                request: RequestId(required(updated.request, "SessionUpdated.request")?),
            },
            Member::UpdateRefused(refused) => Self::UpdateRefused {
                request: RequestId(required(refused.request, "UpdateRefused.request")?),
                refusal: member::<proto::SessionRefusal>(refused.refusal, "UpdateRefused.refusal")?.try_into()?,
            },
            Member::EnsureRefused(refused) => Self::EnsureRefused {
                request: RequestId(required(refused.request, "EnsureRefused.request")?),
            },
            Member::Released(released) => Self::Released {
                request: RequestId(required(released.request, "Released.request")?),
                found: released.found,
            },
            Member::SharedSettled(settled) => Self::SharedSettled {
                request: RequestId(required(settled.request, "SharedSettled.request")?),
            },
        })
    }
}

impl From<PublishOutcome> for proto::PublishOutcome {
    fn from(outcome: PublishOutcome) -> Self {
        match outcome {
            PublishOutcome::Delivered => Self::Delivered,
            PublishOutcome::NoMatchingSubscribers => Self::NoMatchingSubscribers,
            PublishOutcome::QuotaExceeded => Self::QuotaExceeded,
        }
    }
}

fn outcome(value: i32) -> Result<PublishOutcome, WireError> {
    let field = "Published.outcomes";
    match member::<proto::PublishOutcome>(value, field)? {
        proto::PublishOutcome::Unspecified => Err(WireError::Missing { field }),
        proto::PublishOutcome::Delivered => Ok(PublishOutcome::Delivered),
        proto::PublishOutcome::NoMatchingSubscribers => Ok(PublishOutcome::NoMatchingSubscribers),
        proto::PublishOutcome::QuotaExceeded => Ok(PublishOutcome::QuotaExceeded),
    }
}

impl From<SessionRefusal> for proto::SessionRefusal {
    fn from(refusal: SessionRefusal) -> Self {
        match refusal {
            SessionRefusal::QuotaExceeded => Self::QuotaExceeded,
            SessionRefusal::Superseded => Self::Superseded,
        }
    }
}

impl TryFrom<proto::SessionRefusal> for SessionRefusal {
    type Error = WireError;

    fn try_from(refusal: proto::SessionRefusal) -> Result<Self, WireError> {
        match refusal {
            proto::SessionRefusal::Unspecified => Err(WireError::Missing {
                field: "SessionRefused.refusal",
            }),
            proto::SessionRefusal::QuotaExceeded => Ok(Self::QuotaExceeded),
            proto::SessionRefusal::Superseded => Ok(Self::Superseded),
        }
    }
}
