//! Deliveries, and what a proxy grants for them.

use std::sync::Arc;

use freshet_storage_contract::{
    Delivery, DeliveryControl, DeliverySeq, FetchedMessage, FilterId, InterestVersion, NumberedDelivery, Position,
    PulledMessage, RequestId, RetainedMessage, Term,
};

use super::{copied, counted, list, required, shard, utf8};
use crate::{WireError, limits::MAX_LIST_ITEMS, proto, proto::delivery::Delivery as Member};

/// Puts deliveries with consecutive numbers into runs, so that a number is written once per run.
pub(crate) fn runs_of(deliveries: Vec<NumberedDelivery>) -> Vec<proto::DeliveryRun> {
    let mut runs: Vec<proto::DeliveryRun> = Vec::new();
    for numbered in deliveries {
        let NumberedDelivery {
            shard,
            term,
            seq,
            delivery,
        } = numbered;
        let shard = Some(u32::from(shard.0));
        match runs.last_mut() {
            Some(run)
                if run.shard == shard
                    && run.term == Some(term.0)
                    && run.first.checked_add(run.deliveries.len() as u64) == Some(seq.0) =>
            {
                run.deliveries.push(delivery.into());
            }
            _ => runs.push(proto::DeliveryRun {
                shard,
                term: Some(term.0),
                first: seq.0,
                deliveries: vec![delivery.into()],
            }),
        }
    }
    runs
}

/// Numbers the deliveries of a frame again.
pub(crate) fn deliveries_of(runs: Vec<proto::DeliveryRun>) -> Result<Vec<NumberedDelivery>, WireError> {
    let field = "DeliveryFrame.runs";
    let items: usize = runs.iter().map(|r| r.deliveries.len()).sum();
    if items > MAX_LIST_ITEMS || runs.len() > MAX_LIST_ITEMS {
        return Err(WireError::TooMany {
            field,
            items: items.max(runs.len()),
        });
    }
    let mut deliveries = Vec::with_capacity(items);
    for run in runs {
        let shard = shard(run.shard, "DeliveryRun.shard")?;
        let term = Term(required(run.term, "DeliveryRun.term")?);
        let field = "DeliveryRun.first";
        let mut next = Some(counted(run.first, field)?);
        for delivery in run.deliveries {
            let seq = next.ok_or(WireError::Invalid {
                field,
                why: "too large to count on from",
            })?;
            deliveries.push(NumberedDelivery {
                shard,
                term,
                seq: DeliverySeq(seq),
                delivery: delivery.try_into()?,
            });
            next = seq.checked_add(1);
        }
    }
    Ok(deliveries)
}

impl From<Delivery> for proto::Delivery {
    fn from(delivery: Delivery) -> Self {
        let member = match delivery {
            Delivery::Message {
                filter_ids,
                message,
                position,
            } => Member::Message(proto::MessageDelivery {
                filter_ids: filter_ids.as_slice().iter().map(|id| id.0).collect(),
                message: Some(Arc::unwrap_or_clone(message).into()),
                position: position.map(|p| p.0),
            }),
            Delivery::Marker { version } => Member::Marker(proto::Marker {
                version: Some(version.0),
            }),
            Delivery::Retained {
                request,
                messages,
                up_to,
                next,
            } => Member::Retained(proto::Retained {
                request: Some(request.0),
                messages: messages
                    .into_iter()
                    .map(|m| proto::RetainedMessage {
                        message: Some(m.message.into()),
                    })
                    .collect(),
                up_to: Some(up_to.0),
                next,
            }),
            Delivery::Overrun { queues_lost } => Member::Overrun(proto::Overrun { queues_lost }),
            Delivery::Started { request, position } => Member::Started(proto::Started {
                request: Some(request.0),
                position: Some(position.0),
            }),
            Delivery::Pulled {
                request,
                messages,
                up_to,
                caught_up,
            } => Member::Pulled(proto::Pulled {
                request: Some(request.0),
                messages: messages.into_iter().map(Into::into).collect(),
                up_to: Some(up_to.0),
                caught_up,
            }),
            Delivery::Fetched {
                request,
                messages,
                answered,
            } => Member::Fetched(proto::Fetched {
                request: Some(request.0),
                messages: messages.into_iter().map(Into::into).collect(),
                answered: Some(answered),
            }),
            Delivery::Shared(shared) => Member::Shared(shared.into()),
        };
        Self { delivery: Some(member) }
    }
}

impl TryFrom<proto::Delivery> for Delivery {
    type Error = WireError;

    fn try_from(delivery: proto::Delivery) -> Result<Self, WireError> {
        let unknown = WireError::UnknownMember {
            of: "delivery",
            number: 0,
        };
        Ok(match delivery.delivery.ok_or(unknown)? {
            Member::Message(delivery) => {
                let field = "MessageDelivery.filter_ids";
                // Bounded by the frame: an id costs at least a byte on the wire and four here.
                if delivery.filter_ids.is_empty() {
                    return Err(WireError::Missing { field });
                }
                if !delivery.filter_ids.is_sorted_by(|a, b| a < b) {
                    return Err(WireError::Invalid {
                        field,
                        why: "not ascending",
                    });
                }
                Self::Message {
                    filter_ids: delivery.filter_ids.into_iter().map(FilterId).collect::<Vec<_>>().into(),
                    message: Arc::new(required(delivery.message, "MessageDelivery.message")?.try_into()?),
                    position: delivery.position.map(Position),
                }
            }
            Member::Marker(marker) => Self::Marker {
                version: InterestVersion(required(marker.version, "Marker.version")?),
            },
            Member::Retained(retained) => {
                if let Some(next) = &retained.next {
                    utf8(next, "Retained.next")?;
                }
                Self::Retained {
                    request: RequestId(required(retained.request, "Retained.request")?),
                    messages: list(retained.messages, "Retained.messages", |m| {
                        let message = required(m.message, "RetainedMessage.message")?.try_into()?;
                        Ok(RetainedMessage { message })
                    })?,
                    up_to: Position(required(retained.up_to, "Retained.up_to")?),
                    next: retained.next.as_ref().map(copied),
                }
            }
            Member::Overrun(proto::Overrun { queues_lost }) => Self::Overrun { queues_lost },
            Member::Started(started) => Self::Started {
                request: RequestId(required(started.request, "Started.request")?),
                position: Position(required(started.position, "Started.position")?),
            },
            Member::Pulled(pulled) => Self::Pulled {
                request: RequestId(required(pulled.request, "Pulled.request")?),
                messages: list(pulled.messages, "Pulled.messages", TryInto::try_into)?,
                up_to: Position(required(pulled.up_to, "Pulled.up_to")?),
                caught_up: pulled.caught_up,
            },
            Member::Fetched(fetched) => Self::Fetched {
                request: RequestId(required(fetched.request, "Fetched.request")?),
                messages: list(fetched.messages, "Fetched.messages", TryInto::try_into)?,
                answered: required(fetched.answered, "Fetched.answered")?,
            },
            Member::Shared(shared) => Self::Shared(shared.try_into()?),
        })
    }
}

impl From<PulledMessage> for proto::PulledMessage {
    fn from(pulled: PulledMessage) -> Self {
        Self {
            position: Some(pulled.position.0),
            filter_ids: pulled.filter_ids.into_iter().map(|id| id.0).collect(),
            message: Some(pulled.message.into()),
        }
    }
}

impl TryFrom<proto::PulledMessage> for PulledMessage {
    type Error = WireError;

    fn try_from(pulled: proto::PulledMessage) -> Result<Self, WireError> {
        let field = "PulledMessage.filter_ids";
        if pulled.filter_ids.is_empty() {
            return Err(WireError::Missing { field });
        }
        Ok(Self {
            position: Position(required(pulled.position, "PulledMessage.position")?),
            filter_ids: list(pulled.filter_ids, field, |id| Ok(FilterId(id)))?,
            message: required(pulled.message, "PulledMessage.message")?.try_into()?,
        })
    }
}

impl From<FetchedMessage> for proto::FetchedMessage {
    fn from(fetched: FetchedMessage) -> Self {
        Self {
            position: Some(fetched.position.0),
            message: Some(fetched.message.into()),
        }
    }
}

impl TryFrom<proto::FetchedMessage> for FetchedMessage {
    type Error = WireError;

    fn try_from(fetched: proto::FetchedMessage) -> Result<Self, WireError> {
        Ok(Self {
            position: Position(required(fetched.position, "FetchedMessage.position")?),
            message: required(fetched.message, "FetchedMessage.message")?.try_into()?,
        })
    }
}

impl From<DeliveryControl> for proto::DeliveryControl {
    fn from(control: DeliveryControl) -> Self {
        use proto::delivery_control::Control;
        let control = match control {
            DeliveryControl::Acknowledge { shard, term, seq } => Control::Acknowledge(proto::Acknowledge {
                shard: Some(shard.0.into()),
                term: Some(term.0),
                seq: Some(seq.0),
            }),
            DeliveryControl::Credit { bytes } => Control::Credit(proto::Credit { bytes: Some(bytes) }),
        };
        Self { control: Some(control) }
    }
}

impl TryFrom<proto::DeliveryControl> for DeliveryControl {
    type Error = WireError;

    fn try_from(control: proto::DeliveryControl) -> Result<Self, WireError> {
        use proto::delivery_control::Control;
        let unknown = WireError::UnknownMember {
            of: "control",
            number: 0,
        };
        Ok(match control.control.ok_or(unknown)? {
            Control::Acknowledge(acknowledge) => Self::Acknowledge {
                shard: shard(acknowledge.shard, "Acknowledge.shard")?,
                term: Term(required(acknowledge.term, "Acknowledge.term")?),
                seq: DeliverySeq(required(acknowledge.seq, "Acknowledge.seq")?),
            },
            Control::Credit(credit) => Self::Credit {
                bytes: required(credit.bytes, "Credit.bytes")?,
            },
        })
    }
}
