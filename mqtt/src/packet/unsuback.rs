//! UNSUBACK (MQTT 5.0, 3.11): since 5.0 one reason code per topic filter of the UNSUBSCRIBE.

use super::ack::{Explanation, acknowledgement_detail, check_reason_code, read_explanation};
use super::{PacketId, ReasonCodes};
use crate::error::{DecodeError, EncodeError};
use crate::fixed_header::PacketType;
use crate::limits::{DecodeLimits, Peer};
use crate::properties::UserProperties;
use crate::protocol_version::ProtocolVersion;
use crate::reader::Reader;
use crate::reason_code::Sender;
use crate::sink::{Detail, Sink, Write, encode_packet};

/// UNSUBACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// The packet id of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// For people who diagnose, since 5.0.
    pub reason_string: Option<&'a str>,
    /// Since 5.0.
    pub user_properties: UserProperties<'a>,
    /// What became of each filter, in order; empty before 5.0, and not written then.
    pub reason_codes: ReasonCodes<'a>,
}

impl<'a> UnsubAck<'a> {
    /// An UNSUBACK without properties.
    #[must_use]
    pub const fn new(packet_id: PacketId, reason_codes: ReasonCodes<'a>) -> Self {
        Self {
            packet_id,
            reason_string: None,
            user_properties: UserProperties::NONE,
            reason_codes,
        }
    }

    /// Decodes the body of an UNSUBACK.
    ///
    /// # Errors
    /// Whatever [`DecodeErrorKind`](crate::DecodeErrorKind) lists.
    pub fn decode(version: ProtocolVersion, body: &'a [u8], limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        if !version.has_properties() {
            reader.finish()?;
            return Ok(Self::new(packet_id, ReasonCodes::NONE));
        }
        let (reason_string, user_properties) = read_explanation(&mut reader, limits)?;
        let reason_codes = ReasonCodes::from_payload(PacketType::UnsubAck, reader.rest())?;
        Ok(Self {
            packet_id,
            reason_string,
            user_properties,
            reason_codes,
        })
    }

    /// Appends the packet to `out` and returns its size in bytes. Reason string and user properties are left out
    /// when the packet would be too large with them.
    ///
    /// # Errors
    /// [`EncodeError::EmptyList`] without a reason code in 5.0; otherwise see [`EncodeError`]. `out` is then as it
    /// was.
    pub fn encode(&self, peer: &Peer, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        if peer.version.has_properties() {
            if self.reason_codes.is_empty() {
                return Err(EncodeError::EmptyList);
            }
            for code in self.reason_codes {
                check_reason_code(code, PacketType::UnsubAck, Sender::Server)?;
            }
        }
        encode_packet(
            PacketType::UnsubAck.first_byte(0),
            self,
            peer,
            acknowledgement_detail(peer),
            out,
        )
    }
}

impl Write for UnsubAck<'_> {
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        sink.put_u16(self.packet_id.get());
        if peer.version.has_properties() {
            let explanation = Explanation {
                reason_string: self.reason_string,
                user_properties: self.user_properties,
            };
            sink.put_section(&explanation, peer, detail)?;
            for code in self.reason_codes {
                sink.put_u8(code.byte());
            }
        }
        Ok(())
    }
}
