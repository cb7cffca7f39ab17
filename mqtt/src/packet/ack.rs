//! What PUBACK, PUBREC, PUBREL and PUBCOMP have in common: a packet id, and since 5.0 a reason code, a reason string
//! and user properties (MQTT 5.0, 3.4.2).

use super::PacketId;
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::fixed_header::PacketType;
use crate::limits::{DecodeLimits, Peer};
use crate::properties::{Property, Section, UserProperties, not_allowed, set_once};
use crate::protocol_version::ProtocolVersion;
use crate::reader::Reader;
use crate::reason_code::{ReasonCode, Sender};
use crate::sink::{Detail, Sink, Write, encode_packet};

/// The fields of any of the four.
pub(super) struct AckFields<'a> {
    pub(super) packet_id: PacketId,
    pub(super) reason_code: ReasonCode,
    pub(super) reason_string: Option<&'a str>,
    pub(super) user_properties: UserProperties<'a>,
}

impl<'a> AckFields<'a> {
    pub(super) fn decode(
        packet_type: PacketType,
        version: ProtocolVersion,
        body: &'a [u8],
        limits: &DecodeLimits,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut ack = Self {
            packet_id: reader.packet_id()?,
            reason_code: ReasonCode::Success,
            reason_string: None,
            user_properties: UserProperties::NONE,
        };
        if version.has_properties() && !reader.is_empty() {
            // Both sides send these four, and the codes are the same.
            ack.reason_code = read_reason_code(&mut reader, packet_type, Sender::Client)?;
            if !reader.is_empty() {
                (ack.reason_string, ack.user_properties) = read_explanation(&mut reader, limits)?;
            }
        }
        reader.finish()?;
        Ok(ack)
    }

    #[inline]
    pub(super) fn encode(&self, packet_type: PacketType, peer: &Peer, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        let first_byte = packet_type.first_byte(packet_type.fixed_flags().unwrap_or_default());
        let is_plain = !peer.version.has_properties()
            || (self.reason_code == ReasonCode::Success
                && self.reason_string.is_none()
                && self.user_properties.is_empty());
        if is_plain && peer.max_packet_bytes >= 4 {
            // By far the commonest form, and the same in every version.
            let [high, low] = self.packet_id.get().to_be_bytes();
            out.extend_from_slice(&[first_byte, 2, high, low]);
            return Ok(4);
        }
        check_reason_code(self.reason_code, packet_type, Sender::Client)?;
        encode_packet(first_byte, self, peer, acknowledgement_detail(peer), out)
    }
}

impl Write for AckFields<'_> {
    #[inline]
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        sink.put_u16(self.packet_id.get());
        if !peer.version.has_properties() {
            return Ok(());
        }
        let explanation = Explanation {
            reason_string: self.reason_string,
            user_properties: self.user_properties,
        };
        let explains = explanation.is_written(detail);
        if explains || self.reason_code != ReasonCode::Success {
            sink.put_u8(self.reason_code.byte());
        }
        if explains {
            sink.put_section(&explanation, peer, detail)?;
        }
        Ok(())
    }
}

/// How much an acknowledgement may explain: nothing, when the peer asked for that.
pub(super) const fn acknowledgement_detail(peer: &Peer) -> Detail {
    if peer.request_problem_information {
        Detail::Full
    } else {
        Detail::None
    }
}

/// A section with a reason string and user properties, either of which is left out when the packet would become too
/// large (`[MQTT-3.4.2-2]`, `[MQTT-3.4.2-3]`).
pub(super) struct Explanation<'a> {
    pub(super) reason_string: Option<&'a str>,
    pub(super) user_properties: UserProperties<'a>,
}

impl Explanation<'_> {
    /// Whether anything is written at this level of detail.
    pub(super) const fn is_written(&self, detail: Detail) -> bool {
        match detail {
            Detail::Full => self.reason_string.is_some() || !self.user_properties.is_empty(),
            Detail::ReasonString => self.reason_string.is_some(),
            Detail::None => false,
        }
    }
}

impl Write for Explanation<'_> {
    fn write<S: Sink>(&self, _: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        if let Some(reason_string) = self.reason_string.filter(|_| detail != Detail::None) {
            Property::ReasonString(reason_string).write(sink)?;
        }
        if detail == Detail::Full {
            self.user_properties.write(sink)?;
        }
        Ok(())
    }
}

/// Reads a section that may hold a reason string and user properties.
pub(super) fn read_explanation<'a>(
    reader: &mut Reader<'a>,
    limits: &DecodeLimits,
) -> Result<(Option<&'a str>, UserProperties<'a>), DecodeError> {
    let mut section = Section::read(reader, limits)?;
    let mut reason_string = None;
    while let Some(property) = section.next()? {
        match property {
            Property::ReasonString(value) => set_once(&mut reason_string, value, &property)?,
            _ => return Err(not_allowed(&property)),
        }
    }
    Ok((reason_string, section.user_properties()))
}

/// Reads a reason code that `sender` may put into this packet.
pub(super) fn read_reason_code(
    reader: &mut Reader<'_>,
    packet_type: PacketType,
    sender: Sender,
) -> Result<ReasonCode, DecodeError> {
    let byte = reader.u8()?;
    ReasonCode::from_byte(byte)
        .filter(|code| code.is_allowed_in(packet_type, sender))
        .ok_or_else(|| DecodeErrorKind::ReasonCodeNotAllowed { packet_type, byte }.into())
}

/// Checks that `sender` may put the reason code into this packet.
pub(super) const fn check_reason_code(
    reason_code: ReasonCode,
    packet_type: PacketType,
    sender: Sender,
) -> Result<(), EncodeError> {
    if reason_code.is_allowed_in(packet_type, sender) {
        Ok(())
    } else {
        Err(EncodeError::ReasonCodeNotAllowed {
            packet_type,
            reason_code,
        })
    }
}

/// Defines one of the four packets.
macro_rules! ack_packet {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name<'a> {
            /// The packet id of the PUBLISH.
            pub packet_id: $crate::packet::PacketId,
            /// What became of it; always success before 5.0.
            pub reason_code: $crate::reason_code::ReasonCode,
            /// For people who diagnose, since 5.0.
            pub reason_string: Option<&'a str>,
            /// Since 5.0.
            pub user_properties: $crate::properties::UserProperties<'a>,
        }

        impl<'a> $name<'a> {
            /// A packet without reason string and user properties.
            #[must_use]
            pub const fn new(
                packet_id: $crate::packet::PacketId,
                reason_code: $crate::reason_code::ReasonCode,
            ) -> Self {
                Self {
                    packet_id,
                    reason_code,
                    reason_string: None,
                    user_properties: $crate::properties::UserProperties::NONE,
                }
            }

            /// Decodes the body of the packet.
            ///
            /// # Errors
            /// Whatever [`DecodeErrorKind`](crate::DecodeErrorKind) lists.
            pub fn decode(
                version: $crate::protocol_version::ProtocolVersion,
                body: &'a [u8],
                limits: &$crate::limits::DecodeLimits,
            ) -> Result<Self, $crate::error::DecodeError> {
                let $crate::packet::ack::AckFields { packet_id, reason_code, reason_string, user_properties } =
                    $crate::packet::ack::AckFields::decode(
                        $crate::fixed_header::PacketType::$name,
                        version,
                        body,
                        limits,
                    )?;
                Ok(Self { packet_id, reason_code, reason_string, user_properties })
            }

            /// Appends the packet to `out` and returns its size in bytes.
            ///
            /// Reason string and user properties are left out when the packet would be too large with them. Before
            /// 5.0 the reason code is left out too: 3.1.1 cannot say that a message was refused.
            ///
            /// # Errors
            /// [`EncodeError`](crate::EncodeError); `out` is then as it was.
            pub fn encode(
                &self,
                peer: &$crate::limits::Peer,
                out: &mut Vec<u8>,
            ) -> Result<usize, $crate::error::EncodeError> {
                let Self { packet_id, reason_code, reason_string, user_properties } = *self;
                $crate::packet::ack::AckFields { packet_id, reason_code, reason_string, user_properties }.encode(
                    $crate::fixed_header::PacketType::$name,
                    peer,
                    out,
                )
            }
        }
    };
}

pub(super) use ack_packet;
