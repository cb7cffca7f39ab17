//! A small device on a bare socket: says exactly what a script tells it, and notes what it hears.
//!
//! For libraries of microcontrollers, which cannot run here. What makes them special is told by the scripts.

use anyhow::{Context as _, anyhow};
use freshet_mqtt::{
    ClientPacket, Connect, DecodeLimits, FixedHeader, MAX_PACKET_BYTES, PacketId, PacketType, Peer, ProtocolVersion,
    PubAck, QoS, ReasonCode, ServerPacket,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;

use super::{DEADLINE, Played, Stop, finding};
use crate::history::History;
use crate::message::Version;
use crate::relay::{Packet, Relay};

/// What a device has heard, as far as scripts look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Publish {
        payload: String,
        dup: bool,
    },
    Ack {
        packet_type: PacketType,
        packet_id: u16,
    },
    Other(PacketType),
    /// A packet that is larger than the device's buffer; it has not looked into it.
    TooLarge,
}

/// The device; its connection ends with it.
#[derive(Debug)]
pub(crate) struct Device {
    relay: Relay,
    peer: Peer,
    bytes: mpsc::UnboundedSender<Vec<u8>>,
    heard: History<Heard>,
}

impl Device {
    /// Connects with a clean start, and waits for CONNACK.
    ///
    /// `buffer_bytes` is what the device can hold: it skips larger packets. It acknowledges other messages of QoS 1.
    pub(super) async fn connect(relay: Relay, version: Version, client_id: &str, buffer_bytes: usize) -> Played<Self> {
        let version = match version {
            Version::V311 => ProtocolVersion::V311,
            Version::V5 => ProtocolVersion::V5,
        };
        let stream = TcpStream::connect(relay.address).await.context("no connection")?;
        let (from_broker, mut to_broker) = stream.into_split();
        let (bytes, mut queue) = mpsc::unbounded_channel::<Vec<u8>>();
        tokio::spawn(async move {
            while let Some(bytes) = queue.recv().await {
                // A lost connection shows in what is not heard.
                if to_broker.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        let ear = Ear {
            peer: Peer::new(version),
            buffer_bytes,
            answers: bytes.clone(),
            heard: History::default(),
        };
        let heard = ear.heard.clone();
        tokio::spawn(ear.listen(from_broker));
        let device = Self {
            relay,
            peer: Peer::new(version),
            bytes,
            heard,
        };
        device.send(&[ClientPacket::Connect(Connect::new(version, client_id))])?;
        device
            .expect("CONNECT", "CONNACK", |heard| {
                matches!(heard, Heard::Other(PacketType::ConnAck)).then_some(())
            })
            .await?;
        Ok(device)
    }

    /// Sends packets in one write, so that the broker finds them together.
    ///
    /// # Errors
    /// When one cannot be written.
    pub(crate) fn send(&self, packets: &[ClientPacket<'_>]) -> Played {
        let mut bytes = Vec::new();
        for packet in packets {
            packet.encode(&self.peer, &mut bytes).context("cannot encode")?;
        }
        self.bytes
            .send(bytes)
            .map_err(|_| Stop::Harness(anyhow!("the connection has gone")))
    }

    /// Waits for something.
    ///
    /// # Errors
    /// When it does not come.
    pub(crate) async fn expect<T>(
        &self,
        step: &str,
        what: &str,
        mut look: impl FnMut(&Heard) -> Option<T>,
    ) -> Played<T> {
        self.expect_in(step, what, |all| all.iter().find_map(&mut look)).await
    }

    /// Waits until so many answers of this type to this packet id have come.
    ///
    /// # Errors
    /// When they do not come.
    pub(crate) async fn expect_acks(&self, packet_type: PacketType, packet_id: PacketId, count: usize) -> Played {
        let ack = Heard::Ack {
            packet_type,
            packet_id: packet_id.get(),
        };
        let what = format!("{count} times {ack:?}");
        self.expect_in("an answer", &what, |all| {
            (all.iter().filter(|heard| **heard == ack).count() >= count).then_some(())
        })
        .await
    }

    /// Waits until so many messages have come that fit the buffer; returns their payloads.
    ///
    /// # Errors
    /// When fewer come.
    pub(crate) async fn expect_messages(&self, step: &str, count: usize) -> Played<Vec<String>> {
        self.expect_in(step, &format!("{count} messages"), |all| {
            let payloads = all.iter().filter_map(|heard| match heard {
                Heard::Publish { payload, .. } => Some(payload.clone()),
                _ => None,
            });
            let payloads: Vec<String> = payloads.collect();
            (payloads.len() >= count).then_some(payloads)
        })
        .await
    }

    /// What it has heard that `look` is interested in.
    pub(crate) fn heard<T>(&self, look: impl FnMut(&Heard) -> Option<T>) -> Vec<T> {
        self.heard.look(|all| all.iter().filter_map(look).collect())
    }

    /// Whether the broker has ended the connection.
    pub(crate) fn is_closed(&self) -> bool {
        self.relay
            .wire
            .look(|all| all.iter().any(|wire| wire.packet == Packet::Closed))
    }

    async fn expect_in<T>(&self, step: &str, what: &str, look: impl FnMut(&[Heard]) -> Option<T>) -> Played<T> {
        let found: Option<T> = self.heard.wait(DEADLINE, look).await;
        let heard = || self.heard.look(|all| format!("{:?}", super::peer::tail(all)));
        found.ok_or_else(|| Stop::Missing(finding(step, what, heard())))
    }
}

/// The receiving half of a device.
struct Ear {
    peer: Peer,
    buffer_bytes: usize,
    answers: mpsc::UnboundedSender<Vec<u8>>,
    heard: History<Heard>,
}

impl Ear {
    async fn listen(self, mut from_broker: OwnedReadHalf) {
        let (mut pending, mut buffer) = (Vec::new(), vec![0; 4 << 10]);
        loop {
            match from_broker.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => pending.extend_from_slice(&buffer[..count]),
            }
            while let Ok(Some(header)) = FixedHeader::parse(&pending, MAX_PACKET_BYTES) {
                let Some(body) = header.body(&pending) else { break };
                let packet_bytes = usize::from(header.header_bytes) + body.len();
                let heard = if packet_bytes > self.buffer_bytes {
                    Heard::TooLarge
                } else {
                    self.hear(header, body)
                };
                self.heard.add(heard);
                pending.drain(..packet_bytes);
            }
        }
    }

    fn hear(&self, header: FixedHeader, body: &[u8]) -> Heard {
        let ack = |packet_id: PacketId| Heard::Ack {
            packet_type: header.packet_type,
            packet_id: packet_id.get(),
        };
        match ServerPacket::decode(self.peer.version, header, body, &DecodeLimits::default()) {
            Ok(ServerPacket::Publish(publish)) => {
                if let (QoS::AtLeastOnce, Some(packet_id)) = (publish.qos, publish.packet_id) {
                    self.answer(packet_id);
                }
                Heard::Publish {
                    payload: String::from_utf8_lossy(publish.payload).into_owned(),
                    dup: publish.dup,
                }
            }
            Ok(ServerPacket::PubAck(packet)) => ack(packet.packet_id),
            Ok(ServerPacket::PubRec(packet)) => ack(packet.packet_id),
            Ok(ServerPacket::PubComp(packet)) => ack(packet.packet_id),
            _ => Heard::Other(header.packet_type),
        }
    }

    fn answer(&self, packet_id: PacketId) {
        let mut bytes = Vec::new();
        let answer = PubAck::new(packet_id, ReasonCode::Success);
        if ClientPacket::PubAck(answer).encode(&self.peer, &mut bytes).is_ok() {
            // A lost connection shows in what is not heard.
            let _ = self.answers.send(bytes);
        }
    }
}
