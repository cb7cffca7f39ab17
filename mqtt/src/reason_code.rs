//! Reason codes (MQTT 5.0, 2.4), and the return codes of CONNACK in 3.1.1 that stand for some of them.

use crate::fixed_header::PacketType;

/// A reason code of MQTT 5.0.
///
/// 0x00 has three names; [`ReasonCode::Success`] stands for all of them, see also
/// [`ReasonCode::NORMAL_DISCONNECTION`] and [`ReasonCode::GRANTED_QOS_0`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of table 2-6")]
pub enum ReasonCode {
    #[default]
    Success = 0x00,
    GrantedQos1 = 0x01,
    GrantedQos2 = 0x02,
    DisconnectWithWillMessage = 0x04,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    ContinueAuthentication = 0x18,
    ReAuthenticate = 0x19,
    UnspecifiedError = 0x80,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecificError = 0x83,
    UnsupportedProtocolVersion = 0x84,
    ClientIdentifierNotValid = 0x85,
    BadUserNameOrPassword = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerBusy = 0x89,
    Banned = 0x8A,
    ServerShuttingDown = 0x8B,
    BadAuthenticationMethod = 0x8C,
    KeepAliveTimeout = 0x8D,
    SessionTakenOver = 0x8E,
    TopicFilterInvalid = 0x8F,
    TopicNameInvalid = 0x90,
    PacketIdentifierInUse = 0x91,
    PacketIdentifierNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    MessageRateTooHigh = 0x96,
    QuotaExceeded = 0x97,
    AdministrativeAction = 0x98,
    PayloadFormatInvalid = 0x99,
    RetainNotSupported = 0x9A,
    QosNotSupported = 0x9B,
    UseAnotherServer = 0x9C,
    ServerMoved = 0x9D,
    SharedSubscriptionsNotSupported = 0x9E,
    ConnectionRateExceeded = 0x9F,
    MaximumConnectTime = 0xA0,
    SubscriptionIdentifiersNotSupported = 0xA1,
    WildcardSubscriptionsNotSupported = 0xA2,
}

/// Which side sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The side that sends CONNECT.
    Client,
    /// The side that sends CONNACK.
    Server,
}

impl ReasonCode {
    /// 0x00 in DISCONNECT.
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// 0x00 in SUBACK.
    pub const GRANTED_QOS_0: Self = Self::Success;

    /// Every reason code, in ascending order.
    pub const ALL: [Self; 43] = [
        Self::Success,
        Self::GrantedQos1,
        Self::GrantedQos2,
        Self::DisconnectWithWillMessage,
        Self::NoMatchingSubscribers,
        Self::NoSubscriptionExisted,
        Self::ContinueAuthentication,
        Self::ReAuthenticate,
        Self::UnspecifiedError,
        Self::MalformedPacket,
        Self::ProtocolError,
        Self::ImplementationSpecificError,
        Self::UnsupportedProtocolVersion,
        Self::ClientIdentifierNotValid,
        Self::BadUserNameOrPassword,
        Self::NotAuthorized,
        Self::ServerUnavailable,
        Self::ServerBusy,
        Self::Banned,
        Self::ServerShuttingDown,
        Self::BadAuthenticationMethod,
        Self::KeepAliveTimeout,
        Self::SessionTakenOver,
        Self::TopicFilterInvalid,
        Self::TopicNameInvalid,
        Self::PacketIdentifierInUse,
        Self::PacketIdentifierNotFound,
        Self::ReceiveMaximumExceeded,
        Self::TopicAliasInvalid,
        Self::PacketTooLarge,
        Self::MessageRateTooHigh,
        Self::QuotaExceeded,
        Self::AdministrativeAction,
        Self::PayloadFormatInvalid,
        Self::RetainNotSupported,
        Self::QosNotSupported,
        Self::UseAnotherServer,
        Self::ServerMoved,
        Self::SharedSubscriptionsNotSupported,
        Self::ConnectionRateExceeded,
        Self::MaximumConnectTime,
        Self::SubscriptionIdentifiersNotSupported,
        Self::WildcardSubscriptionsNotSupported,
    ];

    /// Returns the reason code that `byte` stands for, or `None` when the specification has none.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.byte() == byte)
    }

    /// Returns the byte that packets carry.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// Whether the code says that something failed: 0x80 and above.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.byte() >= 0x80
    }

    /// Whether `sender` may put this code into a packet of this type, by the tables of chapter 3.
    ///
    /// 0x8C is taken from table 2-6 as a code of DISCONNECT, which table 3-10 leaves out.
    #[must_use]
    pub const fn is_allowed_in(self, packet_type: PacketType, sender: Sender) -> bool {
        let from_server = matches!(sender, Sender::Server);
        let code = self.byte();
        match packet_type {
            PacketType::ConnAck => {
                from_server && matches!(code, 0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
            }
            PacketType::PubAck | PacketType::PubRec => {
                matches!(code, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            PacketType::PubRel | PacketType::PubComp => matches!(code, 0x00 | 0x92),
            PacketType::SubAck => {
                from_server
                    && matches!(
                        code,
                        0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2
                    )
            }
            PacketType::UnsubAck => from_server && matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
            PacketType::Disconnect if from_server => {
                matches!(code, 0x00 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2)
            }
            PacketType::Disconnect => matches!(code, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99),
            PacketType::Auth if from_server => matches!(code, 0x00 | 0x18),
            PacketType::Auth => matches!(code, 0x18 | 0x19),
            PacketType::Connect
            | PacketType::Publish
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::PingReq
            | PacketType::PingResp => false,
        }
    }
}

/// The return code of a CONNACK of MQTT 3.1 and 3.1.1 (MQTT 3.1.1, 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ConnectReturnCode {
    /// The connection is accepted.
    Accepted = 0,
    /// The server does not speak this level of the protocol.
    UnacceptableProtocolVersion = 1,
    /// The client id is correct UTF-8 but not allowed by the server.
    IdentifierRejected = 2,
    /// The network connection has been made but the MQTT service is unavailable.
    ServerUnavailable = 3,
    /// The data in the user name or password is malformed.
    BadUserNameOrPassword = 4,
    /// The client is not authorized to connect.
    NotAuthorized = 5,
}

impl ConnectReturnCode {
    /// Returns the return code that says what `reason_code` says, or `None` when 3.1.1 has no word for it. The
    /// server then closes the connection without a CONNACK.
    #[must_use]
    pub const fn from_reason_code(reason_code: ReasonCode) -> Option<Self> {
        match reason_code {
            ReasonCode::Success => Some(Self::Accepted),
            ReasonCode::UnsupportedProtocolVersion => Some(Self::UnacceptableProtocolVersion),
            ReasonCode::ClientIdentifierNotValid => Some(Self::IdentifierRejected),
            ReasonCode::ServerUnavailable
            | ReasonCode::ServerBusy
            | ReasonCode::ConnectionRateExceeded
            | ReasonCode::QuotaExceeded
            | ReasonCode::UseAnotherServer
            | ReasonCode::ServerMoved => Some(Self::ServerUnavailable),
            ReasonCode::BadUserNameOrPassword | ReasonCode::BadAuthenticationMethod => {
                Some(Self::BadUserNameOrPassword)
            }
            ReasonCode::NotAuthorized | ReasonCode::Banned => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// Returns the return code that `byte` stands for; 6 and above are reserved.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Accepted),
            1 => Some(Self::UnacceptableProtocolVersion),
            2 => Some(Self::IdentifierRejected),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// Returns the reason code of 5.0 that says the same.
    #[must_use]
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::Accepted => ReasonCode::Success,
            Self::UnacceptableProtocolVersion => ReasonCode::UnsupportedProtocolVersion,
            Self::IdentifierRejected => ReasonCode::ClientIdentifierNotValid,
            Self::ServerUnavailable => ReasonCode::ServerUnavailable,
            Self::BadUserNameOrPassword => ReasonCode::BadUserNameOrPassword,
            Self::NotAuthorized => ReasonCode::NotAuthorized,
        }
    }

    /// Returns the byte that CONNACK carries.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_reason_code_or_none() {
        let known = (0..=u8::MAX).filter_map(|byte| ReasonCode::from_byte(byte).map(|code| (byte, code)));
        let mut count = 0;
        for (byte, code) in known {
            assert_eq!(code.byte(), byte);
            count += 1;
        }
        assert_eq!(count, ReasonCode::ALL.len());
        assert!(ReasonCode::ALL.is_sorted_by_key(|code| code.byte()));
    }

    #[test]
    fn return_codes_and_reason_codes_say_the_same_both_ways() {
        for byte in 0..=5 {
            let return_code = ConnectReturnCode::from_byte(byte).expect("0 to 5 are defined");
            assert_eq!(return_code.byte(), byte);
            assert_eq!(
                ConnectReturnCode::from_reason_code(return_code.reason_code()),
                Some(return_code)
            );
        }
        assert_eq!(ConnectReturnCode::from_byte(6), None);
        assert_eq!(ConnectReturnCode::from_reason_code(ReasonCode::MalformedPacket), None);
    }

    #[test]
    fn a_suback_is_the_servers_and_carries_only_its_own_codes() {
        let allowed = |sender| {
            ReasonCode::ALL
                .iter()
                .filter(move |code| code.is_allowed_in(PacketType::SubAck, sender))
        };
        let bytes: Vec<u8> = allowed(Sender::Server).map(|code| code.byte()).collect();
        // Table 3-8.
        let expected = [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
        assert_eq!(bytes, expected);
        assert_eq!(allowed(Sender::Client).count(), 0);
    }

    #[test]
    fn only_a_client_asks_for_its_will_and_only_a_server_reports_a_takeover() {
        use PacketType::Disconnect;
        assert!(ReasonCode::DisconnectWithWillMessage.is_allowed_in(Disconnect, Sender::Client));
        assert!(!ReasonCode::DisconnectWithWillMessage.is_allowed_in(Disconnect, Sender::Server));
        assert!(ReasonCode::SessionTakenOver.is_allowed_in(Disconnect, Sender::Server));
        assert!(!ReasonCode::SessionTakenOver.is_allowed_in(Disconnect, Sender::Client));
        // Table 2-6 names CONNACK alone.
        assert!(!ReasonCode::ServerUnavailable.is_allowed_in(Disconnect, Sender::Server));
        assert!(ReasonCode::ServerUnavailable.is_allowed_in(PacketType::ConnAck, Sender::Server));
    }
}
