//! The control packets (MQTT 5.0, chapter 3), one file each, and the two directions they travel in.

mod ack;
pub mod auth;
pub mod connack;
pub mod connect;
pub mod disconnect;
pub mod pingreq;
pub mod pingresp;
pub mod puback;
pub mod pubcomp;
pub mod publish;
pub mod publish_head;
pub mod pubrec;
pub mod pubrel;
mod reason_codes;
pub mod suback;
pub mod subscribe;
pub mod unsuback;
pub mod unsubscribe;

pub use reason_codes::{ReasonCodes, ReasonCodesIter};

use std::num::NonZeroU16;

use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::fixed_header::{FixedHeader, PacketType};
use crate::limits::{DecodeLimits, Peer};
use crate::protocol_version::ProtocolVersion;
use crate::reason_code::Sender;

/// A packet identifier (MQTT 5.0, 2.2.1).
pub type PacketId = NonZeroU16;

/// A packet that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the packets")]
pub enum ClientPacket<'a> {
    Connect(connect::Connect<'a>),
    Publish(publish::Publish<'a>),
    PubAck(puback::PubAck<'a>),
    PubRec(pubrec::PubRec<'a>),
    PubRel(pubrel::PubRel<'a>),
    PubComp(pubcomp::PubComp<'a>),
    Subscribe(subscribe::Subscribe<'a>),
    Unsubscribe(unsubscribe::Unsubscribe<'a>),
    PingReq,
    Disconnect(disconnect::Disconnect<'a>),
    Auth(auth::Auth<'a>),
}

/// A packet that a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the packets")]
pub enum ServerPacket<'a> {
    ConnAck(connack::ConnAck<'a>),
    Publish(publish::Publish<'a>),
    PubAck(puback::PubAck<'a>),
    PubRec(pubrec::PubRec<'a>),
    PubRel(pubrel::PubRel<'a>),
    PubComp(pubcomp::PubComp<'a>),
    SubAck(suback::SubAck<'a>),
    UnsubAck(unsuback::UnsubAck<'a>),
    PingResp,
    Disconnect(disconnect::Disconnect<'a>),
    Auth(auth::Auth<'a>),
}

impl<'a> ClientPacket<'a> {
    /// Decodes the body of a packet that a client sent.
    ///
    /// `version` is that of the connection. CONNECT carries its own, so that before it any version will do; that
    /// CONNECT comes first, and only once, is for the caller to check.
    ///
    /// # Errors
    /// Whatever [`DecodeErrorKind`] lists. The packet is refused as a whole; nothing of it has to be undone.
    #[inline]
    pub fn decode(
        version: ProtocolVersion,
        header: FixedHeader,
        body: &'a [u8],
        limits: &DecodeLimits,
    ) -> Result<Self, DecodeError> {
        check_body(header, body)?;
        Ok(match header.packet_type {
            PacketType::Connect => Self::Connect(connect::Connect::decode(body, limits)?),
            PacketType::Publish => Self::Publish(publish::Publish::decode(
                version,
                Sender::Client,
                header.flags,
                body,
                limits,
            )?),
            PacketType::PubAck => Self::PubAck(puback::PubAck::decode(version, body, limits)?),
            PacketType::PubRec => Self::PubRec(pubrec::PubRec::decode(version, body, limits)?),
            PacketType::PubRel => Self::PubRel(pubrel::PubRel::decode(version, body, limits)?),
            PacketType::PubComp => Self::PubComp(pubcomp::PubComp::decode(version, body, limits)?),
            PacketType::Subscribe => Self::Subscribe(subscribe::Subscribe::decode(version, body, limits)?),
            PacketType::Unsubscribe => Self::Unsubscribe(unsubscribe::Unsubscribe::decode(version, body, limits)?),
            PacketType::PingReq => {
                pingreq::decode(body)?;
                Self::PingReq
            }
            PacketType::Disconnect => {
                Self::Disconnect(disconnect::Disconnect::decode(version, Sender::Client, body, limits)?)
            }
            PacketType::Auth => Self::Auth(auth::Auth::decode(version, Sender::Client, body, limits)?),
            packet_type @ (PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck | PacketType::PingResp) => {
                return Err(DecodeErrorKind::WrongDirection { packet_type }.into());
            }
        })
    }

    /// Appends the packet to `out` and returns its size in bytes.
    ///
    /// `peer.version` decides what is written; properties and reason codes are left out before 5.0. CONNECT is
    /// written in its own version.
    ///
    /// # Errors
    /// [`EncodeError`]; `out` is then as it was.
    pub fn encode(&self, peer: &Peer, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        match self {
            Self::Connect(packet) => packet.encode(peer, out),
            Self::Publish(packet) => packet.encode(peer, out),
            Self::PubAck(packet) => packet.encode(peer, out),
            Self::PubRec(packet) => packet.encode(peer, out),
            Self::PubRel(packet) => packet.encode(peer, out),
            Self::PubComp(packet) => packet.encode(peer, out),
            Self::Subscribe(packet) => packet.encode(peer, out),
            Self::Unsubscribe(packet) => packet.encode(peer, out),
            Self::PingReq => Ok(pingreq::encode(out)),
            Self::Disconnect(packet) => packet.encode(Sender::Client, peer, out),
            Self::Auth(packet) => packet.encode(Sender::Client, peer, out),
        }
    }

    /// The type of the packet.
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::PingReq => PacketType::PingReq,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}

impl<'a> ServerPacket<'a> {
    /// Decodes the body of a packet that a server sent.
    ///
    /// # Errors
    /// Whatever [`DecodeErrorKind`] lists.
    #[inline]
    pub fn decode(
        version: ProtocolVersion,
        header: FixedHeader,
        body: &'a [u8],
        limits: &DecodeLimits,
    ) -> Result<Self, DecodeError> {
        check_body(header, body)?;
        Ok(match header.packet_type {
            PacketType::ConnAck => Self::ConnAck(connack::ConnAck::decode(version, body, limits)?),
            PacketType::Publish => Self::Publish(publish::Publish::decode(
                version,
                Sender::Server,
                header.flags,
                body,
                limits,
            )?),
            PacketType::PubAck => Self::PubAck(puback::PubAck::decode(version, body, limits)?),
            PacketType::PubRec => Self::PubRec(pubrec::PubRec::decode(version, body, limits)?),
            PacketType::PubRel => Self::PubRel(pubrel::PubRel::decode(version, body, limits)?),
            PacketType::PubComp => Self::PubComp(pubcomp::PubComp::decode(version, body, limits)?),
            PacketType::SubAck => Self::SubAck(suback::SubAck::decode(version, body, limits)?),
            PacketType::UnsubAck => Self::UnsubAck(unsuback::UnsubAck::decode(version, body, limits)?),
            PacketType::PingResp => {
                pingresp::decode(body)?;
                Self::PingResp
            }
            PacketType::Disconnect => {
                Self::Disconnect(disconnect::Disconnect::decode(version, Sender::Server, body, limits)?)
            }
            PacketType::Auth => Self::Auth(auth::Auth::decode(version, Sender::Server, body, limits)?),
            packet_type @ (PacketType::Connect
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::PingReq) => return Err(DecodeErrorKind::WrongDirection { packet_type }.into()),
        })
    }

    /// Appends the packet to `out` and returns its size in bytes.
    ///
    /// # Errors
    /// [`EncodeError`]; `out` is then as it was.
    pub fn encode(&self, peer: &Peer, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        match self {
            Self::ConnAck(packet) => packet.encode(peer, out),
            Self::Publish(packet) => packet.encode(peer, out),
            Self::PubAck(packet) => packet.encode(peer, out),
            Self::PubRec(packet) => packet.encode(peer, out),
            Self::PubRel(packet) => packet.encode(peer, out),
            Self::PubComp(packet) => packet.encode(peer, out),
            Self::SubAck(packet) => packet.encode(peer, out),
            Self::UnsubAck(packet) => packet.encode(peer, out),
            Self::PingResp => Ok(pingresp::encode(out)),
            Self::Disconnect(packet) => packet.encode(Sender::Server, peer, out),
            Self::Auth(packet) => packet.encode(Sender::Server, peer, out),
        }
    }

    /// The type of the packet.
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::SubAck(_) => PacketType::SubAck,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}

/// Checks that the caller handed over the whole body and nothing else.
#[inline]
fn check_body(header: FixedHeader, body: &[u8]) -> Result<(), DecodeError> {
    if usize::try_from(header.remaining_bytes) == Ok(body.len()) {
        Ok(())
    } else {
        Err(DecodeErrorKind::BodyLength.into())
    }
}
