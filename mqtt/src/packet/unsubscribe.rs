//! UNSUBSCRIBE (MQTT 5.0, 3.10).

use std::fmt;

use super::PacketId;
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::fixed_header::PacketType;
use crate::limits::{DecodeLimits, Peer};
use crate::properties::{Section, UserProperties, not_allowed};
use crate::protocol_version::ProtocolVersion;
use crate::reader::Reader;
use crate::sink::{Detail, Sink, Write, encode_packet};
use crate::topic::TopicFilter;

/// UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// The packet id, which UNSUBACK repeats.
    pub packet_id: PacketId,
    /// Since 5.0.
    pub user_properties: UserProperties<'a>,
    /// One or more topic filters.
    pub filters: UnsubscribeFilters<'a>,
}

impl<'a> Unsubscribe<'a> {
    /// Decodes the body of an UNSUBSCRIBE.
    ///
    /// # Errors
    /// Whatever [`DecodeErrorKind`] lists.
    pub fn decode(version: ProtocolVersion, body: &'a [u8], limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let mut user_properties = UserProperties::NONE;
        if version.has_properties() {
            let mut section = Section::read(&mut reader, limits)?;
            if let Some(property) = section.next()? {
                return Err(not_allowed(&property));
            }
            user_properties = section.user_properties();
        }
        let filters = UnsubscribeFilters::validate(reader, limits)?;
        Ok(Self {
            packet_id,
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
        encode_packet(
            PacketType::Unsubscribe.first_byte(0b0010),
            self,
            peer,
            Detail::Full,
            out,
        )
    }
}

struct Properties<'p, 'a>(&'p Unsubscribe<'a>);

impl Write for Unsubscribe<'_> {
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        sink.put_u16(self.packet_id.get());
        if peer.version.has_properties() {
            sink.put_section(&Properties(self), peer, detail)?;
        }
        self.filters
            .iter()
            .try_for_each(|filter| sink.put_prefixed(filter.as_str().as_bytes()))
    }
}

impl Write for Properties<'_, '_> {
    fn write<S: Sink>(&self, _: &Peer, _: Detail, sink: &mut S) -> Result<(), EncodeError> {
        self.0.user_properties.write(sink)
    }
}

/// The topic filters of an UNSUBSCRIBE, in order.
#[derive(Clone, Copy)]
pub struct UnsubscribeFilters<'a>(List<'a>);

#[derive(Clone, Copy)]
enum List<'a> {
    /// A validated payload, and how many filters it holds.
    Payload {
        reader: Reader<'a>,
        count: u32,
    },
    Slice(&'a [TopicFilter<'a>]),
}

impl<'a> UnsubscribeFilters<'a> {
    /// Topic filters for a packet that is to be written.
    #[must_use]
    pub const fn from_slice(filters: &'a [TopicFilter<'a>]) -> Self {
        Self(List::Slice(filters))
    }

    fn validate(payload: Reader<'a>, limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let mut reader = payload;
        let mut count = 0;
        while !reader.is_empty() {
            if count == limits.max_topic_filters {
                return Err(DecodeErrorKind::TooManyTopicFilters.into());
            }
            read_filter(&mut reader)?;
            count += 1;
        }
        if count == 0 {
            return Err(DecodeErrorKind::NoTopicFilter.into());
        }
        Ok(Self(List::Payload { reader: payload, count }))
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
    pub const fn iter(&self) -> UnsubscribeFiltersIter<'a> {
        UnsubscribeFiltersIter(self.0)
    }
}

fn read_filter<'a>(reader: &mut Reader<'a>) -> Result<TopicFilter<'a>, DecodeError> {
    Ok(TopicFilter::parse(reader.string()?).map_err(DecodeErrorKind::TopicFilter)?)
}

/// Iterates over [`UnsubscribeFilters`].
#[derive(Clone)]
pub struct UnsubscribeFiltersIter<'a>(List<'a>);

impl<'a> Iterator for UnsubscribeFiltersIter<'a> {
    type Item = TopicFilter<'a>;

    fn next(&mut self) -> Option<TopicFilter<'a>> {
        match &mut self.0 {
            List::Payload { reader, count } => {
                *count = count.checked_sub(1)?;
                // The payload was validated before, so that an error cannot come up; it would end the list.
                read_filter(reader).ok()
            }
            List::Slice(filters) => {
                let (first, rest) = filters.split_first()?;
                *filters = rest;
                Some(*first)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = UnsubscribeFilters(self.0).len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for UnsubscribeFiltersIter<'_> {}

impl<'a> IntoIterator for UnsubscribeFilters<'a> {
    type Item = TopicFilter<'a>;
    type IntoIter = UnsubscribeFiltersIter<'a>;

    fn into_iter(self) -> UnsubscribeFiltersIter<'a> {
        self.iter()
    }
}

/// Equal when they hold the same filters in the same order, wherever they are.
impl PartialEq for UnsubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UnsubscribeFilters<'_> {}

impl fmt::Debug for UnsubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
