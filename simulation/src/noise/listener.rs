//! What a client that says anything hears: it must be packets of its own version, CONNACK first.

use std::collections::BTreeMap;

use freshet_mqtt::{ClientPacket, Connect, DecodeLimits, FixedHeader, ProtocolVersion, ServerPacket};

use crate::violation::Violation;

/// The most that a server may say to a client that has not connected: a refusal.
const MOST_BYTES_UNCONNECTED: usize = 300;

/// The client's end of a connection.
#[derive(Debug, Default)]
pub struct Listener {
    /// What was sent until a first packet was whole.
    said: Vec<u8>,
    /// What the first packet was, once it is there; none: not CONNECT.
    first: Option<Option<ProtocolVersion>>,
    max_packet_bytes: Option<u32>,
    heard: Vec<u8>,
    has_connack: bool,
}

impl Listener {
    /// Takes note of what the client sends.
    pub fn said(&mut self, bytes: &[u8]) {
        if self.first.is_some() {
            return;
        }
        self.said.extend_from_slice(bytes);
        let header = match FixedHeader::parse(&self.said, u32::MAX) {
            Ok(Some(header)) => header,
            Ok(None) => return,
            Err(_) => {
                self.first = Some(None);
                return;
            }
        };
        let Some(body) = header.body(&self.said) else { return };
        let packet = ClientPacket::decode(ProtocolVersion::V5, header, body, &DecodeLimits::default());
        self.first = Some(match packet {
            Ok(ClientPacket::Connect(Connect {
                protocol, properties, ..
            })) => {
                self.max_packet_bytes = properties.maximum_packet_size.map(|bytes| bytes.get());
                Some(protocol.version)
            }
            _ => None,
        });
        self.said = Vec::new();
    }

    /// Checks what the server has said, and counts packets by name.
    ///
    /// # Errors
    /// It is not what a server may say.
    pub fn hears(&mut self, bytes: &[u8], seen: &mut BTreeMap<&'static str, u64>) -> Result<(), Violation> {
        self.heard.extend_from_slice(bytes);
        let Some(Some(version)) = self.first else {
            if self.heard.len() > MOST_BYTES_UNCONNECTED {
                return violation(
                    "who has not connected is told little",
                    format!("{} bytes", self.heard.len()),
                );
            }
            return Ok(());
        };
        let heard = std::mem::take(&mut self.heard);
        let mut rest = heard.as_slice();
        while !rest.is_empty() {
            let header = match FixedHeader::parse(rest, u32::MAX) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(error) => return malformed(&error),
            };
            let Some(body) = header.body(rest) else { break };
            if self.max_packet_bytes.is_some_and(|most| header.packet_bytes() > most) {
                return violation("packets keep to the client's maximum", format!("{header:?}"));
            }
            let packet = match ServerPacket::decode(version, header, body, &DecodeLimits::default()) {
                Ok(packet) => packet,
                Err(error) => return malformed(&error),
            };
            let is_connack = matches!(packet, ServerPacket::ConnAck(_));
            if is_connack == self.has_connack {
                return violation("CONNACK comes first, and once", format!("{packet:?}"));
            }
            self.has_connack = true;
            *seen.entry(name(&packet)).or_default() += 1;
            rest = rest.get(header.packet_bytes() as usize..).unwrap_or_default();
        }
        self.heard = rest.to_vec();
        Ok(())
    }
}

const fn name(packet: &ServerPacket<'_>) -> &'static str {
    match packet {
        ServerPacket::ConnAck(_) => "CONNACK",
        ServerPacket::Publish(_) => "PUBLISH",
        ServerPacket::PubAck(_) => "PUBACK",
        ServerPacket::PubRec(_) => "PUBREC",
        ServerPacket::PubRel(_) => "PUBREL",
        ServerPacket::PubComp(_) => "PUBCOMP",
        ServerPacket::SubAck(_) => "SUBACK",
        ServerPacket::UnsubAck(_) => "UNSUBACK",
        ServerPacket::PingResp => "PINGRESP",
        ServerPacket::Disconnect(_) => "DISCONNECT",
        ServerPacket::Auth(_) => "AUTH",
    }
}

fn malformed<E: std::fmt::Debug>(error: &E) -> Result<(), Violation> {
    violation("the server's packets are well formed", format!("{error:?}"))
}

fn violation(rule: &'static str, seen: String) -> Result<(), Violation> {
    Err(Violation::new(rule, seen))
}
