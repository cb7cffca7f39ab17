//! SUBSCRIBE (MQTT 5.0, 3.8).

use std::fmt;

use super::PacketId;
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::fixed_header::PacketType;
use crate::limits::{DecodeLimits, Peer};
use crate::properties::{Property, Section, UserProperties, not_allowed, set_once};
use crate::protocol_version::ProtocolVersion;
use crate::qos::QoS;
use crate::reader::Reader;
use crate::sink::{Detail, Sink, Write, encode_packet};
use crate::topic::TopicFilter;

/// SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The packet id, which SUBACK repeats.
    pub packet_id: PacketId,
    /// 1 to 268,435,455, for all filters of the packet; since 5.0.
    pub subscription_identifier: Option<u32>,
    /// Since 5.0.
    pub user_properties: UserProperties<'a>,
    /// One or more topic filters.
    pub filters: SubscribeFilters<'a>,
}

/// A topic filter and how it is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// The topic filter.
    pub topic_filter: TopicFilter<'a>,
    /// The subscription options; all but the QoS are at their defaults before 5.0.
    pub options: SubscriptionOptions,
}

/// Subscription options (MQTT 5.0, 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// The maximum QoS of what is delivered.
    pub qos: QoS,
    /// Whether the client's own messages are left out.
    pub no_local: bool,
    /// Whether forwarded messages keep their RETAIN flag.
    pub retain_as_published: bool,
    /// Whether retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// Whether a subscription sends the retained messages that match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// At each SUBSCRIBE.
    #[default]
    Send = 0,
    /// Only when the subscription is new.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

impl SubscriptionOptions {
    /// Options that ask for `qos` and nothing else.
    #[must_use]
    pub const fn new(qos: QoS) -> Self {
        Self {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }

    /// Reads the byte of a SUBSCRIBE. Before 5.0 it holds the QoS alone.
    ///
    /// # Errors
    /// For reserved bits, QoS 3 and Retain Handling 3.
    pub fn from_byte(version: ProtocolVersion, byte: u8) -> Result<Self, DecodeErrorKind> {
        let reserved = if version.has_properties() {
            0b1100_0000
        } else {
            0b1111_1100
        };
        if byte & reserved != 0 {
            return Err(DecodeErrorKind::SubscriptionOptionsReserved);
        }
        Ok(Self {
            qos: QoS::from_bits(byte & 0b11).ok_or(DecodeErrorKind::SubscriptionQos3)?,
            no_local: byte & 0b0100 != 0,
            retain_as_published: byte & 0b1000 != 0,
            retain_handling: match byte >> 4 {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(DecodeErrorKind::RetainHandling3),
            },
        })
    }

    /// Returns the byte of a SUBSCRIBE.
    #[must_use]
    pub const fn byte(self, version: ProtocolVersion) -> u8 {
        let qos = self.qos.bits();
        if !version.has_properties() {
            return qos;
        }
        qos | (self.no_local as u8) << 2 | (self.retain_as_published as u8) << 3 | (self.retain_handling as u8) << 4
    }
}

impl<'a> Subscribe<'a> {
    /// Decodes the body of a SUBSCRIBE.
    ///
    /// # Errors
    /// Whatever [`DecodeErrorKind`] lists.
    pub fn decode(version: ProtocolVersion, body: &'a [u8], limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let mut subscription_identifier = None;
        let mut user_properties = UserProperties::NONE;
        if version.has_properties() {
            let mut section = Section::read(&mut reader, limits)?;
            while let Some(property) = section.next()? {
                match property {
                    Property::SubscriptionIdentifier(value) => {
                        set_once(&mut subscription_identifier, value, &property)?;
                    }
                    _ => return Err(not_allowed(&property)),
                }
            }
            user_properties = section.user_properties();
        }
        let filters = SubscribeFilters::validate(version, reader, limits)?;
        Ok(Self {
            packet_id,
            subscription_identifier,
            user_properties,
            filters,
        })
    }

    /// Appends the packet to `out` and returns its size in bytes.
    ///
    /// # Errors
    /// [`EncodeError::EmptyList`] without a filter; otherwise see [`EncodeError`]. `out` is then as it was.
    pub fn encode(&self, peer: &Peer, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        if self.filters.is_empty() {
            return Err(EncodeError::EmptyList);
        }
        encode_packet(PacketType::Subscribe.first_byte(0b0010), self, peer, Detail::Full, out)
    }
}

struct Properties<'p, 'a>(&'p Subscribe<'a>);

impl Write for Subscribe<'_> {
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        sink.put_u16(self.packet_id.get());
        if peer.version.has_properties() {
            sink.put_section(&Properties(self), peer, detail)?;
        }
        for SubscribeFilter { topic_filter, options } in self.filters {
            sink.put_prefixed(topic_filter.as_str().as_bytes())?;
            sink.put_u8(options.byte(peer.version));
        }
        Ok(())
    }
}

impl Write for Properties<'_, '_> {
    fn write<S: Sink>(&self, _: &Peer, _: Detail, sink: &mut S) -> Result<(), EncodeError> {
        if let Some(value) = self.0.subscription_identifier {
            Property::SubscriptionIdentifier(value).write(sink)?;
        }
        self.0.user_properties.write(sink)
    }
}

/// The topic filters of a SUBSCRIBE, in order.
#[derive(Clone, Copy)]
pub struct SubscribeFilters<'a>(List<'a>);

#[derive(Clone, Copy)]
enum List<'a> {
    /// A validated payload, and how many filters it holds.
    Payload {
        version: ProtocolVersion,
        reader: Reader<'a>,
        count: u32,
    },
    Slice(&'a [SubscribeFilter<'a>]),
}

impl<'a> SubscribeFilters<'a> {
    /// Topic filters for a packet that is to be written.
    #[must_use]
    pub const fn from_slice(filters: &'a [SubscribeFilter<'a>]) -> Self {
        Self(List::Slice(filters))
    }

    fn validate(version: ProtocolVersion, payload: Reader<'a>, limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let mut reader = payload;
        let mut count = 0;
        while !reader.is_empty() {
            if count == limits.max_topic_filters {
                return Err(DecodeErrorKind::TooManyTopicFilters.into());
            }
            read_filter(version, &mut reader)?;
            count += 1;
        }
        if count == 0 {
            return Err(DecodeErrorKind::NoTopicFilter.into());
        }
        Ok(Self(List::Payload {
            version,
            reader: payload,
            count,
        }))
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.0 {
            List::Payload { count, .. } => count as usize,
            List::Slice(filters) => filters.len(),
        }
    }

    /// Whether there are none; never in a decoded packet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The filters in order. One may come up more than once.
    #[must_use]
    pub const fn iter(&self) -> SubscribeFiltersIter<'a> {
        SubscribeFiltersIter(self.0)
    }
}

fn read_filter<'a>(version: ProtocolVersion, reader: &mut Reader<'a>) -> Result<SubscribeFilter<'a>, DecodeError> {
    let topic_filter = TopicFilter::parse(reader.string()?).map_err(DecodeErrorKind::TopicFilter)?;
    let options = SubscriptionOptions::from_byte(version, reader.u8()?)?;
    if options.no_local && topic_filter.shared().is_some() {
        return Err(DecodeErrorKind::NoLocalOnShared.into());
    }
    Ok(SubscribeFilter { topic_filter, options })
}

/// Iterates over [`SubscribeFilters`].
#[derive(Clone)]
pub struct SubscribeFiltersIter<'a>(List<'a>);

impl<'a> Iterator for SubscribeFiltersIter<'a> {
    type Item = SubscribeFilter<'a>;

    fn next(&mut self) -> Option<SubscribeFilter<'a>> {
        match &mut self.0 {
            List::Payload { version, reader, count } => {
                *count = count.checked_sub(1)?;
                // The payload was validated before, so that an error cannot come up; it would end the list.
                read_filter(*version, reader).ok()
            }
            List::Slice(filters) => {
                let (first, rest) = filters.split_first()?;
                *filters = rest;
                Some(*first)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = SubscribeFilters(self.0).len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for SubscribeFiltersIter<'_> {}

impl<'a> IntoIterator for SubscribeFilters<'a> {
    type Item = SubscribeFilter<'a>;
    type IntoIter = SubscribeFiltersIter<'a>;

    fn into_iter(self) -> SubscribeFiltersIter<'a> {
        self.iter()
    }
}

/// Equal when they hold the same filters in the same order, wherever they are.
impl PartialEq for SubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscribeFilters<'_> {}

impl fmt::Debug for SubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
