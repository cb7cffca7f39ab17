//! The packets of MQTT 3.1.1 and MQTT 5.0: decoding, encoding, topic names and topic filters.
//!
//! Called by the proxy's core (decodes what clients send, encodes what servers send) and by clients such as the
//! load generator and the tests (the other way round). Leaves out everything that needs a connection's state:
//! which packet may come next, topic aliases, packet ids in use, what was announced in CONNACK.
//!
//! * **Borrowing.** A decoded packet points into the bytes it was decoded from. Lists (topic filters, user
//!   properties, reason codes) are iterators over bytes that were validated once. Decoding allocates nothing.
//! * **Strict.** Every malformed or violating form that the specifications name is refused with the reason code
//!   that they name. See [`DecodeError`].
//! * **Pure.** No I/O, no clock, no randomness; nothing panics on input, and the work is linear in its length.
//!
//! ```
//! use freshet_mqtt::{ClientPacket, DecodeLimits, FixedHeader, ProtocolVersion};
//!
//! let received = [0x30, 0x07, 0x00, 0x03, b'a', b'/', b'b', b'h', b'i', 0xC0];
//! let header = FixedHeader::parse(&received, 1024)?.expect("the header is complete");
//! let body = header.body(&received).expect("the body is complete");
//! let packet = ClientPacket::decode(ProtocolVersion::V311, header, body, &DecodeLimits::default())?;
//! let ClientPacket::Publish(publish) = packet else { panic!("0x30 is PUBLISH") };
//! assert_eq!((publish.topic_name, publish.payload), ("a/b", &b"hi"[..]));
//! # Ok::<(), freshet_mqtt::DecodeError>(())
//! ```

mod error;
mod fixed_header;
mod limits;
#[cfg(any(test, feature = "testdata"))]
pub mod malformed;
pub mod packet;
pub mod properties;
mod protocol_version;
mod qos;
mod reader;
mod reason_code;
mod sink;
#[cfg(any(test, feature = "testdata"))]
pub mod sparkplug;
pub mod topic;
mod utf8;
mod varint;

pub use error::{DecodeError, DecodeErrorKind, EncodeError};
pub use fixed_header::{FixedHeader, PacketType};
pub use limits::{DecodeLimits, Peer};
pub use packet::auth::Auth;
pub use packet::connack::{ConnAck, ConnAckProperties};
pub use packet::connect::{Connect, ConnectProperties, Will, WillProperties};
pub use packet::disconnect::Disconnect;
pub use packet::puback::PubAck;
pub use packet::pubcomp::PubComp;
pub use packet::publish::{Publish, PublishProperties};
pub use packet::publish_head::{PublishHead, PublishLayout, encode_publish, encode_publish_head, publish_packet_bytes};
pub use packet::pubrec::PubRec;
pub use packet::pubrel::PubRel;
pub use packet::suback::SubAck;
pub use packet::subscribe::{RetainHandling, Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions};
pub use packet::unsuback::UnsubAck;
pub use packet::unsubscribe::{Unsubscribe, UnsubscribeFilters};
pub use packet::{ClientPacket, PacketId, ReasonCodes, ServerPacket};
pub use properties::{Property, SubscriptionIdentifiers, UserProperties};
pub use protocol_version::{Protocol, ProtocolVersion};
pub use qos::QoS;
pub use reason_code::{ConnectReturnCode, ReasonCode, Sender};
pub use topic::{SharedFilter, TopicError, TopicFilter, TopicName, filter_covers, filters_overlap, topic_matches};
pub use utf8::validate_utf8;
pub use varint::{MAX_VARINT, Varint, decode_varint, encode_varint, varint_bytes};

/// The largest packet that the protocol can express: the fixed header and its largest Remaining Length, in bytes.
pub const MAX_PACKET_BYTES: u32 = 1 + 4 + MAX_VARINT;
