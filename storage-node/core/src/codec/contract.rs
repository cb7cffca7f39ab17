//! Bytes of the types that proxies and storage share.

use std::num::NonZeroU16;

use freshet_config::QueueLimits;
use freshet_storage_contract::{
    Cursor, ExactlyOnce, IncarnationId, Message, OutboundExchange, OutboundStage, Position, PublisherId, QoS,
    RetainHandling, SessionChange, SessionEpoch, ShardId, StoredSession, StoredSubscription, SubscriptionOptions,
    SubscriptionStart, Term,
};

use super::{Code, DecodeError, Reader, code_fields, code_kinds, code_newtype};

code_newtype!(ShardId, Term, Position, PublisherId);

impl Code for IncarnationId {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        let mut bits = 0;
        for _ in 0..16 {
            bits = bits << 8 | u128::from(from.byte()?);
        }
        Ok(Self(bits))
    }
}

impl Code for NonZeroU16 {
    fn write(&self, out: &mut Vec<u8>) {
        self.get().write(out);
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        Self::new(u16::read(from)?).ok_or(DecodeError::Number)
    }
}

impl Code for QoS {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.bits());
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        let found = from.byte()?;
        Self::from_bits(found).ok_or(DecodeError::Kind { of: "QoS", found })
    }
}

code_kinds!(RetainHandling, "Retain Handling" { 0 => Send, 1 => SendIfNew, 2 => DoNotSend });
code_kinds!(OutboundStage, "stage of an exchange" { 0 => Sent, 1 => Received });

code_fields! {
    SessionEpoch { term, counter }
    SubscriptionOptions { qos, no_local, retain_as_published, retain_handling }
    SubscriptionStart { shard, position }
    StoredSubscription { topic_filter, options, subscription_identifier, starts }
    Cursor { shard, acknowledged, beyond }
    OutboundExchange { packet_id, shard, position, qos, stage, shared, message }
    StoredSession { generation, subscriptions, cursors, outbound }
    ExactlyOnce { client_id, generation, packet_id, epoch }
    QueueLimits { messages, bytes, age_ms }
    Message {
        topic_name,
        payload,
        qos,
        retain,
        publisher,
        message_expiry_interval_s,
        forwarded_properties,
        exactly_once,
    }
}

impl Code for SessionChange {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Subscribe(subscription) => {
                out.push(0);
                subscription.write(out);
            }
            Self::Unsubscribe { topic_filter } => {
                out.push(1);
                topic_filter.write(out);
            }
            Self::Advance(cursor) => {
                out.push(2);
                cursor.write(out);
            }
            Self::Sending {
                packet_id,
                shard,
                position,
                qos,
                shared,
                message,
            } => {
                out.push(3);
                packet_id.write(out);
                shard.write(out);
                position.write(out);
                qos.write(out);
                shared.write(out);
                message.write(out);
            }
            Self::Received { packet_id } => {
                out.push(4);
                packet_id.write(out);
            }
            Self::Completed { packet_id } => {
                out.push(5);
                packet_id.write(out);
            }
        }
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match from.byte()? {
            0 => Self::Subscribe(Code::read(from)?),
            1 => Self::Unsubscribe {
                topic_filter: Code::read(from)?,
            },
            2 => Self::Advance(Code::read(from)?),
            3 => Self::Sending {
                packet_id: Code::read(from)?,
                shard: Code::read(from)?,
                position: Code::read(from)?,
                qos: Code::read(from)?,
                shared: Code::read(from)?,
                message: Code::read(from)?,
            },
            4 => Self::Received {
                packet_id: Code::read(from)?,
            },
            5 => Self::Completed {
                packet_id: Code::read(from)?,
            },
            found => {
                return Err(DecodeError::Kind {
                    of: "change of a session",
                    found,
                });
            }
        })
    }
}
