//! PUBLISH as a server writes it: everything but the payload, from the parts that differ between receivers.
//!
//! One message goes to many clients. Those that agree in [`PublishHead`] share one encoding: it is written once and
//! copied, and each copy gets its packet id through [`PublishLayout::set_packet_id`]. The payload can be appended by
//! the caller or handed to the kernel beside the head.

use std::num::NonZeroU16;

use super::PacketId;
use crate::error::EncodeError;
use crate::fixed_header::PacketType;
use crate::limits::Peer;
use crate::properties::{Property, SubscriptionIdentifiers};
use crate::protocol_version::ProtocolVersion;
use crate::qos::QoS;
use crate::sink::{Counter, Detail, Sink, Write, packet_bytes};

/// What stands in front of the payload. Before 5.0 the last four are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishHead<'a> {
    /// Set when the packet is sent again; not written at QoS 0 (`[MQTT-3.3.1-2]`).
    pub dup: bool,
    /// The quality of service.
    pub qos: QoS,
    /// Whether the message comes from the retained ones, or is forwarded with its RETAIN flag kept.
    pub retain: bool,
    /// UTF-8 that was checked when it came in, and is not checked again. Empty when the receiver knows the topic alias.
    pub topic_name: &'a [u8],
    /// `None` at QoS 1 and 2 writes 0 in its place, which [`PublishLayout::set_packet_id`] replaces.
    pub packet_id: Option<PacketId>,
    /// The alias that stands for the topic name, or is defined together with it.
    pub topic_alias: Option<NonZeroU16>,
    /// The identifiers of the receiver's subscriptions that matched.
    pub subscription_identifiers: SubscriptionIdentifiers<'a>,
    /// What is left of the lifetime of the message, in seconds.
    pub message_expiry_interval: Option<u32>,
    /// The properties that are forwarded unaltered, as
    /// [`PublishProperties::write_forwarded`](super::publish::PublishProperties::write_forwarded) wrote them.
    pub forwarded_properties: &'a [u8],
}

/// Where the parts of an encoded PUBLISH are, in bytes from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishLayout {
    /// Where the two bytes of the packet id are; `None` at QoS 0.
    pub packet_id_offset: Option<usize>,
    /// Where the payload begins: the size of the head.
    pub payload_offset: usize,
    /// The size of the whole packet.
    pub packet_bytes: usize,
}

impl PublishLayout {
    /// Writes `packet_id` into `packet`, which begins with the first byte of the PUBLISH. Returns whether there was a
    /// place for it: not at QoS 0, and not in a slice that ends before.
    #[inline]
    pub fn set_packet_id(&self, packet: &mut [u8], packet_id: PacketId) -> bool {
        let place = self
            .packet_id_offset
            .and_then(|offset| packet.get_mut(offset..)?.first_chunk_mut());
        match place {
            Some(bytes) => {
                *bytes = packet_id.get().to_be_bytes();
                true
            }
            None => false,
        }
    }
}

impl PublishHead<'_> {
    /// The first byte of the packet. In an encoded packet it may be replaced by that of a head which differs in
    /// `dup` and `retain` alone.
    #[must_use]
    pub const fn first_byte(&self) -> u8 {
        first_byte(self.dup, self.qos, self.retain)
    }

    fn fields<'h>(&'h self, raw: &'h Raw<'h>) -> HeadFields<'h, Raw<'h>> {
        HeadFields {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic_name: self.topic_name,
            packet_id: self.packet_id,
            topic_alias: self.topic_alias,
            subscription_identifiers: self.subscription_identifiers,
            message_expiry_interval: self.message_expiry_interval,
            forwarded: raw,
        }
    }
}

/// Appends a whole PUBLISH to `out`.
///
/// # Errors
/// As [`encode_publish_head`].
#[inline]
pub fn encode_publish(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    head: &PublishHead<'_>,
    payload: &[u8],
) -> Result<PublishLayout, EncodeError> {
    let layout = encode_publish_head(out, version, head, payload.len())?;
    out.extend_from_slice(payload);
    Ok(layout)
}

/// Appends a PUBLISH without its payload to `out`; `payload_bytes` of payload have to follow.
///
/// Nothing is known of a receiver's Maximum Packet Size here: compare it with [`PublishLayout::packet_bytes`], or
/// ask [`publish_packet_bytes`] before.
///
/// # Errors
/// [`EncodeError::TopicNameMissing`], [`EncodeError::PacketIdMismatch`] for a packet id at QoS 0, and what is too
/// long for the protocol. `out` is then as it was.
#[inline]
pub fn encode_publish_head(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    head: &PublishHead<'_>,
    payload_bytes: usize,
) -> Result<PublishLayout, EncodeError> {
    let raw = Raw(head.forwarded_properties);
    append_head(out, &Peer::new(version), &head.fields(&raw), payload_bytes)
}

/// The size that [`encode_publish`] would give the packet, in bytes, fixed header included.
///
/// # Errors
/// As [`encode_publish_head`].
#[inline]
pub fn publish_packet_bytes(
    version: ProtocolVersion,
    head: &PublishHead<'_>,
    payload_bytes: usize,
) -> Result<usize, EncodeError> {
    let raw = Raw(head.forwarded_properties);
    let measure = head.fields(&raw).measure(&Peer::new(version), payload_bytes)?;
    Ok(measure.packet_bytes)
}

/// A head whose forwarded properties are bytes (a server's) or typed (a client's).
pub(super) struct HeadFields<'h, F> {
    pub(super) dup: bool,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) topic_name: &'h [u8],
    pub(super) packet_id: Option<PacketId>,
    pub(super) topic_alias: Option<NonZeroU16>,
    pub(super) subscription_identifiers: SubscriptionIdentifiers<'h>,
    pub(super) message_expiry_interval: Option<u32>,
    pub(super) forwarded: &'h F,
}

struct Measure {
    remaining_bytes: u32,
    packet_bytes: usize,
}

impl<F: Write> HeadFields<'_, F> {
    #[inline]
    fn measure(&self, peer: &Peer, payload_bytes: usize) -> Result<Measure, EncodeError> {
        let has_alias = peer.version.has_properties() && self.topic_alias.is_some();
        if self.topic_name.is_empty() && !has_alias {
            return Err(EncodeError::TopicNameMissing);
        }
        if self.packet_id.is_some() && !self.qos.is_acknowledged() {
            return Err(EncodeError::PacketIdMismatch);
        }
        let mut counter = Counter::default();
        self.write(peer, Detail::Full, &mut counter)?;
        let (remaining_bytes, packet_bytes) = packet_bytes(counter.bytes.saturating_add(payload_bytes), peer)?;
        Ok(Measure {
            remaining_bytes,
            packet_bytes,
        })
    }
}

/// Appends everything but the payload.
#[inline]
pub(super) fn append_head<F: Write>(
    out: &mut Vec<u8>,
    peer: &Peer,
    fields: &HeadFields<'_, F>,
    payload_bytes: usize,
) -> Result<PublishLayout, EncodeError> {
    let Measure {
        remaining_bytes,
        packet_bytes,
    } = fields.measure(peer, payload_bytes)?;
    let start = out.len();
    out.reserve(packet_bytes);
    out.put_u8(first_byte(fields.dup, fields.qos, fields.retain));
    let written = out.put_varint(remaining_bytes).and_then(|()| {
        let variable_header = out.len() - start;
        fields.write(peer, Detail::Full, out)?;
        Ok(variable_header)
    });
    match written {
        Ok(variable_header) => Ok(PublishLayout {
            packet_id_offset: fields
                .qos
                .is_acknowledged()
                .then(|| variable_header + 2 + fields.topic_name.len()),
            payload_offset: packet_bytes - payload_bytes,
            packet_bytes,
        }),
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

const fn first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    let dup = dup && qos.is_acknowledged();
    PacketType::Publish.first_byte((dup as u8) << 3 | qos.bits() << 1 | retain as u8)
}

/// The variable header.
impl<F: Write> Write for HeadFields<'_, F> {
    #[inline]
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        sink.put_prefixed(self.topic_name)?;
        if self.qos.is_acknowledged() {
            sink.put_u16(self.packet_id.map_or(0, PacketId::get));
        }
        if peer.version.has_properties() {
            sink.put_section(&Properties(self), peer, detail)?;
        }
        Ok(())
    }
}

struct Properties<'p, 'h, F>(&'p HeadFields<'h, F>);

impl<F: Write> Write for Properties<'_, '_, F> {
    #[inline]
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        if let Some(value) = self.0.topic_alias {
            Property::TopicAlias(value.get()).write(sink)?;
        }
        if let Some(value) = self.0.message_expiry_interval {
            Property::MessageExpiryInterval(value).write(sink)?;
        }
        self.0.subscription_identifiers.write(sink)?;
        self.0.forwarded.write(peer, detail, sink)
    }
}

/// Properties that are encoded already.
pub(super) struct Raw<'h>(&'h [u8]);

impl Write for Raw<'_> {
    #[inline]
    fn write<S: Sink>(&self, _: &Peer, _: Detail, sink: &mut S) -> Result<(), EncodeError> {
        sink.put(self.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet_id(value: u16) -> PacketId {
        PacketId::new(value).expect("not 0")
    }

    #[test]
    fn one_encoding_serves_many_packet_ids() {
        let head = PublishHead {
            qos: QoS::AtLeastOnce,
            topic_name: b"a/b",
            ..PublishHead::default()
        };
        let mut shared = Vec::new();
        let layout = encode_publish(&mut shared, ProtocolVersion::V5, &head, b"hi").expect("valid");
        assert_eq!(layout.packet_bytes, shared.len());
        for value in [1, 0x1234, u16::MAX] {
            let mut copy = shared.clone();
            assert!(layout.set_packet_id(&mut copy, packet_id(value)));
            let mut alone = Vec::new();
            let head = PublishHead {
                packet_id: Some(packet_id(value)),
                ..head
            };
            encode_publish(&mut alone, ProtocolVersion::V5, &head, b"hi").expect("valid");
            assert_eq!(copy, alone);
        }
    }

    #[test]
    fn the_first_byte_of_a_head_that_differs_in_flags_can_be_put_in_the_place_of_another() {
        let head = PublishHead {
            qos: QoS::AtLeastOnce,
            topic_name: b"a/b",
            packet_id: Some(packet_id(7)),
            ..PublishHead::default()
        };
        let encode = |head: &PublishHead<'_>| {
            let mut out = Vec::new();
            encode_publish(&mut out, ProtocolVersion::V5, head, b"hi").expect("valid");
            out
        };
        let plain = encode(&head);
        for (dup, retain) in [(false, true), (true, false), (true, true)] {
            let other = PublishHead { dup, retain, ..head };
            let mut changed = plain.clone();
            changed[0] = other.first_byte();
            assert_eq!(changed, encode(&other), "dup {dup}, retain {retain}");
        }
    }

    #[test]
    fn the_layout_counts_from_the_first_byte_of_the_packet() {
        let mut out = vec![0xC0, 0x00];
        let head = PublishHead {
            qos: QoS::AtLeastOnce,
            topic_name: b"a",
            ..PublishHead::default()
        };
        let layout = encode_publish_head(&mut out, ProtocolVersion::V311, &head, 200).expect("valid");
        // Two bytes of remaining length, as 200 bytes follow.
        assert_eq!(layout.packet_id_offset, Some(3 + 3));
        assert_eq!(layout.payload_offset, out.len() - 2);
        assert_eq!(layout.packet_bytes, layout.payload_offset + 200);
        assert_eq!(
            publish_packet_bytes(ProtocolVersion::V311, &head, 200),
            Ok(layout.packet_bytes)
        );
    }

    #[test]
    #[cfg_attr(
        false,
        shows("5.0:2.2.1-2", "5.0:3.3.1-2", "5.0:4.3.1-1", "3.1.1:3.3.1-2", "3.1.1:4.3.1-1")
    )]
    fn qos_0_has_neither_packet_id_nor_dup() {
        let head = PublishHead {
            dup: true,
            topic_name: b"a",
            ..PublishHead::default()
        };
        let mut out = Vec::new();
        let layout = encode_publish(&mut out, ProtocolVersion::V311, &head, b"").expect("valid");
        assert_eq!(out, [0x30, 3, 0, 1, b'a']);
        assert!(!layout.set_packet_id(&mut out, packet_id(1)));
        let head = PublishHead {
            packet_id: Some(packet_id(1)),
            ..head
        };
        assert_eq!(
            encode_publish(&mut out, ProtocolVersion::V311, &head, b""),
            Err(EncodeError::PacketIdMismatch)
        );
    }

    #[test]
    fn an_alias_stands_for_the_topic_name_in_5_0_only() {
        let head = PublishHead {
            topic_alias: NonZeroU16::new(5),
            ..PublishHead::default()
        };
        let mut out = Vec::new();
        encode_publish(&mut out, ProtocolVersion::V5, &head, b"x").expect("an alias is enough");
        assert_eq!(out, [0x30, 7, 0, 0, 3, 0x23, 0, 5, b'x']);
        assert_eq!(
            encode_publish(&mut out, ProtocolVersion::V311, &head, b"x"),
            Err(EncodeError::TopicNameMissing)
        );
    }

    #[test]
    fn what_is_too_long_leaves_the_buffer_as_it_was() {
        let topic_name = "a".repeat(65_536);
        let head = PublishHead {
            topic_name: topic_name.as_bytes(),
            ..PublishHead::default()
        };
        let mut out = vec![1, 2, 3];
        assert_eq!(
            encode_publish(&mut out, ProtocolVersion::V5, &head, b""),
            Err(EncodeError::FieldTooLong)
        );
        let head = PublishHead {
            topic_name: b"a",
            ..PublishHead::default()
        };
        let size = encode_publish_head(&mut out, ProtocolVersion::V5, &head, 268_435_456);
        assert!(matches!(size, Err(EncodeError::PacketTooLarge { .. })));
        assert_eq!(out, [1, 2, 3]);
    }
}
