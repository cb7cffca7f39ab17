//! Protocol versions, and how the first bytes of a CONNECT name them (MQTT 5.0, 3.1.2.1 and 3.1.2.2).

use crate::error::{DecodeError, DecodeErrorKind};
use crate::reader::Reader;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// MQTT 3.1: protocol name `MQIsdp`, level 3. Its packets are read and written as those of 3.1.1, so that the
    /// DUP flag which 3.1 allows in PUBREL, SUBSCRIBE and UNSUBSCRIBE is refused.
    V31,
    /// MQTT 3.1.1: protocol name `MQTT`, level 4.
    V311,
    /// MQTT 5.0: protocol name `MQTT`, level 5.
    V5,
}

/// What a CONNECT says of its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The version that the rest of the connection is spoken in.
    pub version: ProtocolVersion,
    /// Whether the level carries the bit 0x80 by which the bridges of some brokers make themselves known
    /// (levels 0x83 and 0x84). The server then sends no message back to where it came from and keeps the
    /// RETAIN flag of what it forwards.
    pub bridge: bool,
}

/// The bit that bridges add to the protocol level.
const BRIDGE_BIT: u8 = 0x80;

impl ProtocolVersion {
    /// Whether packets of this version carry properties and reason codes.
    #[must_use]
    pub const fn has_properties(self) -> bool {
        matches!(self, Self::V5)
    }

    /// Returns the protocol name that a CONNECT of this version carries.
    #[must_use]
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }

    /// Returns the protocol level that a CONNECT of this version carries.
    #[must_use]
    pub const fn protocol_level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
}

impl Protocol {
    /// Reads the protocol from the body of a CONNECT, whether or not the rest of the body is valid.
    ///
    /// A server needs it to answer a CONNECT that [`Connect::decode`](crate::Connect::decode) refuses: 5.0 has a
    /// CONNACK for it, 3.1.1 has none.
    ///
    /// # Errors
    /// 0x84 when the protocol name or level is not one of those of [`ProtocolVersion`]; 0x81 when the name is no
    /// UTF-8 string or the body ends before the level.
    pub fn peek(connect_body: &[u8]) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(connect_body))
    }

    /// Returns the byte that stands for this protocol in a CONNECT.
    #[must_use]
    pub const fn level_byte(self) -> u8 {
        let level = self.version.protocol_level();
        if self.bridge { level | BRIDGE_BIT } else { level }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let name = reader.string()?;
        let level = reader.u8()?;
        let (version, bridge) = match (name, level) {
            ("MQTT", 5) => (ProtocolVersion::V5, false),
            ("MQTT", 4) => (ProtocolVersion::V311, false),
            ("MQTT", 0x84) => (ProtocolVersion::V311, true),
            ("MQIsdp", 3) => (ProtocolVersion::V31, false),
            ("MQIsdp", 0x83) => (ProtocolVersion::V31, true),
            ("MQTT" | "MQIsdp", _) => return Err(DecodeErrorKind::UnsupportedProtocolLevel { level }.into()),
            _ => return Err(DecodeErrorKind::UnsupportedProtocolName.into()),
        };
        Ok(Self { version, bridge })
    }
}

impl From<ProtocolVersion> for Protocol {
    fn from(version: ProtocolVersion) -> Self {
        Self { version, bridge: false }
    }
}
