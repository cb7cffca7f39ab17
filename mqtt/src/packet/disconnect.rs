//! DISCONNECT (MQTT 5.0, 3.14): sent by clients, and since 5.0 by servers too.

use super::ack::{Explanation, check_reason_code, read_reason_code};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::fixed_header::PacketType;
use crate::limits::{DecodeLimits, Peer};
use crate::properties::{Property, Section, UserProperties, not_allowed, set_once};
use crate::protocol_version::ProtocolVersion;
use crate::reader::Reader;
use crate::reason_code::{ReasonCode, Sender};
use crate::sink::{Detail, Sink, Write, encode_packet};

/// DISCONNECT. Before 5.0 it has no fields, and only clients send it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why the connection ends.
    pub reason_code: ReasonCode,
    /// The session expiry interval from now on, in seconds; only clients set it. That it must not be raised from 0
    /// (MQTT 5.0, 3.14.2.2.2) is for the caller to check.
    pub session_expiry_interval: Option<u32>,
    /// For people who diagnose.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// Where the client may go instead; only servers set it.
    pub server_reference: Option<&'a str>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT without properties.
    #[must_use]
    pub const fn new(reason_code: ReasonCode) -> Self {
        Self {
            reason_code,
            session_expiry_interval: None,
            reason_string: None,
            user_properties: UserProperties::NONE,
            server_reference: None,
        }
    }

    /// Decodes the body of a DISCONNECT that `sender` sent.
    ///
    /// # Errors
    /// Whatever [`DecodeErrorKind`] lists.
    pub fn decode(
        version: ProtocolVersion,
        sender: Sender,
        body: &'a [u8],
        limits: &DecodeLimits,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut disconnect = Self::default();
        if !version.has_properties() {
            if sender == Sender::Server {
                return Err(DecodeErrorKind::WrongDirection {
                    packet_type: PacketType::Disconnect,
                }
                .into());
            }
            reader.finish()?;
            return Ok(disconnect);
        }
        if !reader.is_empty() {
            disconnect.reason_code = read_reason_code(&mut reader, PacketType::Disconnect, sender)?;
        }
        if !reader.is_empty() {
            disconnect.read_properties(&mut reader, sender, limits)?;
        }
        reader.finish()?;
        Ok(disconnect)
    }

    fn read_properties(
        &mut self,
        reader: &mut Reader<'a>,
        sender: Sender,
        limits: &DecodeLimits,
    ) -> Result<(), DecodeError> {
        let mut section = Section::read(reader, limits)?;
        while let Some(property) = section.next()? {
            match (property, sender) {
                (Property::SessionExpiryInterval(value), Sender::Client) => {
                    set_once(&mut self.session_expiry_interval, value, &property)?;
                }
                (Property::ServerReference(value), Sender::Server) => {
                    set_once(&mut self.server_reference, value, &property)?;
                }
                (Property::ReasonString(value), _) => set_once(&mut self.reason_string, value, &property)?,
                (Property::SessionExpiryInterval(_) | Property::ServerReference(_), _) => {
                    return Err(DecodeErrorKind::PropertyOfOtherSide {
                        identifier: property.identifier(),
                    }
                    .into());
                }
                _ => return Err(not_allowed(&property)),
            }
        }
        self.user_properties = section.user_properties();
        Ok(())
    }

    /// Appends the packet as `sender` sends it to `out` and returns its size in bytes. The property that only the
    /// other side sets is left out.
    ///
    /// # Errors
    /// [`EncodeError::NotInVersion`] for a server before 5.0, which can only close; otherwise see [`EncodeError`].
    /// `out` is then as it was.
    pub fn encode(&self, sender: Sender, peer: &Peer, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        let first_byte = PacketType::Disconnect.first_byte(0);
        if !peer.version.has_properties() {
            if sender == Sender::Server {
                return Err(EncodeError::NotInVersion);
            }
            out.extend_from_slice(&[first_byte, 0]);
            return Ok(2);
        }
        check_reason_code(self.reason_code, PacketType::Disconnect, sender)?;
        encode_packet(
            first_byte,
            &Body {
                disconnect: self,
                sender,
            },
            peer,
            Detail::Full,
            out,
        )
    }
}

struct Body<'p, 'a> {
    disconnect: &'p Disconnect<'a>,
    sender: Sender,
}

struct Properties<'p, 'a>(&'p Body<'p, 'a>);

impl<'a> Body<'_, 'a> {
    fn session_expiry_interval(&self) -> Option<u32> {
        self.disconnect
            .session_expiry_interval
            .filter(|_| self.sender == Sender::Client)
    }

    fn server_reference(&self) -> Option<&'a str> {
        self.disconnect
            .server_reference
            .filter(|_| self.sender == Sender::Server)
    }

    const fn explanation(&self) -> Explanation<'a> {
        Explanation {
            reason_string: self.disconnect.reason_string,
            user_properties: self.disconnect.user_properties,
        }
    }
}

impl Write for Body<'_, '_> {
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        let has_properties = self.session_expiry_interval().is_some()
            || self.server_reference().is_some()
            || self.explanation().is_written(detail);
        if has_properties || self.disconnect.reason_code != ReasonCode::NORMAL_DISCONNECTION {
            sink.put_u8(self.disconnect.reason_code.byte());
        }
        if has_properties {
            sink.put_section(&Properties(self), peer, detail)?;
        }
        Ok(())
    }
}

impl Write for Properties<'_, '_> {
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        if let Some(value) = self.0.session_expiry_interval() {
            Property::SessionExpiryInterval(value).write(sink)?;
        }
        if let Some(value) = self.0.server_reference() {
            Property::ServerReference(value).write(sink)?;
        }
        self.0.explanation().write(peer, detail, sink)
    }
}
