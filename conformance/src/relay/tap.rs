//! The packets in a stream of bytes, as far as scripts look at them.

use std::num::NonZeroU16;
use std::sync::{Arc, OnceLock};

use freshet_mqtt::{
    ClientPacket, DecodeError, DecodeLimits, FixedHeader, MAX_PACKET_BYTES, PacketType, Protocol, ProtocolVersion,
    Publish, ReasonCode, ReasonCodes, ServerPacket,
};

use crate::history::History;

/// Which way something went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToBroker,
    ToClient,
}

/// One packet that passed.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pub(crate) direction: Direction,
    pub(crate) packet: Packet,
}

/// A packet, as far as scripts look at it. Reason codes of 3.1.1 are the 5.0 ones that say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    Connect,
    ConnAck {
        session_present: bool,
        reason_code: u8,
    },
    Publish {
        qos: u8,
        dup: bool,
        topic_name: String,
        topic_alias: Option<u16>,
        message_expiry_interval: Option<u32>,
        subscription_identifiers: Vec<u32>,
    },
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    Ack {
        packet_type: PacketType,
        reason_code: u8,
    },
    SubAck {
        reason_codes: Vec<u8>,
    },
    UnsubAck {
        reason_codes: Vec<u8>,
    },
    Disconnect {
        reason_code: u8,
    },
    /// Packets that no script looks into.
    Other(PacketType),
    /// What the codec refuses; nothing behind it is looked at.
    Undecodable(String),
    /// The connection ended.
    Closed,
}

/// The version that CONNECT named, known to both directions.
pub(super) type SharedVersion = Arc<OnceLock<ProtocolVersion>>;

/// Cuts one direction into packets and notes them.
#[derive(Debug)]
pub(super) struct Tap {
    direction: Direction,
    version: SharedVersion,
    wire: History<Wire>,
    pending: Vec<u8>,
    blind: bool,
}

impl Tap {
    pub(super) fn new(direction: Direction, version: SharedVersion, wire: History<Wire>) -> Self {
        Self {
            direction,
            version,
            wire,
            pending: Vec::new(),
            blind: false,
        }
    }

    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    /// Takes the next bytes of the stream.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        if self.blind {
            return;
        }
        self.pending.extend_from_slice(bytes);
        let mut taken = 0;
        while !self.blind {
            let rest = &self.pending[taken..];
            let packet = match FixedHeader::parse(rest, MAX_PACKET_BYTES) {
                Ok(None) => break,
                Ok(Some(header)) => {
                    let Some(body) = header.body(rest) else { break };
                    taken += usize::from(header.header_bytes) + body.len();
                    self.decode(header, body)
                }
                Err(error) => Err(error.to_string()),
            };
            let packet = packet.unwrap_or_else(|error| {
                self.blind = true;
                Packet::Undecodable(error)
            });
            self.wire.add(Wire {
                direction: self.direction,
                packet,
            });
        }
        self.pending.drain(..taken);
    }

    fn decode(&self, header: FixedHeader, body: &[u8]) -> Result<Packet, String> {
        let limits = DecodeLimits::default();
        let told = |error: DecodeError| error.to_string();
        if header.packet_type == PacketType::Connect {
            let protocol = Protocol::peek(body).map_err(told)?;
            let _ = self.version.set(protocol.version);
        }
        let version = *self.version.get().ok_or("something before CONNECT")?;
        match self.direction {
            Direction::ToBroker => ClientPacket::decode(version, header, body, &limits)
                .map(|packet| of_client(&packet))
                .map_err(told),
            Direction::ToClient => ServerPacket::decode(version, header, body, &limits)
                .map(|packet| of_server(&packet))
                .map_err(told),
        }
    }
}

fn of_client(packet: &ClientPacket<'_>) -> Packet {
    let packet_type = packet.packet_type();
    match packet {
        ClientPacket::Connect(_) => Packet::Connect,
        ClientPacket::Publish(publish) => of_publish(publish),
        ClientPacket::PubAck(packet) => ack(packet_type, packet.reason_code),
        ClientPacket::PubRec(packet) => ack(packet_type, packet.reason_code),
        ClientPacket::PubRel(packet) => ack(packet_type, packet.reason_code),
        ClientPacket::PubComp(packet) => ack(packet_type, packet.reason_code),
        ClientPacket::Disconnect(packet) => Packet::Disconnect {
            reason_code: packet.reason_code.byte(),
        },
        _ => Packet::Other(packet_type),
    }
}

fn of_server(packet: &ServerPacket<'_>) -> Packet {
    let packet_type = packet.packet_type();
    match packet {
        ServerPacket::ConnAck(packet) => Packet::ConnAck {
            session_present: packet.session_present,
            reason_code: packet.reason_code.byte(),
        },
        ServerPacket::Publish(publish) => of_publish(publish),
        ServerPacket::PubAck(packet) => ack(packet_type, packet.reason_code),
        ServerPacket::PubRec(packet) => ack(packet_type, packet.reason_code),
        ServerPacket::PubRel(packet) => ack(packet_type, packet.reason_code),
        ServerPacket::PubComp(packet) => ack(packet_type, packet.reason_code),
        ServerPacket::SubAck(packet) => Packet::SubAck {
            reason_codes: bytes(packet.reason_codes),
        },
        ServerPacket::UnsubAck(packet) => Packet::UnsubAck {
            reason_codes: bytes(packet.reason_codes),
        },
        ServerPacket::Disconnect(packet) => Packet::Disconnect {
            reason_code: packet.reason_code.byte(),
        },
        _ => Packet::Other(packet_type),
    }
}

fn ack(packet_type: PacketType, reason_code: ReasonCode) -> Packet {
    Packet::Ack {
        packet_type,
        reason_code: reason_code.byte(),
    }
}

fn bytes(reason_codes: ReasonCodes<'_>) -> Vec<u8> {
    reason_codes.iter().map(ReasonCode::byte).collect()
}

fn of_publish(publish: &Publish<'_>) -> Packet {
    let properties = &publish.properties;
    Packet::Publish {
        qos: publish.qos.bits(),
        dup: publish.dup,
        topic_name: publish.topic_name.to_owned(),
        topic_alias: properties.topic_alias.map(NonZeroU16::get),
        message_expiry_interval: properties.message_expiry_interval,
        subscription_identifiers: properties.subscription_identifiers.iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use freshet_mqtt::{Connect, Peer};

    use super::*;

    fn tap(wire: &History<Wire>) -> Tap {
        Tap::new(Direction::ToBroker, SharedVersion::default(), wire.clone())
    }

    #[test]
    fn packets_are_found_however_the_bytes_are_cut() {
        let peer = Peer::new(ProtocolVersion::V5);
        let mut bytes = Vec::new();
        Connect::new(ProtocolVersion::V5, "a")
            .encode(&peer, &mut bytes)
            .unwrap();
        ClientPacket::PingReq.encode(&peer, &mut bytes).unwrap();
        for size in 1..bytes.len() {
            let wire = History::default();
            let mut tap = tap(&wire);
            bytes.chunks(size).for_each(|chunk| tap.pass(chunk));
            let packets: Vec<_> = wire.look(|all| all.iter().map(|wire| wire.packet.clone()).collect());
            assert_eq!(packets, [Packet::Connect, Packet::Other(PacketType::PingReq)]);
        }
    }

    #[test]
    fn bytes_that_are_no_mqtt_are_noted_once() {
        let wire = History::default();
        let mut tap = tap(&wire);
        tap.pass(b"GET / HTTP/1.1\r\n");
        tap.pass(b"\0\0\0\0");
        let packets: Vec<_> = wire.look(|all| all.iter().map(|wire| wire.packet.clone()).collect());
        assert!(matches!(packets.as_slice(), [Packet::Undecodable(_)]), "{packets:?}");
    }
}
