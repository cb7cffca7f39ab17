//! Messages, wills and epochs: the parts that several frames share.

use bytes::{BufMut, Bytes, BytesMut};
use freshet_mqtt::{TopicFilter, TopicName};
use freshet_storage_contract::{ExactlyOnce, Message, PublisherId, QoS, SessionEpoch, Term, Will};

use super::{client_id, member, required, session::packet_id, utf8};
use crate::{WireError, proto};

impl From<Message> for proto::Message {
    fn from(message: Message) -> Self {
        Self {
            topic_name: message.topic_name,
            payload: message.payload,
            qos: proto::Qos::from(message.qos).into(),
            retain: message.retain,
            publisher: message.publisher.0,
            message_expiry_interval_s: message.message_expiry_interval_s,
            forwarded_properties: message.forwarded_properties,
            exactly_once: message.exactly_once.map(|of| (*of).into()),
        }
    }
}

impl TryFrom<proto::Message> for Message {
    type Error = WireError;

    fn try_from(message: proto::Message) -> Result<Self, WireError> {
        let field = "Message.topic_name";
        TopicName::parse(utf8(&message.topic_name, field)?).map_err(|_| WireError::Invalid {
            field,
            why: "not a topic name",
        })?;
        let qos = member::<proto::Qos>(message.qos, "Message.qos")?.try_into()?;
        let [topic_name, payload, forwarded_properties] =
            gathered([&message.topic_name, &message.payload, &message.forwarded_properties]);
        Ok(Self {
            topic_name,
            payload,
            qos,
            retain: message.retain,
            publisher: PublisherId(message.publisher),
            message_expiry_interval_s: message.message_expiry_interval_s,
            forwarded_properties,
            exactly_once: message.exactly_once.map(TryInto::try_into).transpose()?.map(Box::new),
        })
    }
}

/// Copies `parts` into one allocation of their own.
fn gathered<const N: usize>(parts: [&Bytes; N]) -> [Bytes; N] {
    let mut buffer = BytesMut::with_capacity(parts.iter().map(|p| p.len()).sum());
    for part in parts {
        buffer.put_slice(part);
    }
    let mut all = buffer.freeze();
    parts.map(|part| all.split_to(part.len()))
}

impl From<ExactlyOnce> for proto::ExactlyOnce {
    fn from(of: ExactlyOnce) -> Self {
        Self {
            client_id: of.client_id,
            generation: Some(of.generation.into()),
            packet_id: of.packet_id.get().into(),
            epoch: of.epoch.map(Into::into),
        }
    }
}

impl TryFrom<proto::ExactlyOnce> for ExactlyOnce {
    type Error = WireError;

    fn try_from(of: proto::ExactlyOnce) -> Result<Self, WireError> {
        Ok(Self {
            client_id: client_id(&of.client_id, "ExactlyOnce.client_id")?,
            generation: epoch(of.generation, "ExactlyOnce.generation")?,
            packet_id: packet_id(of.packet_id, "ExactlyOnce.packet_id")?,
            epoch: of
                .epoch
                .map(|named| epoch(Some(named), "ExactlyOnce.epoch"))
                .transpose()?,
        })
    }
}

impl From<QoS> for proto::Qos {
    fn from(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::AtMostOnce,
            QoS::AtLeastOnce => Self::AtLeastOnce,
            QoS::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl TryFrom<proto::Qos> for QoS {
    type Error = WireError;

    fn try_from(qos: proto::Qos) -> Result<Self, WireError> {
        match qos {
            proto::Qos::Unspecified => Err(WireError::Missing { field: "Message.qos" }),
            proto::Qos::AtMostOnce => Ok(Self::AtMostOnce),
            proto::Qos::AtLeastOnce => Ok(Self::AtLeastOnce),
            proto::Qos::ExactlyOnce => Ok(Self::ExactlyOnce),
        }
    }
}

impl From<Will> for proto::Will {
    fn from(will: Will) -> Self {
        Self {
            message: Some(will.message.into()),
            delay_interval_s: Some(will.delay_interval_s),
        }
    }
}

impl TryFrom<proto::Will> for Will {
    type Error = WireError;

    fn try_from(will: proto::Will) -> Result<Self, WireError> {
        Ok(Self {
            message: required(will.message, "Will.message")?.try_into()?,
            delay_interval_s: required(will.delay_interval_s, "Will.delay_interval_s")?,
        })
    }
}

impl From<SessionEpoch> for proto::SessionEpoch {
    fn from(epoch: SessionEpoch) -> Self {
        Self {
            term: Some(epoch.term.0),
            counter: Some(epoch.counter),
        }
    }
}

pub(super) fn epoch(value: Option<proto::SessionEpoch>, field: &'static str) -> Result<SessionEpoch, WireError> {
    let epoch = required(value, field)?;
    Ok(SessionEpoch {
        term: Term(required(epoch.term, "SessionEpoch.term")?),
        counter: required(epoch.counter, "SessionEpoch.counter")?,
    })
}

/// A topic filter without `$share` prefix, as bytes of its own.
pub(super) fn topic_filter(value: &Bytes, field: &'static str) -> Result<Bytes, WireError> {
    let filter = TopicFilter::parse(utf8(value, field)?).map_err(|_| WireError::Invalid {
        field,
        why: "not a topic filter",
    })?;
    if filter.shared().is_some() {
        return Err(WireError::Invalid {
            field,
            why: "a shared subscription's prefix has no place here",
        });
    }
    Ok(super::copied(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_does_not_hold_on_to_its_frame() {
        let frame = Bytes::from(vec![b'a'; 1 << 20]);
        let message = Message::try_from(proto::Message {
            topic_name: frame.slice(..3),
            payload: frame.slice(3..10),
            qos: proto::Qos::AtMostOnce.into(),
            ..proto::Message::default()
        })
        .unwrap();
        // Nobody else holds the megabyte any more.
        assert!(frame.try_into_mut().is_ok());
        assert_eq!(
            (message.topic_name.as_ref(), message.payload.as_ref()),
            (&b"aaa"[..], &b"aaaaaaa"[..])
        );
    }
}
