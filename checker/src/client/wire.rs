//! A connection's bytes: packets out, packets in, and how it ended.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use freshet_mqtt::{
    ClientPacket, DecodeLimits, FixedHeader, PacketId, Peer, ProtocolVersion, Publish, QoS, ReasonCode, ServerPacket,
};

use crate::history::{ConnectionNumber, Message};

/// How long a broker that was stopped may keep a connection from being made, or bytes from being taken.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) number: ConnectionNumber,
    stream: TcpStream,
    peer: Peer,
    received: Vec<u8>,
}

/// What a broker says.
#[derive(Debug)]
pub(crate) enum Heard {
    ConnAck {
        reason: u8,
        session_present: bool,
    },
    Publish(HeardPublish),
    PubAck(u16, u8),
    PubRec(u16, u8),
    PubRel(u16),
    PubComp(u16, u8),
    SubAck(u16, u8),
    UnsubAck(u16),
    Pong,
    Disconnect(u8),
    /// The end.
    Closed,
    /// What no client can read.
    Malformed(String),
}

/// A PUBLISH.
#[derive(Debug)]
pub(crate) struct HeardPublish {
    pub(crate) packet_id: Option<u16>,
    pub(crate) topic: String,
    /// None: the payload is empty, or names no message.
    pub(crate) message: Option<Message>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
}

impl Wire {
    pub(crate) fn open(address: SocketAddr, version: ProtocolVersion, number: ConnectionNumber) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            number,
            stream,
            peer: Peer::new(version),
            received: Vec::new(),
        })
    }

    /// Sends a packet. That the broker has gone shows in what is heard, not here.
    pub(crate) fn send(&mut self, packet: &ClientPacket<'_>) {
        let mut bytes = Vec::new();
        if packet.encode(&self.peer, &mut bytes).is_ok() {
            let _ = self.stream.write_all(&bytes);
        }
    }

    /// The next packet, if one comes within so long.
    pub(crate) fn hear(&mut self, patience: Duration) -> Option<Heard> {
        let until = Instant::now() + patience;
        loop {
            match self.decode() {
                Ok(Some(heard)) => return Some(heard),
                Ok(None) => {}
                Err(error) => return Some(Heard::Malformed(error)),
            }
            // Zero would be refused, and mean for ever.
            let left = until
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            if self.stream.set_read_timeout(Some(left)).is_err() {
                return Some(Heard::Closed);
            }
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Some(Heard::Closed),
                Ok(count) => self.received.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Some(Heard::Closed),
            }
        }
    }

    fn decode(&mut self) -> Result<Option<Heard>, String> {
        let Some(header) = FixedHeader::parse(&self.received, u32::MAX).map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        let Some(body) = header.body(&self.received) else {
            return Ok(None);
        };
        let packet = ServerPacket::decode(self.peer.version, header, body, &DecodeLimits::default());
        let heard = heard(&packet.map_err(|e| e.to_string())?);
        self.received.drain(..header.packet_bytes() as usize);
        Ok(Some(heard))
    }
}

fn heard(packet: &ServerPacket<'_>) -> Heard {
    match packet {
        ServerPacket::ConnAck(p) => Heard::ConnAck {
            reason: p.reason_code as u8,
            session_present: p.session_present,
        },
        ServerPacket::Publish(p) => Heard::Publish(publish(p)),
        ServerPacket::PubAck(p) => Heard::PubAck(p.packet_id.get(), p.reason_code as u8),
        ServerPacket::PubRec(p) => Heard::PubRec(p.packet_id.get(), p.reason_code as u8),
        ServerPacket::PubRel(p) => Heard::PubRel(p.packet_id.get()),
        ServerPacket::PubComp(p) => Heard::PubComp(p.packet_id.get(), p.reason_code as u8),
        ServerPacket::SubAck(p) => {
            let granted = p.reason_codes.iter().next().unwrap_or(ReasonCode::UnspecifiedError);
            Heard::SubAck(p.packet_id.get(), granted as u8)
        }
        ServerPacket::UnsubAck(p) => Heard::UnsubAck(p.packet_id.get()),
        ServerPacket::PingResp => Heard::Pong,
        ServerPacket::Disconnect(p) => Heard::Disconnect(p.reason_code as u8),
        ServerPacket::Auth(_) => Heard::Malformed("AUTH, which nobody asked for".to_owned()),
    }
}

fn publish(p: &Publish<'_>) -> HeardPublish {
    HeardPublish {
        packet_id: p.packet_id.map(PacketId::get),
        topic: p.topic_name.to_owned(),
        message: Message::parse(p.payload),
        qos: p.qos,
        retain: p.retain,
        dup: p.dup,
    }
}
