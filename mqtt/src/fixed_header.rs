//! The fixed header (MQTT 5.0, 2.1): packet type, flags and Remaining Length, read before the body is buffered.

use crate::error::{DecodeError, DecodeErrorKind};
use crate::qos::QoS;
use crate::varint::decode_varint;

/// The type of a control packet (MQTT 5.0, table 2-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of table 2-1")]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// Returns the type that the upper four bits of the first byte stand for; 0 is reserved.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// Returns the name as the specifications write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    /// Returns the lower four bits that every packet of this type carries, or `None` for PUBLISH, whose bits mean
    /// something (MQTT 5.0, table 2-2).
    #[must_use]
    pub const fn fixed_flags(self) -> Option<u8> {
        match self {
            Self::Publish => None,
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => Some(0b0010),
            _ => Some(0),
        }
    }

    /// Returns the first byte of a packet of this type with the given flags.
    pub(crate) const fn first_byte(self, flags: u8) -> u8 {
        ((self as u8) << 4) | flags
    }
}

/// A valid fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedHeader {
    /// What the packet is.
    pub packet_type: PacketType,
    /// The lower four bits of the first byte, valid for the type.
    pub flags: u8,
    /// How many bytes the fixed header takes, 2 to 5.
    pub header_bytes: u8,
    /// The Remaining Length: how many bytes follow the fixed header.
    pub remaining_bytes: u32,
}

impl FixedHeader {
    /// Parses the fixed header at the start of `bytes`; `None` when more bytes are needed to tell.
    ///
    /// `max_packet_bytes` bounds the whole packet, fixed header included (MQTT 5.0, 3.1.2.11.4). It is checked as
    /// soon as the Remaining Length is known, so that nobody buffers a body that is refused afterwards.
    ///
    /// # Errors
    /// 0x81 for a reserved packet type, for flags that the type does not allow, and for a Remaining Length of more
    /// than four bytes or of more bytes than needed; 0x95 for a packet over `max_packet_bytes`.
    #[inline]
    pub fn parse(bytes: &[u8], max_packet_bytes: u32) -> Result<Option<Self>, DecodeError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let packet_type = PacketType::from_bits(first >> 4).ok_or(DecodeErrorKind::ReservedPacketType)?;
        let flags = first & 0x0F;
        match packet_type.fixed_flags() {
            Some(fixed) if flags != fixed => return Err(DecodeErrorKind::FixedHeaderFlags { packet_type }.into()),
            Some(_) => {}
            None => check_publish_flags(flags)?,
        }
        let Some(length) = decode_varint(rest)? else {
            return Ok(None);
        };
        let header = Self {
            packet_type,
            flags,
            header_bytes: 1 + length.encoded_bytes,
            remaining_bytes: length.value,
        };
        let packet_bytes = header.packet_bytes();
        if packet_bytes > max_packet_bytes {
            return Err(DecodeErrorKind::PacketTooLarge {
                packet_bytes,
                max_packet_bytes,
            }
            .into());
        }
        Ok(Some(header))
    }

    /// The size of the whole packet, fixed header included, in bytes.
    #[must_use]
    pub const fn packet_bytes(&self) -> u32 {
        self.header_bytes as u32 + self.remaining_bytes
    }

    /// Returns the body of the packet that starts at `bytes[0]`, or `None` when it is not complete yet.
    #[inline]
    #[must_use]
    pub fn body<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let end = usize::try_from(self.packet_bytes()).ok()?;
        bytes.get(usize::from(self.header_bytes)..end)
    }
}

/// Checks the flags of a PUBLISH: QoS 3 does not exist, and QoS 0 is never sent again.
fn check_publish_flags(flags: u8) -> Result<(), DecodeError> {
    match QoS::from_bits((flags >> 1) & 0b11) {
        None => Err(DecodeErrorKind::PublishQos3.into()),
        Some(QoS::AtMostOnce) if flags & 0b1000 != 0 => Err(DecodeErrorKind::DupWithQos0.into()),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason_code::ReasonCode;

    #[test]
    #[cfg_attr(false, shows("5.0:3.2.2-15"))]
    fn a_packet_over_the_maximum_is_refused_before_its_body_arrives() {
        let error = FixedHeader::parse(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 1_048_576).expect_err("256 MiB announced");
        assert_eq!(error.reason_code, ReasonCode::PacketTooLarge);
    }

    #[test]
    fn the_maximum_counts_the_fixed_header() {
        // 127 bytes follow two bytes of header.
        assert!(
            FixedHeader::parse(&[0x30, 0x7F], 129)
                .expect("129 bytes are allowed")
                .is_some()
        );
        assert!(FixedHeader::parse(&[0x30, 0x7F], 128).is_err());
    }

    #[test]
    #[cfg_attr(false, shows("5.0:2.1.3-1", "3.1.1:2.2.2-2"))]
    fn flags_are_refused_with_the_first_byte_alone() {
        for first in [
            0x00, 0x0F, 0x11, 0x21, 0x36, 0x38, 0x41, 0x60, 0x63, 0x80, 0x8A, 0xA0, 0xC1, 0xE1, 0xF1,
        ] {
            let error = FixedHeader::parse(&[first], 1024).expect_err("reserved");
            assert_eq!(error.reason_code, ReasonCode::MalformedPacket, "{first:#04x}");
        }
    }

    #[test]
    #[cfg_attr(false, shows("5.0:2.1.3-1", "3.1.1:2.2.2-1"))]
    fn every_type_with_its_own_flags_is_accepted() {
        for bits in 1..=15 {
            let packet_type = PacketType::from_bits(bits).expect("1 to 15 are types");
            let first = packet_type.first_byte(packet_type.fixed_flags().unwrap_or(0b1011));
            let header = FixedHeader::parse(&[first, 0], 1024).expect("valid").expect("complete");
            assert_eq!(header.packet_type, packet_type);
            assert_eq!(header.packet_bytes(), 2);
        }
    }

    #[test]
    fn an_incomplete_header_asks_for_more() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0xFF, 0xFF],
            &[0x30, 0xFF, 0xFF, 0xFF],
        ] {
            assert_eq!(FixedHeader::parse(bytes, u32::MAX), Ok(None), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_body_is_returned_only_when_all_of_it_is_there() {
        let header = FixedHeader::parse(&[0x40, 0x02], 1024)
            .expect("valid")
            .expect("complete");
        assert_eq!(header.body(&[0x40, 0x02, 0x00]), None);
        assert_eq!(header.body(&[0x40, 0x02, 0x00, 0x01, 0xC0]), Some(&[0x00, 0x01][..]));
    }
}
