//! PUBLISH (MQTT 5.0, 3.3).
//!
//! Decodes in both directions and encodes for clients. Servers, which send one message to many clients, encode with
//! [`publish_head`](super::publish_head).

use std::fmt;
use std::num::NonZeroU16;

use super::PacketId;
use super::publish_head::{HeadFields, append_head};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::limits::{DecodeLimits, Peer};
use crate::properties::{Property, Section, SubscriptionIdentifiers, UserProperties, boolean, not_allowed, set_once};
use crate::protocol_version::ProtocolVersion;
use crate::qos::QoS;
use crate::reader::Reader;
use crate::reason_code::Sender;
use crate::sink::{Detail, Sink, Write};
use crate::topic::{TopicError, TopicName};

/// PUBLISH.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether this may be a repetition. It says nothing about what the receiver has seen.
    pub dup: bool,
    /// The quality of service.
    pub qos: QoS,
    /// To a server: keep the message. To a client: the message was kept.
    pub retain: bool,
    /// A valid topic name, or empty when a topic alias stands for it (5.0 only).
    pub topic_name: &'a str,
    /// There for QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// All absent before 5.0.
    pub properties: PublishProperties<'a>,
    /// The message.
    pub payload: &'a [u8],
}

/// The properties of a PUBLISH.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishProperties<'a> {
    /// Whether the payload is UTF-8 text. That it is, is for the receiver to check, if it cares.
    pub payload_format_indicator: Option<bool>,
    /// The lifetime of the message, in seconds.
    pub message_expiry_interval: Option<u32>,
    /// Stands for the topic name, or is about to. Whether it is in range and known is for the caller to check.
    pub topic_alias: Option<NonZeroU16>,
    /// A valid topic name for the answer.
    pub response_topic: Option<&'a str>,
    /// What the answer repeats.
    pub correlation_data: Option<&'a [u8]>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// The subscriptions that the message is sent for; only servers set them.
    pub subscription_identifiers: SubscriptionIdentifiers<'a>,
    /// A description of the payload.
    pub content_type: Option<&'a str>,
}

impl<'a> Publish<'a> {
    /// Decodes the body of a PUBLISH that `sender` sent; `flags` are those of the fixed header.
    ///
    /// # Errors
    /// Whatever [`DecodeErrorKind`] lists.
    #[inline]
    pub fn decode(
        version: ProtocolVersion,
        sender: Sender,
        flags: u8,
        body: &'a [u8],
        limits: &DecodeLimits,
    ) -> Result<Self, DecodeError> {
        let qos = QoS::from_bits((flags >> 1) & 0b11).ok_or(DecodeErrorKind::PublishQos3)?;
        let mut reader = Reader::new(body);
        let topic_name = str::from_utf8(reader.binary()?).map_err(|_| DecodeErrorKind::InvalidUtf8)?;
        match TopicName::parse(topic_name) {
            Ok(_) => {}
            // Since 5.0 an alias can stand for the name.
            Err(TopicError::Empty) if version.has_properties() => {}
            Err(error) => return Err(DecodeErrorKind::TopicName(error).into()),
        }
        let packet_id = if qos.is_acknowledged() {
            Some(reader.packet_id()?)
        } else {
            None
        };
        let properties = if version.has_properties() {
            PublishProperties::read(Section::read(&mut reader, limits)?, sender)?
        } else {
            PublishProperties::default()
        };
        if topic_name.is_empty() && properties.topic_alias.is_none() {
            return Err(DecodeErrorKind::TopicNameMissing.into());
        }
        Ok(Self {
            dup: flags & 0b1000 != 0,
            qos,
            retain: flags & 0b0001 != 0,
            topic_name,
            packet_id,
            properties,
            payload: reader.rest(),
        })
    }

    /// Appends the packet to `out` and returns its size in bytes.
    ///
    /// # Errors
    /// [`EncodeError`]; `out` is then as it was.
    pub fn encode(&self, peer: &Peer, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        if self.qos.is_acknowledged() != self.packet_id.is_some() {
            return Err(EncodeError::PacketIdMismatch);
        }
        let fields = HeadFields {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic_name: self.topic_name.as_bytes(),
            packet_id: self.packet_id,
            topic_alias: self.properties.topic_alias,
            subscription_identifiers: self.properties.subscription_identifiers,
            message_expiry_interval: self.properties.message_expiry_interval,
            forwarded: &self.properties.forwarded(),
        };
        let layout = append_head(out, peer, &fields, self.payload.len())?;
        out.extend_from_slice(self.payload);
        Ok(layout.packet_bytes)
    }

    /// Whether the payload is what the payload format indicator says. Receivers MAY check it and refuse the message
    /// with 0x99 (MQTT 5.0, 3.3.2.3.2).
    #[must_use]
    pub fn payload_has_its_format(&self) -> bool {
        self.properties.payload_format_indicator != Some(true) || str::from_utf8(self.payload).is_ok()
    }
}

/// Leaves the payload out: it has no place in a log.
impl fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("dup", &self.dup)
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("topic_name", &self.topic_name)
            .field("packet_id", &self.packet_id)
            .field("properties", &self.properties)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

impl<'a> PublishProperties<'a> {
    /// Reads the properties that travel with a message, as [`write_forwarded`](Self::write_forwarded) wrote them.
    ///
    /// # Errors
    /// Whatever [`DecodeErrorKind`] lists about properties of a PUBLISH.
    pub fn from_forwarded(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(Section::unbounded(bytes), Sender::Server)
    }

    /// Appends the properties that servers forward unaltered: payload format indicator, content type, response
    /// topic, correlation data, and user properties in their order (`[MQTT-3.3.2-4]`, `-15`, `-16`, `-17`, `-18`,
    /// `-20`).
    ///
    /// Left out are those of one connection (topic alias, subscription identifiers) and the message expiry
    /// interval, which shrinks while the message waits. The bytes have no length in front; they are what
    /// [`PublishHead::forwarded_properties`](super::publish_head::PublishHead) takes.
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

    #[inline]
    fn read(mut section: Section<'a>, sender: Sender) -> Result<Self, DecodeError> {
        let mut properties = Self::default();
        while let Some(property) = section.next()? {
            match property {
                Property::TopicAlias(value) => {
                    let alias = NonZeroU16::new(value).ok_or(DecodeErrorKind::TopicAliasZero)?;
                    set_once(&mut properties.topic_alias, alias, &property)?;
                }
                Property::MessageExpiryInterval(value) => {
                    set_once(&mut properties.message_expiry_interval, value, &property)?;
                }
                Property::SubscriptionIdentifier(_) if sender == Sender::Server => {}
                Property::SubscriptionIdentifier(_) => {
                    return Err(DecodeErrorKind::PropertyOfOtherSide {
                        identifier: property.identifier(),
                    }
                    .into());
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
        properties.subscription_identifiers = section.subscription_identifiers();
        Ok(properties)
    }
}

/// The properties that a PUBLISH and a will have in common, as slots to be filled.
pub(super) struct MessageProperties<'p, 'a> {
    pub(super) payload_format_indicator: &'p mut Option<bool>,
    pub(super) content_type: &'p mut Option<&'a str>,
    pub(super) response_topic: &'p mut Option<&'a str>,
    pub(super) correlation_data: &'p mut Option<&'a [u8]>,
}

/// Fills the slot of one property; refuses a property that no message carries.
pub(super) fn read_message_property<'a>(
    property: &Property<'a>,
    slots: &mut MessageProperties<'_, 'a>,
) -> Result<(), DecodeError> {
    match *property {
        Property::PayloadFormatIndicator(value) => {
            set_once(slots.payload_format_indicator, boolean(value, property)?, property)
        }
        Property::ContentType(value) => set_once(slots.content_type, value, property),
        Property::ResponseTopic(value) => {
            TopicName::parse(value).map_err(DecodeErrorKind::ResponseTopic)?;
            set_once(slots.response_topic, value, property)
        }
        Property::CorrelationData(value) => set_once(slots.correlation_data, value, property),
        _ => Err(not_allowed(property)),
    }
}

/// The properties that servers forward unaltered.
#[derive(Clone, Copy)]
pub(super) struct Forwarded<'a> {
    pub(super) payload_format_indicator: Option<bool>,
    pub(super) content_type: Option<&'a str>,
    pub(super) response_topic: Option<&'a str>,
    pub(super) correlation_data: Option<&'a [u8]>,
    pub(super) user_properties: UserProperties<'a>,
}

impl Forwarded<'_> {
    /// Appends all or nothing.
    pub(super) fn append(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        let written = self.write_to(out);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn write_to<S: Sink>(&self, sink: &mut S) -> Result<(), EncodeError> {
        if let Some(value) = self.payload_format_indicator {
            Property::PayloadFormatIndicator(u8::from(value)).write(sink)?;
        }
        if let Some(value) = self.content_type {
            Property::ContentType(value).write(sink)?;
        }
        if let Some(value) = self.response_topic {
            Property::ResponseTopic(value).write(sink)?;
        }
        if let Some(value) = self.correlation_data {
            Property::CorrelationData(value).write(sink)?;
        }
        self.user_properties.write(sink)
    }
}

impl Write for Forwarded<'_> {
    fn write<S: Sink>(&self, _: &Peer, _: Detail, sink: &mut S) -> Result<(), EncodeError> {
        self.write_to(sink)
    }
}
