//! AUTH (MQTT 5.0, 3.15): enhanced authentication, which 3.1.1 does not have.

use std::fmt;

use super::ack::{Explanation, acknowledgement_detail, check_reason_code, read_reason_code};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::fixed_header::PacketType;
use crate::limits::{DecodeLimits, Peer};
use crate::properties::{Property, Section, UserProperties, not_allowed, set_once};
use crate::protocol_version::ProtocolVersion;
use crate::reader::Reader;
use crate::reason_code::{ReasonCode, Sender};
use crate::sink::{Detail, Sink, Write, encode_packet};

/// AUTH.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success (server), continue (either) or re-authenticate (client).
    pub reason_code: ReasonCode,
    /// The method, the same as in CONNECT. Absent only in a server's success without properties.
    pub authentication_method: Option<&'a str>,
    /// What the method says.
    pub authentication_data: Option<&'a [u8]>,
    /// For people who diagnose.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    /// Decodes the body of an AUTH that `sender` sent.
    ///
    /// # Errors
    /// Whatever [`DecodeErrorKind`] lists.
    pub fn decode(
        version: ProtocolVersion,
        sender: Sender,
        body: &'a [u8],
        limits: &DecodeLimits,
    ) -> Result<Self, DecodeError> {
        if !version.has_properties() {
            return Err(DecodeErrorKind::PacketTypeNotInVersion {
                packet_type: PacketType::Auth,
            }
            .into());
        }
        if body.is_empty() {
            // Stands for success without properties (MQTT 5.0, 3.15.2.1), which only a server may say.
            return match sender {
                Sender::Server => Ok(Self::default()),
                Sender::Client => Err(DecodeErrorKind::ReasonCodeNotAllowed {
                    packet_type: PacketType::Auth,
                    byte: 0,
                }
                .into()),
            };
        }
        let mut reader = Reader::new(body);
        let mut auth = Self {
            reason_code: read_reason_code(&mut reader, PacketType::Auth, sender)?,
            ..Self::default()
        };
        let mut section = Section::read(&mut reader, limits)?;
        while let Some(property) = section.next()? {
            match property {
                Property::AuthenticationMethod(value) => set_once(&mut auth.authentication_method, value, &property)?,
                Property::AuthenticationData(value) => set_once(&mut auth.authentication_data, value, &property)?,
                Property::ReasonString(value) => set_once(&mut auth.reason_string, value, &property)?,
                _ => return Err(not_allowed(&property)),
            }
        }
        auth.user_properties = section.user_properties();
        reader.finish()?;
        if auth.authentication_method.is_none() {
            return Err(DecodeErrorKind::AuthenticationMethodMissing.into());
        }
        Ok(auth)
    }

    /// Appends the packet as `sender` sends it to `out` and returns its size in bytes.
    ///
    /// # Errors
    /// [`EncodeError::NotInVersion`] before 5.0; otherwise see [`EncodeError`]. `out` is then as it was.
    pub fn encode(&self, sender: Sender, peer: &Peer, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        if !peer.version.has_properties() {
            return Err(EncodeError::NotInVersion);
        }
        check_reason_code(self.reason_code, PacketType::Auth, sender)?;
        encode_packet(
            PacketType::Auth.first_byte(0),
            self,
            peer,
            acknowledgement_detail(peer),
            out,
        )
    }

    const fn explanation(&self) -> Explanation<'a> {
        Explanation {
            reason_string: self.reason_string,
            user_properties: self.user_properties,
        }
    }
}

struct Properties<'p, 'a>(&'p Auth<'a>);

impl Write for Auth<'_> {
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        let has_properties = self.authentication_method.is_some()
            || self.authentication_data.is_some()
            || self.explanation().is_written(detail);
        if has_properties || self.reason_code != ReasonCode::Success {
            sink.put_u8(self.reason_code.byte());
            sink.put_section(&Properties(self), peer, detail)?;
        }
        Ok(())
    }
}

impl Write for Properties<'_, '_> {
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        if let Some(value) = self.0.authentication_method {
            Property::AuthenticationMethod(value).write(sink)?;
        }
        if let Some(value) = self.0.authentication_data {
            Property::AuthenticationData(value).write(sink)?;
        }
        self.0.explanation().write(peer, detail, sink)
    }
}

/// Leaves the authentication data out: it has no place in a log.
impl fmt::Debug for Auth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("reason_code", &self.reason_code)
            .field("authentication_method", &self.authentication_method)
            .field("has_authentication_data", &self.authentication_data.is_some())
            .field("reason_string", &self.reason_string)
            .field("user_properties", &self.user_properties)
            .finish()
    }
}
