//! CONNACK (MQTT 5.0, 3.2).

mod properties;

pub use properties::ConnAckProperties;

use super::ack::{check_reason_code, read_reason_code};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::fixed_header::PacketType;
use crate::limits::{DecodeLimits, Peer};
use crate::protocol_version::ProtocolVersion;
use crate::reader::Reader;
use crate::reason_code::{ConnectReturnCode, ReasonCode, Sender};
use crate::sink::{Detail, Sink, Write, encode_packet};

/// CONNACK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether the server has a session of the client. Never with a refusal, and never in 3.1.
    pub session_present: bool,
    /// Whether the connection is accepted. Before 5.0 it is one of the six that [`ConnectReturnCode`] has.
    pub reason_code: ReasonCode,
    /// All absent before 5.0.
    pub properties: ConnAckProperties<'a>,
}

impl<'a> ConnAck<'a> {
    /// A CONNACK without properties that refuses the connection, or accepts it with a new session.
    #[must_use]
    pub fn new(reason_code: ReasonCode) -> Self {
        Self {
            reason_code,
            ..Self::default()
        }
    }

    /// Decodes the body of a CONNACK.
    ///
    /// # Errors
    /// Whatever [`DecodeErrorKind`] lists.
    pub fn decode(version: ProtocolVersion, body: &'a [u8], limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let session_present = match reader.u8()? {
            0 => false,
            1 if version > ProtocolVersion::V31 => true,
            _ => return Err(DecodeErrorKind::ConnAckReservedFlags.into()),
        };
        let (reason_code, properties) = if version.has_properties() {
            let reason_code = read_reason_code(&mut reader, PacketType::ConnAck, Sender::Server)?;
            (reason_code, ConnAckProperties::read(&mut reader, limits)?)
        } else {
            let byte = reader.u8()?;
            let return_code = ConnectReturnCode::from_byte(byte).ok_or(DecodeErrorKind::ReturnCodeReserved { byte })?;
            (return_code.reason_code(), ConnAckProperties::default())
        };
        reader.finish()?;
        if session_present && reason_code != ReasonCode::Success {
            return Err(DecodeErrorKind::SessionPresentOnRefusal.into());
        }
        Ok(Self {
            session_present,
            reason_code,
            properties,
        })
    }

    /// Appends the packet to `out` and returns its size in bytes. Reason string and user properties are left out
    /// when the packet would be too large with them.
    ///
    /// # Errors
    /// [`EncodeError::NotInVersion`] before 5.0 for a reason code without a return code: the server closes the
    /// connection instead. Otherwise see [`EncodeError`]. `out` is then as it was.
    pub fn encode(&self, peer: &Peer, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        check_reason_code(self.reason_code, PacketType::ConnAck, Sender::Server)?;
        encode_packet(PacketType::ConnAck.first_byte(0), self, peer, Detail::Full, out)
    }
}

impl Write for ConnAck<'_> {
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        let session_present =
            self.session_present && self.reason_code == ReasonCode::Success && peer.version > ProtocolVersion::V31;
        sink.put_u8(u8::from(session_present));
        if peer.version.has_properties() {
            sink.put_u8(self.reason_code.byte());
            sink.put_section(&self.properties, peer, detail)
        } else {
            let return_code = ConnectReturnCode::from_reason_code(self.reason_code).ok_or(EncodeError::NotInVersion)?;
            sink.put_u8(return_code.byte());
            Ok(())
        }
    }
}
