//! Stored sessions, and what a proxy asks about them.

use bytes::Bytes;
use freshet_mqtt::{ProtocolVersion, SubscriptionOptions, TopicFilter};
use freshet_storage_contract::{
    Cursor, EnsureDurable, Fetch, FilterId, MAX_FETCHED, Message, OutboundExchange, OutboundStage, PacketId, Position,
    Pull, PullFilter, QoS, Release, RequestId, SessionChange, StoredSession, StoredSubscription, SubscriptionStart,
    UpdateSession,
};

use super::{
    client_id, copied, list, member,
    parts::{epoch, topic_filter},
    required, shard, utf8,
};
use crate::{WireError, proto};

/// Largest Subscription Identifier (MQTT 5.0, 3.8.2.1.2).
const MAX_SUBSCRIPTION_IDENTIFIER: u32 = 268_435_455;

pub(super) fn packet_id(value: u32, field: &'static str) -> Result<PacketId, WireError> {
    if value == 0 {
        return Err(WireError::Missing { field });
    }
    let number = u16::try_from(value).ok().and_then(PacketId::new);
    number.ok_or(WireError::Invalid {
        field,
        why: "not a packet identifier",
    })
}

pub(super) fn position(value: Option<u64>, field: &'static str) -> Result<Position, WireError> {
    required(value, field).map(Position)
}

/// QoS of an exchange.
fn exchange_qos(value: i32, field: &'static str) -> Result<QoS, WireError> {
    match member::<proto::Qos>(value, field)?.try_into()? {
        QoS::AtMostOnce => Err(WireError::Invalid {
            field,
            why: "QoS 0 has no exchange",
        }),
        qos => Ok(qos),
    }
}

/// A topic filter as a client named it, as bytes of its own.
fn subscription_filter(value: &Bytes, field: &'static str) -> Result<Bytes, WireError> {
    TopicFilter::parse(utf8(value, field)?).map_err(|_| WireError::Invalid {
        field,
        why: "not a topic filter",
    })?;
    Ok(copied(value))
}

/// The whole filter of a shared subscription, as bytes of its own.
fn group_name(value: &Bytes, field: &'static str) -> Result<Bytes, WireError> {
    let is_shared = TopicFilter::parse(utf8(value, field)?).is_ok_and(|filter| filter.shared().is_some());
    if !is_shared {
        return Err(WireError::Invalid {
            field,
            why: "not a shared subscription",
        });
    }
    Ok(copied(value))
}

fn kept(message: Option<proto::Message>) -> Result<Option<Box<Message>>, WireError> {
    Ok(message.map(Message::try_from).transpose()?.map(Box::new))
}

impl From<StoredSession> for proto::StoredSession {
    fn from(session: StoredSession) -> Self {
        Self {
            generation: Some(session.generation.into()),
            subscriptions: session.subscriptions.into_iter().map(Into::into).collect(),
            cursors: session.cursors.into_iter().map(Into::into).collect(),
            outbound: session.outbound.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::StoredSession> for StoredSession {
    type Error = WireError;

    fn try_from(session: proto::StoredSession) -> Result<Self, WireError> {
        Ok(Self {
            generation: epoch(session.generation, "StoredSession.generation")?,
            subscriptions: list(session.subscriptions, "StoredSession.subscriptions", TryInto::try_into)?,
            cursors: list(session.cursors, "StoredSession.cursors", TryInto::try_into)?,
            outbound: list(session.outbound, "StoredSession.outbound", TryInto::try_into)?,
        })
    }
}

impl From<StoredSubscription> for proto::StoredSubscription {
    fn from(subscription: StoredSubscription) -> Self {
        let start = |start: SubscriptionStart| proto::SubscriptionStart {
            shard: Some(start.shard.0.into()),
            position: Some(start.position.0),
        };
        Self {
            topic_filter: subscription.topic_filter,
            options: subscription.options.byte(ProtocolVersion::V5).into(),
            subscription_identifier: subscription.subscription_identifier.unwrap_or(0),
            starts: subscription.starts.into_iter().map(start).collect(),
        }
    }
}

impl TryFrom<proto::StoredSubscription> for StoredSubscription {
    type Error = WireError;

    fn try_from(subscription: proto::StoredSubscription) -> Result<Self, WireError> {
        let field = "StoredSubscription.options";
        let options = u8::try_from(subscription.options)
            .ok()
            .and_then(|byte| SubscriptionOptions::from_byte(ProtocolVersion::V5, byte).ok())
            .ok_or(WireError::Invalid {
                field,
                why: "not subscription options",
            })?;
        let identifier = subscription.subscription_identifier;
        if identifier > MAX_SUBSCRIPTION_IDENTIFIER {
            return Err(WireError::Invalid {
                field: "StoredSubscription.subscription_identifier",
                why: "above 268,435,455",
            });
        }
        Ok(Self {
            topic_filter: subscription_filter(&subscription.topic_filter, "StoredSubscription.topic_filter")?,
            options,
            subscription_identifier: (identifier > 0).then_some(identifier),
            starts: list(subscription.starts, "StoredSubscription.starts", |start| {
                Ok(SubscriptionStart {
                    shard: shard(start.shard, "SubscriptionStart.shard")?,
                    position: position(start.position, "SubscriptionStart.position")?,
                })
            })?,
        })
    }
}

impl From<Cursor> for proto::Cursor {
    fn from(cursor: Cursor) -> Self {
        Self {
            shard: Some(cursor.shard.0.into()),
            acknowledged: Some(cursor.acknowledged.0),
            beyond: cursor.beyond.into_iter().map(|p| p.0).collect(),
        }
    }
}

impl TryFrom<proto::Cursor> for Cursor {
    type Error = WireError;

    fn try_from(cursor: proto::Cursor) -> Result<Self, WireError> {
        let field = "Cursor.beyond";
        if !cursor.beyond.is_sorted_by(|a, b| a < b) {
            return Err(WireError::Invalid {
                field,
                why: "not ascending",
            });
        }
        Ok(Self {
            shard: shard(cursor.shard, "Cursor.shard")?,
            acknowledged: position(cursor.acknowledged, "Cursor.acknowledged")?,
            beyond: list(cursor.beyond, field, |p| Ok(Position(p)))?,
        })
    }
}

impl From<OutboundExchange> for proto::OutboundExchange {
    fn from(exchange: OutboundExchange) -> Self {
        let stage = match exchange.stage {
            OutboundStage::Sent => proto::OutboundStage::Sent,
            OutboundStage::Received => proto::OutboundStage::Received,
        };
        Self {
            packet_id: exchange.packet_id.get().into(),
            shard: Some(exchange.shard.0.into()),
            position: Some(exchange.position.0),
            qos: proto::Qos::from(exchange.qos).into(),
            stage: stage.into(),
            shared: exchange.shared,
            message: exchange.message.map(|message| (*message).into()),
        }
    }
}

impl TryFrom<proto::OutboundExchange> for OutboundExchange {
    type Error = WireError;

    fn try_from(exchange: proto::OutboundExchange) -> Result<Self, WireError> {
        let field = "OutboundExchange.stage";
        Ok(Self {
            packet_id: packet_id(exchange.packet_id, "OutboundExchange.packet_id")?,
            shard: shard(exchange.shard, "OutboundExchange.shard")?,
            position: position(exchange.position, "OutboundExchange.position")?,
            qos: exchange_qos(exchange.qos, "OutboundExchange.qos")?,
            stage: match member::<proto::OutboundStage>(exchange.stage, field)? {
                proto::OutboundStage::Unspecified => return Err(WireError::Missing { field }),
                proto::OutboundStage::Sent => OutboundStage::Sent,
                proto::OutboundStage::Received => OutboundStage::Received,
            },
            shared: exchange
                .shared
                .map(|name| group_name(&name, "OutboundExchange.shared"))
                .transpose()?,
            message: kept(exchange.message)?,
        })
    }
}

impl From<UpdateSession> for proto::UpdateSession {
    fn from(update: UpdateSession) -> Self {
        Self {
            request: update.request.map(|r| r.0),
            client_id: update.client_id,
            epoch: Some(update.epoch.into()),
            changes: update.changes.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::UpdateSession> for UpdateSession {
    type Error = WireError;

    fn try_from(update: proto::UpdateSession) -> Result<Self, WireError> {
        Ok(Self {
            request: update.request.map(RequestId),
            client_id: client_id(&update.client_id, "UpdateSession.client_id")?,
            epoch: epoch(update.epoch, "UpdateSession.epoch")?,
            changes: list(update.changes, "UpdateSession.changes", TryInto::try_into)?,
        })
    }
}

impl From<SessionChange> for proto::SessionChange {
    fn from(change: SessionChange) -> Self {
        use proto::session_change::Change;
        let change = match change {
            SessionChange::Subscribe(subscription) => Change::Subscribe(subscription.into()),
            SessionChange::Unsubscribe { topic_filter } => Change::Unsubscribe(proto::Unsubscribe { topic_filter }),
            SessionChange::Advance(cursor) => Change::Advance(cursor.into()),
            SessionChange::Sending {
                packet_id,
                shard,
                position,
                qos,
                shared,
                message,
            } => Change::Sending(proto::Sending {
                packet_id: packet_id.get().into(),
                shard: Some(shard.0.into()),
                position: Some(position.0),
                qos: proto::Qos::from(qos).into(),
                shared,
                message: message.map(|message| (*message).into()),
            }),
            SessionChange::Received { packet_id } => Change::Received(proto::Received {
                packet_id: packet_id.get().into(),
            }),
            SessionChange::Completed { packet_id } => Change::Completed(proto::Completed {
                packet_id: packet_id.get().into(),
            }),
        };
        Self { change: Some(change) }
    }
}

impl TryFrom<proto::SessionChange> for SessionChange {
    type Error = WireError;

    fn try_from(change: proto::SessionChange) -> Result<Self, WireError> {
        use proto::session_change::Change;
        let unknown = WireError::UnknownMember {
            of: "session change",
            number: 0,
        };
        Ok(match change.change.ok_or(unknown)? {
            Change::Subscribe(subscription) => Self::Subscribe(subscription.try_into()?),
            Change::Unsubscribe(unsubscribe) => Self::Unsubscribe {
                topic_filter: subscription_filter(&unsubscribe.topic_filter, "Unsubscribe.topic_filter")?,
            },
            Change::Advance(cursor) => Self::Advance(cursor.try_into()?),
            Change::Sending(sending) => Self::Sending {
                packet_id: packet_id(sending.packet_id, "Sending.packet_id")?,
                shard: shard(sending.shard, "Sending.shard")?,
                position: position(sending.position, "Sending.position")?,
                qos: exchange_qos(sending.qos, "Sending.qos")?,
                shared: sending
                    .shared
                    .map(|name| group_name(&name, "Sending.shared"))
                    .transpose()?,
                message: kept(sending.message)?,
            },
            Change::Received(received) => Self::Received {
                packet_id: packet_id(received.packet_id, "Received.packet_id")?,
            },
            Change::Completed(completed) => Self::Completed {
                packet_id: packet_id(completed.packet_id, "Completed.packet_id")?,
            },
        })
    }
}

impl From<EnsureDurable> for proto::EnsureDurable {
    fn from(ensure: EnsureDurable) -> Self {
        Self {
            request: Some(ensure.request.0),
            shard: Some(ensure.shard.0.into()),
            session_shard: Some(ensure.session_shard.0.into()),
            topic_filter: ensure.topic_filter,
        }
    }
}

impl TryFrom<proto::EnsureDurable> for EnsureDurable {
    type Error = WireError;

    fn try_from(ensure: proto::EnsureDurable) -> Result<Self, WireError> {
        Ok(Self {
            request: RequestId(required(ensure.request, "EnsureDurable.request")?),
            shard: shard(ensure.shard, "EnsureDurable.shard")?,
            session_shard: shard(ensure.session_shard, "EnsureDurable.session_shard")?,
            topic_filter: subscription_filter(&ensure.topic_filter, "EnsureDurable.topic_filter")?,
        })
    }
}

impl From<Pull> for proto::Pull {
    fn from(pull: Pull) -> Self {
        let filter = |filter: PullFilter| proto::PullFilter {
            filter_id: Some(filter.filter_id.0),
            topic_filter: filter.topic_filter,
            start: Some(filter.start.0),
        };
        Self {
            request: Some(pull.request.0),
            shard: Some(pull.shard.0.into()),
            session_shard: Some(pull.session_shard.0.into()),
            after: Some(pull.after.0),
            filters: pull.filters.into_iter().map(filter).collect(),
            max_messages: pull.max_messages,
            max_bytes: Some(pull.max_bytes),
        }
    }
}

impl TryFrom<proto::Pull> for Pull {
    type Error = WireError;

    fn try_from(pull: proto::Pull) -> Result<Self, WireError> {
        if pull.max_messages == 0 {
            return Err(WireError::Missing {
                field: "Pull.max_messages",
            });
        }
        Ok(Self {
            request: RequestId(required(pull.request, "Pull.request")?),
            shard: shard(pull.shard, "Pull.shard")?,
            session_shard: shard(pull.session_shard, "Pull.session_shard")?,
            after: position(pull.after, "Pull.after")?,
            filters: list(pull.filters, "Pull.filters", |filter| {
                Ok(PullFilter {
                    filter_id: FilterId(required(filter.filter_id, "PullFilter.filter_id")?),
                    topic_filter: topic_filter(&filter.topic_filter, "PullFilter.topic_filter")?,
                    start: position(filter.start, "PullFilter.start")?,
                })
            })?,
            max_messages: pull.max_messages,
            max_bytes: required(pull.max_bytes, "Pull.max_bytes")?,
        })
    }
}

impl From<Fetch> for proto::Fetch {
    fn from(fetch: Fetch) -> Self {
        Self {
            request: Some(fetch.request.0),
            shard: Some(fetch.shard.0.into()),
            positions: fetch.positions.into_iter().map(|p| p.0).collect(),
        }
    }
}

impl TryFrom<proto::Fetch> for Fetch {
    type Error = WireError;

    fn try_from(fetch: proto::Fetch) -> Result<Self, WireError> {
        let field = "Fetch.positions";
        if fetch.positions.len() > MAX_FETCHED {
            return Err(WireError::TooMany {
                field,
                items: fetch.positions.len(),
            });
        }
        Ok(Self {
            request: RequestId(required(fetch.request, "Fetch.request")?),
            shard: shard(fetch.shard, "Fetch.shard")?,
            positions: list(fetch.positions, field, |p| Ok(Position(p)))?,
        })
    }
}

impl From<Release> for proto::Release {
    fn from(release: Release) -> Self {
        Self {
            request: Some(release.request.0),
            shard: Some(release.shard.0.into()),
            of: Some(release.of.into()),
        }
    }
}

impl TryFrom<proto::Release> for Release {
    type Error = WireError;

    fn try_from(release: proto::Release) -> Result<Self, WireError> {
        Ok(Self {
            request: RequestId(required(release.request, "Release.request")?),
            shard: shard(release.shard, "Release.shard")?,
            of: required(release.of, "Release.of")?.try_into()?,
        })
    }
}
