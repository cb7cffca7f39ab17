//! What bounds a packet beyond the protocol itself: the receiver's own limits, and what its peer announced.

use crate::MAX_PACKET_BYTES;
use crate::protocol_version::ProtocolVersion;

/// Bounds on the lists inside one packet, for receivers that copy them.
///
/// The size of the whole packet is bounded by [`FixedHeader::parse`](crate::FixedHeader::parse). How long a topic
/// or a client id may be, and how many levels a topic may have, is for the caller: the answers differ by packet
/// (a reason code in PUBACK or SUBACK, or a refused CONNECT), and none of them is a malformed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// User properties in one packet, and again in one will. Default 1,000.
    pub max_user_properties: u32,
    /// Topic filters in one SUBSCRIBE or UNSUBSCRIBE. Default 10,000.
    pub max_topic_filters: u32,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_user_properties: 1_000,
            max_topic_filters: 10_000,
        }
    }
}

/// What an encoder has to know of the side that will read the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The version of the connection.
    pub version: ProtocolVersion,
    /// The Maximum Packet Size that the peer announced, in bytes, fixed header included.
    ///
    /// Reason strings and user properties of acknowledgements are left out when the packet would not fit with
    /// them (`[MQTT-3.4.2-2]` and the like); a packet that does not fit without them is not encoded.
    pub max_packet_bytes: u32,
    /// The peer's Request Problem Information. When it is false, reason strings and user properties are left out
    /// of every packet but PUBLISH, CONNACK and DISCONNECT (`[MQTT-3.1.2-29]`).
    pub request_problem_information: bool,
}

impl Peer {
    /// A peer of this version that announced no limit.
    #[must_use]
    pub const fn new(version: ProtocolVersion) -> Self {
        Self {
            version,
            max_packet_bytes: MAX_PACKET_BYTES,
            request_problem_information: true,
        }
    }
}
