//! Why a connection has ended: one word per cause, the same in metrics, logs, Events and answers.
//!
//! Used by the worker and, for what happens before a worker has the connection, by the shell. Leaves out what a client
//! is told besides: reason strings and user properties are not sent.

use freshet_mqtt::ReasonCode;
use freshet_storage_contract::DetachReason;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)+) => {
        /// Why a connection has ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum DisconnectReason {
            $($(#[$doc])* $name,)+
        }

        impl DisconnectReason {
            /// Every reason, in the order of [`Self::index`].
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The word for metrics, logs and people.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

reasons! {
    /// DISCONNECT 0x00, or the one of 3.1.1.
    ClientDisconnect = "client_disconnect",
    /// DISCONNECT 0x04 or with an error: the client asks for its will.
    ClientDisconnectWithWill = "client_disconnect_with_will",
    /// The peer has closed or reset the connection without DISCONNECT.
    ConnectionLost = "connection_lost",
    /// Nothing came for one and a half times the keep-alive.
    KeepAliveTimeout = "keep_alive_timeout",
    /// CONNECT was not complete in time.
    ConnectTimeout = "connect_timeout",
    /// Bytes that are no packet.
    MalformedPacket = "malformed_packet",
    /// A packet that may not come here.
    ProtocolError = "protocol_error",
    /// A packet over the maximum.
    PacketTooLarge = "packet_too_large",
    /// A topic alias out of range.
    TopicAliasInvalid = "topic_alias_invalid",
    /// A topic name over the server's own limits, where nothing but the end of the connection can say so.
    TopicNameInvalid = "topic_name_invalid",
    /// A QoS over the announced maximum.
    QosNotSupported = "qos_not_supported",
    /// More unacknowledged publications than announced.
    ReceiveMaximumExceeded = "receive_maximum_exceeded",
    /// A protocol name or level that is not spoken.
    UnsupportedProtocolVersion = "unsupported_protocol_version",
    /// A client id that is too long, or missing where it must not.
    ClientIdentifierNotValid = "client_identifier_not_valid",
    /// CONNECT asked for enhanced authentication.
    BadAuthenticationMethod = "bad_authentication_method",
    /// A will that may not be published.
    WillNotAllowed = "will_not_allowed",
    /// A limit on sessions, topic filters or properties is reached.
    QuotaExceeded = "quota_exceeded",
    /// The client has connected again.
    TakenOver = "taken_over",
    /// The listener or the process has as many connections as it may.
    TooManyConnections = "too_many_connections",
    /// A TLS ClientHello on a listener without TLS.
    TlsOnPlainPort = "tls_on_plain_port",
    /// An HTTP request on a listener for MQTT.
    HttpOnPlainPort = "http_on_plain_port",
    /// A clean session reads slower than it is sent to.
    SlowConsumer = "slow_consumer",
    /// Deliveries of storage were lost on their way to this proxy.
    Overrun = "overrun",
    /// Storage did not answer for `publishHold`.
    StorageUnavailable = "storage_unavailable",
    /// The process has no room for more bytes of incomplete packets, or so many clients have come at once that this one
    /// would wait too long for its session.
    ServerBusy = "server_busy",
    /// The proxy hands over its clients.
    ServerShutdown = "server_shutdown",
    /// The proxy gives clients away, and goes on.
    Moved = "moved",
    /// The listener has been removed.
    ListenerRemoved = "listener_removed",
}

impl DisconnectReason {
    /// Number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// Place in [`Self::ALL`], for counters that are an array.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Reason code of the server's DISCONNECT (MQTT 5.0, 3.14.2.1); none: the connection ends without one.
    ///
    /// 0x88 is no code of DISCONNECT (table 3-10), so that storage which is away is told as 0x89.
    #[must_use]
    pub const fn disconnect_code(self) -> Option<ReasonCode> {
        Some(match self {
            Self::KeepAliveTimeout => ReasonCode::KeepAliveTimeout,
            Self::MalformedPacket => ReasonCode::MalformedPacket,
            Self::ProtocolError => ReasonCode::ProtocolError,
            Self::PacketTooLarge => ReasonCode::PacketTooLarge,
            Self::TopicAliasInvalid => ReasonCode::TopicAliasInvalid,
            Self::TopicNameInvalid => ReasonCode::TopicNameInvalid,
            Self::QosNotSupported => ReasonCode::QosNotSupported,
            Self::ReceiveMaximumExceeded => ReasonCode::ReceiveMaximumExceeded,
            Self::QuotaExceeded | Self::SlowConsumer | Self::Overrun => ReasonCode::QuotaExceeded,
            Self::TakenOver => ReasonCode::SessionTakenOver,
            Self::StorageUnavailable | Self::ServerBusy => ReasonCode::ServerBusy,
            // Stock clients come back on this one; 0x9C is said where there is a server reference with it.
            Self::ServerShutdown | Self::Moved => ReasonCode::ServerShuttingDown,
            Self::ListenerRemoved => ReasonCode::AdministrativeAction,
            _ => return None,
        })
    }

    /// Reason code of the CONNACK that refuses a client (MQTT 5.0, 3.2.2.2); 3.1.1 gets the return code that says the
    /// same. None: the connection ends without one.
    #[must_use]
    pub const fn connack_code(self) -> Option<ReasonCode> {
        Some(match self {
            Self::MalformedPacket => ReasonCode::MalformedPacket,
            Self::ProtocolError => ReasonCode::ProtocolError,
            Self::PacketTooLarge => ReasonCode::PacketTooLarge,
            Self::TopicNameInvalid => ReasonCode::TopicNameInvalid,
            Self::QosNotSupported => ReasonCode::QosNotSupported,
            Self::UnsupportedProtocolVersion => ReasonCode::UnsupportedProtocolVersion,
            Self::ClientIdentifierNotValid => ReasonCode::ClientIdentifierNotValid,
            Self::BadAuthenticationMethod => ReasonCode::BadAuthenticationMethod,
            Self::WillNotAllowed => ReasonCode::NotAuthorized,
            Self::QuotaExceeded => ReasonCode::QuotaExceeded,
            Self::StorageUnavailable | Self::ServerShutdown | Self::Moved => ReasonCode::ServerUnavailable,
            Self::ServerBusy => ReasonCode::ServerBusy,
            _ => return None,
        })
    }

    /// What the end means for the session's will (MQTT 5.0, 3.1.2.5). The server's own doing never fires one at once.
    #[must_use]
    pub const fn detach_reason(self) -> DetachReason {
        match self {
            Self::ClientDisconnect => DetachReason::ByClient,
            Self::TakenOver => DetachReason::TakenOver,
            Self::Overrun
            | Self::StorageUnavailable
            | Self::ServerBusy
            | Self::ServerShutdown
            | Self::Moved
            | Self::ListenerRemoved => DetachReason::Moved,
            _ => DetachReason::WillDue,
        }
    }

    /// The reason that stands for a refusal of the codec.
    #[must_use]
    pub(crate) const fn of_refusal(code: ReasonCode) -> Self {
        match code {
            ReasonCode::MalformedPacket => Self::MalformedPacket,
            ReasonCode::PacketTooLarge => Self::PacketTooLarge,
            ReasonCode::TopicAliasInvalid => Self::TopicAliasInvalid,
            ReasonCode::UnsupportedProtocolVersion => Self::UnsupportedProtocolVersion,
            ReasonCode::QuotaExceeded => Self::QuotaExceeded,
            _ => Self::ProtocolError,
        }
    }
}

#[cfg(test)]
mod tests {
    use freshet_mqtt::{ConnAck, Disconnect, Peer, ProtocolVersion, Sender};

    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own_and_finds_itself_by_index() {
        let words: std::collections::BTreeSet<_> = DisconnectReason::ALL.iter().map(|r| r.word()).collect();
        assert_eq!(words.len(), DisconnectReason::COUNT);
        for (index, reason) in DisconnectReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }

    #[test]
    #[cfg_attr(false, shows("5.0:3.2.2-8", "5.0:3.14.2-1"))]
    fn every_code_may_stand_in_its_packet() {
        // MQTT-3.14.2-1, MQTT-3.2.2-8
        let peer = Peer::new(ProtocolVersion::V5);
        for reason in DisconnectReason::ALL {
            let mut out = Vec::new();
            if let Some(code) = reason.disconnect_code() {
                Disconnect::new(code).encode(Sender::Server, &peer, &mut out).unwrap();
            }
            if let Some(code) = reason.connack_code() {
                ConnAck::new(code).encode(&peer, &mut out).unwrap();
            }
        }
    }
}
