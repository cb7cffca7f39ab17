//! Why bytes are no packet, and why a packet cannot be written.

use std::fmt;

use crate::fixed_header::PacketType;
use crate::reason_code::ReasonCode;
use crate::topic::TopicError;

/// A refusal by a decoder, with the reason code that the specification names for it.
///
/// The receiver answers it by closing the connection: a server sends CONNACK with the reason code before that if
/// the packet was a CONNECT of 5.0, and DISCONNECT if it was another packet of 5.0; 3.1.1 has only the close
/// (MQTT 5.0, 4.13; MQTT 3.1.1, 4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The reason code for CONNACK or DISCONNECT.
    pub reason_code: ReasonCode,
    /// What is wrong.
    pub kind: DecodeErrorKind,
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// Packet type 0.
    ReservedPacketType,
    /// AUTH before 5.0.
    PacketTypeNotInVersion {
        /// The packet that the version does not know.
        packet_type: PacketType,
    },
    /// A packet that only the other side may send.
    WrongDirection {
        /// The packet.
        packet_type: PacketType,
    },
    /// Flags of the fixed header other than those of table 2-2.
    FixedHeaderFlags {
        /// The packet that carries them.
        packet_type: PacketType,
    },
    /// PUBLISH with both QoS bits set.
    PublishQos3,
    /// PUBLISH of QoS 0 with DUP.
    DupWithQos0,
    /// The packet is larger than the receiver accepts.
    PacketTooLarge {
        /// The size of the packet in bytes, fixed header included.
        packet_bytes: u32,
        /// The largest size that is accepted.
        max_packet_bytes: u32,
    },
    /// A Variable Byte Integer of more than four bytes.
    VarintOverlong,
    /// A Variable Byte Integer of more bytes than its value needs.
    VarintNotMinimal,
    /// The body handed to the decoder is not as long as the Remaining Length says.
    BodyLength,
    /// A field runs past the end of the packet or of its section.
    Truncated,
    /// Bytes follow after the last field.
    TrailingBytes,
    /// A string that is no UTF-8.
    InvalidUtf8,
    /// A string with U+0000.
    NulCharacter,
    /// Packet id 0.
    PacketIdZero,
    /// A protocol name that is neither `MQTT` nor `MQIsdp`.
    UnsupportedProtocolName,
    /// A protocol level that is not served.
    UnsupportedProtocolLevel {
        /// The level of the CONNECT.
        level: u8,
    },
    /// CONNECT with the reserved bit of the connect flags set.
    ConnectReservedFlag,
    /// CONNECT with Will QoS or Will Retain but without Will Flag.
    WillFieldsWithoutWill,
    /// CONNECT with Will QoS 3.
    WillQos3,
    /// CONNECT of 3.1.1 with a password but without a user name.
    PasswordWithoutUserName,
    /// CONNACK with a reserved bit of the acknowledge flags set.
    ConnAckReservedFlags,
    /// CONNACK that refuses the connection and claims a session.
    SessionPresentOnRefusal,
    /// CONNACK of 3.1.1 with a return code of 6 or above.
    ReturnCodeReserved {
        /// The return code.
        byte: u8,
    },
    /// A topic name that is not valid.
    TopicName(TopicError),
    /// A topic filter that is not valid.
    TopicFilter(TopicError),
    /// A Response Topic that is not valid.
    ResponseTopic(TopicError),
    /// PUBLISH without topic name and without topic alias.
    TopicNameMissing,
    /// SUBSCRIBE or UNSUBSCRIBE without a topic filter.
    NoTopicFilter,
    /// SUBACK, or UNSUBACK of 5.0, without a reason code.
    NoReasonCode,
    /// More topic filters than [`DecodeLimits`](crate::DecodeLimits) allows.
    TooManyTopicFilters,
    /// Reserved bits in subscription options.
    SubscriptionOptionsReserved,
    /// SUBSCRIBE that asks for QoS 3.
    SubscriptionQos3,
    /// Retain Handling 3.
    RetainHandling3,
    /// No Local on a shared subscription.
    NoLocalOnShared,
    /// A reason code that does not exist or is not for this packet and sender.
    ReasonCodeNotAllowed {
        /// The packet that carries it.
        packet_type: PacketType,
        /// The byte.
        byte: u8,
    },
    /// A property identifier that does not exist or is not for this packet.
    PropertyNotAllowed {
        /// The first byte of the identifier.
        identifier: u8,
    },
    /// A property of this packet that only the other side may set.
    PropertyOfOtherSide {
        /// The identifier.
        identifier: u8,
    },
    /// A property that may be there once and is there twice.
    PropertyRepeated {
        /// The identifier.
        identifier: u8,
    },
    /// A property whose value is outside its range.
    PropertyValue {
        /// The identifier.
        identifier: u8,
    },
    /// Topic Alias 0.
    TopicAliasZero,
    /// Authentication Data without Authentication Method, or AUTH without it.
    AuthenticationMethodMissing,
    /// More user properties than [`DecodeLimits`](crate::DecodeLimits) allows.
    TooManyUserProperties,
}

impl DecodeErrorKind {
    /// Returns reason code, statement of MQTT 5.0 (of 3.1.1 where it says so), and what is wrong.
    const fn describe(self) -> (ReasonCode, &'static str, &'static str) {
        use ReasonCode::{
            MalformedPacket, PacketTooLarge, ProtocolError, QuotaExceeded, TopicAliasInvalid,
            UnsupportedProtocolVersion,
        };
        match self {
            Self::ReservedPacketType => (MalformedPacket, "2.1.2", "packet type 0 is reserved"),
            Self::PacketTypeNotInVersion { .. } => (MalformedPacket, "3.1.1: 2.2.1", "the version has no such packet"),
            Self::WrongDirection { .. } => (ProtocolError, "2.1.2", "only the other side sends this packet"),
            Self::FixedHeaderFlags { packet_type } => (
                MalformedPacket,
                match packet_type {
                    PacketType::PubRel => "MQTT-3.6.1-1",
                    PacketType::Subscribe => "MQTT-3.8.1-1",
                    PacketType::Unsubscribe => "MQTT-3.10.1-1",
                    PacketType::Disconnect => "MQTT-3.14.1-1",
                    PacketType::Auth => "MQTT-3.15.1-1",
                    _ => "MQTT-2.1.3-1",
                },
                "reserved flags of the fixed header are not as they must be",
            ),
            Self::PublishQos3 => (MalformedPacket, "MQTT-3.3.1-4", "PUBLISH has both QoS bits set"),
            Self::DupWithQos0 => (MalformedPacket, "MQTT-3.3.1-2", "PUBLISH of QoS 0 has DUP set"),
            Self::PacketTooLarge { .. } => (PacketTooLarge, "MQTT-3.2.2-15", "the packet is larger than accepted"),
            Self::VarintOverlong => (
                MalformedPacket,
                "1.5.5",
                "a variable byte integer has more than four bytes",
            ),
            Self::VarintNotMinimal => (
                MalformedPacket,
                "MQTT-1.5.5-1",
                "a variable byte integer has more bytes than it needs",
            ),
            Self::BodyLength => (
                MalformedPacket,
                "2.1.4",
                "the body is not as long as the remaining length says",
            ),
            Self::Truncated => (MalformedPacket, "2.1.4", "a field runs past the end of the packet"),
            Self::TrailingBytes => (MalformedPacket, "2.1.4", "bytes follow after the last field"),
            Self::InvalidUtf8 => (MalformedPacket, "MQTT-1.5.4-1", "a string is not valid UTF-8"),
            Self::NulCharacter => (MalformedPacket, "MQTT-1.5.4-2", "a string contains U+0000"),
            Self::PacketIdZero => (ProtocolError, "MQTT-2.2.1-3", "the packet identifier is 0"),
            Self::UnsupportedProtocolName => (
                UnsupportedProtocolVersion,
                "MQTT-3.1.2-1",
                "the protocol name is not MQTT",
            ),
            Self::UnsupportedProtocolLevel { .. } => (
                UnsupportedProtocolVersion,
                "MQTT-3.1.2-2",
                "the protocol level is not supported",
            ),
            Self::ConnectReservedFlag => (MalformedPacket, "MQTT-3.1.2-3", "the reserved connect flag is set"),
            Self::WillFieldsWithoutWill => (
                MalformedPacket,
                "MQTT-3.1.2-11",
                "Will QoS or Will Retain is set without Will Flag",
            ),
            Self::WillQos3 => (MalformedPacket, "MQTT-3.1.2-12", "Will QoS is 3"),
            Self::PasswordWithoutUserName => (
                MalformedPacket,
                "3.1.1: MQTT-3.1.2-22",
                "the password flag is set without the user name flag",
            ),
            Self::ConnAckReservedFlags => (
                MalformedPacket,
                "MQTT-3.2.2-1",
                "reserved connect acknowledge flags are set",
            ),
            Self::SessionPresentOnRefusal => (
                ProtocolError,
                "MQTT-3.2.2-6",
                "a refused connection has Session Present set",
            ),
            Self::ReturnCodeReserved { .. } => (ProtocolError, "3.1.1: 3.2.2.3", "the return code is reserved"),
            Self::TopicName(error) => (MalformedPacket, error.statement_for_name(), error.message()),
            Self::TopicFilter(error) => (MalformedPacket, error.statement_for_filter(), error.message()),
            Self::ResponseTopic(error) => (ProtocolError, "MQTT-3.3.2-14", error.message()),
            Self::TopicNameMissing => (ProtocolError, "3.3.2.1", "there is neither topic name nor topic alias"),
            Self::NoTopicFilter => (ProtocolError, "MQTT-3.8.3-2", "there is no topic filter"),
            Self::NoReasonCode => (ProtocolError, "MQTT-3.8.4-6", "there is no reason code"),
            Self::TooManyTopicFilters => (QuotaExceeded, "4.13.2", "there are more topic filters than accepted"),
            Self::SubscriptionOptionsReserved => (
                MalformedPacket,
                "MQTT-3.8.3-5",
                "reserved bits of the subscription options are set",
            ),
            Self::SubscriptionQos3 => (ProtocolError, "3.8.3.1", "the maximum QoS of a subscription is 3"),
            Self::RetainHandling3 => (ProtocolError, "3.8.3.1", "Retain Handling is 3"),
            Self::NoLocalOnShared => (
                ProtocolError,
                "MQTT-3.8.3-4",
                "No Local is set on a shared subscription",
            ),
            Self::ReasonCodeNotAllowed { packet_type, .. } => (
                ProtocolError,
                match packet_type {
                    PacketType::ConnAck => "MQTT-3.2.2-8",
                    PacketType::PubAck => "MQTT-3.4.2-1",
                    PacketType::PubRec => "MQTT-3.5.2-1",
                    PacketType::PubRel => "MQTT-3.6.2-1",
                    PacketType::PubComp => "MQTT-3.7.2-1",
                    PacketType::SubAck => "MQTT-3.9.3-2",
                    PacketType::UnsubAck => "MQTT-3.11.3-2",
                    PacketType::Disconnect => "MQTT-3.14.2-1",
                    _ => "MQTT-3.15.2-1",
                },
                "the reason code is not one of this packet",
            ),
            Self::PropertyNotAllowed { .. } => (MalformedPacket, "2.2.2.2", "a property is not one of this packet"),
            Self::PropertyOfOtherSide { identifier } => (
                ProtocolError,
                match identifier {
                    0x0B => "MQTT-3.3.4-6",
                    0x11 => "MQTT-3.14.2-2",
                    _ => "3.14.2.2",
                },
                "a property is one that only the other side sets",
            ),
            Self::PropertyRepeated { .. } => (ProtocolError, "2.2.2", "a property is there more than once"),
            Self::PropertyValue { .. } => (ProtocolError, "2.2.2", "the value of a property is out of range"),
            Self::TopicAliasZero => (TopicAliasInvalid, "MQTT-3.3.2-8", "the topic alias is 0"),
            Self::AuthenticationMethodMissing => (
                ProtocolError,
                "3.1.2.11.10 and 3.15.2.2.2",
                "there is no authentication method",
            ),
            Self::TooManyUserProperties => (QuotaExceeded, "4.13.2", "there are more user properties than accepted"),
        }
    }

    /// The reason code that the specification names for it.
    #[must_use]
    pub const fn reason_code(self) -> ReasonCode {
        self.describe().0
    }

    /// The statement or section of MQTT 5.0 that is violated, whatever the version of the connection; `3.1.1:`
    /// stands before what only MQTT 3.1.1 says.
    #[must_use]
    pub const fn statement(self) -> &'static str {
        self.describe().1
    }

    /// What is wrong, in words.
    #[must_use]
    pub const fn message(self) -> &'static str {
        self.describe().2
    }
}

impl DecodeError {
    /// Whether the bytes cannot be parsed (MQTT 5.0, 1.2 "Malformed Packet").
    #[must_use]
    pub const fn is_malformed(&self) -> bool {
        matches!(self.reason_code, ReasonCode::MalformedPacket)
    }

    /// Whether the packet can be parsed and says what the protocol does not permit (MQTT 5.0, 1.2 "Protocol
    /// Error"). Neither this nor malformed are an unsupported version and a quota of the receiver's own.
    #[must_use]
    pub const fn is_protocol_error(&self) -> bool {
        matches!(
            self.reason_code,
            ReasonCode::ProtocolError | ReasonCode::PacketTooLarge | ReasonCode::TopicAliasInvalid
        )
    }
}

impl From<DecodeErrorKind> for DecodeError {
    #[inline]
    fn from(kind: DecodeErrorKind) -> Self {
        Self {
            reason_code: kind.reason_code(),
            kind,
        }
    }
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())?;
        match *self {
            Self::PacketTypeNotInVersion { packet_type }
            | Self::WrongDirection { packet_type }
            | Self::FixedHeaderFlags { packet_type } => write!(f, " ({})", packet_type.name())?,
            Self::PacketTooLarge {
                packet_bytes,
                max_packet_bytes,
            } => {
                write!(f, " ({packet_bytes} bytes, at most {max_packet_bytes})")?;
            }
            Self::UnsupportedProtocolLevel { level } => write!(f, " ({level})")?,
            Self::ReturnCodeReserved { byte } => write!(f, " ({byte})")?,
            Self::ReasonCodeNotAllowed { packet_type, byte } => write!(f, " ({}, {byte:#04x})", packet_type.name())?,
            Self::PropertyNotAllowed { identifier }
            | Self::PropertyOfOtherSide { identifier }
            | Self::PropertyRepeated { identifier }
            | Self::PropertyValue { identifier } => write!(f, " ({identifier:#04x})")?,
            _ => {}
        }
        write!(f, " [{}]", self.statement())
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl std::error::Error for DecodeErrorKind {}
impl std::error::Error for DecodeError {}

/// Why a packet cannot be written. Nothing was appended to the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The packet is larger than the peer accepts, or than the protocol can express. A server drops it and goes on
    /// as if it had been sent (`[MQTT-3.1.2-25]`).
    PacketTooLarge {
        /// The size in bytes, fixed header included; only the body's when the protocol cannot express it.
        packet_bytes: u64,
    },
    /// A string or binary field is longer than 65,535 bytes.
    FieldTooLong,
    /// A Variable Byte Integer is above 268,435,455.
    VarintTooLarge,
    /// The version of the connection has no such packet or no such reason code.
    NotInVersion,
    /// The reason code is not one that the specification lists for this packet.
    ReasonCodeNotAllowed {
        /// The packet that should carry it.
        packet_type: PacketType,
        /// The reason code.
        reason_code: ReasonCode,
    },
    /// QoS and packet id do not go together: QoS 0 has none, QoS 1 and 2 have one.
    PacketIdMismatch,
    /// PUBLISH without topic name and without topic alias.
    TopicNameMissing,
    /// A list that must not be empty is.
    EmptyList,
    /// A password without a user name, which 3.1.1 cannot express.
    PasswordWithoutUserName,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PacketTooLarge { packet_bytes } => write!(f, "the packet of {packet_bytes} bytes is too large"),
            Self::FieldTooLong => f.write_str("a field is longer than 65,535 bytes"),
            Self::VarintTooLarge => f.write_str("a variable byte integer is above 268,435,455"),
            Self::NotInVersion => f.write_str("the protocol version cannot express this packet"),
            Self::ReasonCodeNotAllowed {
                packet_type,
                reason_code,
            } => {
                write!(
                    f,
                    "{} cannot carry the reason code {:#04x}",
                    packet_type.name(),
                    reason_code.byte()
                )
            }
            Self::PacketIdMismatch => f.write_str("the QoS and the packet identifier do not go together"),
            Self::TopicNameMissing => f.write_str("there is neither topic name nor topic alias"),
            Self::EmptyList => f.write_str("a list that must not be empty is"),
            Self::PasswordWithoutUserName => f.write_str("MQTT 3.1.1 has no password without user name"),
        }
    }
}

impl std::error::Error for EncodeError {}

#[cfg(test)]
mod tests;
