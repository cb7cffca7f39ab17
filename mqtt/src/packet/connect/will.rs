//! The will of a CONNECT (MQTT 5.0, 3.1.2.5 and 3.1.3.2 to 3.1.3.4).

use std::fmt;

use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::limits::{DecodeLimits, Peer};
use crate::packet::publish::{Forwarded, MessageProperties, read_message_property};
use crate::properties::{Property, Section, UserProperties, set_once};
use crate::protocol_version::ProtocolVersion;
use crate::qos::QoS;
use crate::reader::Reader;
use crate::sink::{Detail, Sink, Write};
use crate::topic::TopicName;

/// The message that the server publishes for a client that goes without DISCONNECT.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Will<'a> {
    /// The quality of service of the message.
    pub qos: QoS,
    /// Whether the message is retained.
    pub retain: bool,
    /// All absent before 5.0.
    pub properties: WillProperties<'a>,
    /// A valid topic name.
    pub topic_name: &'a str,
    /// The message.
    pub payload: &'a [u8],
}

/// The properties of a will.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WillProperties<'a> {
    /// How long the server waits before it publishes, in seconds; 0 when absent.
    pub will_delay_interval: Option<u32>,
    /// Whether the payload is UTF-8 text. That it is, is for the server to check, if it cares.
    pub payload_format_indicator: Option<bool>,
    /// The lifetime of the message from its publication on, in seconds.
    pub message_expiry_interval: Option<u32>,
    /// A description of the payload.
    pub content_type: Option<&'a str>,
    /// A valid topic name for the answer.
    pub response_topic: Option<&'a str>,
    /// What the answer repeats.
    pub correlation_data: Option<&'a [u8]>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Will<'a> {
    pub(super) fn read(
        reader: &mut Reader<'a>,
        version: ProtocolVersion,
        qos: QoS,
        retain: bool,
        limits: &DecodeLimits,
    ) -> Result<Self, DecodeError> {
        let properties = if version.has_properties() {
            WillProperties::read(reader, limits)?
        } else {
            WillProperties::default()
        };
        let topic_name = TopicName::parse(reader.string()?)
            .map_err(DecodeErrorKind::TopicName)?
            .as_str();
        Ok(Self {
            qos,
            retain,
            properties,
            topic_name,
            payload: reader.binary()?,
        })
    }
}

impl Write for Will<'_> {
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        if peer.version.has_properties() {
            sink.put_section(&self.properties, peer, detail)?;
        }
        sink.put_prefixed(self.topic_name.as_bytes())?;
        sink.put_prefixed(self.payload)
    }
}

/// Leaves the payload out: it has no place in a log.
impl fmt::Debug for Will<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Will")
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("properties", &self.properties)
            .field("topic_name", &self.topic_name)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

impl<'a> WillProperties<'a> {
    fn read(reader: &mut Reader<'a>, limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let mut section = Section::read(reader, limits)?;
        let mut properties = Self::default();
        while let Some(property) = section.next()? {
            match property {
                Property::WillDelayInterval(value) => set_once(&mut properties.will_delay_interval, value, &property)?,
                Property::MessageExpiryInterval(value) => {
                    set_once(&mut properties.message_expiry_interval, value, &property)?;
                }
                _ => read_message_property(
                    &property,
                    &mut MessageProperties {
                        payload_format_indicator: &mut properties.payload_format_indicator,
                        content_type: &mut properties.content_type,
                        response_topic: &mut properties.response_topic,
                        correlation_data: &mut properties.correlation_data,
                    },
                )?,
            }
        }
        properties.user_properties = section.user_properties();
        Ok(properties)
    }

    /// Appends the properties that travel with the message, see
    /// [`PublishProperties::write_forwarded`](crate::PublishProperties::write_forwarded). The will delay interval and
    /// the message expiry interval are left out.
    ///
    /// # Errors
    /// [`EncodeError::FieldTooLong`], which decoded properties never are. `out` is then as it was.
    pub fn write_forwarded(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.forwarded().append(out)
    }

    fn forwarded(&self) -> Forwarded<'a> {
        Forwarded {
            payload_format_indicator: self.payload_format_indicator,
            content_type: self.content_type,
            response_topic: self.response_topic,
            correlation_data: self.correlation_data,
            user_properties: self.user_properties,
        }
    }
}

impl Write for WillProperties<'_> {
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        if let Some(value) = self.will_delay_interval {
            Property::WillDelayInterval(value).write(sink)?;
        }
        if let Some(value) = self.message_expiry_interval {
            Property::MessageExpiryInterval(value).write(sink)?;
        }
        self.forwarded().write(peer, detail, sink)
    }
}
