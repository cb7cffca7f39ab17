//! SUBACK (MQTT 5.0, 3.9): one reason code per topic filter of the SUBSCRIBE.

use super::ack::{Explanation, acknowledgement_detail, check_reason_code, read_explanation};
use super::{PacketId, ReasonCodes};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::fixed_header::PacketType;
use crate::limits::{DecodeLimits, Peer};
use crate::properties::UserProperties;
use crate::protocol_version::ProtocolVersion;
use crate::reader::Reader;
use crate::reason_code::{ReasonCode, Sender};
use crate::sink::{Detail, Sink, Write, encode_packet};

/// SUBACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// The packet id of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// For people who diagnose, since 5.0.
    pub reason_string: Option<&'a str>,
    /// Since 5.0.
    pub user_properties: UserProperties<'a>,
    /// The granted QoS or the failure of each filter, in order. 3.1.1 has one failure,
    /// [`ReasonCode::UnspecifiedError`], which stands for all.
    pub reason_codes: ReasonCodes<'a>,
}

impl<'a> SubAck<'a> {
    /// A SUBACK without properties.
    #[must_use]
    pub const fn new(packet_id: PacketId, reason_codes: ReasonCodes<'a>) -> Self {
        Self {
            packet_id,
            reason_string: None,
            user_properties: UserProperties::NONE,
            reason_codes,
        }
    }

    /// Decodes the body of a SUBACK.
    ///
    /// # Errors
    /// Whatever [`DecodeErrorKind`] lists.
    pub fn decode(version: ProtocolVersion, body: &'a [u8], limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let (mut reason_string, mut user_properties) = (None, UserProperties::NONE);
        if version.has_properties() {
            (reason_string, user_properties) = read_explanation(&mut reader, limits)?;
        } else if let Some(&byte) = reader.rest().iter().find(|byte| !matches!(byte, 0..=2 | 0x80)) {
            return Err(DecodeErrorKind::ReasonCodeNotAllowed {
                packet_type: PacketType::SubAck,
                byte,
            }
            .into());
        }
        let reason_codes = ReasonCodes::from_payload(PacketType::SubAck, reader.rest())?;
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
    /// [`EncodeError::EmptyList`] without a reason code; otherwise see [`EncodeError`]. `out` is then as it was.
    pub fn encode(&self, peer: &Peer, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        if self.reason_codes.is_empty() {
            return Err(EncodeError::EmptyList);
        }
        for code in self.reason_codes {
            check_reason_code(code, PacketType::SubAck, Sender::Server)?;
        }
        encode_packet(
            PacketType::SubAck.first_byte(0),
            self,
            peer,
            acknowledgement_detail(peer),
            out,
        )
    }
}

impl Write for SubAck<'_> {
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        sink.put_u16(self.packet_id.get());
        let has_properties = peer.version.has_properties();
        if has_properties {
            let explanation = Explanation {
                reason_string: self.reason_string,
                user_properties: self.user_properties,
            };
            sink.put_section(&explanation, peer, detail)?;
        }
        for code in self.reason_codes {
            let code = if code.is_error() && !has_properties {
                ReasonCode::UnspecifiedError
            } else {
                code
            };
            sink.put_u8(code.byte());
        }
        Ok(())
    }
}
