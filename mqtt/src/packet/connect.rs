//! CONNECT (MQTT 5.0, 3.1).

mod properties;
mod will;

pub use properties::ConnectProperties;
pub use will::{Will, WillProperties};

use std::fmt;

use crate::MAX_PACKET_BYTES;
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::fixed_header::PacketType;
use crate::limits::{DecodeLimits, Peer};
use crate::protocol_version::{Protocol, ProtocolVersion};
use crate::qos::QoS;
use crate::reader::Reader;
use crate::sink::{Detail, Sink, Write, encode_packet};

const RESERVED: u8 = 1;
const CLEAN_START: u8 = 1 << 1;
const WILL: u8 = 1 << 2;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_QOS: u8 = 0b11 << WILL_QOS_SHIFT;
const WILL_RETAIN: u8 = 1 << 5;
const PASSWORD: u8 = 1 << 6;
const USER_NAME: u8 = 1 << 7;

/// CONNECT.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version of the connection, and whether a bridge asks for it.
    pub protocol: Protocol,
    /// Whether the session begins anew (Clean Session before 5.0).
    pub clean_start: bool,
    /// The longest time between two packets of the client, in seconds; 0 turns the check off.
    pub keep_alive_seconds: u16,
    /// All absent before 5.0.
    pub properties: ConnectProperties<'a>,
    /// The client id. Empty asks the server to assign one; before 5.0 that is refused with 0x85 (return code 2)
    /// unless `clean_start` is set (`[MQTT-3.1.3-8]` of 3.1.1), which is for the caller to check.
    pub client_id: &'a str,
    /// The message to be published when the client goes without DISCONNECT.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub user_name: Option<&'a str>,
    /// The password, since 5.0 also without a user name.
    pub password: Option<&'a [u8]>,
}

impl<'a> Connect<'a> {
    /// A CONNECT with a clean start and nothing optional.
    #[must_use]
    pub fn new(version: ProtocolVersion, client_id: &'a str) -> Self {
        Self {
            protocol: version.into(),
            clean_start: true,
            keep_alive_seconds: 0,
            properties: ConnectProperties::default(),
            client_id,
            will: None,
            user_name: None,
            password: None,
        }
    }

    /// Decodes the body of a CONNECT of any version. [`Protocol::peek`] tells the version of one that is refused.
    ///
    /// # Errors
    /// 0x84 for a protocol that is not spoken; otherwise whatever [`DecodeErrorKind`] lists.
    pub fn decode(body: &'a [u8], limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let protocol = Protocol::read(&mut reader)?;
        let version = protocol.version;
        let flags = reader.u8()?;
        check_flags(version, flags)?;
        let keep_alive_seconds = reader.u16()?;
        let properties = if version.has_properties() {
            ConnectProperties::read(&mut reader, limits)?
        } else {
            ConnectProperties::default()
        };
        let client_id = reader.string()?;
        let will = if flags & WILL != 0 {
            let qos = QoS::from_bits((flags & WILL_QOS) >> WILL_QOS_SHIFT).ok_or(DecodeErrorKind::WillQos3)?;
            Some(Will::read(&mut reader, version, qos, flags & WILL_RETAIN != 0, limits)?)
        } else {
            None
        };
        let user_name = if flags & USER_NAME != 0 {
            Some(reader.string()?)
        } else {
            None
        };
        let password = if flags & PASSWORD != 0 {
            Some(reader.binary()?)
        } else {
            None
        };
        reader.finish()?;
        Ok(Self {
            protocol,
            clean_start: flags & CLEAN_START != 0,
            keep_alive_seconds,
            properties,
            client_id,
            will,
            user_name,
            password,
        })
    }

    /// Appends the packet in its own version to `out` and returns its size in bytes.
    ///
    /// # Errors
    /// [`EncodeError`]; `out` is then as it was.
    pub fn encode(&self, peer: &Peer, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        let version = self.protocol.version;
        if self.password.is_some() && self.user_name.is_none() && !version.has_properties() {
            return Err(EncodeError::PasswordWithoutUserName);
        }
        let peer = Peer { version, ..*peer };
        encode_packet(PacketType::Connect.first_byte(0), self, &peer, Detail::Full, out)
    }

    /// What a server has to know to write packets for this client.
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer {
            version: self.protocol.version,
            max_packet_bytes: self.properties.maximum_packet_size.map_or(MAX_PACKET_BYTES, u32::from),
            request_problem_information: self.properties.request_problem_information.unwrap_or(true),
        }
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= WILL | will.qos.bits() << WILL_QOS_SHIFT;
            if will.retain {
                flags |= WILL_RETAIN;
            }
        }
        if self.user_name.is_some() {
            flags |= USER_NAME;
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        flags
    }
}

/// Checks the connect flags but for Will QoS 3, which shows when the will is read.
fn check_flags(version: ProtocolVersion, flags: u8) -> Result<(), DecodeErrorKind> {
    if flags & RESERVED != 0 {
        return Err(DecodeErrorKind::ConnectReservedFlag);
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(DecodeErrorKind::WillFieldsWithoutWill);
    }
    if flags & (USER_NAME | PASSWORD) == PASSWORD && !version.has_properties() {
        return Err(DecodeErrorKind::PasswordWithoutUserName);
    }
    Ok(())
}

impl Write for Connect<'_> {
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError> {
        sink.put_prefixed(self.protocol.version.protocol_name().as_bytes())?;
        sink.put_u8(self.protocol.level_byte());
        sink.put_u8(self.flags());
        sink.put_u16(self.keep_alive_seconds);
        if peer.version.has_properties() {
            sink.put_section(&self.properties, peer, detail)?;
        }
        sink.put_prefixed(self.client_id.as_bytes())?;
        if let Some(will) = &self.will {
            will.write(peer, detail, sink)?;
        }
        if let Some(user_name) = self.user_name {
            sink.put_prefixed(user_name.as_bytes())?;
        }
        if let Some(password) = self.password {
            sink.put_prefixed(password)?;
        }
        Ok(())
    }
}

/// Leaves the password out: it has no place in a log.
impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("protocol", &self.protocol)
            .field("clean_start", &self.clean_start)
            .field("keep_alive_seconds", &self.keep_alive_seconds)
            .field("properties", &self.properties)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("user_name", &self.user_name)
            .field("has_password", &self.password.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_show_in_debug_output() {
        let mut connect = Connect::new(ProtocolVersion::V5, "c");
        connect.password = Some(b"secret");
        connect.properties.authentication_data = Some(b"secret");
        let shown = format!("{connect:?}");
        assert!(shown.contains("has_password: true"), "{shown}");
        assert!(!shown.contains("115, 101"), "{shown}");
    }

    #[test]
    fn bridges_are_told_from_clients_by_their_level() {
        for version in [ProtocolVersion::V31, ProtocolVersion::V311] {
            let mut connect = Connect::new(version, "bridge");
            connect.protocol.bridge = true;
            let mut out = Vec::new();
            connect.encode(&Peer::new(version), &mut out).expect("valid");
            let body = out.get(2..).expect("a short packet");
            assert_eq!(Connect::decode(body, &DecodeLimits::default()), Ok(connect));
            assert_eq!(Protocol::peek(body), Ok(connect.protocol));
        }
    }

    #[test]
    fn the_version_is_told_even_when_the_rest_is_garbage() {
        assert_eq!(Protocol::peek(b"\0\x04MQTT\x05\xFF"), Ok(ProtocolVersion::V5.into()));
        let error = Protocol::peek(b"\0\x04MQTT\x06").expect_err("no such level");
        assert_eq!(error.kind, DecodeErrorKind::UnsupportedProtocolLevel { level: 6 });
        let error = Protocol::peek(b"\0\x04HTTP\x05").expect_err("no such name");
        assert_eq!(error.kind, DecodeErrorKind::UnsupportedProtocolName);
        assert!(Protocol::peek(b"\0\x04MQ").expect_err("cut").is_malformed());
    }
}
